package dev.turnout;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Metadata;
import io.opentelemetry.api.baggage.Baggage;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.Scope;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

class TraceContextTest {
    private static final Context CONTEXT = Context.root()
            .with(Span.wrap(SpanContext.create(
                    "0af7651916cd43dd8448eb211c80319c",
                    "b7ad6b7169203331",
                    TraceFlags.getSampled(),
                    TraceState.builder().put("vendor", "x").build())))
            .with(Baggage.builder().put("tenant", "blue").build());

    @Test
    void theCurrentSpanAndBaggageGoWithACall() {
        Scope scope = CONTEXT.makeCurrent();
        try {
            assertEquals(
                    Map.of(
                            "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                            "tracestate", "vendor=x",
                            "baggage", "tenant=blue"),
                    TraceContext.current());
        } finally {
            scope.close();
        }

        assertTrue(TraceContext.current().isEmpty());
    }

    @Test
    void aTraceNeverFailsACall() {
        Metadata metadata = new Metadata();
        TraceContext.put(Map.of("traceparent", "ok", "tracestate", "x".repeat(2049), "baggage", "ä"), metadata);

        assertEquals(Set.of("traceparent"), metadata.keys());
    }
}
