package turnout

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "turnout.dev/go/turnoutv1"
)

// maxReportedDuration is the longest duration that a report may state.
const maxReportedDuration = 24 * time.Hour

// Plan is the targets to call for one request, in order; [Do] calls them. What it returns is shared with other plans
// and must not be changed.
type Plan struct {
	planner     *planner
	request     *pb.RouteRequest
	decision    *pb.Decision
	candidates  []*pb.Candidate
	reused      bool
	staleReason string
}

// Decision returns the decision behind the plan. Of a stale plan it may be an old one, or hold only the targets of
// [WithFallback].
func (p *Plan) Decision() *pb.Decision { return p.decision }

// DecisionID returns the decision's id, "" where no sidecar made it.
func (p *Plan) DecisionID() string { return p.decision.GetDecisionId() }

// Candidates returns the targets in the order to call them.
func (p *Plan) Candidates() []*pb.Candidate { return slices.Clone(p.candidates) }

// Reused tells whether the plan serves a further request, without a call to the sidecar.
func (p *Plan) Reused() bool { return p.reused }

// Stale tells whether the sidecar was away, so that an old plan or the targets of [WithFallback] are used.
func (p *Plan) Stale() bool { return p.staleReason != "" }

// StaleReason returns why the sidecar is taken to be away: UNREACHABLE, DEADLINE, DRAINING or SIDECAR_OVERLOADED; ""
// where it is not.
func (p *Plan) StaleReason() string { return p.staleReason }

// Attempt is one target to call.
type Attempt struct {
	candidate *pb.Candidate
	begun     time.Time

	// mu guards what is noted: a goroutine that the function left behind may still note something.
	mu      sync.Mutex
	outcome *pb.Outcome
	failure *Failure
	ended   bool
}

// Candidate returns all that the sidecar says of the target. It must not be changed.
func (a *Attempt) Candidate() *pb.Candidate { return a.candidate }

// Target returns the target as it is written: "provider/model" or "provider/model@endpoint".
func (a *Attempt) Target() string { return TargetName(a.candidate.GetTarget()) }

// Provider returns the provider's name.
func (a *Attempt) Provider() string { return a.candidate.GetTarget().GetProvider() }

// Model returns the model's name at the provider.
func (a *Attempt) Model() string { return a.candidate.GetTarget().GetModel() }

// BaseURL returns where the provider is called, "" where the sidecar does not know.
func (a *Attempt) BaseURL() string { return a.candidate.GetBaseUrl() }

// Wire returns the provider's wire format, such as "openai" or "anthropic"; "" where no sidecar said it.
func (a *Attempt) Wire() string { return a.candidate.GetWire() }

// ID returns the id under which the outcome, and feedback later, is reported.
func (a *Attempt) ID() string { return a.outcome.GetAttemptId() }

// Timeout returns how long the sidecar would wait for the first content of this target, 0 where it does not say.
func (a *Attempt) Timeout() time.Duration { return a.candidate.GetAttemptTimeout().AsDuration() }

// Outcome returns the report that will be sent; what has no method here, such as the cost, the rate limit or the label
// of the caller's own key, may be set on it before the function returns.
func (a *Attempt) Outcome() *pb.Outcome { return a.outcome }

// FirstToken notes that the first token of a stream is there; later calls change nothing. From then on no other target
// is called, since the text may have been passed on, unless the request's options say MID_STREAM_POLICY_RESTART.
func (a *Attempt) FirstToken() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended && !a.outcome.GetStreamed() {
		a.outcome.Streamed = true
		a.outcome.TimeToFirstToken = reported(time.Since(a.begun))
	}
}

// Usage notes the tokens that the provider reported. Input includes the cached and the cache-write ones, output the
// reasoning ones: Anthropic's input_tokens leaves the former out, add them.
func (a *Attempt) Usage(usage *pb.Usage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended {
		a.outcome.Usage = usage
	}
}

// Failed notes a failure that no error tells of, such as a stream that ended without its end; it goes before what the
// function returns.
func (a *Attempt) Failed(failure Failure) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended {
		a.failure = &failure
	}
}

