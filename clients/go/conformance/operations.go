package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	turnout "turnout.dev/go"
	pb "turnout.dev/go/turnoutv1"
)

const flushTimeout = 5 * time.Second

type object map[string]any

// errUnsupported is for operations that this driver does not know.
var errUnsupported = errors.New("this driver does not know the operation")

// clients are those that are open, by name.
type clients struct{ open sync.Map }

func (c *clients) get(name string) (*turnout.Client, error) {
	found, ok := c.open.Load(name)
	if !ok {
		return nil, fmt.Errorf("no client %q is open", name)
	}
	return found.(*turnout.Client), nil
}

func (d *driver) run(ctx context.Context, op *operation) (any, error) {
	switch op.Op {
	case "hello":
		return object{
			"language": "go", "client": turnout.Version, "runtime": runtime.Version(), "grpc": grpc.Version,
		}, nil
	case "open":
		return d.open(op)
	case "cancel":
		d.cancel(op.Target)
		return object{}, nil
	}
	known := map[string]func(context.Context, *turnout.Client, *operation) (any, error){
		"close": d.close, "flush": flush, "stream": stream, "watch": watch, "plan": plan, "measure": measure,
		"route": func(ctx context.Context, client *turnout.Client, op *operation) (any, error) {
			return unary(ctx, op, &pb.RouteRequest{}, client.Route)
		},
		"execute": func(ctx context.Context, client *turnout.Client, op *operation) (any, error) {
			return unary(ctx, op, &pb.ExecuteRequest{}, client.Execute)
		},
		"report": func(ctx context.Context, client *turnout.Client, op *operation) (any, error) {
			return unary(ctx, op, &pb.ReportOutcomeRequest{}, client.ReportOutcome)
		},
		"status": func(ctx context.Context, client *turnout.Client, op *operation) (any, error) {
			return unary(ctx, op, &pb.ProviderStatusRequest{}, client.ProviderStatus)
		},
	}[op.Op]
	if known == nil {
		return nil, errUnsupported
	}
	client, err := d.clients.get(op.Client)
	if err != nil && op.Op == "close" {
		// One that could not be opened is closed.
		return object{}, nil
	}
	if err != nil {
		return nil, err
	}
	return known(withTrace(ctx, op), client, op)
}

func (d *driver) open(op *operation) (any, error) {
	options := []turnout.Option{
		turnout.WithAddress(op.Address), turnout.WithToken(op.Token), turnout.WithTokenFile(op.TokenFile),
	}
	if op.TLS != nil {
		options = append(options, turnout.WithTLS(turnout.TLS{
			CAFile: op.TLS.CAFile, CertFile: op.TLS.CertFile, KeyFile: op.TLS.KeyFile, ServerName: op.TLS.ServerName,
		}))
	}
	if op.MaxRetryCount != nil {
		options = append(options, turnout.WithMaxRetryCount(*op.MaxRetryCount))
	}
	if op.PlanCache != nil && !*op.PlanCache {
		options = append(options, turnout.WithoutPlanCache())
	}
	if op.Fallback != nil {
		byTask := map[string][]string{}
		var targets []string
		if json.Unmarshal(op.Fallback, &targets) == nil {
			byTask[""] = targets
		} else if err := json.Unmarshal(op.Fallback, &byTask); err != nil {
			return nil, fmt.Errorf("fallback: %w", err)
		}
		for task, targets := range byTask {
			options = append(options, turnout.WithTaskFallback(task, targets...))
		}
	}
	client, err := turnout.New(options...)
	if err != nil {
		return nil, err
	}
	d.clients.open.Store(op.Client, client)
	return object{"address": client.Address()}, nil
}

func (d *driver) close(_ context.Context, client *turnout.Client, op *operation) (any, error) {
	d.clients.open.Delete(op.Client)
	return object{}, client.Close()
}

func flush(ctx context.Context, client *turnout.Client, _ *operation) (any, error) {
	within, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	// What is still queued then is counted.
	_ = client.Flush(within)
	return object{"unreported": client.Unreported()}, nil
}

func unary[Request, Response proto.Message](
	ctx context.Context, op *operation, request Request,
	method func(context.Context, Request, ...turnout.CallOption) (Response, error),
) (any, error) {
	if err := protojson.Unmarshal(op.Request, request); err != nil {
		return nil, err
	}
	response, err := method(ctx, request, callOptions(op)...)
	if err != nil {
		return nil, err
	}
	return object{"response": asJSON(response)}, nil
}

