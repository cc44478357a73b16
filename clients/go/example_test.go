package turnout_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	turnout "turnout.dev/go"
	pb "turnout.dev/go/turnoutv1"
)

func ExampleClient_Execute() {
	client, err := turnout.New()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	answer, err := client.Execute(context.Background(), &pb.ExecuteRequest{
		Profile: &pb.RequestProfile{Task: "chat"},
		Options: &pb.RoutingOptions{Strategy: pb.Strategy_STRATEGY_COST},
		Input: &pb.ChatInput{Messages: []*pb.Message{
			turnout.SystemMessage("Be brief."), turnout.UserMessage("What is a turnout?"),
		}},
	}, turnout.WithTimeout(30*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(turnout.Text(answer))
	fmt.Println("by", turnout.TargetName(answer.GetTarget()))
	// Output:
	// Track that sends a train one way or the other.
	// by north/m
}

func ExampleClient_Stream() {
	client, err := turnout.New()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	stream := client.Stream(context.Background(), &pb.ExecuteStreamRequest{
		Input: &pb.ChatInput{Messages: []*pb.Message{turnout.UserMessage("Tell me a story.")}},
	})
	// Without a function to take text back, an answer that begins again ends with a RestartedError.
	for piece, err := range stream.Text(nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(piece)
	}
	fmt.Println()
	fmt.Println("by", turnout.TargetName(stream.Completion().GetTarget()))
	// Output:
	// Once upon a time.
	// by north/m
}

func ExampleDo() {
	client, err := turnout.New(turnout.WithFallback("north/m", "south/m"))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()

	plan, err := client.Plan(ctx, &pb.RouteRequest{Profile: &pb.RequestProfile{Task: "chat"}})
	if err != nil {
		log.Fatal(err)
	}
	text, err := turnout.Do(ctx, plan, func(ctx context.Context, attempt *turnout.Attempt) (string, error) {
		// Here you call the provider with your own SDK, at attempt.BaseURL() for attempt.Model(). This one is overloaded.
		if attempt.Provider() == "north" {
			return "", &turnout.ProviderError{StatusCode: 529}
		}
		tokens := int64(12)
		attempt.Usage(&pb.Usage{OutputTokens: &tokens})
		return "answered by " + attempt.Target(), nil
	})
	fmt.Println(text, err)
	// Output: answered by south/m <nil>
}

func ExampleError() {
	client, err := turnout.New()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	_, err = client.Execute(context.Background(), &pb.ExecuteRequest{})
	var refused *turnout.RefusedError
	switch {
	case errors.As(err, &refused):
		fmt.Println("refused:", refused.Reason, "again is safe:", turnout.NothingSent(err))
	case errors.As(err, new(*turnout.UnreachableError)):
		fmt.Println("is the sidecar running?")
	}
	// Output: refused: INVALID_REQUEST again is safe: false
}
