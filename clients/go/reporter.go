package turnout

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	pb "turnout.dev/go/turnoutv1"
)

const (
	maxPendingOutcomes = 1000
	maxOutcomeBatch    = 100
	// gatherTime is how long an outcome waits for others to go with it: short, because the next decision should know of
	// a failure.
	gatherTime = 50 * time.Millisecond
)

// reporter sends outcomes in the background, in batches. Its goroutine lives while there is something to send. Reports
// never fail or delay anybody's call: past the bound the oldest outcome is dropped, since the newest tell more about
// health. While the sidecar is away they wait.
type reporter struct {
	send func(context.Context, []*pb.Outcome) (*pb.ReportOutcomeResponse, error)

	mu      sync.Mutex
	pending []*pb.Outcome
	dropped int
	running bool
	closed  bool
	// full is signalled when a batch is full, or when somebody waits for the queue to be empty.
	full chan struct{}
	// idle is closed when nothing is queued and nothing is being sent; made anew with the next outcome.
	idle chan struct{}
	// sending is held by whoever sends, so that batches go one after another.
	sending chan struct{}
	// stop ends what the goroutine waits for.
	stop   context.Context //nolint:containedctx // the reporter's own life
	cancel context.CancelFunc
}

func newReporter(send func(context.Context, []*pb.Outcome) (*pb.ReportOutcomeResponse, error)) *reporter {
	r := &reporter{send: send, full: make(chan struct{}, 1), idle: make(chan struct{}), sending: make(chan struct{}, 1)}
	close(r.idle)
	r.stop, r.cancel = context.WithCancel(context.Background())
	return r
}

// add queues one outcome; it never waits.
func (r *reporter) add(outcome *pb.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.dropped++
		return
	}
	r.pending = append(r.pending, outcome)
	r.trim()
	if len(r.pending) >= maxOutcomeBatch {
		r.hurry()
	}
	r.ensureRunning()
}

// ensureRunning starts the goroutine where it is not there; r.mu is held.
func (r *reporter) ensureRunning() {
	if !r.running {
		r.running, r.idle = true, make(chan struct{})
		go r.run()
	}
}

// unreported counts the outcomes that were given up and those that are queued.
func (r *reporter) unreported() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped + len(r.pending)
}

// flush waits until nothing is queued and nothing is being sent.
func (r *reporter) flush(ctx context.Context) error {
	r.mu.Lock()
	idle := r.idle
	r.hurry()
	r.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close sends what is queued, as long as the context says, and gives up the rest.
func (r *reporter) close(ctx context.Context) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	_ = r.flush(ctx)
	r.cancel()
	r.mu.Lock()
	idle := r.idle
	r.mu.Unlock()
	<-idle
}

// sendNow sends what is queued now, before a caller goes on that wants the sidecar to know of it. It returns false where
// something is still to be told.
func (r *reporter) sendNow(ctx context.Context) bool {
	r.mu.Lock()
	batches := (len(r.pending) + maxOutcomeBatch - 1) / maxOutcomeBatch
	r.mu.Unlock()
	// One more, for what was taken by the goroutine and came back.
	for range batches + 1 {
		sent, err := r.sendBatch(ctx)
		if err != nil {
			return false
		}
		if sent == 0 {
			return true
		}
	}
	return true
}

func (r *reporter) run() {
	var asked time.Duration
	for failures := 0; ; {
		wait := gatherTime
		if failures > 0 {
			wait = comeBack(failures, asked, rand.Float64())
		}
		r.gather(wait, failures == 0)
		sent, err := r.sendBatch(r.stop)
		switch {
		case r.stop.Err() != nil:
			r.giveUp()
			return
		case err != nil:
			failures, asked = failures+1, askedWait(err)
		case sent > 0:
			failures = 0
		}
		if r.finished() {
			return
		}
	}
}

// comeBack returns how long to leave a sidecar alone that was away so many times in a row, and asked for a wait: so that
// not all clients come back together.
func comeBack(failures int, asked time.Duration, random float64) time.Duration {
	wait := time.Duration(float64(min(retryMax, retryBase<<min(failures, 5))) * (0.5 + random/2))
	return max(wait, asked+time.Duration(float64(asked)*retryJitter*random))
}

// askedWait returns how long an error of the sidecar's asks to wait, 0 where it does not.
func askedWait(err error) time.Duration {
	var failed Error
	if !errors.As(err, &failed) {
		return 0
	}
	return failed.Details().RetryAfter
}

// gather waits for outcomes to go together; a full batch goes at once.
func (r *reporter) gather(wait time.Duration, hurried bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	full := r.full
	if !hurried {
		full = nil
	}
	select {
	case <-timer.C:
	case <-full:
	case <-r.stop.Done():
	}
}

// finished ends the goroutine where nothing is left to do.
func (r *reporter) finished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) > 0 {
		if len(r.pending) >= maxOutcomeBatch || r.closed {
			r.hurry()
		}
		return false
	}
	r.running = false
	close(r.idle)
	return true
}

func (r *reporter) giveUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped += len(r.pending)
	r.pending, r.running = nil, false
	close(r.idle)
}

// sendBatch sends the oldest outcomes and returns how many they were. An error says that the sidecar is away and that
// they are queued again; other failures are logged and counted, since sending the same again would not help.
func (r *reporter) sendBatch(ctx context.Context) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	select {
	case r.sending <- struct{}{}:
		defer func() { <-r.sending }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	r.mu.Lock()
	count := min(len(r.pending), maxOutcomeBatch)
	batch := r.pending[:count:count]
	r.pending = r.pending[count:]
	r.mu.Unlock()
	if count == 0 {
		return 0, nil
	}
	response, err := r.send(ctx, batch)
	if err == nil {
		for _, result := range response.GetResults() {
			if result.GetStatus() == pb.OutcomeStatus_OUTCOME_STATUS_REJECTED {
				slog.Warn("turnout: the sidecar rejected a reported outcome", "reason", result.GetReason())
			}
		}
		return count, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if isAway(err) || ctx.Err() != nil {
		r.pending = append(batch, r.pending...)
		r.trim()
		if r.stop.Err() == nil {
			r.ensureRunning()
		}
		return 0, err
	}
	r.dropped += count
	slog.Warn("turnout: outcomes were not reported to the sidecar", "count", count, "error", err)
	return count, nil
}

// trim drops the oldest beyond the bound; r.mu is held.
func (r *reporter) trim() {
	if excess := len(r.pending) - maxPendingOutcomes; excess > 0 {
		r.dropped += excess
		r.pending = r.pending[excess:]
	}
}

// hurry ends a wait for more outcomes.
func (r *reporter) hurry() {
	select {
	case r.full <- struct{}{}:
	default:
	}
}

// isAway tells whether an error says that there is no sidecar to speak to just now, rather than its answer.
func isAway(err error) bool {
	_, away := awayReason(err)
	return away
}

// awayReason returns why a sidecar is taken to be away, in the words of [Plan.StaleReason].
func awayReason(err error) (string, bool) {
	var failed Error
	if !errors.As(err, &failed) {
		return "", false
	}
	switch reason := failed.Details().Reason; {
	case reason == ReasonDraining || reason == ReasonSidecarOverloaded || reason == ReasonDeadline:
		return string(reason), true
	case errors.As(err, new(*UnreachableError)):
		return "UNREACHABLE", true
	case reason == "" && errors.Is(err, context.DeadlineExceeded):
		return "DEADLINE", true
	default:
		return "", false
	}
}
