package turnout

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	pb "turnout.dev/go/turnoutv1"
)

const (
	// fallingBackTimeout is how long a Route may take that has something to fall back on.
	fallingBackTimeout = time.Second
	// awayPause is how long nobody asks after the sidecar was found to be away.
	awayPause = time.Second
	// leastTimeout is what is left for a question at the least: too late is not the caller's mistake.
	leastTimeout = time.Millisecond
)

// planner decides where a plan comes from: one that is kept, the sidecar, or what is left while the sidecar is away.
type planner struct {
	client  *Client
	static  staticOrder
	caching bool

	mu        sync.Mutex
	cache     *planCache
	questions questions
	// awayReason is why the sidecar is taken to be away, "" while it is not.
	awayReason string
	askAgainAt time.Time
	asking     bool
	// untold is the number of the last failure of which the sidecar may not have heard yet, since it is told in the
	// background; 0 for none.
	untold int
}

func newPlanner(client *Client, static staticOrder, caching bool) *planner {
	return &planner{
		client: client, static: static, caching: caching, cache: newPlanCache(rand.Float64), questions: questions{},
	}
}

// Plan returns the targets to call for a request, for [Do]. While an earlier plan for an equal request may be reused no
// call is made; while the sidecar is away the last plan, or the targets of [WithFallback], are used and marked stale.
// Errors are those of [Client.Route], where there is nothing to fall back on or the sidecar refuses.
func (c *Client) Plan(ctx context.Context, request *pb.RouteRequest, options ...CallOption) (*Plan, error) {
	if request == nil {
		request = &pb.RouteRequest{}
	}
	return c.planner.plan(ctx, request, newCallSettings(options))
}

func (p *planner) plan(ctx context.Context, request *pb.RouteRequest, call callSettings) (*Plan, error) {
	patience, err := rpcRoute.patience(ctx, call)
	if err != nil {
		return nil, err
	}
	plan, asked := p.start(request, patience)
	if plan != nil {
		return plan, nil
	}
	defer p.ended(asked)
	for asked.waitsFor != nil {
		if err := p.wait(ctx, asked); err != nil {
			return nil, err
		}
		if plan := p.again(asked); plan != nil {
			return plan, nil
		}
	}
	how := rpcRoute
	if asked.fallsBack {
		how.rule = retryNever
	}
	how.timeout = max(leastTimeout, asked.endsAt.Sub(p.client.now()))
	bounded, cancel, err := how.bound(ctx, callSettings{})
	if err != nil {
		return nil, err
	}
	defer cancel()
	told := !asked.untold || p.tell(bounded)
	made, err := p.client.begin(bounded, rpc{rule: how.rule}, nil)
	if err != nil {
		return nil, err
	}
	defer made.cancel()
	response, err := try(made, request, p.client.stub.Route)
	if err != nil {
		return p.refused(asked, err, isOver(ctx, bounded, err))
	}
	decision := response.GetDecision()
	if len(decision.GetCandidates()) == 0 {
		return p.refused(asked, contract("the sidecar answered with a plan without candidates"), false)
	}
	return p.answered(asked, decision, made.sentAt, told), nil
}

// start returns a plan that needs no question, or the question of a caller who has so much time.
func (p *planner) start(request *pb.RouteRequest, patience time.Duration) (*Plan, *question) {
	key, now := keyOf(request), p.client.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if plan := p.kept(key, request, now); plan != nil {
		return plan, nil
	}
	asked := &question{request: request, key: key, endsAt: now.Add(patience), ended: make(chan struct{})}
	if stale := p.ask(asked, now); stale != nil {
		return stale, nil
	}
	return nil, asked
}

// wait waits for another question, as long as that is worth it. An error is that the caller's own time is over.
func (p *planner) wait(ctx context.Context, asked *question) error {
	timer := time.NewTimer(asked.waitUntil.Sub(p.client.now()))
	defer timer.Stop()
	select {
	case <-asked.waitsFor.ended:
	case <-timer.C:
	case <-ctx.Done():
		return errorFrom(status.FromContextError(ctx.Err()).Err(), nil, nil)
	}
	return nil
}

// again returns the plan that there is after a wait; nil where the question is to be asked, or to wait once more.
func (p *planner) again(asked *question) *Plan {
	now := p.client.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if plan := p.kept(asked.key, asked.request, now); plan != nil {
		return plan
	}
	return p.ask(asked, now)
}

// kept returns a plan that may be used again; p.mu is held.
func (p *planner) kept(key planKey, request *pb.RouteRequest, now time.Time) *Plan {
	decision, candidates := p.cache.reuse(key, request.GetProfile(), now)
	if decision == nil {
		return nil
	}
	plan := p.newPlan(request, decision, candidates)
	plan.reused = true
	return plan
}

