package turnout

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"turnout.dev/go/internal/scripted"
	pb "turnout.dev/go/turnoutv1"
)

func attempt(id, provider string, hedge bool) *pb.ExecuteStreamResponse {
	return &pb.ExecuteStreamResponse{Event: &pb.ExecuteStreamResponse_Attempt{Attempt: &pb.AttemptStarted{
		AttemptId: id, Target: &pb.Target{Provider: provider, Model: "m"}, Hedge: hedge,
	}}}
}

func delta(piece *pb.Delta) *pb.ExecuteStreamResponse {
	return &pb.ExecuteStreamResponse{Event: &pb.ExecuteStreamResponse_Delta{Delta: piece}}
}

func gathered(t *testing.T, events ...*pb.ExecuteStreamResponse) *gatherer {
	t.Helper()
	g := newGatherer()
	for _, event := range events {
		if _, err := g.add(event); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func TestRestartVoidsTheDiscardedAttemptsPieces(t *testing.T) {
	g := gathered(t, attempt("a", "north", false), scripted.Text("a", "No"), scripted.Restart("a"),
		attempt("b", "south", false), scripted.Text("b", "Yes"))
	shown, err := g.add(scripted.Text("a", "late"))
	if shown || err != nil {
		t.Errorf("a late piece: %v, %v", shown, err)
	}
	if g.text() != "Yes" || g.target.GetProvider() != "south" || !g.hasContent {
		t.Errorf("got %q of %v", g.text(), g.target)
	}
}

func TestPartsAreGatheredByKind(t *testing.T) {
	call := func(id, name, arguments string) *pb.Delta_ToolCall {
		return &pb.Delta_ToolCall{ToolCall: &pb.ToolCallDelta{Id: id, Name: name, ArgumentsFragment: arguments}}
	}
	thought := func(text string, hidden []byte) *pb.Delta_Reasoning {
		return &pb.Delta_Reasoning{Reasoning: &pb.Reasoning{Text: text, RedactedData: hidden}}
	}
	g := gathered(t,
		delta(&pb.Delta{PartIndex: 2, Content: call("c1", "look", `{"a"`)}),
		delta(&pb.Delta{PartIndex: 0, Content: thought("hm", []byte{1})}),
		delta(&pb.Delta{PartIndex: 0, Content: &pb.Delta_Signature{Signature: "si"}}),
		delta(&pb.Delta{PartIndex: 1, Content: &pb.Delta_Text{Text: "Hel"}}),
		delta(&pb.Delta{PartIndex: 2, Content: call("", "", `:1}`)}),
		delta(&pb.Delta{PartIndex: 0, Content: &pb.Delta_Signature{Signature: "gn"}}),
		delta(&pb.Delta{PartIndex: 0, Content: thought("!", []byte{2})}),
		delta(&pb.Delta{PartIndex: 1, Content: &pb.Delta_Text{Text: "lo"}}),
		delta(&pb.Delta{PartIndex: 3, Content: &pb.Delta_Signature{Signature: "alone"}}),
		delta(&pb.Delta{PartIndex: 1}),
		&pb.ExecuteStreamResponse{},
		scripted.Completion())
	want := []*pb.Part{
		{
			Content:   &pb.Part_Reasoning{Reasoning: &pb.Reasoning{Text: "hm!", RedactedData: []byte{1, 2}}},
			Signature: "sign", OriginProvider: "north",
		},
		{Content: &pb.Part_Text{Text: "Hello"}},
		{Content: &pb.Part_ToolCall{ToolCall: &pb.ToolCall{Id: "c1", Name: "look", ArgumentsJson: `{"a":1}`}}},
		{Content: &pb.Part_Reasoning{Reasoning: &pb.Reasoning{}}, Signature: "alone", OriginProvider: "north"},
	}
	answer := g.answer()
	if len(answer.GetOutput().GetParts()) != len(want) {
		t.Fatalf("got %v", answer.GetOutput().GetParts())
	}
	for place, part := range answer.GetOutput().GetParts() {
		if !proto.Equal(part, want[place]) {
			t.Errorf("part %d: got %v, want %v", place, part, want[place])
		}
	}
	if Text(answer) != "Hello" || ToolCalls(answer)[0].GetName() != "look" {
		t.Errorf("got %q, %v", Text(answer), ToolCalls(answer))
	}
}

func TestWhatTheContractDoesNotAllowIsAnError(t *testing.T) {
	for says, events := range map[string][]*pb.ExecuteStreamResponse{
		"after its completion":      {scripted.Completion(), scripted.Text("a", "x")},
		"two attempts":              {scripted.Text("a", "x"), scripted.Text("b", "y")},
		"began as text and went on": {scripted.Text("a", "x"), delta(&pb.Delta{AttemptId: "a", Content: &pb.Delta_Reasoning{}})},
	} {
		g := newGatherer()
		_, first := g.add(events[0])
		_, second := g.add(events[1])
		if first != nil || second == nil || !strings.Contains(second.Error(), says) {
			t.Errorf("%s: %v, %v", says, first, second)
		}
	}
}

func TestOfAHedgedPairTheFirstPieceTellsWhoAnswers(t *testing.T) {
	g := gathered(t, attempt("a", "north", false), attempt("b", "south", true))
	if g.target.GetProvider() != "north" {
		t.Errorf("got %v", g.target)
	}
	if _, err := g.add(scripted.Text("b", "x")); err != nil || g.target.GetProvider() != "south" {
		t.Errorf("got %v, %v", g.target, err)
	}
}
