package dev.turnout.conformance;

import com.google.gson.JsonObject;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.TextMapGetter;
import java.util.List;

/** Makes the span that an operation names the current one. */
final class Tracing {
    private Tracing() {}

    static Context contextOf(JsonObject asked) {
        return W3CTraceContextPropagator.getInstance().extract(Context.root(), asked, new Fields());
    }

    private static final class Fields implements TextMapGetter<JsonObject> {
        @Override
        public Iterable<String> keys(JsonObject asked) {
            return List.copyOf(asked.keySet());
        }

        @Override
        public String get(JsonObject asked, String key) {
            return asked != null && asked.has(key) ? asked.get(key).getAsString() : null;
        }
    }
}
