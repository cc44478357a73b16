"""Everything that can be wrong with a call, as one tree; `api` has one row of its status table for each leaf.

TurnoutError
 ├ InvalidRequestError · RequestIdReusedError
 ├ NotFoundError: UnknownPolicyError · UnknownTargetError · UnknownProviderError · UnknownDecisionError ·
 │ UnknownBudgetError
 ├ StaleEtagError · AlreadyExistsError · RegistrationDisabledError
 ├ UnauthenticatedError · PermissionDeniedError
 ├ NoEligibleTargetError · AllTargetsUnavailableError · BudgetExhaustedError
 ├ SidecarOverloadedError · DrainingError · ResumeTooOldError
 ├ NotYetError
 └ CallError (carries what was tried): ContentFilteredError · ProviderRejectedRequestError · AllAttemptsRefusedError ·
   AttemptsExhaustedError · StreamInterruptedError · DeadlineError · DrainCutError

A message says what happened, to what, and what would help. It never holds a prompt, a completion or a credential.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout_server.core.call import CallReport
    from turnout_server.core.decision import Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """What is wrong with one field, by its path in the request, and what would be right."""

    field: str
    description: str


def try_again(seconds: float) -> str:
    """Returns the advice to wait for so long; a message has it once, and whoever shows it adds none."""
    return f"try again in {seconds:.1f} s"


class TurnoutError(Exception):
    """Base of all errors that reach a caller. `decision_id` names the decision it belongs to, "" for none."""

    def __init__(self, message: str, *, decision_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.decision_id = decision_id


class InvalidRequestError(TurnoutError):
    """The request is malformed or contradicts itself."""

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations = tuple(violations)


class RequestIdReusedError(TurnoutError):
    """The request id was used before: with another payload, or (`running`) by a stream that still runs."""

    def __init__(self, message: str, *, running: bool) -> None:
        super().__init__(message)
        self.running = running


class NotYetError(TurnoutError):
    """The contract has it, this version does not."""


class NotFoundError(TurnoutError):
    """Something named in the request is not known here."""

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


class UnknownPolicyError(NotFoundError):
    """No policy of that name."""


class UnknownTargetError(NotFoundError):
    """No target of that name."""


class UnknownProviderError(NotFoundError):
    """No provider of that name."""


class UnknownDecisionError(NotFoundError):
    """No decision of that id, or the history no longer holds it."""


class UnknownBudgetError(NotFoundError):
    """No budget of that name."""


class StaleEtagError(TurnoutError):
    """What should be changed was changed since it was read."""


class AlreadyExistsError(TurnoutError):
    """Something of that name is there already."""


class RegistrationDisabledError(TurnoutError):
    """The configuration does not let providers be registered at run time."""


class UnauthenticatedError(TurnoutError):
    """No token, or a wrong one."""


class PermissionDeniedError(TurnoutError):
    """The caller's role does not allow it."""


class NoEligibleTargetError(TurnoutError):
    """No target can ever satisfy the request as asked: waiting does not help."""

    def __init__(self, message: str, *, rejections: Sequence[Rejection], decision_id: str = "") -> None:
        super().__init__(message, decision_id=decision_id)
        self.rejections = tuple(rejections)


class AllTargetsUnavailableError(TurnoutError):
    """Targets fit the request, none can be used now; nothing was sent.

    `retry_after_seconds` is when one may be; None where waiting does not help: all are too slow for the deadline.
    """

    def __init__(
        self, message: str, *, rejections: Sequence[Rejection], retry_after_seconds: float | None, decision_id: str = ""
    ) -> None:
        super().__init__(message, decision_id=decision_id)
        self.rejections = tuple(rejections)
        self.retry_after_seconds = retry_after_seconds


class BudgetExhaustedError(TurnoutError):
    """Targets fit the request, and for every one of them a budget has too little left; nothing was sent.

    `budget` names the one with the least left.
    """

    def __init__(self, message: str, *, rejections: Sequence[Rejection], budget: str, decision_id: str = "") -> None:
        super().__init__(message, decision_id=decision_id)
        self.rejections = tuple(rejections)
        self.budget = budget


class SidecarOverloadedError(TurnoutError):
    """The sidecar itself has no room; nothing was sent. The message ends with when to try again."""

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(f"{message}; {try_again(retry_after_seconds)}")
        self.retry_after_seconds = retry_after_seconds


class DrainingError(TurnoutError):
    """The sidecar is stopping; nothing was sent."""


class ResumeTooOldError(TurnoutError):
    """The point to resume from is no longer held."""


class CallError(TurnoutError):
    """An executed call failed; `report` says what was tried, delivered and spent."""

    def __init__(self, message: str, *, report: CallReport, decision_id: str = "") -> None:
        super().__init__(message, decision_id=decision_id)
        self.report = report


class ContentFilteredError(CallError):
    """The provider refused the content before any output."""


class ProviderRejectedRequestError(CallError):
    """The provider says the request itself is wrong; another target is not asked."""


class AllAttemptsRefusedError(CallError):
    """Every allowed attempt failed and none can have been billed: safe to try again later."""

    def __init__(self, message: str, *, report: CallReport, retry_after_seconds: float, decision_id: str = "") -> None:
        super().__init__(message, report=report, decision_id=decision_id)
        self.retry_after_seconds = retry_after_seconds


class AttemptsExhaustedError(CallError):
    """Every allowed attempt failed, some perhaps billed: no blind retry."""


class StreamInterruptedError(CallError):
    """The stream broke after output had been delivered, and the policy is FAIL."""


class DeadlineError(CallError):
    """The caller's time ran out."""


class DrainCutError(CallError):
    """The sidecar stopped before the call had ended; some of it may have been billed."""
