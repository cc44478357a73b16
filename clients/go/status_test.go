package turnout

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"turnout.dev/go/internal/scripted"
	pb "turnout.dev/go/turnoutv1"
)

// reasonsOfTheContract are those of the enum, without prefix.
func reasonsOfTheContract() map[Reason]bool {
	reasons := map[Reason]bool{}
	for number, name := range pb.ErrorReason_name {
		if number != 0 {
			reasons[Reason(strings.TrimPrefix(name, "ERROR_REASON_"))] = true
		}
	}
	return reasons
}

func TestEveryReasonOfTheContractHasItsName(t *testing.T) {
	named := map[Reason]bool{}
	for _, reason := range []Reason{
		ReasonInvalidRequest, ReasonRequestIDReused, ReasonUnknownPolicy, ReasonUnknownTarget, ReasonUnknownProvider,
		ReasonUnknownDecision, ReasonUnknownBudget, ReasonUnknownSession, ReasonUnauthenticated, ReasonPermissionDenied,
		ReasonNoEligibleTarget, ReasonAllTargetsUnavailable, ReasonBudgetExhausted, ReasonSessionLimit,
		ReasonSidecarOverloaded, ReasonContentFiltered, ReasonProviderRejectedRequest, ReasonAllAttemptsRefused,
		ReasonAttemptsExhausted, ReasonStreamInterrupted, ReasonSessionClosed, ReasonStaleCheckpoint, ReasonStaleEtag,
		ReasonDeadline, ReasonDraining, ReasonResumeTooOld, ReasonRegistrationDisabled, ReasonAlreadyExists, ReasonBug,
		ReasonNotImplemented,
	} {
		named[reason] = true
	}
	for reason := range reasonsOfTheContract() {
		if !named[reason] {
			t.Errorf("%s has no name", reason)
		}
		delete(named, reason)
	}
	if len(named) > 0 {
		t.Errorf("%v are not of the contract", named)
	}
}

func TestEveryDetailOfAnErrorIsRead(t *testing.T) {
	cost := 0.5
	failure := &pb.CallFailure{
		Attempts: []*pb.Attempt{{AttemptId: "a"}}, Rejections: []*pb.Rejection{{Detail: "r"}},
		DeliveredBytes: 7, CostUsd: &cost,
	}
	err := scripted.Refusal(codes.ResourceExhausted, "SIDECAR_OVERLOADED",
		scripted.RetryIn(1500*time.Millisecond),
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "f", Description: "d"}}},
		failure)
	trailer := metadata.Pairs("turnout-decision-id", "d1", "grpc-retry-pushback-ms", "700")

	var refused *RefusedError
	if !errors.As(errorFrom(err, trailer, nil), &refused) {
		t.Fatalf("got %v", err)
	}
	if refused.Reason != ReasonSidecarOverloaded || refused.Code != codes.ResourceExhausted || refused.DecisionID != "d1" ||
		refused.RetryAfter != 1500*time.Millisecond || !refused.HasRetryAfter || refused.RetryForbidden ||
		refused.FieldViolations[0] != (FieldViolation{Field: "f", Description: "d"}) ||
		refused.Attempts()[0].GetAttemptId() != "a" || refused.Rejections()[0].GetDetail() != "r" ||
		refused.CallFailure.GetDeliveredBytes() != 7 || refused.CallFailure.GetCostUsd() != 0.5 {
		t.Errorf("got %+v", refused.ErrorDetails)
	}
	if ReasonOf(refused) != ReasonSidecarOverloaded || refused.Error() != "turnout: SIDECAR_OVERLOADED: because of SIDECAR_OVERLOADED" {
		t.Errorf("got %v", refused)
	}
	// The stream's own last message is fuller than the summary.
	fuller := errorFrom(err, trailer, &pb.CallFailure{DeliveredBytes: 9}).Details()
	if fuller.CallFailure.GetDeliveredBytes() != 9 {
		t.Errorf("got %v", fuller.CallFailure)
	}
}

func TestPushbackForbidsARetryWhereItIsNegativeOrUnreadable(t *testing.T) {
	err := scripted.Refusal(codes.Internal, "ATTEMPTS_EXHAUSTED")
	for value, forbidden := range map[string]bool{"-1": true, "soon": true, "0": false, "10": false} {
		details := errorFrom(err, metadata.Pairs(pushbackKey, value), nil).Details()
		if details.RetryForbidden != forbidden || details.HasRetryAfter == forbidden {
			t.Errorf("%s: %+v", value, details)
		}
	}
}

func TestOnlyAReasonOfOurDomainIsTheSidecarsWord(t *testing.T) {
	foreign, _ := status.New(codes.Unavailable, "x").WithDetails(
		&errdetails.ErrorInfo{Reason: "DRAINING", Domain: "proxy.example"})
	var refused *RefusedError
	if failed := errorFrom(foreign.Err(), nil, nil); errors.As(failed, &refused) || !errors.As(failed, new(*UnreachableError)) {
		t.Errorf("got %T %v", failed, failed)
	}
	// A newer sidecar's reason is its word all the same.
	if newer := errorFrom(scripted.Refusal(codes.Aborted, "OF_TOMORROW"), nil, nil); ReasonOf(newer) != "OF_TOMORROW" {
		t.Errorf("got %v", newer)
	}
}

func TestErrorsAreATree(t *testing.T) {
	lost := errorFrom(status.Error(codes.Unavailable, "gone"), nil, nil)
	var transport *TransportError
	if !errors.As(lost, &transport) || transport.Message != "gone" || errors.Is(lost, context.Canceled) {
		t.Errorf("got %v", lost)
	}
	cut := errorFrom(status.Error(codes.Canceled, "x"), nil, nil)
	if !errors.Is(cut, context.Canceled) || errors.As(cut, new(*UnreachableError)) {
		t.Errorf("got %v", cut)
	}
	for _, late := range []error{
		errorFrom(status.Error(codes.DeadlineExceeded, "x"), nil, nil),
		errorFrom(scripted.Refusal(codes.DeadlineExceeded, "DEADLINE"), nil, nil),
	} {
		if !errors.Is(late, context.DeadlineExceeded) {
			t.Errorf("got %v", late)
		}
	}
	for _, err := range []error{lost, cut, contract("x"), &UsageError{}, &PlanExhaustedError{ErrorDetails: &ErrorDetails{}},
		&RestartedError{ErrorDetails: &ErrorDetails{}}} {
		var known Error
		if !errors.As(err, &known) || known.Details() == nil {
			t.Errorf("%T is no Error", err)
		}
	}
}
