"""Everything that can go wrong with a call, as one tree, read from the `google.rpc` details of the sidecar's answer.

TurnoutError
 ├ InvalidRequestError · RequestIdReusedError · NotFoundError · UnauthenticatedError · PermissionDeniedError
 ├ NoEligibleTargetError · BudgetExhaustedError · SessionLimitError
 ├ NothingSentError (safe to send again): AllTargetsUnavailableError · SidecarOverloadedError · DrainingError
 ├ CallError (attempts were made): ContentFilteredError · ProviderRejectedRequestError · AllAttemptsRefusedError ·
 │  AttemptsExhaustedError · StreamInterruptedError · DeadlineError · DrainCutError
 ├ ConflictError · ResumeTooOldError · UnsupportedError · SidecarFaultError
 ├ TransportError (no answer of the sidecar's): UnreachableError
 ├ ContractError (an answer that the contract does not allow)
 └ PlanExhaustedError · RestartedError (raised by this package alone)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from turnout.v1 import router_pb2 as pb

NO_METADATA: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """What is wrong with one field, by its path in the request, and what would be right."""

    field: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetails:
    """What an error answer said beside its message; nothing here holds a prompt, a completion or a credential.

    `reason` is the sidecar's, without prefix, "" where the sidecar did not speak. `retry_after_seconds` is how long to
    wait before the same call may work, None where nothing was said. `retry_forbidden` says that a retry must not happen
    by itself. `call_failure` is what was tried, delivered and spent.
    """

    code: grpc.StatusCode | None = None
    reason: str = ""
    decision_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)
    retry_after_seconds: float | None = None
    retry_forbidden: bool = False
    field_violations: tuple[FieldViolation, ...] = ()
    call_failure: pb.CallFailure | None = field(default=None, repr=False)


NO_DETAILS = ErrorDetails()


class TurnoutError(Exception):
    """Base of all errors of this package. Carries what the answer said in `details` and, shortened, as properties."""

    def __init__(self, message: str, details: ErrorDetails = NO_DETAILS) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" if self.reason else self.message

    @property
    def code(self) -> grpc.StatusCode | None:
        """The gRPC status code, None where no call was made."""
        return self.details.code

    @property
    def reason(self) -> str:
        """The reason in UPPER_SNAKE as the contract lists it, "" where the sidecar gave none."""
        return self.details.reason

    @property
    def decision_id(self) -> str:
        """The decision it belongs to, "" for none: `turnout explain` and the sidecar's log know it."""
        return self.details.decision_id

    @property
    def retry_after_seconds(self) -> float | None:
        """How long to wait before trying again, None where waiting was not said to help."""
        return self.details.retry_after_seconds

    @property
    def field_violations(self) -> tuple[FieldViolation, ...]:
        """What is wrong with which field of the request."""
        return self.details.field_violations

    @property
    def attempts(self) -> tuple[pb.Attempt, ...]:
        """Every call to a provider that was made, in order."""
        return () if self.details.call_failure is None else tuple(self.details.call_failure.attempts)

    @property
    def rejections(self) -> tuple[pb.Rejection, ...]:
        """The targets that could not be used, each with its reasons."""
        return () if self.details.call_failure is None else tuple(self.details.call_failure.rejections)


class InvalidRequestError(TurnoutError):
    """The request is malformed or contradicts itself; `field_violations` says where."""


class RequestIdReusedError(TurnoutError):
    """The request id was used before, with another payload or by a stream that still runs."""


class NotFoundError(TurnoutError):
    """Something named in the request is not known to the sidecar; `reason` says what."""


class UnauthenticatedError(TurnoutError):
    """No token, or a wrong one."""


class PermissionDeniedError(TurnoutError):
    """The token's role or the configuration does not allow it."""


class NoEligibleTargetError(TurnoutError):
    """No target can ever serve the request as asked: waiting does not help, `rejections` says why."""


class BudgetExhaustedError(TurnoutError):
    """Budgets alone block every target that fits."""


class SessionLimitError(TurnoutError):
    """The session's own limit is reached."""


class NothingSentError(TurnoutError):
    """Nothing was sent to any provider: safe to send again, after `retry_after_seconds` where given."""


class AllTargetsUnavailableError(NothingSentError):
    """Targets fit the request, none can be used now."""


class SidecarOverloadedError(NothingSentError):
    """The sidecar itself has no room."""


class DrainingError(NothingSentError):
    """The sidecar is stopping."""


