package turnout

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "turnout.dev/go/turnoutv1"
)

// What follows has the shape of the errors of the usual SDKs.

type openaiError struct {
	Code, Type, Message string
	StatusCode          int
	Response            *http.Response
}

func (e *openaiError) Error() string { return e.Message }

type anthropicError struct {
	StatusCode int
	Response   *http.Response
	raw        string
}

func (e *anthropicError) Error() string   { return "anthropic" }
func (e *anthropicError) RawJSON() string { return e.raw }

type genaiError struct {
	Code    int
	Message string
	Status  string
}

func (e genaiError) Error() string { return e.Message }

type goOpenaiError struct {
	Code           any
	HTTPStatusCode int
}

func (e *goOpenaiError) Error() string { return "go-openai" }

type smithyError struct{}

func (smithyError) Error() string       { return "smithy" }
func (smithyError) HTTPStatusCode() int { return 503 }

type bodyless struct{ StatusCode *int }

func (bodyless) Error() string { return "odd" }

func kind(name string) pb.FailureKind {
	return pb.FailureKind(pb.FailureKind_value["FAILURE_KIND_"+name])
}

func TestErrorsOfProvidersAreClassified(t *testing.T) {
	response := func(status int, headers ...string) *http.Response {
		made := &http.Response{StatusCode: status, Header: http.Header{}}
		for place := 0; place < len(headers); place += 2 {
			made.Header.Set(headers[place], headers[place+1])
		}
		return made
	}
	for name, row := range map[string]struct {
		err    error
		kind   string
		status int
	}{
		"openai 429":          {&openaiError{StatusCode: 429}, "RATE_LIMITED", 429},
		"openai quota":        {&openaiError{StatusCode: 429, Code: "insufficient_quota"}, "QUOTA_EXHAUSTED", 429},
		"openai by type":      {&openaiError{StatusCode: 429, Type: "insufficient_quota"}, "QUOTA_EXHAUSTED", 429},
		"openai wrapped":      {fmt.Errorf("call: %w", &openaiError{StatusCode: 503}), "OVERLOADED", 503},
		"openai, no status":   {&openaiError{Code: "server_is_overloaded"}, "OVERLOADED", 0},
		"anthropic overload":  {&anthropicError{StatusCode: 529}, "OVERLOADED", 529},
		"anthropic by body":   {&anthropicError{StatusCode: 500, raw: `{"type":"error","error":{"type":"overloaded_error"}}`}, "OVERLOADED", 500},
		"anthropic, no JSON":  {&anthropicError{StatusCode: 500, raw: `<html>`}, "SERVER_ERROR", 500},
		"anthropic response":  {&anthropicError{Response: response(401)}, "AUTHENTICATION", 401},
		"genai":               {genaiError{Code: 404}, "MODEL_NOT_FOUND", 404},
		"go-openai":           {&goOpenaiError{HTTPStatusCode: 400, Code: "context_length_exceeded"}, "CONTEXT_LENGTH", 400},
		"go-openai number":    {&goOpenaiError{HTTPStatusCode: 402, Code: 7}, "QUOTA_EXHAUSTED", 402},
		"a method":            {smithyError{}, "OVERLOADED", 503},
		"our own":             {&ProviderError{StatusCode: 403}, "PERMISSION_DENIED", 403},
		"our own, code only":  {&ProviderError{Code: "content_filter"}, "CONTENT_FILTERED", 0},
		"a phrase":            {&openaiError{StatusCode: 400, Message: "prompt is too long: 3 > 2"}, "CONTEXT_LENGTH", 400},
		"no such phrase":      {&openaiError{StatusCode: 400, Message: "bad"}, "INVALID_REQUEST", 400},
		"a 4xx nobody knows":  {&openaiError{StatusCode: 418}, "UNKNOWN", 418},
		"a 5xx":               {&openaiError{StatusCode: 502}, "SERVER_ERROR", 502},
		"success is no error": {&openaiError{StatusCode: 200}, "UNKNOWN", 0},
		"a nil pointer":       {(*openaiError)(nil), "UNKNOWN", 0},
		"odd fields":          {bodyless{}, "UNKNOWN", 0},
		"cancelled":           {fmt.Errorf("x: %w", context.Canceled), "CANCELLED", 0},
		"cancelled in HTTP":   {&url.Error{Op: "Post", Err: context.Canceled}, "CANCELLED", 0},
		"deadline":            {context.DeadlineExceeded, "TIMEOUT", 0},
		"deadline in HTTP":    {&url.Error{Op: "Post", Err: context.DeadlineExceeded}, "TIMEOUT", 0},
		"refused":             {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "CONNECTION", 0},
		"reset in HTTP":       {&url.Error{Op: "Post", Err: syscall.ECONNRESET}, "CONNECTION", 0},
		"no such name":        {&net.DNSError{Err: "no such host"}, "CONNECTION", 0},
		"name server slow":    {&net.DNSError{IsTimeout: true}, "TIMEOUT", 0},
		"unknown authority":   {&url.Error{Op: "Post", Err: x509.UnknownAuthorityError{}}, "CONNECTION", 0},
		"closed":              {&url.Error{Op: "Post", Err: io.EOF}, "CONNECTION", 0},
		"cut":                 {fmt.Errorf("body: %w", io.ErrUnexpectedEOF), "TRUNCATED", 0},
		"joined":              {errors.Join(errors.New("x"), &ProviderError{StatusCode: 500}), "SERVER_ERROR", 500},
		"a mistake":           {errors.New("index out of range"), "UNKNOWN", 0},
		"a file":              {syscall.ENOENT, "UNKNOWN", 0},
		"JSON of one's own":   {&json.SyntaxError{}, "UNKNOWN", 0},
	} {
		got := Classify(row.err, epoch)
		if got.Kind != kind(row.kind) || got.HTTPStatus != row.status {
			t.Errorf("%s: got %v, %d", name, got.Kind, got.HTTPStatus)
		}
	}
}

