package turnout

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"turnout.dev/go/internal/scripted"
	pb "turnout.dev/go/turnoutv1"
)

func TestRouteIsMadeAgainAndExecuteIsNot(t *testing.T) {
	var routes, executes atomic.Int32
	lost := status.Error(codes.Unavailable, "connection reset")
	client := served(t, &scripted.Sidecar{
		OnRoute: func(context.Context, *pb.RouteRequest) (*pb.RouteResponse, error) {
			if routes.Add(1) < 3 {
				return nil, lost
			}
			return scripted.Plan("d", "a"), nil
		},
		OnExecute: func(context.Context, *pb.ExecuteRequest) (*pb.ExecuteResponse, error) {
			executes.Add(1)
			return nil, lost
		},
	})
	if _, err := client.Route(within(t), &pb.RouteRequest{}); err != nil || routes.Load() != 3 {
		t.Errorf("%d routes: %v", routes.Load(), err)
	}
	_, err := client.Execute(within(t), &pb.ExecuteRequest{})
	if !errors.As(err, new(*UnreachableError)) || executes.Load() != 1 {
		t.Errorf("%d executes: %v", executes.Load(), err)
	}
}

func TestPushbackIsObeyedAndAtMostThreeRetriesAreMade(t *testing.T) {
	var count atomic.Int32
	pushback := 0
	client := served(t, &scripted.Sidecar{
		OnExecute: func(ctx context.Context, _ *pb.ExecuteRequest) (*pb.ExecuteResponse, error) {
			count.Add(1)
			scripted.Pushback(ctx, pushback)
			return nil, scripted.Refusal(codes.Unavailable, "DRAINING")
		},
	})
	for _, row := range []struct{ pushback, want int }{{0, 4}, {-1, 1}} {
		count.Store(0)
		pushback = row.pushback
		_, err := client.Execute(within(t), &pb.ExecuteRequest{})
		if ReasonOf(err) != ReasonDraining || int(count.Load()) != row.want {
			t.Errorf("pushback %d: %d calls, %v", row.pushback, count.Load(), err)
		}
	}
}

func TestTimeoutCoversAllTries(t *testing.T) {
	client := served(t, &scripted.Sidecar{
		OnRoute: func(ctx context.Context, _ *pb.RouteRequest) (*pb.RouteResponse, error) {
			<-ctx.Done()
			return nil, status.FromContextError(ctx.Err()).Err()
		},
	})
	_, err := client.Route(within(t), &pb.RouteRequest{}, WithTimeout(50*time.Millisecond))
	if !errors.Is(err, context.DeadlineExceeded) || ReasonOf(err) != "" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(within(t))
	cancel()
	if _, err := client.Route(ctx, &pb.RouteRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for _, call := range []func() error{
		func() error { _, err := client.Route(ctx, nil, WithTimeout(0)); return err },
		func() error { _, err := client.Plan(ctx, nil, WithTimeout(-1)); return err },
		func() error { _, err := client.Stream(ctx, nil, WithTimeout(-1)).Answer(); return err },
	} {
		if err := call(); !errors.As(err, new(*UsageError)) {
			t.Errorf("got %v", err)
		}
	}
}

func TestDefaultDeadlinesAreThoseOfTheTable(t *testing.T) {
	told := make(chan time.Duration, 1)
	tell := func(ctx context.Context) {
		deadline, _ := ctx.Deadline()
		told <- time.Until(deadline)
	}
	client := served(t, &scripted.Sidecar{
		OnRoute: func(ctx context.Context, _ *pb.RouteRequest) (*pb.RouteResponse, error) {
			tell(ctx)
			return scripted.Plan("d", "a"), nil
		},
		OnExecute: func(ctx context.Context, _ *pb.ExecuteRequest) (*pb.ExecuteResponse, error) {
			tell(ctx)
			return &pb.ExecuteResponse{}, nil
		},
		OnStream: func(_ *pb.ExecuteStreamRequest, stream grpc.ServerStreamingServer[pb.ExecuteStreamResponse]) error {
			tell(stream.Context())
			return stream.Send(scripted.Completion())
		},
		OnReport: func(ctx context.Context, _ *pb.ReportOutcomeRequest) (*pb.ReportOutcomeResponse, error) {
			tell(ctx)
			return &pb.ReportOutcomeResponse{}, nil
		},
		OnStatus: func(ctx context.Context, _ *pb.ProviderStatusRequest) (*pb.ProviderStatusResponse, error) {
			tell(ctx)
			return &pb.ProviderStatusResponse{}, nil
		},
	})
	ctx := context.Background()
	for name, row := range map[string]struct {
		seconds, above int
		call           func() error
	}{
		"Route":         {2, 0, func() error { _, err := client.Route(ctx, nil); return err }},
		"Execute":       {600, 5, func() error { _, err := client.Execute(ctx, nil); return err }},
		"Stream":        {1800, 600, func() error { _, err := client.Stream(ctx, nil).Answer(); return err }},
		"ReportOutcome": {5, 2, func() error { _, err := client.ReportOutcome(ctx, nil); return err }},
		"Status":        {5, 2, func() error { _, err := client.ProviderStatus(ctx, nil); return err }},
	} {
		if err := row.call(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// What is told is less by the time the call took to come, however long that was.
		got, most := <-told, time.Duration(row.seconds)*time.Second+10*time.Millisecond
		if got > most || got <= time.Duration(row.above)*time.Second {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTokenThatWasRenewedIsUsedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	client := func() *Client {
		write("old")
		return served(t, &scripted.Sidecar{
			OnExecute: func(ctx context.Context, _ *pb.ExecuteRequest) (*pb.ExecuteResponse, error) {
				values := metadata.ValueFromIncomingContext(ctx, "authorization")
				seen = append(seen, values...)
				if !slices.Equal(values, []string{"Bearer new"}) {
					return nil, scripted.Refusal(codes.Unauthenticated, "UNAUTHENTICATED")
				}
				return &pb.ExecuteResponse{}, nil
			},
		}, WithTokenFile(path))
	}()
	if _, err := client.Execute(within(t), nil); ReasonOf(err) != ReasonUnauthenticated {
		t.Fatalf("got %v", err)
	}
	write("new")
	if _, err := client.Execute(within(t), nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"Bearer old", "Bearer old", "Bearer new"}; !slices.Equal(seen, want) {
		t.Errorf("got %v", seen)
	}
}

func TestTraceOfTheContextGoesWithEveryCall(t *testing.T) {
	var seen metadata.MD
	client := served(t, &scripted.Sidecar{
		OnRoute: func(ctx context.Context, _ *pb.RouteRequest) (*pb.RouteResponse, error) {
			seen, _ = metadata.FromIncomingContext(ctx)
			return scripted.Plan("d", "a"), nil
		},
	})
	state, _ := trace.ParseTraceState("vendor=x")
	span := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{15: 7}, SpanID: trace.SpanID{7: 9}, TraceFlags: trace.FlagsSampled, TraceState: state,
	})
	member, _ := baggage.NewMember("tenant", "blue")
	carried, _ := baggage.New(member)
	ctx := baggage.ContextWithBaggage(trace.ContextWithSpanContext(within(t), span), carried)
	if _, err := client.Route(ctx, nil); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"traceparent": "00-00000000000000000000000000000007-0000000000000009-01",
		"tracestate":  "vendor=x", "baggage": "tenant=blue",
	} {
		if got := seen.Get(key); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %v", key, got)
		}
	}
	long, _ := baggage.NewMember("big", strings.Repeat("x", maxTraceValue))
	carried, _ = baggage.New(long)
	if _, err := client.Route(baggage.ContextWithBaggage(within(t), carried), nil); err != nil {
		t.Fatal(err)
	}
	if len(seen.Get("baggage")) != 0 || len(seen.Get("traceparent")) != 0 {
		t.Errorf("got %v", seen)
	}
}