func stream(ctx context.Context, client *turnout.Client, op *operation) (any, error) {
	request := &pb.ExecuteStreamRequest{}
	if err := protojson.Unmarshal(op.Request, request); err != nil {
		return nil, err
	}
	answer := client.Stream(ctx, request, callOptions(op)...)
	events, deltas, stopped := []string{}, 0, false
	for event, err := range answer.Events() {
		if err != nil {
			return nil, err
		}
		name := string(event.ProtoReflect().WhichOneof(
			event.ProtoReflect().Descriptor().Oneofs().ByName("event")).Name())
		if name != "delta" || len(events) == 0 || events[len(events)-1] != name {
			events = append(events, name)
		}
		if name == "delta" {
			deltas++
			if stopped = deltas == op.StopAfterDeltas; stopped {
				break
			}
		}
	}
	result := object{
		"text": answer.TextSoFar(), "events": events, "restart_count": answer.RestartCount(), "stopped": stopped,
		"parts": allAsJSON(answer.PartsSoFar()),
	}
	if answer.Completion() != nil {
		result["completion"] = asJSON(answer.Completion())
	}
	return result, nil
}

func watch(ctx context.Context, client *turnout.Client, op *operation) (any, error) {
	request := &pb.WatchProviderStatusRequest{}
	if err := protojson.Unmarshal(op.Request, request); err != nil {
		return nil, err
	}
	messages := []json.RawMessage{}
	for message, err := range client.WatchProviderStatus(ctx, request, callOptions(op)...) {
		if err != nil {
			return nil, err
		}
		if messages = append(messages, asJSON(message)); len(messages) >= op.Count {
			break
		}
	}
	return object{"messages": messages}, nil
}

// measure compares what a Route costs with what a reused plan costs.
func measure(ctx context.Context, client *turnout.Client, op *operation) (any, error) {
	request := &pb.RouteRequest{}
	if err := protojson.Unmarshal(op.Request, request); err != nil {
		return nil, err
	}
	var routed, reused []time.Duration
	for range op.Count {
		begun := time.Now()
		if _, err := client.Route(ctx, request); err != nil {
			return nil, err
		}
		routed = append(routed, time.Since(begun))
	}
	// A plan that runs out in between is asked for again, which is not what is measured.
	for tries := 0; len(reused) < op.Count && tries < 2*op.Count+10; tries++ {
		begun := time.Now()
		plan, err := client.Plan(ctx, request)
		if err != nil {
			return nil, err
		}
		_, err = turnout.Do(ctx, plan, func(context.Context, *turnout.Attempt) (struct{}, error) {
			return struct{}{}, nil
		})
		if err != nil {
			return nil, err
		}
		if took := time.Since(begun); plan.Reused() {
			reused = append(reused, took)
		}
	}
	if len(reused) < op.Count {
		return nil, errors.New("the sidecar's plans may not be reused")
	}
	return object{"route_seconds": median(routed), "reused_seconds": median(reused)}, nil
}

func median(took []time.Duration) float64 {
	slices.Sort(took)
	return took[len(took)/2].Seconds()
}

func callOptions(op *operation) []turnout.CallOption {
	if op.TimeoutSeconds == nil {
		return nil
	}
	return []turnout.CallOption{turnout.WithTimeout(time.Duration(*op.TimeoutSeconds * float64(time.Second)))}
}

// withTrace makes the suite's span the current one.
func withTrace(ctx context.Context, op *operation) context.Context {
	if op.Traceparent == "" {
		return ctx
	}
	carrier := propagation.MapCarrier{"traceparent": op.Traceparent, "tracestate": op.Tracestate}
	return propagation.TraceContext{}.Extract(ctx, carrier)
}

func allAsJSON[Message proto.Message](messages []Message) []json.RawMessage {
	encoded := []json.RawMessage{}
	for _, message := range messages {
		encoded = append(encoded, asJSON(message))
	}
	return encoded
}

func asJSON(message proto.Message) json.RawMessage {
	encoded, err := protojson.Marshal(message)
	if err != nil {
		panic(err) // a message that came in as protobuf goes out as JSON
	}
	return encoded
}
