package dev.turnout;

import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.Optional;

/** Asks objects of unknown classes for what they may have: public methods without arguments. */
final class Duck {
    private Duck() {}

    /** What the method returns, an Optional unpacked; empty where there is none such, or it does not answer. */
    static Optional<Object> call(Object source, String name) {
        return invoke(source, name, new Class<?>[0]);
    }

    /** The same with one text as argument. */
    static Optional<Object> call(Object source, String name, String argument) {
        return invoke(source, name, new Class<?>[] {String.class}, argument);
    }

    private static Optional<Object> invoke(Object source, String name, Class<?>[] types, Object... arguments) {
        // A Throwable's own methods tell nothing, and classes that are not public cannot be asked.
        for (Class<?> kind = source.getClass(); kind != null; kind = kind.getSuperclass()) {
            if (!Modifier.isPublic(kind.getModifiers())) {
                continue;
            }
            try {
                Method method = kind.getMethod(name, types);
                Object value = method.invoke(source, arguments);
                return value instanceof Optional<?> optional ? optional.map(Object.class::cast) : Optional.ofNullable(value);
            } catch (ReflectiveOperationException | RuntimeException error) {
                // Not there, or not to be asked: the next base class may be.
                continue;
            }
        }
        return Optional.empty();
    }
}
