package main

import (
	"context"
	"errors"
	"fmt"

	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"

	turnout "turnout.dev/go"
)

// describe writes an error as the suite reads it; what is not known is left out.
func describe(err error) object {
	said := object{"kind": kindOf(err), "type": typeOf(err), "message": err.Error()}
	var own *applicationError
	var planned *planError
	switch {
	case errors.As(err, &own):
		said["called"] = own.called
		return said
	case errors.As(err, &planned):
		said["called"] = planned.called
	}
	var known turnout.Error
	if errors.As(err, &known) {
		addDetails(said, known.Details())
	}
	return said
}

func kindOf(err error) string {
	switch {
	case errors.Is(err, errUnsupported):
		return "UNSUPPORTED"
	case errors.As(err, new(*applicationError)):
		return "APPLICATION"
	case errors.As(err, new(*turnout.RefusedError)):
		return "REFUSED"
	case errors.Is(err, context.Canceled):
		return "CANCELLED"
	case errors.Is(err, context.DeadlineExceeded):
		return "DEADLINE"
	case errors.As(err, new(*turnout.UnreachableError)):
		return "UNREACHABLE"
	case errors.As(err, new(*turnout.TransportError)):
		return "TRANSPORT"
	case errors.As(err, new(*turnout.ContractError)):
		return "CONTRACT"
	case errors.As(err, new(*turnout.PlanExhaustedError)):
		return "PLAN_EXHAUSTED"
	default:
		return "USAGE"
	}
}

func typeOf(err error) string {
	for {
		switch wrapped := err.(type) { //nolint:errorlint // these are the driver's own wrappers
		case *applicationError:
			err = wrapped.err
		case *planError:
			err = wrapped.err
		default:
			return fmt.Sprintf("%T", err)
		}
	}
}

func addDetails(said object, details *turnout.ErrorDetails) {
	if details.Reason != "" {
		said["reason"] = details.Reason
	}
	if details.Code != codes.OK {
		said["code"] = rpccode.Code_name[int32(details.Code)]
		said["retry_forbidden"] = details.RetryForbidden
	}
	if details.HasRetryAfter {
		said["retry_after_seconds"] = details.RetryAfter.Seconds()
	}
	if details.DecisionID != "" {
		said["decision_id"] = details.DecisionID
	}
	if details.PartialText != "" {
		said["text"] = details.PartialText
	}
	if len(details.PartialParts) > 0 {
		said["parts"] = allAsJSON(details.PartialParts)
	}
	violations := []object{}
	for _, violation := range details.FieldViolations {
		violations = append(violations, object{"field": violation.Field, "description": violation.Description})
	}
	if len(violations) > 0 {
		said["field_violations"] = violations
	}
	failure := details.CallFailure
	if failure == nil {
		return
	}
	said["delivered_bytes"] = failure.GetDeliveredBytes()
	said["attempts"], said["rejections"] = allAsJSON(details.Attempts()), allAsJSON(details.Rejections())
	if failure.Usage != nil {
		said["usage"] = asJSON(failure.GetUsage())
	}
	if failure.CostUsd != nil {
		said["cost_usd"] = failure.GetCostUsd()
	}
}
