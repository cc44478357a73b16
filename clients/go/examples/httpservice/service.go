package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/propagation"

	turnout "turnout.dev/go"
	pb "turnout.dev/go/turnoutv1"
)

const (
	maxBodyBytes = 1 << 20
	// writeTimeout is how long a caller may take to read one event.
	writeTimeout = 30 * time.Second
)

// callers reads the trace that a caller's request belongs to.
var callers = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// service answers prompts.
type service struct {
	http.ServeMux

	client   *turnout.Client
	stopping atomic.Bool
}

func newService(client *turnout.Client) *service {
	s := &service{client: client}
	s.HandleFunc("POST /answer", s.answer)
	s.HandleFunc("GET /healthz", s.health)
	return s
}

// question is the body of a request.
type question struct {
	Prompt string `json:"prompt"`
	// Task is the kind of work; empty for none.
	Task string `json:"task"`
}

// done is the last event of a complete answer.
type done struct {
	Target       string   `json:"target"`
	FinishReason string   `json:"finish_reason"`
	InputTokens  *int64   `json:"input_tokens,omitempty"`
	OutputTokens *int64   `json:"output_tokens,omitempty"`
	CostUSD      *float64 `json:"cost_usd,omitempty"`
}

// health says whether the service takes requests. The sidecar's health is not asked for: whoever restarts this service
// would not mend the sidecar with it.
func (s *service) health(w http.ResponseWriter, _ *http.Request) {
	if s.stopping.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

// answer streams the answer to one prompt as server-sent events: `text` with a piece of it, `restart` when what was
// shown is void, and at the end `done` or `error`. What goes wrong before the first piece is an HTTP status.
func (s *service) answer(w http.ResponseWriter, r *http.Request) {
	var asked question
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil {
		code := http.StatusBadRequest
		if errors.As(err, new(*http.MaxBytesError)) {
			code = http.StatusRequestEntityTooLarge
		}
		writeError(w, code, failure{Error: "the body is not {\"prompt\": text, \"task\": text}: " + err.Error()})
		return
	}
	if asked.Prompt == "" {
		writeError(w, http.StatusBadRequest, failure{Error: "prompt is empty: give the text to answer"})
		return
	}
	// When the caller goes away this context ends, the stream with it, and with that the provider's call.
	ctx := callers.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	stream := s.client.Stream(ctx, &pb.ExecuteStreamRequest{
		Profile: &pb.RequestProfile{Task: asked.Task},
		Input:   &pb.ChatInput{Messages: []*pb.Message{turnout.UserMessage(asked.Prompt)}},
	})
	defer stream.Close()
	events := &eventWriter{w: w, control: http.NewResponseController(w)}
	restarted := func() { events.write("restart", struct{}{}) }
	for piece, err := range stream.Text(restarted) {
		switch {
		case err != nil && !events.begun:
			writeRefusal(w, err)
			return
		case err != nil:
			events.write("error", failureOf(err))
			return
		}
		events.write("text", map[string]string{"text": piece})
		if events.failed {
			return
		}
	}
	events.write("done", doneOf(stream.Completion()))
}

func doneOf(completion *pb.Completion) done {
	told := done{
		Target: turnout.TargetName(completion.GetTarget()),
		// A reason of a newer contract is a number.
		FinishReason: strings.TrimPrefix(completion.GetFinishReason().String(), "FINISH_REASON_"),
		CostUSD:      completion.CostUsd,
	}
	// Providers need not tell the tokens.
	if usage := completion.GetUsage(); usage != nil {
		told.InputTokens, told.OutputTokens = usage.InputTokens, usage.OutputTokens
	}
	return told
}

// eventWriter writes server-sent events, each at once.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
	failed  bool
}

func (e *eventWriter) write(name string, value any) {
	if !e.begun {
		e.begun = true
		header := e.w.Header()
		header.Set("Content-Type", "text/event-stream")
		header.Set("Cache-Control", "no-store")
	}
	data, err := json.Marshal(value)
	if err == nil {
		_ = e.control.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, err = io.WriteString(e.w, "event: "+name+"\ndata: "+string(data)+"\n\n")
	}
	if err == nil {
		err = e.control.Flush()
	}
	e.failed = e.failed || err != nil
}
