package turnout

import "errors"

// Reason is why the sidecar refused or gave up a call, as the contract's ErrorReason without its prefix.
type Reason string

// The reasons of this version of the contract; a newer sidecar may have others.
const (
	ReasonInvalidRequest          Reason = "INVALID_REQUEST"
	ReasonRequestIDReused         Reason = "REQUEST_ID_REUSED"
	ReasonUnknownPolicy           Reason = "UNKNOWN_POLICY"
	ReasonUnknownTarget           Reason = "UNKNOWN_TARGET"
	ReasonUnknownProvider         Reason = "UNKNOWN_PROVIDER"
	ReasonUnknownDecision         Reason = "UNKNOWN_DECISION"
	ReasonUnknownBudget           Reason = "UNKNOWN_BUDGET"
	ReasonUnknownSession          Reason = "UNKNOWN_SESSION"
	ReasonUnauthenticated         Reason = "UNAUTHENTICATED"
	ReasonPermissionDenied        Reason = "PERMISSION_DENIED"
	ReasonNoEligibleTarget        Reason = "NO_ELIGIBLE_TARGET"
	ReasonAllTargetsUnavailable   Reason = "ALL_TARGETS_UNAVAILABLE"
	ReasonBudgetExhausted         Reason = "BUDGET_EXHAUSTED"
	ReasonSessionLimit            Reason = "SESSION_LIMIT"
	ReasonSidecarOverloaded       Reason = "SIDECAR_OVERLOADED"
	ReasonContentFiltered         Reason = "CONTENT_FILTERED"
	ReasonProviderRejectedRequest Reason = "PROVIDER_REJECTED_REQUEST"
	ReasonAllAttemptsRefused      Reason = "ALL_ATTEMPTS_REFUSED"
	ReasonAttemptsExhausted       Reason = "ATTEMPTS_EXHAUSTED"
	ReasonStreamInterrupted       Reason = "STREAM_INTERRUPTED"
	ReasonSessionClosed           Reason = "SESSION_CLOSED"
	ReasonStaleCheckpoint         Reason = "STALE_CHECKPOINT"
	ReasonStaleEtag               Reason = "STALE_ETAG"
	ReasonDeadline                Reason = "DEADLINE"
	ReasonDraining                Reason = "DRAINING"
	ReasonResumeTooOld            Reason = "RESUME_TOO_OLD"
	ReasonRegistrationDisabled    Reason = "REGISTRATION_DISABLED"
	ReasonAlreadyExists           Reason = "ALREADY_EXISTS"
	ReasonBug                     Reason = "BUG"
	ReasonNotImplemented          Reason = "NOT_IMPLEMENTED"
)

// ReasonOf returns the sidecar's reason, "" where err is no word of the sidecar's.
func ReasonOf(err error) Reason {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.Reason
	}
	return ""
}

// NothingSent tells whether err says that nothing was sent to any provider, or nothing that can have been billed: the
// same call may be made again, after Details().RetryAfter where that is given.
func NothingSent(err error) bool {
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.RetryForbidden {
		return false
	}
	return retryExecute(refused)
}
