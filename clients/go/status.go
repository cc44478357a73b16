package turnout

import (
	"math"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "turnout.dev/go/turnoutv1"
)

const (
	domain      = "turnout.dev"
	pushbackKey = "grpc-retry-pushback-ms"
	decisionKey = "turnout-decision-id"
)

// errorFrom returns the typed error for what gRPC returned of a failed call, with its trailing metadata. failure is a
// stream's own last message, which is fuller than the summary in the metadata; nil for none.
func errorFrom(err error, trailer metadata.MD, failure *pb.CallFailure) Error {
	said := status.Convert(err)
	details := &ErrorDetails{Code: said.Code(), DecisionID: lastOf(trailer, decisionKey)}
	details.read(said)
	details.readPushback(trailer)
	if failure != nil {
		details.CallFailure = failure
	}
	switch {
	case details.Reason != "":
		return &RefusedError{ErrorDetails: details, Message: said.Message()}
	case details.Code == codes.Unavailable:
		return &UnreachableError{TransportError{ErrorDetails: details, Message: said.Message()}}
	default:
		return &TransportError{ErrorDetails: details, Message: said.Message()}
	}
}

// read takes the details that are known; a reason counts only when it is of our own domain. What cannot be read is left
// out: code and message still tell the essential.
func (d *ErrorDetails) read(said *status.Status) {
	for _, detail := range said.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == domain {
				d.Reason, d.Metadata = Reason(detail.GetReason()), detail.GetMetadata()
			}
		case *errdetails.RetryInfo:
			if detail.GetRetryDelay() != nil {
				d.wait(detail.GetRetryDelay().AsDuration())
			}
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				d.FieldViolations = append(d.FieldViolations,
					FieldViolation{Field: violation.GetField(), Description: violation.GetDescription()})
			}
		case *pb.CallFailure:
			d.CallFailure = detail
		}
	}
}

// readPushback follows gRPC's rule: a negative or unreadable value forbids a retry.
func (d *ErrorDetails) readPushback(trailer metadata.MD) {
	values := trailer.Get(pushbackKey)
	if len(values) == 0 {
		return
	}
	milliseconds, err := strconv.ParseUint(values[len(values)-1], 10, 63)
	if err != nil {
		d.RetryForbidden = true
		return
	}
	d.wait(time.Duration(min(milliseconds, math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond)
}

// wait takes the longer of what was told.
func (d *ErrorDetails) wait(wait time.Duration) {
	d.RetryAfter, d.HasRetryAfter = max(d.RetryAfter, wait, 0), true
}

func lastOf(trailer metadata.MD, key string) string {
	values := trailer.Get(key)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}