class CallError(TurnoutError):
    """An executed call failed; `attempts` says what each call to a provider did, the rest what it came to."""

    @property
    def delivered_bytes(self) -> int | None:
        """UTF-8 bytes of content that had been passed on and count; None where the sidecar could not tell.

        Streams alone pass on content before the end: `Stream.parts_so_far` holds it. After a restart what came before
        does not count.
        """
        return None if self.details.call_failure is None else self.details.call_failure.delivered_bytes

    @property
    def usage(self) -> pb.Usage | None:
        """Tokens of all attempts together; None where nothing was used, or nothing is known."""
        failure = self.details.call_failure
        return failure.usage if failure is not None and failure.HasField("usage") else None

    @property
    def cost_usd(self) -> float | None:
        """What all attempts cost together; None where that is not known of one of them."""
        failure = self.details.call_failure
        return failure.cost_usd if failure is not None and failure.HasField("cost_usd") else None


class ContentFilteredError(CallError):
    """The provider refused the content before any output."""


class ProviderRejectedRequestError(CallError):
    """The provider says that the request itself is wrong."""


class AllAttemptsRefusedError(CallError):
    """Every allowed attempt failed and none can have been billed: safe to send again later."""


class AttemptsExhaustedError(CallError):
    """Every allowed attempt failed, some perhaps billed: sending again is the caller's choice."""


class StreamInterruptedError(CallError):
    """The stream broke after output began: what came so far is not the answer."""


class DeadlineError(CallError):
    """The time given to the call ran out."""


class DrainCutError(CallError):
    """The sidecar stopped before the call had ended: sending again is the caller's choice."""


class ConflictError(TurnoutError):
    """What is to be changed was closed, changed meanwhile, or exists already; `reason` says which."""


class ResumeTooOldError(TurnoutError):
    """The revision to resume from is no longer held: watch again without one."""


class UnsupportedError(TurnoutError):
    """The contract has it, this version of the sidecar does not."""


class SidecarFaultError(TurnoutError):
    """A fault of the sidecar; its log has the details, under the decision id where there is one."""


class TransportError(TurnoutError):
    """The call failed without an answer of the sidecar's: whether anything was sent is not known."""


class UnreachableError(TransportError):
    """No connection to the sidecar, or it broke: is it running, and is the address right?"""

    def __str__(self) -> str:
        return f"the sidecar cannot be reached: {self.message}; is it running there?"


class ContractError(TurnoutError):
    """The sidecar answered in a way that the contract does not allow, such as a stream without its end."""


class PlanExhaustedError(TurnoutError):
    """Every target of a plan was offered and none was used with success."""


class RestartedError(TurnoutError):
    """Text that was handed out is void, because the answer began again on another target."""


ERRORS_BY_REASON: Mapping[str, type[TurnoutError]] = MappingProxyType(
    {
        "INVALID_REQUEST": InvalidRequestError,
        "REQUEST_ID_REUSED": RequestIdReusedError,
        "UNKNOWN_POLICY": NotFoundError,
        "UNKNOWN_TARGET": NotFoundError,
        "UNKNOWN_PROVIDER": NotFoundError,
        "UNKNOWN_DECISION": NotFoundError,
        "UNKNOWN_BUDGET": NotFoundError,
        "UNKNOWN_SESSION": NotFoundError,
        "UNAUTHENTICATED": UnauthenticatedError,
        "PERMISSION_DENIED": PermissionDeniedError,
        "REGISTRATION_DISABLED": PermissionDeniedError,
        "NO_ELIGIBLE_TARGET": NoEligibleTargetError,
        "BUDGET_EXHAUSTED": BudgetExhaustedError,
        "SESSION_LIMIT": SessionLimitError,
        "ALL_TARGETS_UNAVAILABLE": AllTargetsUnavailableError,
        "SIDECAR_OVERLOADED": SidecarOverloadedError,
        "DRAINING": DrainingError,
        "CONTENT_FILTERED": ContentFilteredError,
        "PROVIDER_REJECTED_REQUEST": ProviderRejectedRequestError,
        "ALL_ATTEMPTS_REFUSED": AllAttemptsRefusedError,
        "ATTEMPTS_EXHAUSTED": AttemptsExhaustedError,
        "STREAM_INTERRUPTED": StreamInterruptedError,
        "DEADLINE": DeadlineError,
        "SESSION_CLOSED": ConflictError,
        "STALE_CHECKPOINT": ConflictError,
        "STALE_ETAG": ConflictError,
        "ALREADY_EXISTS": ConflictError,
        "RESUME_TOO_OLD": ResumeTooOldError,
        "NOT_IMPLEMENTED": UnsupportedError,
        "BUG": SidecarFaultError,
    }
)
"""One row for each reason of the contract; a test walks the enum."""

ERRORS_BY_CODE: Mapping[grpc.StatusCode, type[TurnoutError]] = MappingProxyType(
    {
        grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
        grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
        grpc.StatusCode.NOT_FOUND: NotFoundError,
        grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
        grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
        grpc.StatusCode.UNAVAILABLE: UnreachableError,
        grpc.StatusCode.UNIMPLEMENTED: UnsupportedError,
    }
)
"""For errors without a reason that this version knows: a transport's, a proxy's, or a newer sidecar's."""