// Do calls fn with the plan's targets in order until one succeeds, and reports each outcome in the background.
//
// An error of fn that is the target's (an HTTP status, a timeout, a lost connection; see [Classify]) leads to the next
// target; the last target's error comes out as it is. What another target would not help comes out at once: a wrong
// request, refused content, the end of ctx, an error that says nothing of a provider and so may be a mistake of fn's;
// and everything after [Attempt.FirstToken], unless the options say MID_STREAM_POLICY_RESTART. A panic in fn is reported
// and goes on.
//
// Switch the retries of your SDK off: otherwise failures reach the sidecar late or not at all.
func Do[T any](ctx context.Context, plan *Plan, fn func(ctx context.Context, attempt *Attempt) (T, error)) (T, error) {
	restart := plan.request.GetOptions().GetMidStream() == pb.MidStreamPolicy_MID_STREAM_POLICY_RESTART
	var last error
	for _, candidate := range plan.candidates {
		if err := ctx.Err(); err != nil {
			var none T
			if last != nil {
				err = fmt.Errorf("%w; before that: %w", err, last)
			}
			return none, err
		}
		attempt := plan.attempt(candidate)
		result, err := run(ctx, plan, attempt, fn)
		if attempt.failure == nil {
			return result, nil
		}
		last = err
		if !helpedByAnother(*attempt.failure) || ctx.Err() != nil || attempt.outcome.GetStreamed() && !restart {
			break
		}
	}
	var none T
	if last != nil {
		return none, last
	}
	exhausted := &PlanExhaustedError{ErrorDetails: &ErrorDetails{DecisionID: plan.DecisionID()}}
	for _, candidate := range plan.candidates {
		exhausted.Targets = append(exhausted.Targets, TargetName(candidate.GetTarget()))
	}
	return none, exhausted
}

// run calls fn once, and reports how that ended.
func run[T any](
	ctx context.Context, plan *Plan, attempt *Attempt, fn func(context.Context, *Attempt) (T, error),
) (result T, err error) {
	returned := false
	defer func() {
		now := time.Now()
		var failure *Failure
		if !returned {
			failure = &Failure{Kind: pb.FailureKind_FAILURE_KIND_UNKNOWN}
		} else if err != nil {
			classified := classifyWithin(ctx, err, now)
			failure = &classified
		}
		attempt.end(failure, now)
		plan.planner.done(attempt.outcome)
	}()
	result, err = fn(ctx, attempt)
	returned = true
	return result, err
}

// classifyWithin tells the end of the caller's own context from a slow provider.
func classifyWithin(ctx context.Context, err error, now time.Time) Failure {
	failure := Classify(err, now)
	if ctx.Err() != nil && failure.HTTPStatus == 0 {
		return Failure{Kind: pb.FailureKind_FAILURE_KIND_CANCELLED}
	}
	return failure
}

// helpedByAnother tells whether another target may do better. An unknown kind with a status came from a provider, one
// without may be a mistake of the function's.
func helpedByAnother(failure Failure) bool {
	switch failure.Kind {
	case pb.FailureKind_FAILURE_KIND_INVALID_REQUEST, pb.FailureKind_FAILURE_KIND_CONTENT_FILTERED,
		pb.FailureKind_FAILURE_KIND_CANCELLED:
		return false
	case pb.FailureKind_FAILURE_KIND_UNKNOWN:
		return failure.HTTPStatus != 0
	default:
		return true
	}
}

func (p *Plan) attempt(candidate *pb.Candidate) *Attempt {
	now := time.Now()
	outcome := &pb.Outcome{
		DecisionId: p.DecisionID(),
		AttemptId:  newID(),
		Target:     candidate.GetTarget(),
		ProbeId:    candidate.GetProbe().GetProbeId(),
		StartTime:  timestamppb.New(now),
	}
	if p.Stale() {
		// The sidecar may never have heard of the decision: what it would know from it goes along.
		outcome.Task, outcome.Caller, outcome.SessionId =
			p.request.GetProfile().GetTask(), p.request.GetCaller(), p.request.GetSessionId()
	}
	return &Attempt{candidate: candidate, outcome: outcome, begun: now}
}

// inMidStream tells a failure after tokens came: silence is a stall then, and a lost connection a cut answer.
func (a *Attempt) inMidStream(failure Failure) Failure {
	switch {
	case !a.outcome.GetStreamed():
	case failure.Kind == pb.FailureKind_FAILURE_KIND_TIMEOUT && failure.HTTPStatus == 0:
		failure.Kind = pb.FailureKind_FAILURE_KIND_STALLED
	case failure.Kind == pb.FailureKind_FAILURE_KIND_CONNECTION:
		failure.Kind = pb.FailureKind_FAILURE_KIND_TRUNCATED
	}
	return failure
}

// end writes how the attempt ended into its outcome; what the function told itself goes first. Nothing is noted after it:
// the outcome is being sent.
func (a *Attempt) end(failure *Failure, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	if a.failure == nil && failure != nil {
		classified := a.inMidStream(*failure)
		a.failure = &classified
	}
	a.outcome.Latency = reported(now.Sub(a.begun))
	a.outcome.Ok = a.failure == nil
	if a.failure == nil {
		return
	}
	a.outcome.Failure = a.failure.Kind
	if a.failure.HTTPStatus != 0 {
		status := int32(a.failure.HTTPStatus) //nolint:gosec // 100 to 599
		a.outcome.HttpStatus = &status
	}
	if a.failure.HasRetryAfter {
		a.outcome.RetryAfter = durationpb.New(a.failure.RetryAfter)
	}
}

func reported(duration time.Duration) *durationpb.Duration {
	return durationpb.New(min(max(0, duration), maxReportedDuration))
}

// newID returns a random UUID.
func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails, as its documentation says
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
