package turnout

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"time"

	pb "turnout.dev/go/turnoutv1"
)

const (
	// maxCauses is how many errors of a tree are looked at: SDKs wrap two or three deep.
	maxCauses = 32
	// maxRetryAfter is the longest wait that a report may state.
	maxRetryAfter = time.Hour
	// maxErrorBody is how much of an error's body is looked at, in bytes.
	maxErrorBody = 64 * 1024
)

// ProviderError is how a function given to [Do] may say what a provider answered, where its SDK has no error of its own
// that says it. Errors of the usual SDKs need not be wrapped in it.
type ProviderError struct {
	// StatusCode is the HTTP status; 0 for none.
	StatusCode int
	// Code is the provider's own error code or type, such as "insufficient_quota"; "" for none.
	Code string
	// Header is that of the answer; Retry-After is read from it. nil for none.
	Header http.Header
	// Err is the error behind it; nil for none.
	Err error
}

func (e *ProviderError) Error() string {
	text := "the provider failed"
	if e.StatusCode != 0 {
		text += " with HTTP " + strconv.Itoa(e.StatusCode)
	}
	if e.Code != "" {
		text += " (" + e.Code + ")"
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the error behind it.
func (e *ProviderError) Unwrap() error { return e.Err }

// Failure is how a call to a provider failed.
type Failure struct {
	// Kind is the contract's failure kind, never UNSPECIFIED.
	Kind pb.FailureKind
	// HTTPStatus is the HTTP status, 0 for none.
	HTTPStatus int
	// RetryAfter is what the provider asked for, at most an hour; it counts only where HasRetryAfter.
	RetryAfter time.Duration
	// HasRetryAfter says whether the provider asked for a wait.
	HasRetryAfter bool
}

// kindsByStatus is what the sidecar takes a status for; other 5xx are SERVER_ERROR, other 4xx UNKNOWN.
var kindsByStatus = map[int]pb.FailureKind{
	400: pb.FailureKind_FAILURE_KIND_INVALID_REQUEST,
	401: pb.FailureKind_FAILURE_KIND_AUTHENTICATION,
	402: pb.FailureKind_FAILURE_KIND_QUOTA_EXHAUSTED,
	403: pb.FailureKind_FAILURE_KIND_PERMISSION_DENIED,
	404: pb.FailureKind_FAILURE_KIND_MODEL_NOT_FOUND,
	407: pb.FailureKind_FAILURE_KIND_CONNECTION,
	408: pb.FailureKind_FAILURE_KIND_TIMEOUT,
	410: pb.FailureKind_FAILURE_KIND_MODEL_NOT_FOUND,
	411: pb.FailureKind_FAILURE_KIND_INVALID_REQUEST,
	413: pb.FailureKind_FAILURE_KIND_CONTEXT_LENGTH,
	414: pb.FailureKind_FAILURE_KIND_INVALID_REQUEST,
	415: pb.FailureKind_FAILURE_KIND_INVALID_REQUEST,
	422: pb.FailureKind_FAILURE_KIND_INVALID_REQUEST,
	429: pb.FailureKind_FAILURE_KIND_RATE_LIMITED,
	431: pb.FailureKind_FAILURE_KIND_INVALID_REQUEST,
	498: pb.FailureKind_FAILURE_KIND_OVERLOADED,
	503: pb.FailureKind_FAILURE_KIND_OVERLOADED,
	529: pb.FailureKind_FAILURE_KIND_OVERLOADED,
}

// kindsByCode are the providers' own error codes and types, where they say more than the status.
var kindsByCode = map[string]pb.FailureKind{
	"authentication_error":         pb.FailureKind_FAILURE_KIND_AUTHENTICATION,
	"billing_error":                pb.FailureKind_FAILURE_KIND_QUOTA_EXHAUSTED,
	"billing_hard_limit_reached":   pb.FailureKind_FAILURE_KIND_QUOTA_EXHAUSTED,
	"billing_not_active":           pb.FailureKind_FAILURE_KIND_QUOTA_EXHAUSTED,
	"capacity_exceeded":            pb.FailureKind_FAILURE_KIND_OVERLOADED,
	"content_filter":               pb.FailureKind_FAILURE_KIND_CONTENT_FILTERED,
	"content_policy_violation":     pb.FailureKind_FAILURE_KIND_CONTENT_FILTERED,
	"context_length_exceeded":      pb.FailureKind_FAILURE_KIND_CONTEXT_LENGTH,
	"credit_balance_exhausted":     pb.FailureKind_FAILURE_KIND_QUOTA_EXHAUSTED,
	"enforced_spend_limit_reached": pb.FailureKind_FAILURE_KIND_QUOTA_EXHAUSTED,
	"engine_overloaded_error":      pb.FailureKind_FAILURE_KIND_OVERLOADED,
	"exceeded_current_quota_error": pb.FailureKind_FAILURE_KIND_QUOTA_EXHAUSTED,
	"insufficient_quota":           pb.FailureKind_FAILURE_KIND_QUOTA_EXHAUSTED,
	"invalid_api_key":              pb.FailureKind_FAILURE_KIND_AUTHENTICATION,
	"model_not_found":              pb.FailureKind_FAILURE_KIND_MODEL_NOT_FOUND,
	"overloaded_error":             pb.FailureKind_FAILURE_KIND_OVERLOADED,
	"rate_limit_error":             pb.FailureKind_FAILURE_KIND_RATE_LIMITED,
	"rate_limit_exceeded":          pb.FailureKind_FAILURE_KIND_RATE_LIMITED,
	"request_too_large":            pb.FailureKind_FAILURE_KIND_CONTEXT_LENGTH,
	"server_is_overloaded":         pb.FailureKind_FAILURE_KIND_OVERLOADED,
	"slow_down":                    pb.FailureKind_FAILURE_KIND_OVERLOADED,
}

// kindsByPhrase is for a 400 whose code says nothing more: all that the provider gives is its message.
var kindsByPhrase = []struct {
	phrase string
	kind   pb.FailureKind
}{
	// anthropic, 400: "prompt is too long: 210000 tokens > 200000 maximum"
	{"prompt is too long", pb.FailureKind_FAILURE_KIND_CONTEXT_LENGTH},
	// anthropic, 400: "Your credit balance is too low to access the Anthropic API."
	{"credit balance is too low", pb.FailureKind_FAILURE_KIND_QUOTA_EXHAUSTED},
}

// Classify returns the failure that an error, or one that it wraps, tells of. It looks at HTTP statuses as the usual SDKs
// carry them (a StatusCode, HTTPStatusCode or Code, as a field or a method; a Response), at the providers' error codes,
// and at Go's own errors for time, connection and cancellation; nobody's SDK is imported. Anything else is UNKNOWN. now
// is for Retry-After dates.
func Classify(err error, now time.Time) Failure {
	for _, cause := range causes(err) {
		if cause == context.Canceled { //nolint:errorlint // each cause is looked at by itself
			return Failure{Kind: pb.FailureKind_FAILURE_KIND_CANCELLED}
		}
		seen := look(cause)
		if seen.status != 0 {
			wait, has := retryAfter(seen.header, now)
			return Failure{Kind: seen.kindOfStatus(cause), HTTPStatus: seen.status, RetryAfter: wait, HasRetryAfter: has}
		}
		if kind := seen.kindOfCode(); kind != 0 {
			return Failure{Kind: kind}
		}
		if kind := kindOfGo(cause); kind != 0 {
			return Failure{Kind: kind}
		}
	}
	return Failure{Kind: pb.FailureKind_FAILURE_KIND_UNKNOWN}
}

// speaksAgainst tells whether an outcome says something about its target, rather than about the request or the caller.
func speaksAgainst(kind pb.FailureKind, httpStatus int) bool {
	switch kind {
	case pb.FailureKind_FAILURE_KIND_UNSPECIFIED, pb.FailureKind_FAILURE_KIND_CANCELLED,
		pb.FailureKind_FAILURE_KIND_INVALID_REQUEST, pb.FailureKind_FAILURE_KIND_CONTENT_FILTERED,
		pb.FailureKind_FAILURE_KIND_CONTEXT_LENGTH:
		return false
	case pb.FailureKind_FAILURE_KIND_UNKNOWN:
		// Without a status it may be a mistake in the application's own code.
		return httpStatus != 0
	default:
		return true
	}
}

// causes returns an error and what it wraps, outermost first.
func causes(err error) []error {
	var found []error
	queue := []error{err}
	for len(queue) > 0 && len(found) < maxCauses {
		next := queue[0]
		queue = queue[1:]
		if next == nil {
			continue
		}
		found = append(found, next)
		switch wrapping := next.(type) { //nolint:errorlint // each cause is looked at by itself
		case interface{ Unwrap() error }:
			queue = append(queue, wrapping.Unwrap())
		case interface{ Unwrap() []error }:
			queue = append(queue, wrapping.Unwrap()...)
		}
	}
	return found
}

// kindOfGo tells what Go's own errors mean; 0 for nothing.
func kindOfGo(err error) pb.FailureKind {
	switch typed := err.(type) { //nolint:errorlint // each cause is looked at by itself
	case syscall.Errno:
		switch {
		case typed.Timeout():
			return pb.FailureKind_FAILURE_KIND_TIMEOUT
		case isConnection(typed):
			return pb.FailureKind_FAILURE_KIND_CONNECTION
		default:
			return 0
		}
	case *net.OpError, *net.DNSError, *tls.CertificateVerificationError, tls.RecordHeaderError,
		tls.AlertError, x509.UnknownAuthorityError, x509.HostnameError, x509.CertificateInvalidError:
		if isTimeout(err) {
			return pb.FailureKind_FAILURE_KIND_TIMEOUT
		}
		return pb.FailureKind_FAILURE_KIND_CONNECTION
	}
	switch {
	case err == context.DeadlineExceeded || err == os.ErrDeadlineExceeded || isTimeout(err):
		return pb.FailureKind_FAILURE_KIND_TIMEOUT
	case err == io.ErrUnexpectedEOF:
		return pb.FailureKind_FAILURE_KIND_TRUNCATED
	case err == io.EOF || err == net.ErrClosed || err == io.ErrClosedPipe:
		return pb.FailureKind_FAILURE_KIND_CONNECTION
	default:
		return 0
	}
}

func isTimeout(err error) bool {
	timed, ok := err.(interface{ Timeout() bool }) //nolint:errorlint // each cause is looked at by itself
	return ok && timed.Timeout()
}

func isConnection(number syscall.Errno) bool {
	switch number {
	case syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.EHOSTUNREACH,
		syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.ENOTCONN:
		return true
	default:
		return false
	}
}

// sight is what an error of an SDK carries.
type sight struct {
	status int
	codes  []string
	header http.Header
}

// look reads what an SDK's error carries, without knowing its type.
func look(err error) sight {
	var seen sight
	value := reflect.ValueOf(err)
	if value.Kind() == reflect.Pointer {
		if value.IsNil() {
			return seen
		}
		value = value.Elem()
	}
	for _, method := range []func() int{
		methodOf(err, func(e interface{ StatusCode() int }) int { return e.StatusCode() }),
		methodOf(err, func(e interface{ HTTPStatusCode() int }) int { return e.HTTPStatusCode() }),
		methodOf(err, func(e interface{ HTTPStatus() int }) int { return e.HTTPStatus() }),
	} {
		seen.note(method())
	}
	if value.Kind() == reflect.Struct {
		seen.lookAt(value)
	}
	if raw, ok := err.(interface{ RawJSON() string }); ok { //nolint:errorlint // each cause is looked at by itself
		seen.lookAtJSON(raw.RawJSON())
	}
	return seen
}

func methodOf[T any](err error, read func(T) int) func() int {
	return func() int {
		if typed, ok := err.(T); ok {
			return read(typed)
		}
		return 0
	}
}

func (s *sight) note(status int) {
	if s.status == 0 && status >= 400 && status <= 599 {
		s.status = status
	}
}

// lookAt reads the exported fields that SDKs use. Code is a status in some and the provider's code in others.
func (s *sight) lookAt(value reflect.Value) {
	for _, name := range []string{"StatusCode", "HTTPStatusCode", "HTTPStatus", "Code", "Type"} {
		field, ok := exported(value, name)
		if !ok {
			continue
		}
		switch {
		case field.CanInt():
			s.note(int(field.Int()))
		case field.Kind() == reflect.String:
			s.codes = append(s.codes, field.String())
		}
	}
	if field, ok := exported(value, "Response"); ok {
		if response, ok := field.Interface().(*http.Response); ok && response != nil {
			s.note(response.StatusCode)
			s.header = response.Header
		}
	}
	if field, ok := exported(value, "Header"); ok && s.header == nil {
		if header, ok := field.Interface().(http.Header); ok {
			s.header = header
		}
	}
}

// lookAtJSON reads the body {"error": {"type": …, "code": …}} of an error answer.
func (s *sight) lookAtJSON(body string) {
	if len(body) > maxErrorBody {
		return
	}
	type coded struct {
		Code any    `json:"code"`
		Type string `json:"type"`
	}
	var said struct {
		coded
		Error coded `json:"error"`
	}
	if json.Unmarshal([]byte(body), &said) != nil {
		return
	}
	for _, part := range []coded{said.coded, said.Error} {
		if code, ok := part.Code.(string); ok {
			s.codes = append(s.codes, code)
		}
		s.codes = append(s.codes, part.Type)
	}
}

func exported(value reflect.Value, name string) (reflect.Value, bool) {
	described, ok := value.Type().FieldByName(name)
	if !ok || !described.IsExported() {
		return reflect.Value{}, false
	}
	field, err := value.FieldByIndexErr(described.Index)
	if err != nil || !field.CanInterface() {
		return reflect.Value{}, false
	}
	for field.Kind() == reflect.Interface && !field.IsNil() {
		field = field.Elem()
	}
	return field, true
}

func (s *sight) kindOfCode() pb.FailureKind {
	for _, code := range s.codes {
		if kind, known := kindsByCode[code]; known {
			return kind
		}
	}
	return 0
}

func (s *sight) kindOfStatus(err error) pb.FailureKind {
	if kind := s.kindOfCode(); kind != 0 {
		return kind
	}
	if s.status == http.StatusBadRequest {
		text := err.Error()
		for _, row := range kindsByPhrase {
			if strings.Contains(text, row.phrase) {
				return row.kind
			}
		}
	}
	if kind, known := kindsByStatus[s.status]; known {
		return kind
	}
	if s.status >= http.StatusInternalServerError {
		return pb.FailureKind_FAILURE_KIND_SERVER_ERROR
	}
	return pb.FailureKind_FAILURE_KIND_UNKNOWN
}

// retryAfter reads how long a provider asks to wait; false where it does not, or not in a form that is known.
func retryAfter(header http.Header, now time.Time) (time.Duration, bool) {
	if seconds, ok := decimal(header.Get("Retry-After-Ms")); ok {
		return bounded(seconds / 1000), true
	}
	value := header.Get("Retry-After")
	if seconds, ok := decimal(value); ok {
		return bounded(seconds), true
	}
	if date, err := http.ParseTime(value); err == nil && !date.Before(now) {
		return min(date.Sub(now), maxRetryAfter), true
	}
	return 0, false
}

func bounded(seconds float64) time.Duration {
	return time.Duration(min(seconds, maxRetryAfter.Seconds()) * float64(time.Second))
}

// decimal reads a plain non-negative decimal, and nothing else: neither "nan" nor "1e3".
func decimal(value string) (float64, bool) {
	if value == "" || strings.Trim(value, "0123456789.") != "" {
		return 0, false
	}
	number, err := strconv.ParseFloat(value, 64)
	return number, err == nil
}
