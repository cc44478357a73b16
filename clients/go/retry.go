package turnout

import (
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	retryBase   = 100 * time.Millisecond
	retryMax    = 2 * time.Second
	retryJitter = 0.2
)

// retryRule tells whether an RPC may be made again after an error.
type retryRule func(Error) bool

// retryIdempotent is for Route, ProviderStatus and ReportOutcome: once too often is harmless. "No target now" is an
// answer there, not a failure.
func retryIdempotent(err Error) bool {
	var unreachable *UnreachableError
	if errors.As(err, &unreachable) {
		return true
	}
	switch err.Details().Reason {
	case ReasonSidecarOverloaded, ReasonDraining:
		return true
	default:
		return false
	}
}

// retryExecute is for Execute and ExecuteStream: only what was surely not billed. A lost connection does not say that
// nothing was sent.
func retryExecute(err Error) bool {
	switch err.Details().Reason {
	case ReasonAllTargetsUnavailable, ReasonAllAttemptsRefused, ReasonSidecarOverloaded, ReasonDraining:
		return true
	default:
		return false
	}
}

// retryNever is for streams that watch: the caller decides where to resume.
func retryNever(Error) bool { return false }

// tries are those of one call, which share one deadline. It is pure: time and chance are given.
type tries struct {
	rule     retryRule
	maxCount int
	// deadline is when the call must have ended; zero for never.
	deadline time.Time
	random   func() float64
	// renewed tells whether there is another token than the one that was refused. The call is made again once for it,
	// which is not counted: the sidecar has not looked at the request.
	renewed func() bool

	made         int
	renewedCount int
}

func newTries(rule retryRule, maxCount int, deadline time.Time, renewed func() bool) *tries {
	return &tries{rule: rule, maxCount: maxCount, deadline: deadline, random: rand.Float64, renewed: renewed}
}

// after returns how long to wait before the next try, and false where there must not be one.
//
// What the sidecar asked for is the least; up to 20 % is added so that callers who were told the same do not come back
// together. Without its word: full jitter below 0.1 s · 2ⁿ, at most 2 s. A wait that would use up the deadline is not
// begun.
func (t *tries) after(err Error, now time.Time) (time.Duration, bool) {
	details := err.Details()
	if details.Code == codes.Unauthenticated && t.renewedCount == 0 && t.renewed() {
		t.renewedCount++
		return 0, true
	}
	if details.RetryForbidden || !t.rule(err) || t.made >= t.maxCount {
		return 0, false
	}
	var wait time.Duration
	if details.HasRetryAfter {
		wait = details.RetryAfter + time.Duration(float64(details.RetryAfter)*retryJitter*t.random())
	} else {
		wait = time.Duration(float64(min(retryMax, retryBase<<t.made)) * t.random())
	}
	if !t.deadline.IsZero() && !now.Add(wait).Before(t.deadline) {
		return 0, false
	}
	t.made++
	return wait, true
}
