package turnout

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"turnout.dev/go/internal/scripted"
	pb "turnout.dev/go/turnoutv1"
)

const manyCallers = 200

// asks begins a question at a time; it must not be served at once.
func (p *planner) asks(t *testing.T, request *pb.RouteRequest, patience time.Duration) *question {
	t.Helper()
	if request == nil {
		request = &pb.RouteRequest{}
	}
	plan, asked := p.start(request, patience)
	if plan != nil {
		t.Fatal("there is a plan without a question")
	}
	return asked
}

func (p *planner) asksAgain(t *testing.T, asked *question) *question {
	t.Helper()
	if plan := p.again(asked); plan != nil {
		t.Fatal("there is a plan without a question")
	}
	return asked
}

func (p *planner) takes(asked *question, decision *pb.Decision) {
	p.answered(asked, decision, p.client.now(), true)
	p.ended(asked)
}

// still returns a planner whose clock a test moves.
func still(t *testing.T, options ...Option) (*planner, *time.Time) {
	t.Helper()
	client := connected(t, nobody(t), options...)
	now := epoch
	client.now = func() time.Time { return now }
	return client.planner, &now
}

func plan(id string) *pb.Decision { return scripted.Plan(id, "a", "b").GetDecision() }

func once(id string) *pb.Decision {
	made := plan(id)
	made.Reusable = false
	return made
}

func TestEqualQuestionsWaitForOneAndAreServedByItsAnswer(t *testing.T) {
	p, _ := still(t)
	leader := p.asks(t, forTask("chat"), time.Second)
	waiting := p.asks(t, forTask("chat"), time.Second)
	if leader.waitsFor != nil || waiting.waitsFor != leader {
		t.Fatal("the second does not wait for the first")
	}
	p.takes(leader, plan("d"))
	<-leader.ended
	if served := p.again(waiting); served == nil || !served.Reused() || served.DecisionID() != "d" {
		t.Errorf("got %+v", served)
	}
	p.ended(waiting)
	if len(p.questions) != 0 {
		t.Errorf("%d questions are kept", len(p.questions))
	}
}

func TestOnlyAQuestionWhosePlanWouldServeIsWaitedFor(t *testing.T) {
	nine, ten, eleven := int64(9), int64(10), int64(11)
	for name, row := range map[string]struct {
		tokens *int64
		joins  bool
	}{"equal": {&ten, true}, "fewer": {&nine, true}, "more": {&eleven, false}, "unknown": {nil, false}} {
		p, _ := still(t)
		leader := p.asks(t, ofTokens(&ten, &ten), time.Second)
		if other := p.asks(t, ofTokens(row.tokens, row.tokens), time.Second); (other.waitsFor == leader) != row.joins {
			t.Errorf("%s: waits for %v", name, other.waitsFor)
		}
	}
	p, _ := still(t)
	small, large := p.asks(t, ofTokens(&nine, nil), time.Second), p.asks(t, ofTokens(&eleven, nil), time.Second)
	p.ended(small)
	if p.asks(t, ofTokens(&ten, nil), time.Second).waitsFor != large {
		t.Error("the question for more tokens is not waited for")
	}
	p, _ = still(t, WithoutPlanCache())
	p.asks(t, nil, time.Second)
	if p.asks(t, nil, time.Second).waitsFor != nil {
		t.Error("without a cache somebody waits")
	}
}

func TestWhatServesOnceIsAskedForByAllAtOnceAndNotWaitedForAgain(t *testing.T) {
	p, now := still(t)
	leader, first, second := p.asks(t, nil, time.Second), p.asks(t, nil, time.Second), p.asks(t, nil, time.Second)
	p.takes(leader, once("d"))
	if p.asksAgain(t, first).waitsFor != nil || p.asksAgain(t, second).waitsFor != nil {
		t.Error("one waits for another")
	}
	if p.asks(t, nil, time.Second).waitsFor != nil {
		t.Error("somebody waits for what is known to serve its asker alone")
	}
	p.takes(p.asks(t, nil, time.Second), plan("d"))
	*now = now.Add(24 * time.Hour)
	leader = p.asks(t, nil, time.Second)
	if p.asks(t, nil, time.Second).waitsFor != leader {
		t.Error("after a plan for several nobody waits")
	}
}

