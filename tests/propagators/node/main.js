// Writes the headers that OpenTelemetry's propagators for Node write: cases as JSON in, one object of headers each out.
"use strict";
const fs = require("node:fs");
const { ROOT_CONTEXT, defaultTextMapSetter, propagation, trace } = require("@opentelemetry/api");
const {
  CompositePropagator,
  TraceState,
  W3CBaggagePropagator,
  W3CTraceContextPropagator,
} = require("@opentelemetry/core");

const both = new CompositePropagator({
  propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()],
});

function headers(one) {
  const span = {
    traceId: one.trace_id,
    spanId: one.span_id,
    traceFlags: one.flags,
    traceState: one.tracestate ? new TraceState(one.tracestate) : undefined,
  };
  const entries = Object.fromEntries(Object.entries(one.baggage).map(([name, value]) => [name, { value }]));
  const context = propagation.setBaggage(
    trace.setSpanContext(ROOT_CONTEXT, span),
    propagation.createBaggage(entries),
  );
  const carrier = {};
  both.inject(context, carrier, defaultTextMapSetter);
  return carrier;
}

process.stdout.write(JSON.stringify(JSON.parse(fs.readFileSync(0, "utf8")).map(headers)));
