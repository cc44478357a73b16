package dev.turnout;

import io.grpc.Metadata;
import java.util.Map;
import java.util.function.Supplier;

/** Carries the caller's current trace context to the sidecar, where OpenTelemetry's API is there; else does nothing. */
final class TraceContext {
    /** Longer values are left out: the sidecar takes 8 KiB of metadata in all, and a trace must not fail a call. */
    static final int MAX_VALUE_CHARACTERS = 2048;

    private static final Supplier<Map<String, String>> CURRENT = find();

    private TraceContext() {}

    /** What of the current context goes with a call; asked in the caller's thread. Empty without OpenTelemetry. */
    static Map<String, String> current() {
        return CURRENT.get();
    }

    /** Writes it into the metadata of one try; what cannot stand there is left out. */
    static void put(Map<String, String> context, Metadata metadata) {
        context.forEach((key, value) -> {
            if (value.length() <= MAX_VALUE_CHARACTERS && value.chars().allMatch(c -> c >= ' ' && c <= '~')) {
                metadata.put(Metadata.Key.of(key, Metadata.ASCII_STRING_MARSHALLER), value);
            }
        });
    }

    private static Supplier<Map<String, String>> find() {
        try {
            Class.forName("io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator", false,
                    TraceContext.class.getClassLoader());
            return OpenTelemetryContext::current;
        } catch (ClassNotFoundException | LinkageError error) {
            return Map::of;
        }
    }
}
