package turnout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"turnout.dev/go/internal/scripted"
	pb "turnout.dev/go/turnoutv1"
)

var epoch = time.Unix(1_000_000, 0)

func testCache(random func() float64) *planCache {
	if random == nil {
		random = func() float64 { return 0 }
	}
	return newPlanCache(random)
}

func forTask(task string) *pb.RouteRequest {
	return &pb.RouteRequest{Profile: &pb.RequestProfile{Task: task}}
}

func ofTokens(input, output *int64) *pb.RouteRequest {
	return &pb.RouteRequest{Profile: &pb.RequestProfile{InputTokens: input, MaxOutputTokens: output}}
}

func targetsOf(candidates []*pb.Candidate) []string {
	var names []string
	for _, candidate := range candidates {
		names = append(names, candidate.GetTarget().GetProvider())
	}
	return names
}

func (c *planCache) keepNow(request *pb.RouteRequest, decision *pb.Decision) {
	c.keep(keyOf(request), request, decision, epoch, c.failureCount)
	c.remember(keyOf(request), request, decision)
}

func (c *planCache) uses(request *pb.RouteRequest, now time.Time) bool {
	decision, _ := c.reuse(keyOf(request), request.GetProfile(), now)
	return decision != nil
}

// TestKeyIsEverythingButIDAndTokens walks the contract, so that a field that is added there is looked at here.
func TestKeyIsEverythingButIDAndTokens(t *testing.T) {
	empty := keyOf(&pb.RouteRequest{})
	request := (&pb.RouteRequest{}).ProtoReflect().Descriptor().Fields()
	for place := range request.Len() {
		field := request.Get(place)
		if field.Message() == nil {
			changed := &pb.RouteRequest{}
			set(changed.ProtoReflect(), field)
			if (keyOf(changed) != empty) == (field.Name() == "request_id") {
				t.Errorf("%s", field.FullName())
			}
			continue
		}
		inner := field.Message().Fields()
		for place := range inner.Len() {
			changed := &pb.RouteRequest{}
			set(changed.ProtoReflect().Mutable(field).Message(), inner.Get(place))
			name := inner.Get(place).FullName()
			leftOut := name == "turnout.v1.RequestProfile.input_tokens" || name == "turnout.v1.RequestProfile.max_output_tokens"
			if (keyOf(changed) != empty) == leftOut {
				t.Errorf("%s", name)
			}
		}
	}
	request1 := &pb.RouteRequest{Caller: &pb.Caller{Labels: map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"}}}
	for range 20 {
		if keyOf(request1) != keyOf(proto.CloneOf(request1)) {
			t.Fatal("equal requests have different keys")
		}
	}
}

// set gives a field some value that is not its default.
func set(message protoreflect.Message, field protoreflect.FieldDescriptor) {
	switch {
	case field.IsMap():
		message.Mutable(field).Map().Set(
			protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString("v"))
	case field.IsList() && field.Kind() == protoreflect.EnumKind:
		message.Mutable(field).List().Append(protoreflect.ValueOfEnum(1))
	case field.IsList():
		message.Mutable(field).List().Append(protoreflect.ValueOfString("x"))
	case field.Message() != nil:
		message.Mutable(field)
	case field.Kind() == protoreflect.EnumKind:
		message.Set(field, protoreflect.ValueOfEnum(1))
	case field.Kind() == protoreflect.StringKind:
		message.Set(field, protoreflect.ValueOfString("x"))
	case field.Kind() == protoreflect.DoubleKind:
		message.Set(field, protoreflect.ValueOfFloat64(1))
	case field.Kind() == protoreflect.BoolKind:
		message.Set(field, protoreflect.ValueOfBool(true))
	case field.Kind() == protoreflect.Int32Kind:
		message.Set(field, protoreflect.ValueOfInt32(1))
	default:
		message.Set(field, protoreflect.ValueOfInt64(1))
	}
}

func TestPlanServesRequestsOfNoMoreTokens(t *testing.T) {
	five, six := int64(5), int64(6)
	for _, row := range []struct {
		asked, wants *pb.RouteRequest
		serves       bool
	}{
		{ofTokens(&six, &six), ofTokens(&six, &six), true},
		{ofTokens(&six, &six), ofTokens(&five, &six), true},
		{ofTokens(&five, &six), ofTokens(&six, &six), false},
		{ofTokens(&six, &five), ofTokens(&six, &six), false},
		{ofTokens(&six, nil), ofTokens(&six, nil), true},
		{ofTokens(&six, &six), ofTokens(&six, nil), false},
		{ofTokens(nil, &six), ofTokens(&six, &six), false},
		{&pb.RouteRequest{}, &pb.RouteRequest{Profile: &pb.RequestProfile{}}, true},
	} {
		cache := testCache(nil)
		cache.keepNow(row.asked, scripted.Plan("d", "a").GetDecision())
		if got := cache.uses(row.wants, epoch); got != row.serves {
			t.Errorf("asked with %v, wants %v: %v", row.asked, row.wants, got)
		}
	}
}

func TestPlanIsKeptWhileItIsReusableAndValid(t *testing.T) {
	request, decision := forTask("chat"), scripted.Plan("d", "a").GetDecision()
	cache := testCache(nil)
	cache.keepNow(request, decision)
	if !cache.uses(request, epoch.Add(time.Minute-1)) || cache.uses(request, epoch.Add(time.Minute)) {
		t.Error("it is valid for a minute from the moment it was asked for")
	}
	if cache.uses(request, epoch) {
		t.Error("what has run out stays dropped")
	}
	for _, change := range []func(*pb.Decision){
		func(d *pb.Decision) { d.Reusable = false },
		func(d *pb.Decision) { d.ValidFor = nil },
		func(d *pb.Decision) { d.ValidFor = durationpb.New(0) },
	} {
		cache.keepNow(request, decision)
		changed := proto.CloneOf(decision)
		change(changed)
		cache.keepNow(request, changed)
		if cache.uses(request, epoch) {
			t.Errorf("used again: %v", changed)
		}
	}
}

func TestLeastRecentlyUsedPlanGoes(t *testing.T) {
	cache := testCache(nil)
	for number := range maxPlans {
		cache.keepNow(forTask(fmt.Sprint(number)), scripted.Plan("d", "a").GetDecision())
	}
	if !cache.uses(forTask("0"), epoch) {
		t.Fatal("the first is not kept")
	}
	cache.keepNow(forTask("one more"), scripted.Plan("d", "a").GetDecision())
	if !cache.uses(forTask("0"), epoch) || cache.uses(forTask("1"), epoch) || !cache.uses(forTask("2"), epoch) {
		t.Error("another than the least recently used one went")
	}
	if len(cache.kept.entries) != maxPlans || cache.kept.order.Len() != maxPlans || len(cache.last.entries) != maxPlans {
		t.Errorf("%d kept, %d last", len(cache.kept.entries), len(cache.last.entries))
	}
}

func TestFirstTargetIsDrawnByShare(t *testing.T) {
	decision := scripted.Plan("d", "a", "b", "c").GetDecision()
	decision.Candidates[0].Share, decision.Candidates[1].Share, decision.Candidates[2].Share = 0.1, 0, 0.3
	for random, want := range map[float64][]string{
		0: {"a", "b", "c"}, 0.24: {"a", "b", "c"}, 0.26: {"c", "a", "b"}, 0.9999999: {"c", "a", "b"}, 1: {"c", "a", "b"},
	} {
		cache := testCache(func() float64 { return random })
		if got := targetsOf(cache.drawn(decision.GetCandidates())); !slices.Equal(got, want) {
			t.Errorf("drawn %v: %v, want %v", random, got, want)
		}
	}
	for _, candidate := range decision.GetCandidates() {
		candidate.Share = 0
	}
	drawn := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		cache := testCache(drawn.Float64)
		if got := targetsOf(cache.drawn(decision.GetCandidates())); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Fatalf("without shares: %v", got)
		}
	}
}

