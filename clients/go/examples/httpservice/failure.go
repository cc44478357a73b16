package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"

	turnout "turnout.dev/go"
)

// failure is what a caller is told of an error. Providers, attempts and rejections are not for callers: the log has the
// decision's id, and `turnout explain` the rest.
type failure struct {
	Error      string            `json:"error"`
	Reason     turnout.Reason    `json:"reason,omitempty"`
	DecisionID string            `json:"decision_id,omitempty"`
	Fields     map[string]string `json:"fields,omitempty"`
}

func failureOf(err error) failure {
	told := failure{Error: "the answer could not be made"}
	var known turnout.Error
	if errors.As(err, &known) {
		details := known.Details()
		told.Reason, told.DecisionID = details.Reason, details.DecisionID
	}
	var refused *turnout.RefusedError
	if errors.As(err, &refused) {
		told.Error = refused.Message
		for _, violation := range refused.FieldViolations {
			if told.Fields == nil {
				told.Fields = map[string]string{}
			}
			told.Fields[violation.Field] = violation.Description
		}
	}
	return told
}

// statusOf returns the HTTP status for an error of the client's.
func statusOf(err error) int {
	switch turnout.ReasonOf(err) {
	case turnout.ReasonInvalidRequest:
		return http.StatusBadRequest
	case turnout.ReasonContentFiltered, turnout.ReasonProviderRejectedRequest, turnout.ReasonNoEligibleTarget:
		return http.StatusUnprocessableEntity
	case turnout.ReasonBudgetExhausted, turnout.ReasonSessionLimit:
		return http.StatusTooManyRequests
	case turnout.ReasonAllTargetsUnavailable, turnout.ReasonAllAttemptsRefused, turnout.ReasonSidecarOverloaded,
		turnout.ReasonDraining:
		return http.StatusServiceUnavailable
	case turnout.ReasonAttemptsExhausted, turnout.ReasonStreamInterrupted:
		return http.StatusBadGateway
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.As(err, new(*turnout.UnreachableError)):
		return http.StatusServiceUnavailable
	default:
		// A wrong token, a contract that is not kept, a fault: ours to mend, not the caller's.
		return http.StatusInternalServerError
	}
}

// writeRefusal answers with the status of an error, before anything else was written.
func writeRefusal(w http.ResponseWriter, err error) {
	if errors.Is(err, context.Canceled) {
		// The caller is gone: nobody reads this.
		return
	}
	told := failureOf(err)
	slog.Warn("a prompt was not answered", "error", err, "decision_id", told.DecisionID)
	var known turnout.Error
	if errors.As(err, &known) && known.Details().HasRetryAfter {
		seconds := math.Ceil(known.Details().RetryAfter.Seconds())
		w.Header().Set("Retry-After", strconv.FormatFloat(seconds, 'f', 0, 64))
	}
	writeError(w, statusOf(err), told)
}

func writeError(w http.ResponseWriter, code int, told failure) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(told)
}