func TestErrorIsItsAskersAlone(t *testing.T) {
	refusal := errorFrom(scripted.Refusal(codes.FailedPrecondition, "NO_ELIGIBLE_TARGET"), nil, nil)
	for _, err := range []error{refusal, unreachable(), contract("no candidates")} {
		p, _ := still(t)
		leader, first, second := p.asks(t, nil, time.Second), p.asks(t, nil, time.Second), p.asks(t, nil, time.Second)
		if _, failed := p.refused(leader, err, false); failed == nil {
			t.Fatal("there is something to fall back on")
		}
		p.ended(leader)
		if p.asksAgain(t, first).waitsFor != nil || p.asksAgain(t, second).waitsFor != nil {
			t.Errorf("%v: one waits for another", err)
		}
	}
	// But that the sidecar is away is so for all who have something else.
	p, _ := still(t, WithFallback("c/m"))
	leader, waiting := p.asks(t, nil, time.Second), p.asks(t, nil, time.Second)
	_, _ = p.refused(leader, unreachable(), false)
	p.ended(leader)
	if stale := p.again(waiting); waiting.waitsFor != leader || stale == nil || !stale.Stale() {
		t.Errorf("got %+v", stale)
	}
}

func TestWhereTheLeaderGoesOneTakesOver(t *testing.T) {
	for _, why := range []error{context.Canceled, context.DeadlineExceeded} {
		p, _ := still(t)
		leader, heir, other := p.asks(t, nil, time.Second), p.asks(t, nil, time.Second), p.asks(t, nil, time.Second)
		_, _ = p.refused(leader, errorFrom(status.FromContextError(why).Err(), nil, nil), true)
		p.ended(leader)
		if p.asksAgain(t, heir).waitsFor != nil || p.asksAgain(t, other).waitsFor != heir {
			t.Error("nobody takes over, or more than one")
		}
	}
}

func TestFailureAfterTheQuestionVoidsItsAnswerForThoseWhoWait(t *testing.T) {
	failed := func(provider string) *pb.Outcome {
		return &pb.Outcome{Target: &pb.Target{Provider: provider, Model: "m"}, Failure: kind("TIMEOUT")}
	}
	p, _ := still(t)
	leader := p.asks(t, nil, time.Second)
	p.note(failed("a"), false)
	first, second := p.asks(t, nil, time.Second), p.asks(t, nil, time.Second)
	p.takes(leader, plan("before"))
	if p.asksAgain(t, first).waitsFor != nil || p.asksAgain(t, second).waitsFor != first {
		t.Fatal("nobody asks anew, or more than one")
	}
	p.takes(first, plan("after"))
	if served := p.again(second); served.DecisionID() != "after" {
		t.Errorf("got %s", served.DecisionID())
	}
	p, _ = still(t)
	leader = p.asks(t, nil, time.Second)
	p.note(failed("elsewhere"), false)
	waiting := p.asks(t, nil, time.Second)
	p.takes(leader, plan("d"))
	if p.again(waiting) == nil {
		t.Error("a failure elsewhere voids the answer")
	}
}

func TestNobodyWaitsLongerThanHalfOfItsTimeNorForWhoHasLess(t *testing.T) {
	p, now := still(t)
	leader := p.asks(t, nil, 2*time.Second)
	*now = now.Add(500 * time.Millisecond)
	waiting := p.asks(t, nil, 3*time.Second)
	if waiting.waitsFor != leader || waiting.waitUntil.Sub(epoch) != 2*time.Second {
		t.Errorf("waits until %v", waiting.waitUntil.Sub(epoch))
	}
	patient := p.asks(t, nil, 3*time.Second+time.Millisecond)
	if patient.waitsFor != nil {
		t.Error("waits for who has less time than half of its own")
	}
	*now = waiting.waitUntil
	if p.asksAgain(t, waiting).waitsFor != patient || p.asksAgain(t, waiting).waitsFor != nil {
		t.Error("waits a third time, or not a second")
	}
	p, _ = still(t, WithFallback("c/m"))
	p.asks(t, nil, time.Minute)
	short := p.asks(t, nil, time.Minute)
	if short.endsAt.Sub(epoch) != fallingBackTimeout || short.waitUntil.Sub(epoch) != fallingBackTimeout/2 {
		t.Errorf("waits until %v of %v", short.waitUntil.Sub(epoch), short.endsAt.Sub(epoch))
	}
}