func TestFailureDropsEveryPlanWithThatTarget(t *testing.T) {
	cache := testCache(nil)
	cache.keepNow(forTask("one"), scripted.Plan("d1", "a", "b").GetDecision())
	cache.keepNow(forTask("two"), scripted.Plan("d2", "b").GetDecision())
	cache.keepNow(forTask("three"), scripted.Plan("d3", "c").GetDecision())
	cache.failed(&pb.Target{Provider: "b", Model: "m"}, epoch)
	if cache.uses(forTask("one"), epoch) || cache.uses(forTask("two"), epoch) || !cache.uses(forTask("three"), epoch) {
		t.Error("a plan with the target is kept, or one without it dropped")
	}
}

func TestAnswerThatWasAskedForBeforeAFailureIsNotKept(t *testing.T) {
	cache, request := testCache(nil), forTask("chat")
	asked := cache.failureCount
	cache.failed(&pb.Target{Provider: "a", Model: "m"}, epoch)
	cache.keep(keyOf(request), request, scripted.Plan("d", "a", "b").GetDecision(), epoch, asked)
	if cache.uses(request, epoch) {
		t.Error("the sidecar did not know of the failure")
	}
	cache.keep(keyOf(request), request, scripted.Plan("d", "c").GetDecision(), epoch, asked)
	if !cache.uses(request, epoch) {
		t.Error("the failure was another target's")
	}
	cache.keep(keyOf(request), request, scripted.Plan("d", "a").GetDecision(), epoch, cache.failureCount)
	if !cache.uses(request, epoch) {
		t.Error("the sidecar knew of the failure")
	}
}

