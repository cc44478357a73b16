package turnout

import (
	"time"

	pb "turnout.dev/go/turnoutv1"
)

// maxWaits is for how many questions of others a caller waits: after that it asks, whoever else does.
const maxWaits = 2

// question is a Route that is to be made, or that waits for one. What is not fixed from the beginning is guarded by the
// planner's mutex, but for waitsFor and waitUntil, which are its caller's own.
type question struct {
	request *pb.RouteRequest
	key     planKey
	// endsAt is when its caller's time is over.
	endsAt       time.Time
	failureCount int
	fallsBack    bool
	// alone tells that all others go on with stale plans meanwhile.
	alone  bool
	untold bool
	// refused tells that it ended in an error, which is its caller's alone.
	refused bool
	// waitsFor is an equal question that somebody else asks, to be waited for until waitUntil at most; nil for none.
	waitsFor  *question
	waitUntil time.Time
	waits     int
	// ended is closed when it has ended, however it did.
	ended chan struct{}
}

// questions are those under way, by key: of equal ones at one time one caller asks, and the others wait for it. There are
// at most as many as there are callers who ask. It is pure, and not safe for several goroutines. Why the rules are these
// is decision 58, "Joined questions".
type questions map[planKey]*question

// join finds a question to wait for; where there is none, this one is what later callers wait for.
//
// A caller waits for half of the time that it has left, and for no question that may end before that: neither the silence
// nor the deadline of another takes its own chance from it.
func (q questions) join(asked *question, now time.Time) {
	other, waitedFor := q[asked.key], asked.waitsFor
	if waitedFor != nil && waitedFor.refused {
		asked.waits = maxWaits
	}
	until := now.Add(asked.endsAt.Sub(now) / 2)
	if other == nil || other == waitedFor || other.endsAt.Before(until) || asked.waits == maxWaits ||
		!tokensOf(asked.request.GetProfile()).noMoreThan(tokensOf(other.request.GetProfile())) {
		q.ask(asked)
		return
	}
	asked.waitsFor, asked.waitUntil = other, until
	asked.waits++
}

// ask takes a question that waits for no other; it is the one that later callers wait for.
func (q questions) ask(asked *question) {
	asked.waitsFor = nil
	q[asked.key] = asked
}

// end forgets a question, and lets go those who wait for it.
func (q questions) end(asked *question) {
	if q[asked.key] == asked {
		delete(q, asked.key)
	}
	close(asked.ended)
}
