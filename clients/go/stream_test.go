package turnout

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"turnout.dev/go/internal/scripted"
	pb "turnout.dev/go/turnoutv1"
)

type eventStream = grpc.ServerStreamingServer[pb.ExecuteStreamResponse]

// streamed returns the answer of a sidecar that sends events and then an error.
func streamed(t *testing.T, err error, events ...*pb.ExecuteStreamResponse) *Stream {
	t.Helper()
	client := served(t, &scripted.Sidecar{OnStream: func(_ *pb.ExecuteStreamRequest, stream eventStream) error {
		for _, event := range events {
			if err := stream.Send(event); err != nil {
				return err
			}
		}
		return err
	}})
	return client.Stream(within(t), nil)
}

func TestTextIsGivenInPiecesUpToTheCompletion(t *testing.T) {
	stream := streamed(t, nil, scripted.Text("a", "Hel"), scripted.Text("a", "lo"), scripted.Completion())
	var pieces []string
	for piece, err := range stream.Text(nil) {
		if err != nil {
			t.Fatal(err)
		}
		pieces = append(pieces, piece)
	}
	answer, err := stream.Answer()
	if err != nil || !slices.Equal(pieces, []string{"Hel", "lo"}) || Text(answer) != "Hello" {
		t.Errorf("got %v, %q, %v", pieces, Text(answer), err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestStreamWithoutItsEndIsNoAnswer(t *testing.T) {
	stream := streamed(t, nil, scripted.Text("a", "Hel"))
	_, err := stream.Answer()
	var breach *ContractError
	if !errors.As(err, &breach) || breach.PartialText != "Hel" || breach.PartialParts[0].GetText() != "Hel" {
		t.Errorf("got %v", err)
	}
	if _, again := stream.Recv(); again != err { //nolint:errorlint // the very same
		t.Errorf("read again: %v", again)
	}
}

func TestBrokenStreamTellsWhatCameAndWhatWasTried(t *testing.T) {
	failure := &pb.ExecuteStreamResponse{Event: &pb.ExecuteStreamResponse_Failure{
		Failure: &pb.CallFailure{DeliveredBytes: 3, Attempts: []*pb.Attempt{{AttemptId: "a"}, {AttemptId: "b"}}},
	}}
	stream := streamed(t, scripted.Refusal(codes.DataLoss, "STREAM_INTERRUPTED"), scripted.Text("a", "Hel"), failure)
	var refused *RefusedError
	if _, err := stream.Answer(); !errors.As(err, &refused) {
		t.Fatalf("got %v", err)
	}
	if refused.Reason != ReasonStreamInterrupted || refused.PartialText != "Hel" || len(refused.Attempts()) != 2 {
		t.Errorf("got %+v", refused.ErrorDetails)
	}
}

func TestRestartIsToldToWhoeverShowsText(t *testing.T) {
	events := []*pb.ExecuteStreamResponse{
		scripted.Text("a", "No"), scripted.Restart("a"), scripted.Restart("b"), scripted.Text("c", "Yes"),
		scripted.Completion(),
	}
	shown, restarts := "", 0
	stream := streamed(t, nil, events...)
	for piece, err := range stream.Text(func() { shown = ""; restarts++ }) {
		if err != nil {
			t.Fatal(err)
		}
		shown += piece
	}
	// Of the second attempt nothing was shown: there is nothing to take back.
	if shown != "Yes" || restarts != 1 || stream.RestartCount() != 2 {
		t.Errorf("shown %q after %d restarts", shown, restarts)
	}
	var last error
	for _, err := range streamed(t, nil, events...).Text(nil) {
		last = err
	}
	if !errors.As(last, new(*RestartedError)) {
		t.Errorf("got %v", last)
	}
	// Nothing was shown yet: nothing is void.
	for _, err := range streamed(t, nil, events[1:]...).Text(nil) {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestStreamIsMadeAgainOnlyBeforeContentAndOnlyWhereNothingWasBilled(t *testing.T) {
	for name, row := range map[string]struct {
		content bool
		err     error
		calls   int32
	}{
		"refused":           {false, scripted.Refusal(codes.Unavailable, "ALL_ATTEMPTS_REFUSED"), 2},
		"after content":     {true, scripted.Refusal(codes.Unavailable, "ALL_ATTEMPTS_REFUSED"), 1},
		"a lost connection": {false, status.Error(codes.Unavailable, "reset"), 1},
	} {
		var calls atomic.Int32
		client := served(t, &scripted.Sidecar{OnStream: func(_ *pb.ExecuteStreamRequest, stream eventStream) error {
			if calls.Add(1) > 1 {
				return stream.Send(scripted.Completion())
			}
			_ = stream.Send(&pb.ExecuteStreamResponse{Event: &pb.ExecuteStreamResponse_Decision{
				Decision: &pb.Decision{DecisionId: "first"},
			}})
			if row.content {
				_ = stream.Send(scripted.Text("a", "x"))
			}
			return row.err
		}})
		_, err := client.Stream(within(t), nil).Answer()
		if (err == nil) != (row.calls == 2) || calls.Load() != row.calls {
			t.Errorf("%s: %d calls, %v", name, calls.Load(), err)
		}
	}
}

func TestStreamEndsWithTheLoopWithCloseAndWithTheContext(t *testing.T) {
	left := make(chan struct{}, 1)
	client := served(t, &scripted.Sidecar{OnStream: func(_ *pb.ExecuteStreamRequest, stream eventStream) error {
		_ = stream.Send(scripted.Text("a", "x"))
		<-stream.Context().Done()
		left <- struct{}{}
		return status.FromContextError(stream.Context().Err()).Err()
	}})
	ended := func(how string) {
		t.Helper()
		select {
		case <-left:
		case <-within(t).Done():
			t.Errorf("%s: the call goes on", how)
		}
	}
	for range client.Stream(within(t), nil).Text(nil) {
		break
	}
	ended("the loop was left")

	stream := client.Stream(within(t), nil)
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	_ = stream.Close()
	ended("closed")
	if _, err := stream.Recv(); !errors.Is(err, context.Canceled) {
		t.Errorf("after closing: %v", err)
	}

	ctx, cancel := context.WithCancel(within(t))
	stream = client.Stream(ctx, nil)
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	ended("cancelled")
	_, err := stream.Answer()
	var failed Error
	if !errors.Is(err, context.Canceled) || !errors.As(err, &failed) || failed.Details().PartialText != "x" {
		t.Errorf("after cancelling: %v", err)
	}
}
