// Writes the headers that OpenTelemetry's propagators for Go write: cases as JSON in, one object of headers each out.
package main

import (
	"context"
	"encoding/json"
	"os"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

type testCase struct {
	TraceID    string            `json:"trace_id"`
	SpanID     string            `json:"span_id"`
	Flags      byte              `json:"flags"`
	TraceState string            `json:"tracestate"`
	Baggage    map[string]string `json:"baggage"`
}

func main() {
	var cases []testCase
	check(json.NewDecoder(os.Stdin).Decode(&cases))
	both := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	written := make([]map[string]string, 0, len(cases))
	for _, one := range cases {
		carrier := propagation.MapCarrier{}
		both.Inject(contextOf(one), carrier)
		written = append(written, carrier)
	}
	check(json.NewEncoder(os.Stdout).Encode(written))
}

func contextOf(one testCase) context.Context {
	traceID, err := trace.TraceIDFromHex(one.TraceID)
	check(err)
	spanID, err := trace.SpanIDFromHex(one.SpanID)
	check(err)
	state, err := trace.ParseTraceState(one.TraceState)
	check(err)
	members := make([]baggage.Member, 0, len(one.Baggage))
	for name, value := range one.Baggage {
		member, err := baggage.NewMemberRaw(name, value)
		check(err)
		members = append(members, member)
	}
	all, err := baggage.New(members...)
	check(err)
	span := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: traceID, SpanID: spanID, TraceFlags: trace.TraceFlags(one.Flags), TraceState: state,
	})
	return baggage.ContextWithBaggage(trace.ContextWithSpanContext(context.Background(), span), all)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
