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

// sink takes batches as a sidecar would; while err is set it fails.
type sink struct {
	mu      sync.Mutex
	err     error
	batches [][]string
	tried   int
	gate    chan struct{}
}

func (s *sink) send(ctx context.Context, batch []*pb.Outcome) (*pb.ReportOutcomeResponse, error) {
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return nil, errorFrom(status.FromContextError(ctx.Err()).Err(), nil, nil)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried++
	if s.err != nil {
		return nil, s.err
	}
	var ids []string
	for _, outcome := range batch {
		ids = append(ids, outcome.GetAttemptId())
	}
	s.batches = append(s.batches, ids)
	return &pb.ReportOutcomeResponse{}, nil
}

func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(s.batches...)
}

func (s *sink) tries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tried
}

func numbers(from, to int) []string {
	var names []string
	for number := from; number < to; number++ {
		names = append(names, fmt.Sprint(number))
	}
	return names
}

func addAll(r *reporter, names []string) {
	for _, name := range names {
		r.add(&pb.Outcome{AttemptId: name})
	}
}

func TestOutcomesGoInOrderAndInBatchesOfAtMostAHundred(t *testing.T) {
	sent := &sink{}
	r := newReporter(sent.send)
	addAll(r, numbers(0, 250))
	if err := r.flush(within(t)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sent.all(), numbers(0, 250)) || r.unreported() != 0 {
		t.Errorf("%d sent, %d unreported", len(sent.all()), r.unreported())
	}
	for _, batch := range sent.batches {
		if len(batch) > maxOutcomeBatch {
			t.Errorf("a batch of %d", len(batch))
		}
	}
	r.close(within(t))
}

func TestOldestOutcomesAreDroppedBeyondAThousand(t *testing.T) {
	sent := &sink{gate: make(chan struct{})}
	r := newReporter(sent.send)
	addAll(r, numbers(0, 1500))
	close(sent.gate)
	if err := r.flush(within(t)); err != nil {
		t.Fatal(err)
	}
	got := sent.all()
	// What was under way when the queue was full is sent as well.
	if !slices.Equal(got[len(got)-900:], numbers(600, 1500)) || len(got) > maxPendingOutcomes+maxOutcomeBatch {
		t.Errorf("%d sent, from %s", len(got), got[0])
	}
	if len(got)+r.unreported() != 1500 {
		t.Errorf("%d sent, %d unreported", len(got), r.unreported())
	}
	r.close(within(t))
}

func TestOutcomesWaitWhileTheSidecarIsAway(t *testing.T) {
	sent := &sink{err: unreachable()}
	r := newReporter(sent.send)
	addAll(r, numbers(0, 3))
	for sent.tries() < 2 {
		time.Sleep(time.Millisecond)
	}
	if r.unreported() != 3 {
		t.Errorf("%d wait", r.unreported())
	}
	addAll(r, numbers(3, 5))
	sent.fail(nil)
	if err := r.flush(within(t)); err != nil || !slices.Equal(sent.all(), numbers(0, 5)) {
		t.Errorf("sent %v: %v", sent.all(), err)
	}
	r.close(within(t))
}

func TestOutcomesThatAreRefusedAreGivenUpAndCounted(t *testing.T) {
	sent := &sink{err: errorFrom(scripted.Refusal(codes.InvalidArgument, "INVALID_REQUEST"), nil, nil)}
	r := newReporter(sent.send)
	addAll(r, numbers(0, 2))
	if err := r.flush(within(t)); err != nil || r.unreported() != 2 || sent.tries() != 1 {
		t.Errorf("%d unreported after %d tries: %v", r.unreported(), sent.tries(), err)
	}
	r.close(within(t))
}

func TestClosingEndsInTimeAndCountsWhatIsLeft(t *testing.T) {
	sent := &sink{gate: make(chan struct{})}
	r := newReporter(sent.send)
	addAll(r, numbers(0, 2))
	over, cancel := context.WithCancel(context.Background())
	cancel()
	r.close(over)
	if r.unreported() != 2 {
		t.Errorf("%d unreported", r.unreported())
	}
	r.add(&pb.Outcome{})
	if r.unreported() != 3 {
		t.Error("an outcome after the end is not counted")
	}
	if err := r.flush(within(t)); err != nil {
		t.Error(err)
	}
}

func TestSendingNowGoesBeforeTheBackgroundAndComesBackWhenItFails(t *testing.T) {
	sent := &sink{}
	r := newReporter(sent.send)
	addAll(r, numbers(0, 3))
	if !r.sendNow(within(t)) || !slices.Equal(sent.all(), numbers(0, 3)) {
		t.Errorf("sent %v", sent.all())
	}
	sent.fail(unreachable())
	addAll(r, numbers(3, 4))
	if r.sendNow(within(t)) {
		t.Error("a failed report is called sent")
	}
	sent.fail(nil)
	if err := r.flush(within(t)); err != nil || !slices.Equal(sent.all(), numbers(0, 4)) {
		t.Errorf("sent %v: %v", sent.all(), err)
	}
	r.close(within(t))
}

func TestWhatMeansThatTheSidecarIsAway(t *testing.T) {
	for want, err := range map[string]error{
		"UNREACHABLE":        unreachable(),
		"DRAINING":           errorFrom(scripted.Refusal(codes.Unavailable, "DRAINING"), nil, nil),
		"SIDECAR_OVERLOADED": errorFrom(scripted.Refusal(codes.ResourceExhausted, "SIDECAR_OVERLOADED"), nil, nil),
		"DEADLINE":           errorFrom(status.Error(codes.DeadlineExceeded, "late"), nil, nil),
	} {
		if reason, away := awayReason(err); !away || reason != want {
			t.Errorf("%s: %q, %v", want, reason, away)
		}
	}
	for _, err := range []error{
		errorFrom(scripted.Refusal(codes.Unavailable, "ALL_TARGETS_UNAVAILABLE"), nil, nil),
		errorFrom(scripted.Refusal(codes.FailedPrecondition, "NO_ELIGIBLE_TARGET"), nil, nil),
		errorFrom(status.Error(codes.Unimplemented, "x"), nil, nil),
		errorFrom(status.Error(codes.Canceled, "x"), nil, nil),
		errors.New("x"),
	} {
		if isAway(err) {
			t.Errorf("%v", err)
		}
	}
}

func TestSidecarThatAsksForAWaitIsLeftAlone(t *testing.T) {
	overloaded := refusedFor(ReasonSidecarOverloaded, ErrorDetails{RetryAfter: 10 * time.Second, HasRetryAfter: true})
	for _, row := range []struct {
		err     Error
		random  float64
		atLeast time.Duration
		atMost  time.Duration
	}{
		{overloaded, 0, 10 * time.Second, 10 * time.Second},
		{overloaded, 1, 12 * time.Second, 12 * time.Second},
		{unreachable(), 0, 100 * time.Millisecond, 100 * time.Millisecond},
		{unreachable(), 1, 200 * time.Millisecond, 200 * time.Millisecond},
	} {
		wait := comeBack(1, askedWait(row.err), row.random)
		if wait < row.atLeast || wait > row.atMost {
			t.Errorf("after %v: %v", row.err, wait)
		}
	}

	sent := &sink{err: refusedFor(ReasonDraining, ErrorDetails{RetryAfter: time.Hour, HasRetryAfter: true})}
	r := newReporter(sent.send)
	addAll(r, numbers(0, 1))
	for sent.tries() == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	r.close(ctx)
	if sent.tries() != 1 || r.unreported() != 1 {
		t.Errorf("tried %d times, %d unreported", sent.tries(), r.unreported())
	}
}
