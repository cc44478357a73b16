package turnout

import (
	"strings"

	pb "turnout.dev/go/turnoutv1"
)

// UserMessage returns a turn in which the user says text.
func UserMessage(text string) *pb.Message { return message(pb.Role_ROLE_USER, text) }

// SystemMessage returns a turn with instructions of the application.
func SystemMessage(text string) *pb.Message { return message(pb.Role_ROLE_SYSTEM, text) }

// AnswerMessage returns an answer as a turn for the next request, with the opaque state that providers want back
// unchanged.
func AnswerMessage(answer *pb.ExecuteResponse) *pb.Message {
	return &pb.Message{Role: pb.Role_ROLE_ASSISTANT, Parts: answer.GetOutput().GetParts()}
}

// ToolMessage returns a turn with what one tool returned for the call with this id.
func ToolMessage(toolCallID, text string) *pb.Message {
	result := &pb.ToolResult{ToolCallId: toolCallID, Content: []*pb.Part{textPart(text)}}
	return &pb.Message{
		Role:  pb.Role_ROLE_TOOL,
		Parts: []*pb.Part{{Content: &pb.Part_ToolResult{ToolResult: result}}},
	}
}

// Text returns all text of an answer, without thinking and tool calls.
func Text(answer *pb.ExecuteResponse) string {
	var text strings.Builder
	for _, part := range answer.GetOutput().GetParts() {
		text.WriteString(part.GetText())
	}
	return text.String()
}

// ToolCalls returns the tools that the model wants called, in order.
func ToolCalls(answer *pb.ExecuteResponse) []*pb.ToolCall {
	var calls []*pb.ToolCall
	for _, part := range answer.GetOutput().GetParts() {
		if call := part.GetToolCall(); call != nil {
			calls = append(calls, call)
		}
	}
	return calls
}

func message(role pb.Role, text string) *pb.Message {
	return &pb.Message{Role: role, Parts: []*pb.Part{textPart(text)}}
}

func textPart(text string) *pb.Part { return &pb.Part{Content: &pb.Part_Text{Text: text}} }