func TestStalePlanIsThatOfTheKeyElseOfTheTaskAndTenant(t *testing.T) {
	cache := testCache(nil)
	mine := &pb.RouteRequest{Profile: &pb.RequestProfile{Task: "chat"}, SessionId: "s"}
	cache.keepNow(forTask("chat"), scripted.Plan("older", "a").GetDecision())
	cache.keepNow(mine, scripted.Plan("mine", "b").GetDecision())
	cache.keepNow(forTask("planning"), scripted.Plan("planning", "c").GetDecision())
	of := func(request *pb.RouteRequest) string {
		decision, _ := cache.stale(keyOf(request), request)
		return decision.GetDecisionId()
	}
	if got := of(forTask("chat")); got != "older" {
		t.Errorf("got %q", got)
	}
	other := &pb.RouteRequest{Profile: &pb.RequestProfile{Task: "planning"}, SessionId: "t"}
	if got := of(other); got != "planning" {
		t.Errorf("got %q", got)
	}
	other.Caller = &pb.Caller{Tenant: "blue"}
	if got := of(other); got != "" {
		t.Errorf("another tenant's plan: %q", got)
	}
	other = &pb.RouteRequest{
		Profile: &pb.RequestProfile{Task: "planning"}, Options: &pb.RoutingOptions{Exclude: []string{"c/m"}},
	}
	if got := of(other); got != "" {
		t.Errorf("a plan of what the request excludes: %q", got)
	}
	if got := of(forTask("else")); got != "" {
		t.Errorf("another task's plan: %q", got)
	}
}

func TestLimitsThatAClientCanHoldAreHeldInAnothersPlan(t *testing.T) {
	candidate := &pb.Candidate{Target: &pb.Target{Provider: "p", Model: "m", Endpoint: "e"}, Region: "eu"}
	for _, row := range []struct {
		options *pb.RoutingOptions
		allowed bool
	}{
		{nil, true},
		{&pb.RoutingOptions{ForceTarget: "p/m"}, true},
		{&pb.RoutingOptions{ForceTarget: "p/n"}, false},
		{&pb.RoutingOptions{Include: []string{"q", "p/m@e"}}, true},
		{&pb.RoutingOptions{Include: []string{"p/m@f"}}, false},
		{&pb.RoutingOptions{Include: []string{"p"}, Exclude: []string{"p"}}, false},
		{&pb.RoutingOptions{Regions: []string{"us", "eu"}}, true},
		{&pb.RoutingOptions{Regions: []string{"us"}}, false},
	} {
		if got := isAllowed(candidate, row.options); got != row.allowed {
			t.Errorf("%v: %v", row.options, got)
		}
	}
}

func TestTargetsThatFailedLatelyGoLast(t *testing.T) {
	cache := testCache(nil)
	candidates := scripted.Plan("d", "a", "b", "c").GetDecision().GetCandidates()
	cache.failed(candidates[0].GetTarget(), epoch)
	cache.failed(candidates[1].GetTarget(), epoch.Add(time.Second))
	for after, want := range map[time.Duration][]string{
		2 * time.Second: {"c", "a", "b"}, 30 * time.Second: {"a", "c", "b"}, 31 * time.Second: {"a", "b", "c"},
	} {
		if got := targetsOf(cache.failedLast(candidates, epoch.Add(after))); !slices.Equal(got, want) {
			t.Errorf("after %v: %v", after, got)
		}
	}
}

func TestProbesAreOneCallsAlone(t *testing.T) {
	cache, request := testCache(nil), forTask("chat")
	decision := scripted.Plan("d", "a").GetDecision()
	decision.Candidates[0].Probe = &pb.Probe{ProbeId: "p"}
	cache.keepNow(request, decision)
	_, again := cache.reuse(keyOf(request), request.GetProfile(), epoch)
	stale, _ := cache.stale(keyOf(request), request)
	if again[0].GetProbe() != nil || stale.GetCandidates()[0].GetProbe() != nil {
		t.Error("a probe is used twice")
	}
	if decision.Candidates[0].GetProbe().GetProbeId() != "p" {
		t.Error("the sidecar's answer was changed")
	}
}
