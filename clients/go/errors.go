package turnout

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	pb "turnout.dev/go/turnoutv1"
)

// Error is any error of this package. The types behind it, for errors.As:
//
//	Error
//	 ├ *RefusedError        the sidecar spoke: Details().Reason says why
//	 ├ *TransportError      the sidecar did not speak; whether anything was sent is not known
//	 │   └ *UnreachableError   no connection to it, or it broke
//	 ├ *ContractError       an answer that the contract does not allow, such as a stream without its end
//	 ├ *UsageError          a wrong argument, found before any call
//	 ├ *PlanExhaustedError  no target of a plan was used with success
//	 └ *RestartedError      text that was handed out is void
//
// errors.Is(err, context.Canceled) and errors.Is(err, context.DeadlineExceeded) hold where the call was cancelled or ran
// out of its time, whoever noticed first.
type Error interface {
	error
	// Details returns what is known beside the message; never nil.
	Details() *ErrorDetails
}

// ErrorDetails is what an error says beside its message. Nothing in it holds a prompt, a completion or a credential, but for
// what a stream had given so far.
type ErrorDetails struct {
	// Reason is the sidecar's, "" where it did not speak.
	Reason Reason
	// Code is the gRPC status code; OK where no call failed.
	Code codes.Code
	// Metadata holds the values behind the message, by name, as google.rpc.ErrorInfo gives them.
	Metadata map[string]string
	// FieldViolations say what is wrong with which field of the request, and what would be right.
	FieldViolations []FieldViolation
	// RetryAfter is how long to wait before the same call may work; it counts only where HasRetryAfter.
	RetryAfter time.Duration
	// HasRetryAfter says whether the sidecar told how long to wait.
	HasRetryAfter bool
	// RetryForbidden says that the call must not be made again by itself: it may have been billed.
	RetryForbidden bool
	// DecisionID is the decision the call belongs to, for `turnout explain`; "" for none.
	DecisionID string
	// CallFailure is what the call tried, delivered and spent; nil where the sidecar did not say.
	CallFailure *pb.CallFailure
	// PartialText is the text that a stream had given of the attempt that counts; it is not the answer.
	PartialText string
	// PartialParts is all that a stream had given of the attempt that counts.
	PartialParts []*pb.Part
}

// FieldViolation says what is wrong with one field, by its path in the request, and what would be right.
type FieldViolation struct {
	Field       string
	Description string
}

// Attempts returns every call to a provider that was made, in order.
func (d *ErrorDetails) Attempts() []*pb.Attempt { return d.CallFailure.GetAttempts() }

// Rejections returns the targets that could not be used, each with its reasons.
func (d *ErrorDetails) Rejections() []*pb.Rejection { return d.CallFailure.GetRejections() }

// Details returns itself, so that errors that hold it are an [Error].
func (d *ErrorDetails) Details() *ErrorDetails { return d }

// RefusedError is the sidecar's own word that a call failed; Reason says why.
type RefusedError struct {
	*ErrorDetails
	Message string
}

func (e *RefusedError) Error() string { return fmt.Sprintf("turnout: %s: %s", e.Reason, e.Message) }

// Unwrap makes errors.Is hold for the context's errors.
func (e *RefusedError) Unwrap() error { return contextError(e.Code) }

// TransportError is a call that failed without an answer of the sidecar's: whether anything was sent is not known.
type TransportError struct {
	*ErrorDetails
	Message string
}

func (e *TransportError) Error() string { return fmt.Sprintf("turnout: %s: %s", e.Code, e.Message) }

// Unwrap makes errors.Is hold for the context's errors.
func (e *TransportError) Unwrap() error { return contextError(e.Code) }

// UnreachableError is a [TransportError]: no connection to the sidecar, or it broke. Is it running, and is the address
// right?
type UnreachableError struct{ TransportError }

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("turnout: the sidecar cannot be reached: %s; is it running there?", e.Message)
}

// Unwrap returns the error as a TransportError.
func (e *UnreachableError) Unwrap() error { return &e.TransportError }

// ContractError is an answer that the contract does not allow, such as a stream without its end.
type ContractError struct {
	*ErrorDetails
	Message string
}

func (e *ContractError) Error() string { return "turnout: " + e.Message }

// UsageError is a wrong argument, found before any call was made.
type UsageError struct {
	// Argument names what is wrong, such as "address" or "timeout".
	Argument string
	// Message says what is wrong with it and what would be right.
	Message string
}

func (e *UsageError) Error() string { return "turnout: " + e.Message }

// Details returns no more than that no call was made.
func (e *UsageError) Details() *ErrorDetails { return &ErrorDetails{} }

// PlanExhaustedError says that no target of a plan was used with success, and no error of the last one tells why.
type PlanExhaustedError struct {
	*ErrorDetails
	// Targets are those of the plan, in order.
	Targets []string
}

func (e *PlanExhaustedError) Error() string {
	return fmt.Sprintf("turnout: no target of the plan was used with success: %v", e.Targets)
}

// RestartedError says that text that was handed out is void, because the answer began again on another target and the
// reader did not say how to take it back.
type RestartedError struct{ *ErrorDetails }

func (e *RestartedError) Error() string {
	return "turnout: the text so far is void, the answer began again: give Text a function to begin again too"
}

func contract(format string, values ...any) *ContractError {
	return &ContractError{ErrorDetails: &ErrorDetails{}, Message: fmt.Sprintf(format, values...)}
}

func contextError(code codes.Code) error {
	switch code {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
