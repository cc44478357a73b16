package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	turnout "turnout.dev/go"
	"turnout.dev/go/internal/realsidecar"
	"turnout.dev/go/internal/scripted"
	pb "turnout.dev/go/turnoutv1"
)

// patience bounds what must come in the end; nothing here is measured against it.
const patience = 60 * time.Second

type event struct {
	name string
	data map[string]any
}

// serve returns the address of the service in front of a sidecar.
func serve(t *testing.T, address string) string {
	t.Helper()
	client, err := turnout.New(turnout.WithAddress(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	server := httptest.NewServer(newService(client))
	t.Cleanup(server.Close)
	return server.URL
}

func ask(ctx context.Context, t *testing.T, url, body string, headers ...string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/answer", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for place := 0; place < len(headers); place += 2 {
		request.Header.Set(headers[place], headers[place+1])
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// next reads one event; false at the end.
func next(t *testing.T, lines *bufio.Scanner) (event, bool) {
	t.Helper()
	var read event
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "":
			return read, true
		case strings.HasPrefix(line, "event: "):
			read.name = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			if err := json.Unmarshal([]byte(line[len("data: "):]), &read.data); err != nil {
				t.Fatal(err)
			}
		}
	}
	return read, false
}

func events(t *testing.T, answer *http.Response) []event {
	t.Helper()
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(answer.Body)
		t.Fatalf("%s: %s", answer.Status, body)
	}
	var all []event
	lines := bufio.NewScanner(answer.Body)
	for read, more := next(t, lines); more; read, more = next(t, lines) {
		all = append(all, read)
	}
	return all
}

func TestPromptIsAnsweredInPieces(t *testing.T) {
	world := realsidecar.Start(t)
	// What comes together is joined: these pieces come apart, however busy the machine is.
	world.Latency("north", map[string]any{"seconds_per_output_token": 0.1})
	got := events(t, ask(within(t), t, serve(t, world.Address), `{"prompt": "Hello", "task": "chat"}`))
	last := got[len(got)-1]
	if len(got) < 3 || got[0].name != "text" || last.name != "done" || last.data["target"] != "north/m" ||
		last.data["finish_reason"] != "STOP" || last.data["output_tokens"] == nil {
		t.Errorf("got %v", got)
	}
}

func TestFailoverIsNotSeenAndAFailureIsAStatus(t *testing.T) {
	world := realsidecar.Start(t)
	url := serve(t, world.Address)
	world.Fault("north", map[string]any{"kind": "error", "status": 503})
	got := events(t, ask(within(t), t, url, `{"prompt": "Hello"}`))
	if last := got[len(got)-1]; last.name != "done" || last.data["target"] != "south/m" {
		t.Errorf("got %v", last)
	}
	world.Fault("south", map[string]any{"kind": "error", "status": 400})
	world.Fault("north", map[string]any{"kind": "error", "status": 400})
	answer := ask(within(t), t, url, `{"prompt": "Hello"}`)
	var told failure
	if err := json.NewDecoder(answer.Body).Decode(&told); err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusUnprocessableEntity || told.Reason != turnout.ReasonProviderRejectedRequest ||
		told.DecisionID == "" {
		t.Errorf("%s: %+v", answer.Status, told)
	}
}

func TestCallerThatGoesAwayEndsTheProvidersCall(t *testing.T) {
	world := realsidecar.Start(t)
	url := serve(t, world.Address)
	// An answer that would take hours: it ends because its caller does.
	world.Latency("north", map[string]any{"seconds_per_output_token": 3600, "first_token_seconds": 0})
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	answer := ask(ctx, t, url, `{"prompt": "Hello"}`)
	if first, _ := next(t, bufio.NewScanner(answer.Body)); first.name != "text" {
		t.Fatalf("got %v", first)
	}
	if world.InFlight(within(t), "north") != 1 {
		t.Fatal("the call is not under way")
	}
	cancel()
	for limit := within(t); world.InFlight(limit, "north") != 0; {
		time.Sleep(20 * time.Millisecond)
	}
}

