package turnout

import (
	"container/list"
	"crypto/sha256"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"

	pb "turnout.dev/go/turnoutv1"
)

const (
	// maxPlans bounds the plans kept, and beside them the last plans for the time when the sidecar is away.
	maxPlans = 256
	// maxFailedTargets bounds the targets of which a failure is remembered.
	maxFailedTargets = 1024
	// failureMemory is how long a failed target goes last in a stale plan.
	failureMemory = 30 * time.Second
)

// planKey stands for all that a request asks but its id and its tokens: requests of one key may share a plan.
type planKey [sha256.Size]byte

// keyOf returns the key of a request.
func keyOf(request *pb.RouteRequest) planKey {
	rest := proto.CloneOf(request)
	rest.RequestId = ""
	if rest.Profile != nil {
		rest.Profile.InputTokens, rest.Profile.MaxOutputTokens = nil, nil
		if proto.Size(rest.Profile) == 0 {
			// A profile that says nothing is as good as none.
			rest.Profile = nil
		}
	}
	// A message that came in as one can be written as one: there is no error but for text that is not UTF-8, which the
	// sidecar would not take either.
	encoded, _ := proto.MarshalOptions{Deterministic: true}.Marshal(rest)
	return sha256.Sum256(encoded)
}

// keptPlan is a decision that further requests may follow.
type keptPlan struct {
	decision *pb.Decision
	// tokens are what the plan was asked with.
	tokens tokens
	// until is when it must not be followed any more.
	until time.Time
}

// tokens are those that a request states; nil for unknown.
type tokens struct{ input, output *int64 }

func tokensOf(profile *pb.RequestProfile) tokens {
	if profile == nil {
		return tokens{}
	}
	return tokens{profile.InputTokens, profile.MaxOutputTokens}
}

// noMoreThan tells whether a plan that was asked for with the tokens had serves a request of these.
func (t tokens) noMoreThan(had tokens) bool {
	return noMore(t.input, had.input) && noMore(t.output, had.output)
}

// noMore tells whether asked is surely no more than had; an unknown number is so only for an unknown number.
func noMore(asked, had *int64) bool {
	if asked == nil || had == nil {
		return asked == had
	}
	return *asked <= *had
}

// planCache keeps plans. It is pure: time and chance are given, and it is not safe for several goroutines.
type planCache struct {
	random func() float64
	kept   *recent[planKey, *keptPlan]
	// last are the last decisions, however old, for the time when the sidecar is away.
	last     *recent[planKey, lastPlan]
	failures *recent[string, seenFailure]
	// failureCount is how many failures there were so far: what is asked at one count and answered at another met some.
	failureCount int
}

// lastPlan is a decision and whose it was.
type lastPlan struct {
	decision     *pb.Decision
	task, tenant string
}

// seenFailure is the last failure of a target.
type seenFailure struct {
	number int
	at     time.Time
}

func newPlanCache(random func() float64) *planCache {
	return &planCache{
		random:   random,
		kept:     newRecent[planKey, *keptPlan](maxPlans),
		last:     newRecent[planKey, lastPlan](maxPlans),
		failures: newRecent[string, seenFailure](maxFailedTargets),
	}
}

// reuse returns a kept decision for a request with its candidates in the order to call them; nil where the sidecar must
// be asked.
func (c *planCache) reuse(key planKey, profile *pb.RequestProfile, now time.Time) (*pb.Decision, []*pb.Candidate) {
	kept, found := c.kept.get(key)
	if !found {
		return nil, nil
	}
	if !now.Before(kept.until) {
		c.kept.drop(key)
		return nil, nil
	}
	if !tokensOf(profile).noMoreThan(kept.tokens) {
		return nil, nil
	}
	return kept.decision, c.drawn(kept.decision.GetCandidates())
}

// keep takes the answer to a request that was sent at sentAt, when there had been so many failures. Where one of its
// candidates has failed since, it was made without knowing that, and serves this once.
func (c *planCache) keep(
	key planKey, request *pb.RouteRequest, decision *pb.Decision, sentAt time.Time, failureCount int,
) {
	c.kept.drop(key)
	if !mayServeAgain(decision) {
		return
	}
	for _, candidate := range decision.GetCandidates() {
		if seen, known := c.failures.peek(TargetName(candidate.GetTarget())); known && seen.number > failureCount {
			return
		}
	}
	c.kept.put(key, &keptPlan{
		decision: withoutProbes(decision),
		tokens:   tokensOf(request.GetProfile()),
		until:    sentAt.Add(decision.GetValidFor().AsDuration()),
	})
}

// servedOnce tells whether the last answer to such a request was for its asker alone.
func (c *planCache) servedOnce(key planKey) bool {
	last, found := c.last.peek(key)
	return found && !mayServeAgain(last.decision)
}

// mayServeAgain tells whether the sidecar lets a decision serve further requests.
func mayServeAgain(decision *pb.Decision) bool {
	return decision.GetReusable() && decision.GetValidFor().AsDuration() > 0
}

// remember takes a decision for the time when the sidecar is away.
func (c *planCache) remember(key planKey, request *pb.RouteRequest, decision *pb.Decision) {
	c.last.put(key, lastPlan{
		decision: withoutProbes(decision),
		task:     request.GetProfile().GetTask(),
		tenant:   request.GetCaller().GetTenant(),
	})
}

