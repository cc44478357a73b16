package turnout

import (
	"context"
	"io"
	"iter"

	"google.golang.org/grpc"

	pb "turnout.dev/go/turnoutv1"
)

// Stream is an answer while it comes. Read it in one of three ways: event by event with [Stream.Recv] or
// [Stream.Events], the text with [Stream.Text], or whole with [Stream.Answer], which reads on to the end. It ends with a
// complete answer or with an error: a cut stream never looks like a short answer. After an error PartialText and
// PartialParts of its details hold what had come.
//
// [Stream.Close] ends the call early, and the provider's call with it. One goroutine reads; any may close.
type Stream struct {
	open   func(context.Context) (grpc.ServerStreamingClient[pb.ExecuteStreamResponse], error)
	call   *call
	stream grpc.ServerStreamingClient[pb.ExecuteStreamResponse]
	gather *gatherer
	// end is what the stream ended with: io.EOF after a complete answer.
	end error
	// restarts counts how often the answer began again.
	restarts int
}

// Stream does the same as [Client.Execute] and passes the answer on while it comes. The call begins with the first event
// that is read, and ends with the context. Without another timeout it is given 1,800 s. It is made again by itself only
// before the first content, and only where the sidecar says that nothing can have been billed.
func (c *Client) Stream(ctx context.Context, request *pb.ExecuteStreamRequest, options ...CallOption) *Stream {
	stream := &Stream{gather: newGatherer()}
	stream.call, stream.end = c.begin(ctx, rpcExecuteStream, options)
	stream.open = func(try context.Context) (grpc.ServerStreamingClient[pb.ExecuteStreamResponse], error) {
		return c.stub.ExecuteStream(try, request)
	}
	return stream
}

// Recv returns the next event. After the completion of the answer it returns io.EOF, after anything else an [Error].
// Late pieces of a discarded attempt are left out, and a failure is told by the error that follows it.
func (s *Stream) Recv() (*pb.ExecuteStreamResponse, error) {
	for s.end == nil {
		event, err := s.next()
		if err != nil {
			s.end = err
			break
		}
		shown, breach := s.gather.add(event)
		if breach != nil {
			s.end = s.partial(breach)
			break
		}
		if event.GetRestart() != nil {
			s.restarts++
		}
		if shown {
			return event, nil
		}
	}
	s.stop()
	return nil, s.end
}

// Events yields the events up to the completion of the answer. An error is yielded last. Leaving the loop early ends the
// call.
func (s *Stream) Events() iter.Seq2[*pb.ExecuteStreamResponse, error] {
	return func(yield func(*pb.ExecuteStreamResponse, error) bool) {
		defer s.stop()
		for {
			event, err := s.Recv()
			if err == io.EOF { //nolint:errorlint // our own, never wrapped
				return
			}
			if !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// Text yields the text in pieces. An error is yielded last. Leaving the loop early ends the call.
//
// When the answer begins again on another target (only under MID_STREAM_POLICY_RESTART), onRestart is called so that
// what was shown can be taken back; where it is nil and text was yielded, a [RestartedError] is.
func (s *Stream) Text(onRestart func()) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		given := false
		for event, err := range s.Events() {
			if err != nil {
				yield("", err)
				return
			}
			if event.GetRestart() != nil && given {
				if onRestart == nil {
					yield("", &RestartedError{ErrorDetails: &ErrorDetails{DecisionID: s.Decision().GetDecisionId()}})
					return
				}
				given = false
				onRestart()
			}
			if text := event.GetDelta().GetText(); text != "" {
				given = true
				if !yield(text, nil) {
					return
				}
			}
		}
	}
}

// Answer reads what is left and returns the complete answer, the same as [Client.Execute] does.
func (s *Stream) Answer() (*pb.ExecuteResponse, error) {
	for {
		if _, err := s.Recv(); err == io.EOF { //nolint:errorlint // our own, never wrapped
			return s.gather.answer(), nil
		} else if err != nil {
			return nil, err
		}
	}
}

// Decision returns the decision, nil before it has come.
func (s *Stream) Decision() *pb.Decision { return s.gather.decision }

// Target returns who is answering as far as is known; nil before that.
func (s *Stream) Target() *pb.Target { return s.gather.target }

// Completion returns the proper end of the answer, nil before it has come.
func (s *Stream) Completion() *pb.Completion { return s.gather.completion }

// RestartCount returns how often the answer began again so far.
func (s *Stream) RestartCount() int { return s.restarts }

// TextSoFar returns the text that has come, of the attempt that counts.
func (s *Stream) TextSoFar() string { return s.gather.text() }

// PartsSoFar returns all that has come, of the attempt that counts.
func (s *Stream) PartsSoFar() []*pb.Part { return s.gather.content(s.gather.target.GetProvider()) }

// Close ends the call; harmless after its end. Whoever is reading then gets an error of which errors.Is with
// context.Canceled is true. It never fails.
func (s *Stream) Close() error {
	s.stop()
	return nil
}

func (s *Stream) stop() {
	if s.call != nil {
		s.call.cancel()
	}
}

// next returns the next event of the one answer, over however many calls it takes until content comes.
func (s *Stream) next() (*pb.ExecuteStreamResponse, error) {
	for {
		var err error
		if s.stream == nil {
			s.stream, err = s.open(s.call.next())
		}
		if err == nil {
			var event *pb.ExecuteStreamResponse
			if event, err = s.stream.Recv(); err == nil {
				return event, nil
			}
		}
		if s.gather.completion != nil {
			// The answer was whole before the connection failed: nothing is lost.
			return nil, io.EOF
		}
		if err == io.EOF { //nolint:errorlint // gRPC returns it as it is
			return nil, s.partial(contract("the stream ended without its completion: what came is not a whole answer"))
		}
		failed := errorFrom(err, trailerOf(s.stream), s.gather.failure)
		if !s.gather.hasContent {
			failed = s.call.again(failed)
		}
		if failed != nil {
			return nil, s.partial(failed)
		}
		s.stream, s.gather = nil, newGatherer()
	}
}

// partial notes in an error what had come before it.
func (s *Stream) partial(err Error) Error {
	details := err.Details()
	details.PartialText, details.PartialParts = s.TextSoFar(), s.PartsSoFar()
	if details.DecisionID == "" {
		details.DecisionID = s.Decision().GetDecisionId()
	}
	return err
}
