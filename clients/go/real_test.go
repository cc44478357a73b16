package turnout_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	turnout "turnout.dev/go"
	"turnout.dev/go/internal/realsidecar"
	pb "turnout.dev/go/turnoutv1"
)

// patience bounds what must come in the end; nothing here is measured against it.
const patience = 60 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, address string, options ...turnout.Option) *turnout.Client {
	t.Helper()
	client, err := turnout.New(append([]turnout.Option{turnout.WithAddress(address)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func asked(text string) *pb.ChatInput {
	return &pb.ChatInput{Messages: []*pb.Message{turnout.UserMessage(text)}}
}

func TestRealSidecarAnswersAndStreams(t *testing.T) {
	world := realsidecar.Start(t)
	client := connect(t, world.Address)
	ctx := within(t)

	answer, err := client.Execute(ctx, &pb.ExecuteRequest{Input: asked("Hello")})
	if err != nil {
		t.Fatal(err)
	}
	if got := turnout.TargetName(answer.GetTarget()); got != "north/m" {
		t.Errorf("answered by %s", got)
	}
	stream := client.Stream(ctx, &pb.ExecuteStreamRequest{Input: asked("Hello")})
	text := ""
	for piece, err := range stream.Text(nil) {
		if err != nil {
			t.Fatal(err)
		}
		text += piece
	}
	whole, err := stream.Answer()
	if err != nil {
		t.Fatal(err)
	}
	if text == "" || text != turnout.Text(whole) || turnout.Text(answer) == "" {
		t.Errorf("streamed %q, gathered %q, answered %q", text, turnout.Text(whole), turnout.Text(answer))
	}
}

func TestRealSidecarSaysWhatIsWrongWithARequest(t *testing.T) {
	world := realsidecar.Start(t)
	client := connect(t, world.Address)

	_, err := client.Execute(within(t), &pb.ExecuteRequest{})

	var refused *turnout.RefusedError
	if !errors.As(err, &refused) || refused.Reason != turnout.ReasonInvalidRequest {
		t.Fatalf("got %v", err)
	}
	if len(refused.FieldViolations) != 1 || refused.FieldViolations[0].Field != "input.messages" {
		t.Errorf("got %v", refused.FieldViolations)
	}
}

func TestRealSidecarLearnsOfAPlansFailureBeforeTheNextPlan(t *testing.T) {
	world := realsidecar.Start(t)
	client := connect(t, world.Address)
	ctx := within(t)
	call := func(fails string) (*turnout.Plan, []string, error) {
		plan, err := client.Plan(ctx, &pb.RouteRequest{Profile: &pb.RequestProfile{Task: "chat"}})
		if err != nil {
			t.Fatal(err)
		}
		var called []string
		_, err = turnout.Do(ctx, plan, func(_ context.Context, attempt *turnout.Attempt) (bool, error) {
			called = append(called, attempt.Target())
			if attempt.Provider() == fails {
				limited := http.Header{"Retry-After": {"60"}}
				return false, &turnout.ProviderError{StatusCode: 429, Header: limited}
			}
			return true, nil
		})
		return plan, called, err
	}

	first, _, _ := call("")
	second, _, _ := call("")
	if first.Reused() || !second.Reused() {
		t.Fatalf("reused: %v, %v", first.Reused(), second.Reused())
	}
	_, called, err := call("north")
	if err != nil || len(called) != 2 || called[0] != "north/m" || called[1] != "south/m" {
		t.Fatalf("called %v: %v", called, err)
	}
	// A rate limit takes the target out at once: the next plan shows that the sidecar knew of it.
	next, called, err := call("")
	if err != nil || next.Reused() || called[0] != "south/m" {
		t.Fatalf("reused %v, called %v: %v", next.Reused(), called, err)
	}
	if err := client.Flush(ctx); err != nil || client.Unreported() != 0 {
		t.Errorf("%d unreported: %v", client.Unreported(), err)
	}
}

func TestPlansGoOnWhileTheSidecarIsAway(t *testing.T) {
	world := realsidecar.Start(t)
	client := connect(t, world.Address, turnout.WithFallback("south/m"))
	ctx := within(t)
	request := &pb.RouteRequest{Profile: &pb.RequestProfile{Task: "chat"}}
	call := func(request *pb.RouteRequest) *turnout.Plan {
		plan, err := client.Plan(ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		_, err = turnout.Do(ctx, plan, func(context.Context, *turnout.Attempt) (bool, error) { return true, nil })
		if err != nil {
			t.Fatal(err)
		}
		return plan
	}
	asked := call(request)
	// A sidecar has a second where there is something to fall back on, which a busy machine may need.
	for ; asked.Stale(); asked = call(request) {
		if !pauseUntil(ctx) {
			t.Fatal("plans of a running sidecar are stale")
		}
	}
	world.StopSidecar()

	other := &pb.RouteRequest{Profile: &pb.RequestProfile{Task: "planning"}}
	static := call(other)
	if !static.Stale() || turnout.TargetName(static.Candidates()[0].GetTarget()) != "south/m" {
		t.Errorf("stale %v: %v", static.Stale(), static.Candidates())
	}
	// Not an equal request, but the same task: the last plan is better than the static order.
	similar := &pb.RouteRequest{Profile: &pb.RequestProfile{Task: "chat"}, SessionId: "s"}
	last := call(similar)
	reason := last.StaleReason()
	if (reason != "UNREACHABLE" && reason != "DEADLINE") || last.DecisionID() != asked.DecisionID() {
		t.Errorf("stale %q, decision %s after %s", reason, last.DecisionID(), asked.DecisionID())
	}

	world.RestartSidecar()
	for plan := call(other); plan.Stale(); plan = call(other) {
		if !pauseUntil(ctx) {
			t.Fatal("the sidecar is back, and plans are still stale")
		}
	}
	if err := client.Flush(ctx); err != nil || client.Unreported() != 0 {
		t.Errorf("%d unreported: %v", client.Unreported(), err)
	}
}

// pauseUntil lets others have their turn while a condition is waited for.
func pauseUntil(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(50 * time.Millisecond):
		return true
	}
}
