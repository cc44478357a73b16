package dev.turnout;

import dev.turnout.v1.FailureKind;
import java.io.InterruptedIOException;
import java.net.SocketTimeoutException;
import java.nio.channels.ClosedByInterruptException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.CancellationException;
import java.util.stream.Stream;

/**
 * Tells the failure kind of an exception that an application got from a provider, without knowing anybody's SDK.
 *
 * <p>What is looked at, from the exception to its causes: an HTTP status ({@code statusCode()}, {@code getStatusCode()},
 * {@code code()}, {@code status()} and their like), the provider's error code, and for what has none of them, the classes
 * of the usual HTTP packages by name. Everything else is UNKNOWN.
 */
public final class FailureClassifier {
    /** How many causes of an exception are looked at: SDKs wrap two or three deep. */
    private static final int MAX_DEPTH = 8;

    private static final List<String> STATUS_NAMES =
            List.of("statusCode", "getStatusCode", "code", "status", "getStatus", "getCode", "rawStatusCode");
    private static final List<String> CODE_NAMES = List.of("code", "type", "getCode", "getType", "errorCode", "errorType");

    private FailureClassifier() {}

    /**
     * The failure that an exception or one of its causes tells of.
     *
     * @param error what the call threw
     * @param now the present time, for {@code Retry-After} dates
     * @return the failure; of kind UNKNOWN without a status where nothing tells
     */
    public static Failure classify(Throwable error, Instant now) {
        List<Throwable> causes = causes(error);
        for (Throwable cause : causes) {
            if (isCallerStopped(cause)) {
                return Failure.of(FailureKind.FAILURE_KIND_CANCELLED);
            }
            OptionalInt status = statusOf(cause);
            if (status.isPresent()) {
                return new Failure(
                        kindOf(status.getAsInt(), cause), status, RetryAfter.of(RetryAfter.headersOf(cause), now));
            }
            Optional<FailureKind> kind = kindOfCode(cause).or(() -> kindOfClass(cause, FailureTables.BY_CLASS));
            if (kind.isPresent()) {
                return Failure.of(kind.get());
            }
        }
        return causes.stream()
                .map(cause -> kindOfClass(cause, FailureTables.BY_WRAPPER))
                .flatMap(Optional::stream)
                .findFirst()
                .map(Failure::of)
                .orElse(Failure.of(FailureKind.FAILURE_KIND_UNKNOWN));
    }

    private static List<Throwable> causes(Throwable error) {
        List<Throwable> causes = new ArrayList<>();
        for (Throwable cause = error; cause != null && causes.size() < MAX_DEPTH; cause = cause.getCause()) {
            causes.add(cause);
        }
        return causes;
    }

    private static boolean isCallerStopped(Throwable error) {
        if (error instanceof InterruptedIOException && !(error instanceof SocketTimeoutException)) {
            // OkHttp's call timeout is one, and nothing but its message says so: "timeout".
            return !"timeout".equals(error.getMessage());
        }
        return error instanceof CancellationException
                || error instanceof InterruptedException
                || error instanceof ClosedByInterruptException;
    }

    private static FailureKind kindOf(int status, Throwable error) {
        Optional<FailureKind> byCode = kindOfCode(error);
        if (byCode.isPresent()) {
            return byCode.get();
        }
        String message = Objects.toString(error.getMessage(), "");
        return FailureTables.BY_PHRASE.entrySet().stream()
                .filter(phrase -> status == 400 && message.contains(phrase.getKey()))
                .map(Map.Entry::getValue)
                .findFirst()
                .orElse(FailureTables.ofStatus(status));
    }

    private static Optional<FailureKind> kindOfCode(Throwable error) {
        Object body = Duck.call(error, "body").orElse(null);
        Object inner = body instanceof Map<?, ?> map ? map.get("error") : null;
        Stream<Object> own = CODE_NAMES.stream().flatMap(name -> Duck.call(error, name).stream());
        Stream<Object> ofBody = Stream.of(Optional.ofNullable(body), Optional.ofNullable(inner))
                .flatMap(Optional::stream)
                .filter(Map.class::isInstance)
                .flatMap(map -> Stream.of("code", "type").map(((Map<?, ?>) map)::get));
        return Stream.concat(own, ofBody)
                .filter(String.class::isInstance)
                .map(FailureTables.BY_CODE::get)
                .filter(Objects::nonNull)
                .findFirst();
    }

    private static Optional<FailureKind> kindOfClass(Throwable error, Map<String, FailureKind> table) {
        for (Class<?> kind = error.getClass(); kind != null; kind = kind.getSuperclass()) {
            FailureKind found = table.get(kind.getName());
            if (found != null) {
                return Optional.of(found);
            }
        }
        if (error instanceof InterruptedIOException && table == FailureTables.BY_CLASS) {
            return Optional.of(FailureKind.FAILURE_KIND_TIMEOUT);
        }
        return Optional.empty();
    }

    /** An HTTP error status of the exception, or of the response that it carries. */
    private static OptionalInt statusOf(Throwable error) {
        Stream<Object> sources = Stream.concat(
                Stream.of(error), Stream.of("response", "getResponse").flatMap(name -> Duck.call(error, name).stream()));
        return sources.flatMap(source -> STATUS_NAMES.stream().flatMap(name -> Duck.call(source, name).stream()))
                // Spring's status is an object with the number in it.
                .map(value -> value instanceof Number ? value : Duck.call(value, "value").orElse(value))
                .filter(Integer.class::isInstance)
                .mapToInt(Integer.class::cast)
                .filter(status -> status >= 400 && status <= 599)
                .findFirst();
    }

    /** How long a wait may be at most: what a report may state. */
    static final Duration LONGEST_RETRY_AFTER = Duration.ofHours(1);
}