// ask makes a question ready, to be asked or to wait for another; or returns the stale plan to go on with instead. p.mu
// is held.
func (p *planner) ask(asked *question, now time.Time) *Plan {
	stale := p.stale(asked.key, asked.request, now)
	asked.fallsBack = stale != nil
	if asked.fallsBack {
		if p.awayReason != "" {
			if p.asking || now.Before(p.askAgainAt) {
				return stale
			}
			p.asking, asked.alone = true, true
		}
		if latest := now.Add(fallingBackTimeout); asked.endsAt.After(latest) {
			asked.endsAt = latest
		}
	}
	asked.failureCount, asked.untold = p.cache.failureCount, p.untold != 0
	// To wait for an answer that will serve its asker alone would only cost time.
	if p.caching && !asked.alone && !p.cache.servedOnce(asked.key) {
		p.questions.join(asked, now)
	} else {
		p.questions.ask(asked)
	}
	return nil
}

// tell sends the outcomes that are queued, so that the sidecar knows of a failure before it decides again; it takes at
// most half of the time there is. It returns false where the sidecar may still not know.
func (p *planner) tell(ctx context.Context) bool {
	deadline, _ := ctx.Deadline()
	half, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
	defer cancel()
	p.mu.Lock()
	last := p.untold
	p.mu.Unlock()
	told := p.client.reporter.sendNow(half)
	p.mu.Lock()
	defer p.mu.Unlock()
	// Until then others wait for it too; a failure since then is told by whoever asks next.
	if told && p.untold == last {
		p.untold = 0
	}
	return told
}

func (p *planner) answered(asked *question, decision *pb.Decision, sentAt time.Time, told bool) *Plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.awayReason = ""
	if p.caching {
		p.cache.remember(asked.key, asked.request, decision)
		if told {
			p.cache.keep(asked.key, asked.request, decision, sentAt, asked.failureCount)
		}
	}
	return p.newPlan(asked.request, decision, decision.GetCandidates())
}

// isOver tells whether the caller's own time is over, rather than what the question was given. The sidecar may be the
// first to notice.
func isOver(callers, given context.Context, err error) bool {
	if callers.Err() != nil {
		return true
	}
	end, _ := given.Deadline()
	callersEnd, has := callers.Deadline()
	return has && callersEnd.Equal(end) && errors.Is(err, context.DeadlineExceeded)
}

// refused returns what to go by instead of an answer, or the error where that is to come out.
func (p *planner) refused(asked *question, err error, over bool) (*Plan, error) {
	reason, away := awayReason(err)
	if away && over {
		// That says nothing of the sidecar, and a plan would come too late.
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	asked.refused = !over
	if !away {
		if errors.As(err, new(*RefusedError)) {
			p.awayReason = ""
		}
		return nil, err
	}
	now := p.client.now()
	if plan := p.kept(asked.key, asked.request, now); plan != nil {
		// Another had an answer meanwhile: this one came too late, and the sidecar is not away.
		return plan, nil
	}
	p.awayReason, p.askAgainAt = reason, now.Add(awayPause)
	if stale := p.stale(asked.key, asked.request, now); stale != nil {
		return stale, nil
	}
	return nil, err
}

// ended is called once for each question, however it went.
func (p *planner) ended(asked *question) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.questions.end(asked)
	if asked.alone {
		p.asking = false
	}
}

// stale returns what to go by without the sidecar, nil for nothing; p.mu is held.
func (p *planner) stale(key planKey, request *pb.RouteRequest, now time.Time) *Plan {
	decision, candidates := p.cache.stale(key, request)
	if decision == nil {
		if candidates = p.static.candidates(request); len(candidates) == 0 {
			return nil
		}
		decision = &pb.Decision{
			Candidates: candidates, Task: request.GetProfile().GetTask(), Reason: "the client's own order of targets",
		}
	}
	plan := p.newPlan(request, decision, p.cache.failedLast(candidates, now))
	plan.staleReason = firstOf(p.awayReason, "UNREACHABLE")
	return plan
}

func (p *planner) newPlan(request *pb.RouteRequest, decision *pb.Decision, candidates []*pb.Candidate) *Plan {
	if options := request.GetOptions(); options != nil && options.AllowFallback != nil && !options.GetAllowFallback() {
		candidates = candidates[:1]
	}
	return &Plan{planner: p, request: request, decision: decision, candidates: candidates}
}

// done takes the outcome of a plan's attempt: it is reported in the background.
func (p *planner) done(outcome *pb.Outcome) {
	p.client.reporter.add(outcome)
	p.note(outcome, true)
}

// noteReported takes outcomes that the application reports by itself.
func (p *planner) noteReported(outcomes []*pb.Outcome) {
	for _, outcome := range outcomes {
		p.note(outcome, false)
	}
}

func (p *planner) note(outcome *pb.Outcome, untold bool) {
	if outcome.GetOk() || !speaksAgainst(outcome.GetFailure(), int(outcome.GetHttpStatus())) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cache.failed(outcome.GetTarget(), p.client.now())
	if untold {
		p.untold = p.cache.failureCount
	}
}