func TestAfterHalfOfTheTimeOneTakesOverFromWhoHearsNothing(t *testing.T) {
	p, now := still(t)
	leader, heir, other := p.asks(t, nil, 2*time.Second), p.asks(t, nil, 2*time.Second), p.asks(t, nil, 2*time.Second)
	*now = now.Add(time.Second)
	if p.asksAgain(t, heir).waitsFor != nil || p.asksAgain(t, other).waitsFor != heir {
		t.Error("nobody takes over, or more than one")
	}
	p.ended(leader)
	if p.asks(t, nil, time.Second).waitsFor != heir {
		t.Error("the end of the first takes the second away")
	}
}

func TestWhoAskedInWhatWasLeftAndCameTooLateFollowsTheAnswerThatAnotherHad(t *testing.T) {
	late := errorFrom(status.FromContextError(context.DeadlineExceeded).Err(), nil, nil)
	for _, options := range [][]Option{nil, {WithFallback("c/m")}} {
		p, now := still(t, options...)
		leader, heir := p.asks(t, nil, time.Second), p.asks(t, nil, time.Second)
		*now = now.Add(500 * time.Millisecond)
		p.asksAgain(t, heir)
		p.takes(leader, plan("d"))
		*now = now.Add(500 * time.Millisecond)
		found, err := p.refused(heir, late, false)
		p.ended(heir)
		if err != nil || !found.Reused() || found.Stale() || found.DecisionID() != "d" {
			t.Errorf("got %+v, %v", found, err)
		}
		// The sidecar answered: it is away for nobody.
		if p.asks(t, forTask("other"), time.Second).alone {
			t.Error("the sidecar is taken to be away")
		}
	}
}

// gated is a sidecar that answers no Route before it is let.
type gated struct {
	scripted.Sidecar

	asked   routes
	arrived chan struct{}
	gate    chan struct{}
}