func TestServiceStopsWhenToldAndLetsAnswersEnd(t *testing.T) {
	world := realsidecar.Start(t)
	t.Setenv("TURNOUT_ADDRESS", world.Address)
	ctx, stop := context.WithCancel(within(t))
	defer stop()
	addresses, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() { ended <- run(ctx, "127.0.0.1:0", func(at net.Addr) { addresses <- at }) }()
	url := "http://" + (<-addresses).String()
	health, err := http.Get(url + "/healthz")
	if err != nil || health.StatusCode != http.StatusOK {
		t.Fatalf("%v: %v", health, err)
	}
	health.Body.Close()
	world.Latency("north", map[string]any{"seconds_per_output_token": 0.02, "first_token_seconds": 0})
	answer := ask(within(t), t, url, `{"prompt": "Hello"}`)
	lines := bufio.NewScanner(answer.Body)
	if first, _ := next(t, lines); first.name != "text" {
		t.Fatalf("got %v", first)
	}
	stop()
	var last event
	for read, more := next(t, lines); more; read, more = next(t, lines) {
		last = read
	}
	if last.name != "done" {
		t.Errorf("the answer that ran ended with %v", last)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := http.Get(url + "/healthz"); err == nil {
		t.Error("it still listens")
	}
}

func TestErrorsBecomeStatusesAndTheTraceGoesOn(t *testing.T) {
	var refuse error
	var seen metadata.MD
	sidecar := &scripted.Sidecar{
		OnStream: func(_ *pb.ExecuteStreamRequest, stream grpc.ServerStreamingServer[pb.ExecuteStreamResponse]) error {
			seen, _ = metadata.FromIncomingContext(stream.Context())
			return refuse
		},
	}
	if err := sidecar.Start(); err != nil {
		t.Fatal(err)
	}
	defer sidecar.Stop()
	url := serve(t, sidecar.Address)
	for _, row := range []struct {
		code   codes.Code
		reason turnout.Reason
		want   int
	}{
		{codes.InvalidArgument, turnout.ReasonInvalidRequest, 400},
		{codes.FailedPrecondition, turnout.ReasonNoEligibleTarget, 422},
		{codes.FailedPrecondition, turnout.ReasonContentFiltered, 422},
		{codes.ResourceExhausted, turnout.ReasonBudgetExhausted, 429},
		{codes.Internal, turnout.ReasonAttemptsExhausted, 502},
		{codes.DeadlineExceeded, turnout.ReasonDeadline, 504},
		{codes.Unauthenticated, turnout.ReasonUnauthenticated, 500},
		{codes.Internal, turnout.ReasonBug, 500},
	} {
		refuse = scripted.Refusal(row.code, string(row.reason))
		if answer := ask(within(t), t, url, `{"prompt": "x"}`); answer.StatusCode != row.want {
			t.Errorf("%s: %s", row.reason, answer.Status)
		}
	}
	refuse = scripted.Refusal(codes.Unavailable, "ALL_TARGETS_UNAVAILABLE", scripted.RetryIn(90*time.Minute))
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	answer := ask(within(t), t, url, `{"prompt": "x"}`, "traceparent", trace)
	if answer.StatusCode != 503 || answer.Header.Get("Retry-After") != "5400" {
		t.Errorf("%s, %v", answer.Status, answer.Header)
	}
	if got := seen.Get("traceparent"); !slices.Equal(got, []string{trace}) {
		t.Errorf("the sidecar saw %v", got)
	}
	sidecar.Stop()
	if answer := ask(within(t), t, url, `{"prompt": "x"}`); answer.StatusCode != 503 {
		t.Errorf("without a sidecar: %s", answer.Status)
	}
}

func TestTextThatIsVoidIsTakenBackAndABreakIsTold(t *testing.T) {
	sidecar := &scripted.Sidecar{
		OnStream: func(_ *pb.ExecuteStreamRequest, stream grpc.ServerStreamingServer[pb.ExecuteStreamResponse]) error {
			for _, event := range []*pb.ExecuteStreamResponse{
				scripted.Text("a", "No"), scripted.Restart("a"), scripted.Text("b", "Yes"),
			} {
				if err := stream.Send(event); err != nil {
					return err
				}
			}
			return scripted.Refusal(codes.DataLoss, "STREAM_INTERRUPTED")
		},
	}
	if err := sidecar.Start(); err != nil {
		t.Fatal(err)
	}
	defer sidecar.Stop()
	var names []string
	for _, read := range events(t, ask(within(t), t, serve(t, sidecar.Address), `{"prompt": "x"}`)) {
		names = append(names, read.name)
	}
	if want := []string{"text", "restart", "text", "error"}; !slices.Equal(names, want) {
		t.Errorf("got %v", names)
	}
}

func TestAnAnswerWithoutTokensAndWithAReasonOfANewerContractIsToldWhole(t *testing.T) {
	sidecar := &scripted.Sidecar{
		OnStream: func(_ *pb.ExecuteStreamRequest, stream grpc.ServerStreamingServer[pb.ExecuteStreamResponse]) error {
			if err := stream.Send(scripted.Text("a", "Yes")); err != nil {
				return err
			}
			return stream.Send(&pb.ExecuteStreamResponse{Event: &pb.ExecuteStreamResponse_Completion{
				Completion: &pb.Completion{Target: &pb.Target{Provider: "north", Model: "m"}, FinishReason: 42},
			}})
		},
	}
	if err := sidecar.Start(); err != nil {
		t.Fatal(err)
	}
	defer sidecar.Stop()
	told := events(t, ask(within(t), t, serve(t, sidecar.Address), `{"prompt": "x"}`))
	if len(told) != 2 || told[1].name != "done" {
		t.Fatalf("got %v", told)
	}
	if got := told[1].data; got["target"] != "north/m" || got["finish_reason"] != "42" || got["output_tokens"] != nil {
		t.Errorf("got %v", got)
	}
}

func TestWrongInputIsRefusedWithWhatWouldBeRight(t *testing.T) {
	url := serve(t, "127.0.0.1:1")
	for body, want := range map[string]struct {
		status int
		says   string
	}{
		`{`:              {400, "prompt"},
		`{"prompt": ""}`: {400, "prompt is empty"},
		`{"promt": "x"}`: {400, "unknown field"},
		`{"prompt": "` + strings.Repeat("x", maxBodyBytes) + `"}`: {413, "too large"},
	} {
		answer := ask(within(t), t, url, body)
		said, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != want.status || !strings.Contains(string(said), want.says) {
			t.Errorf("%.20s: %s %s", body, answer.Status, said)
		}
	}
}
