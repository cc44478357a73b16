package dev.turnout;

import io.opentelemetry.api.baggage.propagation.W3CBaggagePropagator;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import java.util.HashMap;
import java.util.Map;

/** The only class that knows OpenTelemetry; loaded where its API is there. */
final class OpenTelemetryContext {
    private OpenTelemetryContext() {}

    /**
     * W3C's keys of the current context: {@code traceparent}, {@code tracestate}, {@code baggage}. The propagators are
     * W3C's own rather than the global ones: the contract takes no others, and the API alone has none configured.
     */
    static Map<String, String> current() {
        Context context = Context.current();
        if (context == Context.root()) {
            return Map.of();
        }
        Map<String, String> carrier = new HashMap<>();
        W3CTraceContextPropagator.getInstance().inject(context, carrier, Map::put);
        W3CBaggagePropagator.getInstance().inject(context, carrier, Map::put);
        return carrier;
    }
}
