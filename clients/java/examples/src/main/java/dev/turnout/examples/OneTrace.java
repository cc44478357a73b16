package dev.turnout.examples;

import com.google.gson.JsonObject;
import dev.turnout.Answer;
import dev.turnout.Chat;
import dev.turnout.Targets;
import dev.turnout.TurnoutClient;
import dev.turnout.errors.TurnoutException;
import dev.turnout.v1.ExecuteRequest;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.Scope;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import java.util.Locale;
import java.util.Map;

/**
 * Makes one request within a span of OpenTelemetry's, so that the sidecar's spans stand below the application's own.
 *
 * <p>{@code OneTrace PROMPT}. The same program is there in Python, Go and TypeScript; {@code one_trace_of_four.py} among
 * the examples in Python runs all four within one trace. TRACEPARENT and TRACESTATE say whose trace it is; without them,
 * or where they are malformed, a new one begins. The span goes by OTLP over gRPC to OTEL_EXPORTER_OTLP_ENDPOINT, else
 * http://localhost:4317. The answer comes as one line of JSON with {@code language}, {@code target},
 * {@code decision_id} and {@code text}. Where the sidecar is: TURNOUT_ADDRESS and its like.
 */
public final class OneTrace {
    private static final TextMapGetter<Map<String, String>> VARIABLES = new TextMapGetter<>() {
        @Override
        public Iterable<String> keys(Map<String, String> environment) {
            return environment.keySet();
        }

        @Override
        public String get(Map<String, String> environment, String key) {
            return environment == null ? null : environment.get(key.toUpperCase(Locale.ROOT));
        }
    };

    private final Tracer tracer;
    private final Context parent;

    private OneTrace(Tracer tracer, Context parent) {
        this.tracer = tracer;
        this.parent = parent;
    }

    /**
     * Runs from the command line; the exit codes are those of {@link ExitCode}.
     *
     * @param arguments the prompt
     */
    public static void main(String[] arguments) {
        if (arguments.length != 1 || arguments[0].isBlank()) {
            System.err.println("usage: OneTrace PROMPT");
            System.exit(ExitCode.USAGE.number());
        }
        ExitCode code = ExitCode.WELL;
        // Closing the provider sends what is left.
        try (SdkTracerProvider spans = spans(System.getenv());
                TurnoutClient client = TurnoutClient.create()) {
            Context parent =
                    W3CTraceContextPropagator.getInstance().extract(Context.root(), System.getenv(), VARIABLES);
            Answer answer = new OneTrace(spans.get("one-trace"), parent).ask(client, arguments[0]);
            System.out.println(told(answer));
        } catch (TurnoutException | IllegalArgumentException error) {
            System.err.println("OneTrace: " + error.getMessage());
            code = ExitCode.of(error);
        }
        System.exit(code.number());
    }

    private static SdkTracerProvider spans(Map<String, String> environment) {
        String given = environment.getOrDefault("OTEL_EXPORTER_OTLP_ENDPOINT", "");
        // By OpenTelemetry's rule an empty variable is as good as none.
        String endpoint = given.isEmpty() ? "http://localhost:4317" : given;
        OtlpGrpcSpanExporter exporter =
                OtlpGrpcSpanExporter.builder().setEndpoint(endpoint).build();
        Attributes service = Attributes.of(AttributeKey.stringKey("service.name"), "one-trace-java");
        return SdkTracerProvider.builder()
                .addSpanProcessor(BatchSpanProcessor.builder(exporter).build())
                .setResource(Resource.create(service))
                .build();
    }

    /**
     * Makes the request that all four programs make, within a span. The client passes on the span that is current: there
     * is nothing more to be done for that.
     */
    @SuppressWarnings("try") // The scope is there to be closed, no more.
    private Answer ask(TurnoutClient client, String prompt) {
        ExecuteRequest.Builder request = ExecuteRequest.newBuilder().setInput(Chat.of(Chat.user(prompt)));
        request.getProfileBuilder().setTask("chat");
        request.getCallerBuilder().putLabels("example", "one_trace");
        Span span = tracer.spanBuilder("ask").setParent(parent).startSpan();
        try (Scope current = span.makeCurrent()) {
            return client.execute(request.build());
        } catch (TurnoutException error) {
            span.recordException(error);
            span.setStatus(StatusCode.ERROR);
            throw error;
        } finally {
            span.end();
        }
    }

    private static JsonObject told(Answer answer) {
        JsonObject told = new JsonObject();
        told.addProperty("language", "java");
        told.addProperty("target", Targets.name(answer.target()));
        told.addProperty("decision_id", answer.decision().getDecisionId());
        told.addProperty("text", answer.text());
        return told;
    }
}
