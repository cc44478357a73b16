package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	turnout "turnout.dev/go"
	pb "turnout.dev/go/turnoutv1"
)

// conduct is what the application's function does at a target.
type conduct struct {
	OK *struct {
		InputTokens  *int64 `json:"input_tokens"`
		OutputTokens *int64 `json:"output_tokens"`
	} `json:"ok"`
	HTTPStatus int      `json:"http_status"`
	RetryAfter string   `json:"retry_after"`
	Timeout    bool     `json:"timeout"`
	Connection bool     `json:"connection"`
	StreamThen *conduct `json:"stream_then"`
	Bug        bool     `json:"bug"`
}

// applicationError is the error of the application's own function.
type applicationError struct {
	called []string
	err    error
}

func (e *applicationError) Error() string { return e.err.Error() }
func (e *applicationError) Unwrap() error { return e.err }

// planError is any other error, with what was called before it.
type planError struct {
	called []string
	err    error
}

func (e *planError) Error() string { return e.err.Error() }
func (e *planError) Unwrap() error { return e.err }

// answerError is what a vendor's SDK makes of an error answer.
type answerError struct {
	StatusCode int
	Response   *http.Response
}

func (e *answerError) Error() string {
	return "the provider answered with " + strconv.Itoa(e.StatusCode)
}

func plan(ctx context.Context, client *turnout.Client, op *operation) (any, error) {
	request := &pb.RouteRequest{}
	if err := protojson.Unmarshal(op.Request, request); err != nil {
		return nil, err
	}
	called := []string{}
	plan, err := client.Plan(ctx, request, callOptions(op)...)
	if err != nil {
		return nil, &planError{called: called, err: err}
	}
	_, err = turnout.Do(ctx, plan, func(ctx context.Context, attempt *turnout.Attempt) (struct{}, error) {
		called = append(called, attempt.Target())
		does, named := op.Targets[attempt.Target()]
		if !named {
			does = op.Targets["*"]
		}
		if err := does.act(ctx, attempt); err != nil {
			return struct{}{}, &applicationError{err: err}
		}
		return struct{}{}, nil
	})
	var own *applicationError
	if errors.As(err, &own) {
		return nil, &applicationError{called: called, err: own.err}
	}
	if err != nil {
		return nil, &planError{called: called, err: err}
	}
	return object{
		"called": called, "ok": true, "reused": plan.Reused(), "stale": plan.Stale(), "decision_id": plan.DecisionID(),
	}, nil
}

func (c *conduct) act(ctx context.Context, attempt *turnout.Attempt) error {
	switch {
	case c.StreamThen != nil:
		attempt.FirstToken()
		return c.StreamThen.act(ctx, attempt)
	case c.HTTPStatus != 0:
		header := http.Header{}
		if c.RetryAfter != "" {
			header.Set("Retry-After", c.RetryAfter)
		}
		response := &http.Response{StatusCode: c.HTTPStatus, Header: header}
		return &answerError{StatusCode: c.HTTPStatus, Response: response}
	case c.Timeout:
		within, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		<-within.Done()
		return within.Err()
	case c.Connection:
		return refusedConnection(ctx)
	case c.Bug:
		var none map[string]string
		return errors.New("a mistake of the application: " + strconv.Quote(none["missing"]))
	case c.OK != nil && (c.OK.InputTokens != nil || c.OK.OutputTokens != nil):
		attempt.Usage(&pb.Usage{
			InputTokens: c.OK.InputTokens, OutputTokens: c.OK.OutputTokens, Source: pb.UsageSource_USAGE_SOURCE_REPORTED,
		})
	}
	return nil
}

// refusedConnection connects to a port that nobody listens on.
func refusedConnection(ctx context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return err
	}
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err == nil {
		_ = connection.Close()
		err = errors.New("somebody listens on " + address)
	}
	return err
}
