package turnout

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
)

// maxTraceValue is the longest trace value that is sent, in bytes: the sidecar takes 8 KiB of metadata in all, and a
// trace must not fail a call.
const maxTraceValue = 2048

// OpenTelemetry's API is a plain dependency: gRPC for Go requires the same module, so that nobody gets more by it, and
// without a span in the context nothing of it does anything. Only its packages of contexts are used, no SDK and nothing
// that is set up for the whole process.

// propagator writes what the contract accepts, whatever propagators the process has set up: without any, OpenTelemetry
// for Go sends nothing.
var propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// traceMetadata returns the keys and values, alternating, that make the sidecar's spans children of the context's span;
// nil without one.
func traceMetadata(ctx context.Context) []string {
	carrier := make(propagation.MapCarrier, 3)
	propagator.Inject(ctx, carrier)
	var pairs []string
	for key, value := range carrier {
		if len(value) <= maxTraceValue {
			pairs = append(pairs, key, value)
		}
	}
	return pairs
}
