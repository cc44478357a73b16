package turnout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"turnout.dev/go/internal/scripted"
	pb "turnout.dev/go/turnoutv1"
)

// routes answers with a new plan of a and b each time, as long as it is not told to refuse.
type routes struct {
	mu     sync.Mutex
	count  int
	refuse error
}

func (r *routes) route(context.Context, *pb.RouteRequest) (*pb.RouteResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	if r.refuse != nil {
		return nil, r.refuse
	}
	return scripted.Plan(fmt.Sprintf("d%d", r.count), "a", "b"), nil
}

func (r *routes) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = err
}

func (r *routes) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

func planOf(t *testing.T, client *Client, request *pb.RouteRequest) *Plan {
	t.Helper()
	plan, err := client.Plan(within(t), request)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// fail calls a plan's first target, which fails, and the next, which does not.
func fail(t *testing.T, plan *Plan, provider string) {
	t.Helper()
	_, err := Do(within(t), plan, func(_ context.Context, attempt *Attempt) (int, error) {
		if attempt.Provider() == provider {
			return 0, &ProviderError{StatusCode: 503}
		}
		return 0, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestEqualRequestsShareAPlanUntilOneOfItsTargetsFails(t *testing.T) {
	asked := &routes{}
	sidecar := &scripted.Sidecar{OnRoute: asked.route}
	client := served(t, sidecar)
	request := forTask("chat")
	request.RequestId = "one"
	first := planOf(t, client, request)
	request.RequestId = "two"
	again := planOf(t, client, request)
	if first.Reused() || !again.Reused() || again.DecisionID() != "d1" || asked.asked() != 1 {
		t.Fatalf("reused %v, %v; asked %d times", first.Reused(), again.Reused(), asked.asked())
	}
	client.reporter.mu.Lock() // what is queued stays there, so that the order below is not a matter of luck
	client.reporter.running = true
	client.reporter.mu.Unlock()
	fail(t, first, "a")
	next := planOf(t, client, request)
	if next.Reused() || next.DecisionID() != "d2" {
		t.Errorf("after a failure: reused %v, %s", next.Reused(), next.DecisionID())
	}
	if want := []string{"Route", "ReportOutcome", "Route"}; !slices.Equal(sidecar.Calls(), want) {
		t.Errorf("the sidecar heard %v", sidecar.Calls())
	}
	if !planOf(t, client, request).Reused() {
		t.Error("the new plan is not kept")
	}
	client.reporter.mu.Lock()
	client.reporter.running = false
	client.reporter.mu.Unlock()
}

func TestFailureThatSaysNothingOfTheTargetLeavesThePlan(t *testing.T) {
	asked := &routes{}
	client := served(t, &scripted.Sidecar{OnRoute: asked.route})
	plan := planOf(t, client, nil)
	_, _ = Do(within(t), plan, func(context.Context, *Attempt) (int, error) { return 0, &ProviderError{StatusCode: 400} })
	if !planOf(t, client, nil).Reused() {
		t.Error("a wrong request dropped the plan")
	}
	outcome := &pb.Outcome{
		Target: &pb.Target{Provider: "b", Model: "m"}, Failure: kind("TIMEOUT"), AttemptId: "x",
	}
	request := &pb.ReportOutcomeRequest{Outcomes: []*pb.Outcome{outcome}}
	if _, err := client.ReportOutcome(within(t), request); err != nil {
		t.Fatal(err)
	}
	if planOf(t, client, nil).Reused() {
		t.Error("a failure reported by hand left the plan")
	}
}

func TestReportThatFailsDoesNotKeepThePlanFromBeingAskedFor(t *testing.T) {
	asked := &routes{}
	client := served(t, &scripted.Sidecar{
		OnRoute: asked.route,
		OnReport: func(context.Context, *pb.ReportOutcomeRequest) (*pb.ReportOutcomeResponse, error) {
			return nil, scripted.Refusal(codes.ResourceExhausted, "SIDECAR_OVERLOADED")
		},
	})
	fail(t, planOf(t, client, nil), "a")
	if plan := planOf(t, client, nil); plan.Reused() || plan.Stale() || plan.DecisionID() != "d2" {
		t.Errorf("got %+v", plan)
	}
	// The sidecar still does not know: its answers serve once.
	for _, want := range []string{"d3", "d4"} {
		if plan := planOf(t, client, nil); plan.Reused() || plan.DecisionID() != want {
			t.Errorf("reused %v, %s", plan.Reused(), plan.DecisionID())
		}
	}
	if client.Unreported() != 2 {
		t.Errorf("%d unreported", client.Unreported())
	}
}

func TestWithoutPlanCacheEveryPlanIsAskedFor(t *testing.T) {
	asked := &routes{}
	client := served(t, &scripted.Sidecar{OnRoute: asked.route}, WithoutPlanCache(), WithFallback("c/m"))
	for range 2 {
		if planOf(t, client, nil).Reused() {
			t.Error("a plan was used again")
		}
	}
	if asked.asked() != 2 {
		t.Errorf("asked %d times", asked.asked())
	}
	asked.set(scripted.Refusal(codes.Unavailable, "DRAINING"))
	if plan := planOf(t, client, nil); !plan.Stale() || !slices.Equal(targetsOf(plan.Candidates()), []string{"c"}) {
		t.Errorf("got %v", plan.Candidates())
	}
}

func TestWhileTheSidecarIsAwayOldPlansServeAndOnlyOneAsksASecond(t *testing.T) {
	asked := &routes{}
	client := served(t, &scripted.Sidecar{OnRoute: asked.route})
	now := epoch
	client.now = func() time.Time { return now }
	fresh := planOf(t, client, forTask("chat"))
	fail(t, fresh, "a")
	asked.set(scripted.Refusal(codes.ResourceExhausted, "SIDECAR_OVERLOADED"))
	before := asked.asked()

	stale := planOf(t, client, forTask("chat"))
	if !stale.Stale() || stale.Reused() || stale.StaleReason() != "SIDECAR_OVERLOADED" || stale.DecisionID() != "d1" {
		t.Fatalf("got %q of %s", stale.StaleReason(), stale.DecisionID())
	}
	if !slices.Equal(targetsOf(stale.Candidates()), []string{"b", "a"}) {
		t.Errorf("the target that failed is not last: %v", targetsOf(stale.Candidates()))
	}
	if asked.asked() != before+1 {
		t.Errorf("asked %d times where there is something to fall back on", asked.asked()-before)
	}
	now = now.Add(awayPause - 1)
	if plan := planOf(t, client, forTask("chat")); !plan.Stale() || asked.asked() != before+1 {
		t.Errorf("asked again within the pause")
	}
	// A request with nothing to fall back on asks all the same.
	if _, err := client.Plan(within(t), forTask("other")); ReasonOf(err) != ReasonSidecarOverloaded {
		t.Errorf("got %v", err)
	}
	asked.set(nil)
	now = now.Add(2 * awayPause)
	if plan := planOf(t, client, forTask("chat")); plan.Stale() || plan.Reused() {
		t.Errorf("the sidecar is back: stale %v", plan.Stale())
	}
}

func TestOnlyOneAsksWhileOthersGoOnWithTheStalePlan(t *testing.T) {
	arrived, gate := make(chan struct{}), make(chan struct{})
	var holding sync.Mutex
	hold := false
	asked := &routes{}
	sidecar := &scripted.Sidecar{OnRoute: func(ctx context.Context, request *pb.RouteRequest) (*pb.RouteResponse, error) {
		holding.Lock()
		held := hold
		holding.Unlock()
		if held {
			arrived <- struct{}{}
			<-gate
		}
		return asked.route(ctx, request)
	}}
	client := served(t, sidecar)
	now := epoch
	var clock sync.Mutex
	client.now = func() time.Time {
		clock.Lock()
		defer clock.Unlock()
		return now
	}
	planOf(t, client, nil)
	clock.Lock()
	now = now.Add(time.Hour)
	clock.Unlock()
	asked.set(scripted.Refusal(codes.Unavailable, "DRAINING"))
	planOf(t, client, nil)
	asked.set(nil)
	clock.Lock()
	now = now.Add(time.Hour)
	clock.Unlock()
	holding.Lock()
	hold = true
	holding.Unlock()
	done := make(chan *Plan)
	go func() {
		plan, _ := client.Plan(context.Background(), nil)
		done <- plan
	}()
	select {
	case <-arrived:
	case <-within(t).Done():
		t.Fatal("nobody asks")
	}
	before := len(sidecar.Calls())
	if plan := planOf(t, client, nil); !plan.Stale() || len(sidecar.Calls()) != before {
		t.Error("a second caller asks, too")
	}
	close(gate)
	if plan := <-done; plan == nil {
		t.Error("the one who asked got nothing")
	}
}

func TestSidecarThatHangsIsWaitedForASecondWhereThereIsSomethingToFallBackOn(t *testing.T) {
	client := served(t, &scripted.Sidecar{
		OnRoute: func(ctx context.Context, _ *pb.RouteRequest) (*pb.RouteResponse, error) {
			deadline, _ := ctx.Deadline()
			if left := time.Until(deadline); left > fallingBackTimeout+10*time.Millisecond {
				t.Errorf("%v are left", left)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}, WithTaskFallback("chat", "a/m"))
	if plan := planOf(t, client, forTask("chat")); plan.StaleReason() != "DEADLINE" {
		t.Errorf("got %q", plan.StaleReason())
	}
	// The caller's own end says nothing of the sidecar.
	client.planner.askAgainAt = time.Time{}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := client.Plan(ctx, forTask("chat")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	if _, err := client.Plan(ctx, forTask("chat")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCallersEndIsTheirsWhoeverNoticesFirst(t *testing.T) {
	late := errorFrom(status.Error(codes.DeadlineExceeded, "the sidecar's clock was ahead"), nil, nil)
	callers, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	shorter, cancel := context.WithTimeout(callers, time.Minute)
	defer cancel()
	same, cancel := context.WithTimeout(callers, 2*time.Hour)
	defer cancel()
	if isOver(callers, shorter, late) || !isOver(callers, same, late) || isOver(callers, same, unreachable()) ||
		isOver(context.Background(), shorter, late) {
		t.Error("whose time is over is not told")
	}
}

func TestStaticOrderIsByTaskAndKeepsToTheRequestsLimits(t *testing.T) {
	client := connected(t, nobody(t), WithFallback("a/m", "b/m@eu"), WithTaskFallback("chat", "c/x/y"))
	for _, row := range []struct {
		request *pb.RouteRequest
		want    []string
	}{
		{forTask("chat"), []string{"c/x/y"}},
		{forTask("other"), []string{"a/m", "b/m@eu"}},
		{&pb.RouteRequest{Options: &pb.RoutingOptions{Exclude: []string{"a"}}}, []string{"b/m@eu"}},
	} {
		plan := planOf(t, client, row.request)
		var got []string
		for _, candidate := range plan.Candidates() {
			got = append(got, TargetName(candidate.GetTarget()))
		}
		if !plan.Stale() || plan.DecisionID() != "" || !slices.Equal(got, row.want) {
			t.Errorf("got %v, stale %v", got, plan.Stale())
		}
	}
	_, err := client.Plan(within(t), &pb.RouteRequest{Options: &pb.RoutingOptions{Include: []string{"z"}}})
	if !errors.As(err, new(*UnreachableError)) {
		t.Errorf("got %v", err)
	}
}

func TestRefusalsAreAnswersAndComeOut(t *testing.T) {
	for _, reason := range []Reason{
		ReasonNoEligibleTarget, ReasonAllTargetsUnavailable, ReasonBudgetExhausted, ReasonInvalidRequest, ReasonUnauthenticated,
	} {
		asked := &routes{}
		client := served(t, &scripted.Sidecar{OnRoute: asked.route}, WithFallback("a/m"))
		asked.set(scripted.Refusal(codes.FailedPrecondition, string(reason)))
		if _, err := client.Plan(within(t), nil); ReasonOf(err) != reason {
			t.Errorf("%s: got %v", reason, err)
		}
	}
	client := served(t, &scripted.Sidecar{
		OnRoute: func(context.Context, *pb.RouteRequest) (*pb.RouteResponse, error) { return &pb.RouteResponse{}, nil },
	})
	if _, err := client.Plan(within(t), nil); !errors.As(err, new(*ContractError)) {
		t.Errorf("a plan without candidates: %v", err)
	}
}

func TestSharesAreDrawnOverManyUsesOfOnePlan(t *testing.T) {
	asked := &routes{}
	client := served(t, &scripted.Sidecar{OnRoute: asked.route})
	first := map[string]int{}
	for range 200 {
		first[planOf(t, client, nil).Candidates()[0].GetTarget().GetProvider()]++
	}
	if asked.asked() != 1 || first["a"] == 0 || first["b"] == 0 || first["a"]+first["b"] != 200 {
		t.Errorf("asked %d times, first were %v", asked.asked(), first)
	}
}

func BenchmarkReusedPlan(b *testing.B) {
	asked := &routes{}
	sidecar := &scripted.Sidecar{OnRoute: asked.route}
	if err := sidecar.Start(); err != nil {
		b.Fatal(err)
	}
	defer sidecar.Stop()
	client, err := New(WithAddress(sidecar.Address))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	ctx, request := context.Background(), forTask("chat")
	b.ReportAllocs()
	for b.Loop() {
		plan, err := client.Plan(ctx, request)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Do(ctx, plan, func(context.Context, *Attempt) (int, error) { return 0, nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func TestEveryQuestionWaitsForTheFailureThatIsBeingReported(t *testing.T) {
	reporting, heard := make(chan struct{}, 100), make(chan struct{})
	client := served(t, &scripted.Sidecar{
		OnRoute: (&routes{}).route,
		OnReport: func(ctx context.Context, _ *pb.ReportOutcomeRequest) (*pb.ReportOutcomeResponse, error) {
			reporting <- struct{}{}
			select {
			case <-heard:
			case <-ctx.Done():
			}
			return &pb.ReportOutcomeResponse{}, nil
		},
	})
	fail(t, planOf(t, client, nil), "a")
	told := make(chan bool)
	go func() { told <- client.planner.tell(within(t)) }()
	<-reporting
	if _, asked := client.planner.start(forTask("other"), patience); !asked.untold {
		t.Error("a sidecar that has not heard of the failure yet is asked")
	}
	close(heard)
	if !<-told {
		t.Fatal("the failure was not told")
	}
	if _, asked := client.planner.start(forTask("other"), patience); asked.untold {
		t.Error("what was told is told again")
	}
}

func TestPlanMadeWhileAFailureIsReportedByHandIsNotKept(t *testing.T) {
	reporting, heard := make(chan struct{}), make(chan struct{})
	client := served(t, &scripted.Sidecar{
		OnRoute: (&routes{}).route,
		OnReport: func(context.Context, *pb.ReportOutcomeRequest) (*pb.ReportOutcomeResponse, error) {
			close(reporting)
			<-heard
			return &pb.ReportOutcomeResponse{}, nil
		},
	})
	ended := make(chan error)
	go func() {
		_, err := client.ReportOutcome(within(t), &pb.ReportOutcomeRequest{Outcomes: []*pb.Outcome{{
			Target: &pb.Target{Provider: "a", Model: "m"}, Failure: kind("TIMEOUT"), AttemptId: "x",
		}}}, WithTimeout(patience))
		ended <- err
	}()
	<-reporting
	planOf(t, client, nil)
	close(heard)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if planOf(t, client, nil).Reused() {
		t.Error("the plan of a sidecar that did not know of the failure is used again")
	}
}