// failed notes a failure that speaks against a target: every kept plan in which it is a candidate is dropped.
func (c *planCache) failed(target *pb.Target, now time.Time) {
	name := TargetName(target)
	c.failureCount++
	c.failures.put(name, seenFailure{number: c.failureCount, at: now})
	c.kept.dropWhere(func(kept *keptPlan) bool {
		for _, candidate := range kept.decision.GetCandidates() {
			if TargetName(candidate.GetTarget()) == name {
				return true
			}
		}
		return false
	})
}

// stale returns what to follow while the sidecar is away: the last decision for an equal request, else the newest for
// the same task and tenant; nil where there is neither. A decision for another request was not made under this one's
// limits: candidates that its names and regions rule out are left out.
func (c *planCache) stale(key planKey, request *pb.RouteRequest) (*pb.Decision, []*pb.Candidate) {
	if last, found := c.last.get(key); found {
		return last.decision, last.decision.GetCandidates()
	}
	task, tenant := request.GetProfile().GetTask(), request.GetCaller().GetTenant()
	for last := range c.last.values() {
		if last.task != task || last.tenant != tenant {
			continue
		}
		if candidates := allowed(last.decision.GetCandidates(), request.GetOptions()); len(candidates) > 0 {
			return last.decision, candidates
		}
	}
	return nil, nil
}

// failedLast returns candidates with those last that failed within the last 30 s; the order is kept otherwise.
func (c *planCache) failedLast(candidates []*pb.Candidate, now time.Time) []*pb.Candidate {
	order := make([]*pb.Candidate, 0, len(candidates))
	var failed []*pb.Candidate
	for _, candidate := range candidates {
		seen, known := c.failures.peek(TargetName(candidate.GetTarget()))
		if known && now.Sub(seen.at) < failureMemory {
			failed = append(failed, candidate)
		} else {
			order = append(order, candidate)
		}
	}
	return append(order, failed...)
}

// drawn returns candidates with the first drawn by their shares, the others in the plan's order behind it.
func (c *planCache) drawn(candidates []*pb.Candidate) []*pb.Candidate {
	order := make([]*pb.Candidate, 0, len(candidates))
	first := drawByShare(candidates, c.random)
	order = append(order, candidates[first])
	order = append(order, candidates[:first]...)
	return append(order, candidates[first+1:]...)
}

// drawByShare returns the place of the candidate to call first; the first where no share says otherwise.
func drawByShare(candidates []*pb.Candidate, random func() float64) int {
	total := 0.0
	for _, candidate := range candidates {
		total += max(0, candidate.GetShare())
	}
	if total <= 0 {
		return 0
	}
	drawn, last := random()*total, 0
	for place, candidate := range candidates {
		share := max(0, candidate.GetShare())
		if share == 0 {
			continue
		}
		if drawn < share {
			return place
		}
		drawn -= share
		last = place
	}
	// Only rounding comes here.
	return last
}

// withoutProbes returns a decision whose candidates hold no probe: a half-open target's trial is one call's alone.
func withoutProbes(decision *pb.Decision) *pb.Decision {
	for _, candidate := range decision.GetCandidates() {
		if candidate.GetProbe() != nil {
			copied := proto.CloneOf(decision)
			for _, candidate := range copied.GetCandidates() {
				candidate.Probe = nil
			}
			return copied
		}
	}
	return decision
}

// recent is a map that forgets what was used the longest ago.
type recent[K comparable, V any] struct {
	max     int
	entries map[K]*list.Element
	order   *list.List
}

type recentEntry[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](most int) *recent[K, V] {
	return &recent[K, V]{max: most, entries: map[K]*list.Element{}, order: list.New()}
}

func (r *recent[K, V]) get(key K) (V, bool) {
	element, found := r.entries[key]
	if !found {
		var none V
		return none, false
	}
	r.order.MoveToFront(element)
	return entryOf[K, V](element).value, true
}

// peek is get without counting as a use.
func (r *recent[K, V]) peek(key K) (V, bool) {
	element, found := r.entries[key]
	if !found {
		var none V
		return none, false
	}
	return entryOf[K, V](element).value, true
}

// values yields the values, the one used last first.
func (r *recent[K, V]) values() iter.Seq[V] {
	return func(yield func(V) bool) {
		for element := r.order.Front(); element != nil; element = element.Next() {
			if !yield(entryOf[K, V](element).value) {
				return
			}
		}
	}
}

func (r *recent[K, V]) put(key K, value V) {
	if element, found := r.entries[key]; found {
		entryOf[K, V](element).value = value
		r.order.MoveToFront(element)
		return
	}
	r.entries[key] = r.order.PushFront(&recentEntry[K, V]{key: key, value: value})
	if len(r.entries) > r.max {
		r.drop(entryOf[K, V](r.order.Back()).key)
	}
}

func (r *recent[K, V]) drop(key K) {
	if element, found := r.entries[key]; found {
		r.order.Remove(element)
		delete(r.entries, key)
	}
}

func (r *recent[K, V]) dropWhere(match func(V) bool) {
	for key, element := range r.entries {
		if match(entryOf[K, V](element).value) {
			r.drop(key)
		}
	}
}

func entryOf[K comparable, V any](element *list.Element) *recentEntry[K, V] {
	return element.Value.(*recentEntry[K, V])
}