func TestRealHTTPFailuresAreClassified(t *testing.T) {
	hangs := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			<-hangs
		case "/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "short")
		default:
			panic(http.ErrAbortHandler)
		}
	}))
	defer server.Close()
	defer close(hangs)
	fetch := func(ctx context.Context, client *http.Client, address string) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(request)
		if err == nil {
			_, err = io.ReadAll(answer.Body)
			answer.Body.Close()
		}
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + listener.Addr().String()
	listener.Close()
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	short, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	for want, err := range map[string]error{
		"CONNECTION": fetch(context.Background(), http.DefaultClient, nobody),
		"TRUNCATED":  fetch(context.Background(), http.DefaultClient, server.URL+"/cut"),
		"CANCELLED":  fetch(gone, http.DefaultClient, server.URL+"/hang"),
		"TIMEOUT":    fetch(short, http.DefaultClient, server.URL+"/hang"),
	} {
		if got := Classify(err, epoch); got.Kind != kind(want) {
			t.Errorf("%s: got %v of %v", want, got.Kind, err)
		}
	}
	for _, err := range []error{
		fetch(context.Background(), &http.Client{Timeout: time.Millisecond}, server.URL+"/hang"),
	} {
		if got := Classify(err, epoch); got.Kind != kind("TIMEOUT") {
			t.Errorf("the client's own timeout: got %v of %v", got.Kind, err)
		}
	}
	if got := Classify(fetch(context.Background(), http.DefaultClient, server.URL+"/abort"), epoch); got.Kind != kind("CONNECTION") {
		t.Errorf("closed without an answer: %v", got.Kind)
	}
}

func TestRetryAfterIsReadInEveryForm(t *testing.T) {
	for header, want := range map[string]string{
		"Retry-After: 2":                             "2s",
		"Retry-After: 1.5":                           "1.5s",
		"Retry-After-Ms: 250":                        "250ms",
		"Retry-After: 99999":                         "1h0m0s",
		"Retry-After: Mon, 12 Jan 1970 13:46:50 GMT": "10s",
		"Retry-After: Mon, 12 Jan 1970 13:46:30 GMT": "",
		"Retry-After: -1":                            "",
		"Retry-After: NaN":                           "",
		"Retry-After: 1.2.3":                         "",
		"Retry-After: soon":                          "",
	} {
		name, value, _ := strings.Cut(header, ": ")
		failure := Classify(&ProviderError{StatusCode: 429, Header: http.Header{name: {value}}}, epoch)
		got := ""
		if failure.HasRetryAfter {
			got = failure.RetryAfter.String()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
}

func TestOnlyWhatTheTargetDidSpeaksAgainstIt(t *testing.T) {
	not := map[string]bool{
		"UNSPECIFIED": true, "CANCELLED": true, "INVALID_REQUEST": true, "CONTENT_FILTERED": true, "CONTEXT_LENGTH": true,
		"UNKNOWN": true,
	}
	for name, number := range pb.FailureKind_value {
		name = strings.TrimPrefix(name, "FAILURE_KIND_")
		if got := speaksAgainst(pb.FailureKind(number), 0); got == not[name] {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !speaksAgainst(kind("UNKNOWN"), 418) || speaksAgainst(kind("INVALID_REQUEST"), 400) {
		t.Error("an unknown failure with a status is the provider's")
	}
}
