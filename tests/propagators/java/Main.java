// Writes the headers that OpenTelemetry's propagators for Java write: cases as JSON in, one object of headers each out.
import com.google.gson.Gson;
import io.opentelemetry.api.baggage.Baggage;
import io.opentelemetry.api.baggage.BaggageBuilder;
import io.opentelemetry.api.baggage.propagation.W3CBaggagePropagator;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.api.trace.TraceStateBuilder;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.TextMapPropagator;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

final class Main {
  static final class Case {
    String trace_id;
    String span_id;
    int flags;
    String tracestate;
    Map<String, String> baggage;
  }

  public static void main(String[] arguments) {
    Case[] cases = new Gson().fromJson(new InputStreamReader(System.in, StandardCharsets.UTF_8), Case[].class);
    TextMapPropagator both =
        TextMapPropagator.composite(W3CTraceContextPropagator.getInstance(), W3CBaggagePropagator.getInstance());
    List<Map<String, String>> written = new ArrayList<>();
    for (Case one : cases) {
      Map<String, String> carrier = new TreeMap<>();
      both.inject(contextOf(one), carrier, Map::put);
      written.add(carrier);
    }
    byte[] bytes = new Gson().toJson(written).getBytes(StandardCharsets.UTF_8);
    System.out.write(bytes, 0, bytes.length);
    System.out.flush();
  }

  static Context contextOf(Case one) {
    TraceStateBuilder state = TraceState.builder();
    List<String> members = new ArrayList<>(List.of(one.tracestate.isEmpty() ? new String[0] : one.tracestate.split(",")));
    // Its builder puts each before those that are there.
    Collections.reverse(members);
    for (String member : members) {
      String[] pair = member.split("=", 2);
      state.put(pair[0], pair[1]);
    }
    SpanContext span =
        SpanContext.create(one.trace_id, one.span_id, TraceFlags.fromByte((byte) one.flags), state.build());
    BaggageBuilder baggage = Baggage.builder();
    one.baggage.forEach(baggage::put);
    return Context.root().with(Span.wrap(span)).with(baggage.build());
  }
}
