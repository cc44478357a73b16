package turnout

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

func refusedFor(reason Reason, details ErrorDetails) Error {
	details.Reason = reason
	return &RefusedError{ErrorDetails: &details, Message: "x"}
}

func unreachable() Error {
	return &UnreachableError{TransportError{ErrorDetails: &ErrorDetails{Code: codes.Unavailable}}}
}

func testTries(rule retryRule, deadline time.Time, random float64) *tries {
	return &tries{
		rule: rule, maxCount: 3, deadline: deadline,
		random: func() float64 { return random }, renewed: func() bool { return false },
	}
}

func TestOnlyWhatCannotHaveBeenBilledIsMadeAgain(t *testing.T) {
	execute := map[Reason]bool{
		ReasonAllTargetsUnavailable: true, ReasonAllAttemptsRefused: true, ReasonSidecarOverloaded: true, ReasonDraining: true,
	}
	idempotent := map[Reason]bool{ReasonSidecarOverloaded: true, ReasonDraining: true}
	for reason := range reasonsOfTheContract() {
		failed := refusedFor(reason, ErrorDetails{})
		if got := retryExecute(failed); got != execute[reason] {
			t.Errorf("Execute after %s: %v", reason, got)
		}
		if got := retryIdempotent(failed); got != idempotent[reason] {
			t.Errorf("Route after %s: %v", reason, got)
		}
		if retryNever(failed) {
			t.Errorf("watching after %s", reason)
		}
		if got := NothingSent(failed); got != execute[reason] {
			t.Errorf("NothingSent of %s: %v", reason, got)
		}
	}
	if retryExecute(unreachable()) || !retryIdempotent(unreachable()) || NothingSent(unreachable()) {
		t.Error("a lost connection does not say that nothing was sent")
	}
	if NothingSent(refusedFor(ReasonDraining, ErrorDetails{RetryForbidden: true})) {
		t.Error("what was cut may have been billed")
	}
}

func TestWaitsAreAsAskedPlusAtMostAFifthElseFullJitter(t *testing.T) {
	now := time.Unix(1000, 0)
	asked := refusedFor(ReasonSidecarOverloaded, ErrorDetails{RetryAfter: time.Second, HasRetryAfter: true})
	for random, want := range map[float64]time.Duration{0: time.Second, 1: 1200 * time.Millisecond} {
		if wait, may := testTries(retryExecute, time.Time{}, random).after(asked, now); !may || wait != want {
			t.Errorf("asked for 1 s, drawn %v: %v %v", random, wait, may)
		}
	}
	tried := testTries(retryIdempotent, time.Time{}, 1)
	for _, want := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond} {
		if wait, may := tried.after(unreachable(), now); !may || wait != want {
			t.Errorf("got %v %v, want %v", wait, may, want)
		}
	}
	if _, may := tried.after(unreachable(), now); may {
		t.Error("a fourth retry")
	}
	tried = testTries(retryIdempotent, time.Time{}, 1)
	tried.maxCount = 10
	for range 9 {
		if wait, _ := tried.after(unreachable(), now); wait > 2*time.Second {
			t.Errorf("waits %v", wait)
		}
	}
}

func TestNoWaitOutlastsTheDeadlineAndAForbiddenRetryIsNotMade(t *testing.T) {
	now := time.Unix(1000, 0)
	asked := refusedFor(ReasonDraining, ErrorDetails{RetryAfter: time.Second, HasRetryAfter: true})
	if _, may := testTries(retryExecute, now.Add(time.Second), 0).after(asked, now); may {
		t.Error("a wait as long as the deadline")
	}
	if _, may := testTries(retryExecute, now.Add(1001*time.Millisecond), 0).after(asked, now); !may {
		t.Error("a wait within the deadline was not begun")
	}
	forbidden := refusedFor(ReasonDraining, ErrorDetails{RetryForbidden: true})
	if _, may := testTries(retryExecute, time.Time{}, 0).after(forbidden, now); may {
		t.Error("a forbidden retry")
	}
}

func TestAnotherTokenIsTriedOnceAndNotCounted(t *testing.T) {
	tried := testTries(retryNever, time.Time{}, 0)
	tried.renewed = func() bool { return true }
	refused := refusedFor(ReasonUnauthenticated, ErrorDetails{Code: codes.Unauthenticated})
	if wait, may := tried.after(refused, time.Unix(0, 0)); !may || wait != 0 || tried.made != 0 {
		t.Errorf("got %v %v, %d counted", wait, may, tried.made)
	}
	if _, may := tried.after(refused, time.Unix(0, 0)); may {
		t.Error("a second look at the file")
	}
}
