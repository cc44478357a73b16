package turnout

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"turnout.dev/go/internal/scripted"
	pb "turnout.dev/go/turnoutv1"
)

// told keeps the outcomes that a scripted sidecar was told.
type told struct {
	mu       sync.Mutex
	outcomes []*pb.Outcome
}

func (o *told) report(_ context.Context, request *pb.ReportOutcomeRequest) (*pb.ReportOutcomeResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.outcomes = append(o.outcomes, request.GetOutcomes()...)
	return &pb.ReportOutcomeResponse{}, nil
}

// planned returns a plan of targets a, b and c, and what their outcomes are, after flushing.
func planned(t *testing.T, request *pb.RouteRequest) (*Plan, func() []*pb.Outcome) {
	t.Helper()
	heard := &told{}
	client := served(t, &scripted.Sidecar{
		OnReport: heard.report,
		OnRoute: func(context.Context, *pb.RouteRequest) (*pb.RouteResponse, error) {
			return scripted.Plan("d1", "a", "b", "c"), nil
		},
	})
	plan, err := client.Plan(within(t), request)
	if err != nil {
		t.Fatal(err)
	}
	return plan, func() []*pb.Outcome {
		if err := client.Flush(within(t)); err != nil {
			t.Fatal(err)
		}
		heard.mu.Lock()
		defer heard.mu.Unlock()
		return heard.outcomes
	}
}

var errMistake = errors.New("a mistake of the application")

func TestWhatLeadsToTheNextTargetAndWhatComesOut(t *testing.T) {
	restart := &pb.RouteRequest{Options: &pb.RoutingOptions{MidStream: pb.MidStreamPolicy_MID_STREAM_POLICY_RESTART}}
	no := false
	alone := &pb.RouteRequest{Options: &pb.RoutingOptions{AllowFallback: &no}}
	status := func(code int) error { return &ProviderError{StatusCode: code} }
	for name, row := range map[string]struct {
		request *pb.RouteRequest
		does    func(*Attempt) error
		called  int
		kinds   []string
	}{
		"success":          {nil, func(*Attempt) error { return nil }, 1, []string{"UNSPECIFIED"}},
		"overloaded":       {nil, func(*Attempt) error { return status(503) }, 3, []string{"OVERLOADED", "OVERLOADED", "OVERLOADED"}},
		"timeout":          {nil, func(*Attempt) error { return context.DeadlineExceeded }, 3, []string{"TIMEOUT", "TIMEOUT", "TIMEOUT"}},
		"unknown status":   {nil, func(*Attempt) error { return status(418) }, 3, []string{"UNKNOWN", "UNKNOWN", "UNKNOWN"}},
		"context length":   {nil, func(*Attempt) error { return status(413) }, 3, []string{"CONTEXT_LENGTH", "CONTEXT_LENGTH", "CONTEXT_LENGTH"}},
		"wrong request":    {nil, func(*Attempt) error { return status(400) }, 1, []string{"INVALID_REQUEST"}},
		"filtered":         {nil, func(*Attempt) error { return &ProviderError{Code: "content_filter"} }, 1, []string{"CONTENT_FILTERED"}},
		"cancelled":        {nil, func(*Attempt) error { return context.Canceled }, 1, []string{"CANCELLED"}},
		"a mistake":        {nil, func(*Attempt) error { return errMistake }, 1, []string{"UNKNOWN"}},
		"no fallback":      {alone, func(*Attempt) error { return status(503) }, 1, []string{"OVERLOADED"}},
		"after first text": {nil, func(a *Attempt) error { a.FirstToken(); return status(503) }, 1, []string{"OVERLOADED"}},
		"stalled":          {nil, func(a *Attempt) error { a.FirstToken(); return context.DeadlineExceeded }, 1, []string{"STALLED"}},
		"cut": {restart, func(a *Attempt) error {
			a.FirstToken()
			return &ProviderError{StatusCode: 407}
		}, 3, []string{"TRUNCATED", "TRUNCATED", "TRUNCATED"}},
		"told by hand": {nil, func(a *Attempt) error {
			a.Failed(Failure{Kind: kind("TRUNCATED")})
			return nil
		}, 3, []string{"TRUNCATED", "TRUNCATED", "TRUNCATED"}},
		"told by hand after text": {nil, func(a *Attempt) error {
			a.FirstToken()
			a.Failed(Failure{Kind: kind("TRUNCATED")})
			return nil
		}, 1, []string{"TRUNCATED"}},
	} {
		t.Run(name, func(t *testing.T) {
			plan, outcomes := planned(t, row.request)
			var called []string
			var last error
			_, err := Do(within(t), plan, func(_ context.Context, attempt *Attempt) (int, error) {
				called = append(called, attempt.Provider())
				last = row.does(attempt)
				return 7, last
			})
			if !slices.Equal(called, []string{"a", "b", "c"}[:row.called]) {
				t.Errorf("called %v", called)
			}
			switch success := row.kinds[0] == "UNSPECIFIED"; {
			case success && err != nil, !success && err == nil:
				t.Errorf("got %v", err)
			case !success && last == nil && !errors.As(err, new(*PlanExhaustedError)):
				t.Errorf("got %v", err)
			case last != nil && err != last: //nolint:errorlint // the very same
				t.Errorf("got %v, the function said %v", err, last)
			}
			var kinds []string
			for _, outcome := range outcomes() {
				kinds = append(kinds, outcome.GetFailure().String()[len("FAILURE_KIND_"):])
			}
			if !slices.Equal(kinds, row.kinds) {
				t.Errorf("reported %v", kinds)
			}
		})
	}
}

