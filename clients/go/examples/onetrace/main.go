// Command onetrace makes one request within a span of OpenTelemetry's, so that the sidecar's spans stand below the
// application's own.
//
//	TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 go run . "What is a turnout?"
//
// The same program is there in Python, TypeScript and Java; one_trace_of_four.py among the examples in Python runs all
// four within one trace. TRACEPARENT and TRACESTATE say whose trace it is; without them, or where they are malformed, a
// new one begins. The span goes by OTLP over gRPC to OTEL_EXPORTER_OTLP_ENDPOINT, else localhost:4317. The answer comes
// as one line of JSON with language, target, decision_id and text. The sidecar is found as every client finds it. Exit
// codes: 0 an answer, 1 failure, 2 wrong usage.
//
// It is a module of its own, so that the client does not need OpenTelemetry's SDK.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	turnout "turnout.dev/go"
	pb "turnout.dev/go/turnoutv1"
)

// exportTimeout is how long the end of the program waits for a collector.
const exportTimeout = 10 * time.Second

// told is what is printed of an answer.
type told struct {
	Language   string `json:"language"`
	Target     string `json:"target"`
	DecisionID string `json:"decision_id"`
	Text       string `json:"text"`
}

func main() {
	if len(os.Args) != 2 || os.Args[1] == "" {
		fmt.Fprintln(os.Stderr, "usage: onetrace PROMPT")
		os.Exit(2)
	}
	if err := run(parentContext(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "onetrace:", err)
		if errors.As(err, new(*turnout.UsageError)) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// run asks, prints the answer, and sends the span.
func run(ctx context.Context, prompt string) error {
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return err
	}
	spans := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "one-trace-go"))),
	)
	defer func() {
		ending, cancel := context.WithTimeout(context.Background(), exportTimeout)
		defer cancel()
		if err := spans.Shutdown(ending); err != nil {
			fmt.Fprintln(os.Stderr, "onetrace: the span was not sent:", err)
		}
	}()
	client, err := turnout.New()
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := ask(ctx, spans.Tracer("onetrace"), client, prompt)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(told{
		Language:   "go",
		Target:     turnout.TargetName(answer.GetTarget()),
		DecisionID: answer.GetDecision().GetDecisionId(),
		Text:       turnout.Text(answer),
	})
}

// ask makes the request that all four programs make, within a span. The client passes on the span of the context that it
// is given: there is nothing more to be done for that.
func ask(ctx context.Context, tracer trace.Tracer, client *turnout.Client, prompt string) (*pb.ExecuteResponse, error) {
	ctx, span := tracer.Start(ctx, "ask")
	defer span.End()
	answer, err := client.Execute(ctx, &pb.ExecuteRequest{
		Profile: &pb.RequestProfile{Task: "chat"},
		Caller:  &pb.Caller{Labels: map[string]string{"example": "one_trace"}},
		Input:   &pb.ChatInput{Messages: []*pb.Message{turnout.UserMessage(prompt)}},
	})
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	return answer, err
}

// parentContext returns the context of whoever started this process; one without a span where that did not say.
func parentContext() context.Context {
	carrier := propagation.MapCarrier{
		"traceparent": os.Getenv("TRACEPARENT"),
		"tracestate":  os.Getenv("TRACESTATE"),
	}
	return propagation.TraceContext{}.Extract(context.Background(), carrier)
}