func newGated() *gated {
	g := &gated{arrived: make(chan struct{}, 10*manyCallers), gate: make(chan struct{})}
	g.OnRoute = func(ctx context.Context, request *pb.RouteRequest) (*pb.RouteResponse, error) {
		response, err := g.asked.route(ctx, request)
		g.arrived <- struct{}{}
		select {
		case <-g.gate:
			return response, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return g
}

// together has many callers ask for one plan, and returns what each got once all have.
func together(ctx context.Context, client *Client, count int) func() ([]*Plan, []error) {
	plans, errs := make([]*Plan, count), make([]error, count)
	var group sync.WaitGroup
	for place := range count {
		group.Go(func() {
			plans[place], errs[place] = client.Plan(ctx, forTask("chat"), WithTimeout(patience))
		})
	}
	return func() ([]*Plan, []error) {
		group.Wait()
		return plans, errs
	}
}

func TestManyCallersAtOnceMakeOneRoute(t *testing.T) {
	sidecar := newGated()
	client := served(t, &sidecar.Sidecar)
	wait := together(within(t), client, manyCallers)
	<-sidecar.arrived
	close(sidecar.gate)
	plans, errs := wait()
	fresh, first := 0, map[string]int{}
	for place, plan := range plans {
		if errs[place] != nil {
			t.Fatal(errs[place])
		}
		if !plan.Reused() {
			fresh++
		}
		first[plan.Candidates()[0].GetTarget().GetProvider()]++
	}
	if sidecar.asked.asked() != 1 || fresh != 1 {
		t.Errorf("asked %d times, %d plans are not reused", sidecar.asked.asked(), fresh)
	}
	if first["a"] == 0 || first["b"] == 0 {
		t.Errorf("first were %v", first)
	}
}

func TestWhenTheLeaderIsCancelledTheOthersHaveTheirPlan(t *testing.T) {
	sidecar := newGated()
	client := served(t, &sidecar.Sidecar)
	ctx, cancel := context.WithCancel(within(t))
	leader := together(ctx, client, 1)
	<-sidecar.arrived
	wait := together(within(t), client, manyCallers)
	cancel()
	if _, errs := leader(); !errors.Is(errs[0], context.Canceled) {
		t.Errorf("the leader got %v", errs[0])
	}
	<-sidecar.arrived
	close(sidecar.gate)
	_, errs := wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if sidecar.asked.asked() != 2 {
		t.Errorf("asked %d times", sidecar.asked.asked())
	}
}

func TestWaitersEndByTheirOwnContextAndLeaveTheLeaderAlone(t *testing.T) {
	sidecar := newGated()
	client := served(t, &sidecar.Sidecar)
	leader := together(within(t), client, 1)
	<-sidecar.arrived
	ctx, cancel := context.WithCancel(within(t))
	waiters := together(ctx, client, manyCallers)
	cancel()
	_, errs := waiters()
	for _, err := range errs {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a waiter got %v", err)
		}
	}
	ctx, cancel = context.WithTimeout(within(t), 10*time.Millisecond)
	defer cancel()
	if _, errs := together(ctx, client, 1)(); !errors.Is(errs[0], context.DeadlineExceeded) {
		t.Errorf("a hurried waiter got %v", errs[0])
	}
	close(sidecar.gate)
	if plans, errs := leader(); errs[0] != nil || plans[0].Reused() {
		t.Errorf("the leader got %v", errs[0])
	}
}

func TestClosingTheClientEndsEverybodysWait(t *testing.T) {
	sidecar := newGated()
	client := served(t, &sidecar.Sidecar)
	wait := together(context.Background(), client, manyCallers)
	<-sidecar.arrived
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	_, errs := wait()
	for _, err := range errs {
		if !errors.As(err, new(Error)) {
			t.Fatalf("got %v", err)
		}
	}
	if len(client.planner.questions) != 0 {
		t.Errorf("%d questions are kept", len(client.planner.questions))
	}
}

// TestATargetThatFailsIsLeftWithinOneOutcome has callers fail and ask anew at the same time: no plan that a caller gets
// after its failure was asked for before it.
func TestATargetThatFailsIsLeftWithinOneOutcome(t *testing.T) {
	var mu sync.Mutex
	heard := map[string]bool{}
	client := served(t, &scripted.Sidecar{
		OnReport: func(_ context.Context, request *pb.ReportOutcomeRequest) (*pb.ReportOutcomeResponse, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, outcome := range request.GetOutcomes() {
				heard[outcome.GetTarget().GetProvider()] = heard[outcome.GetTarget().GetProvider()] || !outcome.GetOk()
			}
			return &pb.ReportOutcomeResponse{}, nil
		},
		OnRoute: func(context.Context, *pb.RouteRequest) (*pb.RouteResponse, error) {
			mu.Lock()
			defer mu.Unlock()
			var left []string
			for _, provider := range []string{"a", "b", "c", "d"} {
				if !heard[provider] {
					left = append(left, provider)
				}
			}
			return scripted.Plan("d", left...), nil
		},
	})
	var group sync.WaitGroup
	for range manyCallers {
		group.Go(func() {
			failed := map[string]bool{}
			for range 4 {
				plan, err := client.Plan(within(t), forTask("chat"), WithTimeout(patience))
				if err != nil {
					t.Error(err)
					return
				}
				first := plan.Candidates()[0].GetTarget().GetProvider()
				if failed[first] {
					t.Errorf("%s is used after it failed", first)
				}
				if first == "d" {
					return
				}
				failed[first] = true
				_, _ = Do(within(t), plan, func(_ context.Context, attempt *Attempt) (int, error) {
					if attempt.Provider() == first {
						return 0, &ProviderError{StatusCode: 503}
					}
					return 0, nil
				})
			}
		})
	}
	group.Wait()
}