func TestWatchingEndsWithTheLoopAndYieldsItsErrorLast(t *testing.T) {
	left := make(chan struct{}, 1)
	client := served(t, &scripted.Sidecar{
		OnWatch: func(
			request *pb.WatchProviderStatusRequest, stream grpc.ServerStreamingServer[pb.WatchProviderStatusResponse],
		) error {
			if request.ResumeRevision != nil {
				return scripted.Refusal(codes.OutOfRange, "RESUME_TOO_OLD")
			}
			for revision := int64(1); ; revision++ {
				if err := stream.Send(&pb.WatchProviderStatusResponse{Revision: revision}); err != nil {
					left <- struct{}{}
					return err
				}
			}
		},
	})
	var revisions []int64
	for message, err := range client.WatchProviderStatus(within(t), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if revisions = append(revisions, message.GetRevision()); len(revisions) == 3 {
			break
		}
	}
	if !slices.Equal(revisions, []int64{1, 2, 3}) {
		t.Errorf("got %v", revisions)
	}
	select {
	case <-left:
	case <-within(t).Done():
		t.Error("the call goes on after the loop was left")
	}
	old := int64(7)
	request := &pb.WatchProviderStatusRequest{ResumeRevision: &old}
	for message, err := range client.WatchProviderStatus(within(t), request) {
		if message != nil || ReasonOf(err) != ReasonResumeTooOld {
			t.Errorf("got %v, %v", message, err)
		}
	}
}

func TestCallThatIsCancelledBeforeItsNextTrySaysSo(t *testing.T) {
	client := connected(t, nobody(t))
	for _, how := range []rpc{rpcRoute, rpcExecute, rpcExecuteStream} {
		ctx, cancel := context.WithCancel(within(t))
		made, err := client.begin(ctx, how, nil)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		refused := refusedFor(ReasonDraining, ErrorDetails{DecisionID: "d", RetryAfter: time.Second, HasRetryAfter: true})
		failed := made.again(refused)
		if !errors.Is(failed, context.Canceled) || failed.Details().DecisionID != "d" {
			t.Errorf("got %v", failed)
		}
		made.cancel()
	}
}
