package turnout

import (
	"maps"
	"slices"
	"strings"

	pb "turnout.dev/go/turnoutv1"
)

// gatherer puts the events of one stream together: what was decided, what has come, whether it is complete. It is pure,
// and the only place that knows what a Restart undoes.
type gatherer struct {
	decision   *pb.Decision
	completion *pb.Completion
	failure    *pb.CallFailure
	// hasContent tells whether any content came, even if it was discarded since: then a stream is never made again.
	hasContent bool

	target    *pb.Target
	attemptID string
	// targets and discarded go by attempt id; a call has only a few attempts.
	targets   map[string]*pb.Target
	discarded map[string]bool
	parts     map[int32]*partGatherer
}

func newGatherer() *gatherer {
	return &gatherer{
		targets: map[string]*pb.Target{}, discarded: map[string]bool{}, parts: map[int32]*partGatherer{},
	}
}

// add takes one event and tells whether the caller should see it: a late piece of a discarded attempt, a failure (the
// error that follows tells it) and a kind of a newer contract are left out.
func (g *gatherer) add(event *pb.ExecuteStreamResponse) (bool, *ContractError) {
	if g.completion != nil {
		return false, contract("the stream went on after its completion")
	}
	switch event := event.GetEvent().(type) {
	case *pb.ExecuteStreamResponse_Decision:
		g.decision = event.Decision
	case *pb.ExecuteStreamResponse_Attempt:
		g.targets[event.Attempt.GetAttemptId()] = event.Attempt.GetTarget()
		// Beside another one: which of the two answers is told by the first piece.
		if !event.Attempt.GetHedge() {
			g.target = event.Attempt.GetTarget()
		}
	case *pb.ExecuteStreamResponse_Delta:
		return g.addDelta(event.Delta)
	case *pb.ExecuteStreamResponse_Restart:
		g.restart(event.Restart.GetDiscardedAttemptId())
	case *pb.ExecuteStreamResponse_Completion:
		g.completion = event.Completion
	case *pb.ExecuteStreamResponse_Failure:
		g.failure = event.Failure
		return false, nil
	default:
		return false, nil
	}
	return true, nil
}

func (g *gatherer) addDelta(delta *pb.Delta) (bool, *ContractError) {
	id := delta.GetAttemptId()
	if g.discarded[id] {
		return false, nil
	}
	if id != g.attemptID {
		if len(g.parts) > 0 {
			return false, contract("pieces of two attempts came without a restart between them")
		}
		g.attemptID = id
		if target, known := g.targets[id]; known {
			g.target = target
		}
	}
	g.hasContent = true
	part, begun := g.parts[delta.GetPartIndex()]
	if !begun {
		part = &partGatherer{}
		g.parts[delta.GetPartIndex()] = part
	}
	return true, part.add(delta)
}

func (g *gatherer) restart(discarded string) {
	g.discarded[discarded] = true
	if discarded == g.attemptID {
		clear(g.parts)
		g.attemptID = ""
	}
}

// text returns the text so far of the attempt that counts.
func (g *gatherer) text() string {
	var text strings.Builder
	for _, index := range g.order() {
		if part := g.parts[index]; part.kind == kindText {
			text.WriteString(part.body.String())
		}
	}
	return text.String()
}

// content returns the parts so far of the attempt that counts.
func (g *gatherer) content(provider string) []*pb.Part {
	var parts []*pb.Part
	for _, index := range g.order() {
		parts = append(parts, g.parts[index].part(provider))
	}
	return parts
}

func (g *gatherer) order() []int32 { return slices.Sorted(maps.Keys(g.parts)) }

// answer returns the complete answer as Execute would have; g.completion must be there.
func (g *gatherer) answer() *pb.ExecuteResponse {
	done := g.completion
	return &pb.ExecuteResponse{
		Output: &pb.ChatOutput{
			Parts:        g.content(done.GetTarget().GetProvider()),
			FinishReason: done.GetFinishReason(),
			Model:        done.GetModel(),
			ResponseId:   done.GetResponseId(),
		},
		Target:   done.GetTarget(),
		Usage:    done.GetUsage(),
		CostUsd:  done.CostUsd,
		Decision: g.decision,
		Attempts: done.GetAttempts(),
		Cached:   done.GetCached(),
		Notices:  done.GetNotices(),
		Joined:   done.GetJoined(),
	}
}

type partKind string

const (
	kindNone      partKind = ""
	kindText      partKind = "text"
	kindToolCall  partKind = "tool_call"
	kindReasoning partKind = "reasoning"
)

// partGatherer is one part of the answer as it grows; its kind is that of its first piece of content.
type partGatherer struct {
	kind      partKind
	body      strings.Builder
	redacted  []byte
	signature strings.Builder
	callID    string
	callName  string
}

func (p *partGatherer) add(delta *pb.Delta) *ContractError {
	kind := kindNone
	switch delta.GetContent().(type) {
	case *pb.Delta_Text:
		kind = kindText
	case *pb.Delta_ToolCall:
		kind = kindToolCall
	case *pb.Delta_Reasoning:
		kind = kindReasoning
	case *pb.Delta_Signature:
		p.signature.WriteString(delta.GetSignature())
		return nil
	default:
		// A kind of a newer contract: receivers skip what they do not know.
		return nil
	}
	if p.kind != kindNone && p.kind != kind {
		return contract("part %d of the answer began as %s and went on as %s", delta.GetPartIndex(), p.kind, kind)
	}
	p.kind = kind
	switch kind {
	case kindText:
		p.body.WriteString(delta.GetText())
	case kindReasoning:
		p.body.WriteString(delta.GetReasoning().GetText())
		p.redacted = append(p.redacted, delta.GetReasoning().GetRedactedData()...)
	default:
		p.callID = firstOf(p.callID, delta.GetToolCall().GetId())
		p.callName = firstOf(p.callName, delta.GetToolCall().GetName())
		p.body.WriteString(delta.GetToolCall().GetArgumentsFragment())
	}
	return nil
}

// part returns the part; opaque state is marked with the provider that it must go back to.
func (p *partGatherer) part(provider string) *pb.Part {
	part := &pb.Part{Signature: p.signature.String()}
	switch p.kind {
	case kindText:
		part.Content = &pb.Part_Text{Text: p.body.String()}
	case kindToolCall:
		part.Content = &pb.Part_ToolCall{ToolCall: &pb.ToolCall{
			Id: p.callID, Name: p.callName, ArgumentsJson: p.body.String(),
		}}
	default:
		// A signature alone is thinking that the provider does not show.
		part.Content = &pb.Part_Reasoning{Reasoning: &pb.Reasoning{Text: p.body.String(), RedactedData: p.redacted}}
	}
	if part.GetSignature() != "" || len(p.redacted) > 0 {
		part.OriginProvider = provider
	}
	return part
}