func TestOutcomeSaysAllThatIsKnown(t *testing.T) {
	plan, outcomes := planned(t, nil)
	begun := time.Now()
	var id string
	result, err := Do(within(t), plan, func(_ context.Context, attempt *Attempt) (string, error) {
		if attempt.Target() != "a/m" || attempt.Model() != "m" || attempt.Timeout() != 0 {
			t.Errorf("got %s", attempt.Target())
		}
		id = attempt.ID()
		attempt.FirstToken()
		tokens := int64(3)
		attempt.Usage(&pb.Usage{InputTokens: &tokens})
		attempt.Outcome().Credential = "blue"
		return "done", nil
	})
	if err != nil || result != "done" {
		t.Fatalf("got %q, %v", result, err)
	}
	outcome := outcomes()[0]
	if !outcome.GetOk() || outcome.GetDecisionId() != "d1" || outcome.GetAttemptId() != id || !outcome.GetStreamed() ||
		outcome.GetUsage().GetInputTokens() != 3 || outcome.GetCredential() != "blue" || outcome.TimeToFirstToken == nil ||
		outcome.GetLatency().AsDuration() > time.Since(begun) || outcome.GetStartTime().AsTime().Before(begun.Add(-time.Second)) {
		t.Errorf("got %v", outcome)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("%q is no UUID", id)
	}
}

func TestEndOfTheCallersContextIsNotTheTargetsFault(t *testing.T) {
	plan, outcomes := planned(t, nil)
	ctx, cancel := context.WithDeadline(context.Background(), time.Now())
	defer cancel()
	if _, err := Do(ctx, plan, func(context.Context, *Attempt) (int, error) { return 0, errMistake }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	calls := 0
	_, err := Do(ctx, plan, func(ctx context.Context, _ *Attempt) (int, error) {
		calls++
		cancel()
		<-ctx.Done()
		return 0, context.DeadlineExceeded
	})
	if !errors.Is(err, context.DeadlineExceeded) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
	if got := outcomes(); len(got) != 1 || got[0].GetFailure() != kind("CANCELLED") {
		t.Errorf("reported %v", got)
	}
}

func TestPanicIsReportedAndGoesOn(t *testing.T) {
	plan, outcomes := planned(t, nil)
	func() {
		defer func() {
			if recovered := recover(); recovered != "oops" {
				t.Errorf("recovered %v", recovered)
			}
		}()
		_, _ = Do(within(t), plan, func(context.Context, *Attempt) (int, error) { panic("oops") })
	}()
	if got := outcomes(); len(got) != 1 || got[0].GetOk() || got[0].GetFailure() != kind("UNKNOWN") {
		t.Errorf("reported %v", got)
	}
}

func TestProbeOfAPlanGoesIntoItsOutcome(t *testing.T) {
	plan := &Plan{request: &pb.RouteRequest{}, decision: &pb.Decision{DecisionId: "d"}}
	attempt := plan.attempt(&pb.Candidate{Target: &pb.Target{Provider: "a"}, Probe: &pb.Probe{ProbeId: "p"}})
	if attempt.Outcome().GetProbeId() != "p" {
		t.Errorf("got %v", attempt.Outcome())
	}
	stale := &Plan{
		request:  &pb.RouteRequest{Profile: &pb.RequestProfile{Task: "chat"}, Caller: &pb.Caller{Tenant: "t"}, SessionId: "s"},
		decision: &pb.Decision{}, staleReason: "UNREACHABLE",
	}
	outcome := stale.attempt(&pb.Candidate{}).Outcome()
	if outcome.GetTask() != "chat" || outcome.GetSessionId() != "s" || !proto.Equal(outcome.GetCaller(), stale.request.GetCaller()) {
		t.Errorf("got %v", outcome)
	}
}

func TestGoroutineLeftBehindDoesNotChangeTheOutcomeThatIsSent(t *testing.T) {
	plan, outcomes := planned(t, nil)
	late, left := make(chan struct{}), make(chan struct{})
	_, err := Do(within(t), plan, func(_ context.Context, attempt *Attempt) (int, error) {
		go func() {
			defer close(left)
			<-late
			attempt.FirstToken()
			attempt.Usage(&pb.Usage{})
			attempt.Failed(Failure{Kind: kind("TIMEOUT")})
		}()
		return 0, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	close(late)
	<-left
	outcome := outcomes()[0]
	if !outcome.GetOk() || outcome.GetStreamed() || outcome.GetUsage() != nil || outcome.GetFailure() != 0 {
		t.Errorf("got %v", outcome)
	}
}
