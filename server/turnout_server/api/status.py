"""The error table: each leaf of the core's error tree to a gRPC code, a reason and what a retry may do.

Details go into `grpc-status-details-bin` as google.rpc messages. Some clients accept only 8 KiB of metadata, base64
included: all details together stay below 4 KiB and the message below 512 bytes, and what had to be left out is marked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # has no types

from turnout.v1 import router_pb2 as pb
from turnout_server.api.answers import rejection
from turnout_server.api.call_answers import call_failure
from turnout_server.api.instants import duration
from turnout_server.core import errors
from turnout_server.core.decision import Rejection

DOMAIN = "turnout.dev"
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
DECISION_KEY = "turnout-decision-id"

MAX_DETAILS_BYTES = 4096
MAX_MESSAGE_BYTES = 512
MAX_VALUE_BYTES = 200
MAX_DETAIL_BYTES = 120
MAX_LISTED = 16
BUG_MESSAGE = "a fault of the sidecar's own; its log has the details"


class Retry(Enum):
    """What the caller's transport may do by itself. AFTER goes with RetryInfo, NEVER with a pushback of -1."""

    UNSAID = "unsaid"
    AFTER = "after"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; `reason` is an ErrorReason without its prefix."""

    code: grpc.StatusCode
    reason: str
    retry: Retry = Retry.UNSAID


_CODE = grpc.StatusCode

TABLE: Mapping[type[errors.TurnoutError], Row] = MappingProxyType(
    {
        errors.InvalidRequestError: Row(code=_CODE.INVALID_ARGUMENT, reason="INVALID_REQUEST"),
        errors.RequestIdReusedError: Row(code=_CODE.INVALID_ARGUMENT, reason="REQUEST_ID_REUSED"),
        errors.NotYetError: Row(code=_CODE.UNIMPLEMENTED, reason="NOT_IMPLEMENTED"),
        errors.UnknownPolicyError: Row(code=_CODE.NOT_FOUND, reason="UNKNOWN_POLICY"),
        errors.UnknownTargetError: Row(code=_CODE.NOT_FOUND, reason="UNKNOWN_TARGET"),
        errors.UnknownProviderError: Row(code=_CODE.NOT_FOUND, reason="UNKNOWN_PROVIDER"),
        errors.UnknownDecisionError: Row(code=_CODE.NOT_FOUND, reason="UNKNOWN_DECISION"),
        errors.UnknownBudgetError: Row(code=_CODE.NOT_FOUND, reason="UNKNOWN_BUDGET"),
        errors.StaleEtagError: Row(code=_CODE.ABORTED, reason="STALE_ETAG"),
        errors.AlreadyExistsError: Row(code=_CODE.ALREADY_EXISTS, reason="ALREADY_EXISTS"),
        errors.RegistrationDisabledError: Row(code=_CODE.PERMISSION_DENIED, reason="REGISTRATION_DISABLED"),
        errors.UnauthenticatedError: Row(code=_CODE.UNAUTHENTICATED, reason="UNAUTHENTICATED"),
        errors.PermissionDeniedError: Row(code=_CODE.PERMISSION_DENIED, reason="PERMISSION_DENIED"),
        errors.NoEligibleTargetError: Row(code=_CODE.FAILED_PRECONDITION, reason="NO_ELIGIBLE_TARGET"),
        errors.AllTargetsUnavailableError: Row(
            code=_CODE.UNAVAILABLE, reason="ALL_TARGETS_UNAVAILABLE", retry=Retry.AFTER
        ),
        errors.BudgetExhaustedError: Row(code=_CODE.RESOURCE_EXHAUSTED, reason="BUDGET_EXHAUSTED", retry=Retry.NEVER),
        errors.SidecarOverloadedError: Row(
            code=_CODE.RESOURCE_EXHAUSTED, reason="SIDECAR_OVERLOADED", retry=Retry.AFTER
        ),
        errors.DrainingError: Row(code=_CODE.UNAVAILABLE, reason="DRAINING"),
        errors.DrainCutError: Row(code=_CODE.UNAVAILABLE, reason="DRAINING", retry=Retry.NEVER),
        errors.ResumeTooOldError: Row(code=_CODE.OUT_OF_RANGE, reason="RESUME_TOO_OLD"),
        errors.ContentFilteredError: Row(code=_CODE.FAILED_PRECONDITION, reason="CONTENT_FILTERED"),
        errors.ProviderRejectedRequestError: Row(code=_CODE.FAILED_PRECONDITION, reason="PROVIDER_REJECTED_REQUEST"),
        errors.AllAttemptsRefusedError: Row(code=_CODE.UNAVAILABLE, reason="ALL_ATTEMPTS_REFUSED", retry=Retry.AFTER),
        errors.AttemptsExhaustedError: Row(code=_CODE.INTERNAL, reason="ATTEMPTS_EXHAUSTED", retry=Retry.NEVER),
        errors.StreamInterruptedError: Row(code=_CODE.DATA_LOSS, reason="STREAM_INTERRUPTED", retry=Retry.NEVER),
        errors.DeadlineError: Row(code=_CODE.DEADLINE_EXCEEDED, reason="DEADLINE"),
    }
)
"""One row for each leaf of the tree."""

_WITH_REJECTIONS = (errors.NoEligibleTargetError, errors.AllTargetsUnavailableError, errors.BudgetExhaustedError)

BUG = Row(code=_CODE.INTERNAL, reason="BUG")
REQUEST_ID_RUNNING = Row(code=_CODE.ALREADY_EXISTS, reason="REQUEST_ID_REUSED")


def row(error: BaseException) -> Row:
    """Returns the error's row; whatever is not of the tree is a fault of ours."""
    if isinstance(error, errors.RequestIdReusedError) and error.running:
        return REQUEST_ID_RUNNING
    for kind in type(error).__mro__:
        found = TABLE.get(kind)
        if found is not None:
            return found
    return BUG


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the transport sends for an error."""

    code: grpc.StatusCode
    message: str
    trailers: tuple[tuple[str, str | bytes], ...]


def status(error: BaseException, offset: float) -> Status:
    """Translates an error; `offset` turns the core's monotonic times into wall times."""
    found = row(error)
    known = error if isinstance(error, errors.TurnoutError) else None
    message = cut(known.message if known is not None else BUG_MESSAGE, MAX_MESSAGE_BYTES - 1)
    info = error_details_pb2.ErrorInfo(reason=found.reason, domain=DOMAIN, metadata=_metadata(error))
    retry_after = getattr(error, "retry_after_seconds", None) if found.retry is Retry.AFTER else None
    details: list[Message] = [info]
    if retry_after is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=duration(retry_after)))
    if isinstance(error, errors.InvalidRequestError):
        details.append(_bad_request(error, info))
    failure = _failure(error, offset)
    if failure is not None:
        details.append(failure)
    trailers: list[tuple[str, str | bytes]] = [(DETAILS_KEY, _packed(found.code, message, details, info, failure))]
    if retry_after is not None:
        trailers.append((PUSHBACK_KEY, str(round(retry_after * 1000))))
    elif found.retry is Retry.NEVER:
        trailers.append((PUSHBACK_KEY, "-1"))
    decision_id = known.decision_id if known is not None else ""
    if decision_id.isascii() and decision_id.isprintable() and decision_id:
        trailers.append((DECISION_KEY, decision_id))
    return Status(code=found.code, message=message, trailers=tuple(trailers))


def cut(text: str, limit: int) -> str:
    """Returns the text in at most `limit` bytes of UTF-8, whole characters only; an ellipsis stands for the rest."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode(errors="ignore") + "…"


def _metadata(error: BaseException) -> dict[str, str]:
    values: dict[str, str] = {}
    if isinstance(error, errors.NotFoundError):
        values["name"] = cut(error.name, MAX_VALUE_BYTES)
    if isinstance(error, errors.TurnoutError) and error.decision_id:
        values["decision_id"] = cut(error.decision_id, MAX_VALUE_BYTES)
    if isinstance(error, errors.BudgetExhaustedError):
        values["budget"] = cut(error.budget, MAX_VALUE_BYTES)
    rejections = _rejections(error)
    if rejections:
        counts = Counter(r.reasons[0].value for r in rejections)
        summary = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        values["rejections"] = cut(summary, MAX_VALUE_BYTES)
        values["target_count"] = str(len(rejections))
    if isinstance(error, errors.CallError):
        values["attempt_count"] = str(len(error.report.attempts))
        last = error.report.attempts[-1] if error.report.attempts else None
        if last is not None and last.failure is not None:
            values["last_target"] = cut(str(last.target), MAX_VALUE_BYTES)
            values["last_failure"] = last.failure.value
    return values


def _rejections(error: BaseException) -> Sequence[Rejection]:
    if isinstance(error, errors.CallError):
        return error.report.rejections
    if isinstance(error, _WITH_REJECTIONS):
        return error.rejections
    return ()


def _bad_request(error: errors.InvalidRequestError, info: error_details_pb2.ErrorInfo) -> error_details_pb2.BadRequest:
    message = error_details_pb2.BadRequest()
    for violation in error.violations[:MAX_LISTED]:
        # Callers' own names stand in paths, and paths have no bound of their own.
        message.field_violations.add(
            field=cut(violation.field, MAX_DETAIL_BYTES), description=cut(violation.description, MAX_DETAIL_BYTES)
        )
    if len(error.violations) > MAX_LISTED:
        info.metadata["truncated"] = "true"
    return message


def _failure(error: BaseException, offset: float) -> pb.CallFailure | None:
    if isinstance(error, errors.CallError):
        failure = call_failure(error.report, offset)
    elif isinstance(error, _WITH_REJECTIONS):
        failure = pb.CallFailure(rejections=[rejection(r, offset) for r in error.rejections[: MAX_LISTED + 1]])
    else:
        return None
    items: list[pb.Attempt | pb.Rejection] = [*failure.attempts, *failure.rejections]
    for item in items:
        short = cut(item.detail, MAX_DETAIL_BYTES)
        failure.truncated |= short != item.detail
        item.detail = short
    failure.truncated |= len(failure.attempts) > MAX_LISTED or len(failure.rejections) > MAX_LISTED
    del failure.attempts[MAX_LISTED:]
    del failure.rejections[MAX_LISTED:]
    return failure


def _packed(
    code: grpc.StatusCode,
    message: str,
    details: list[Message],
    info: error_details_pb2.ErrorInfo,
    failure: pb.CallFailure | None,
) -> bytes:
    while True:
        packed = status_pb2.Status(code=code.value[0], message=message)
        for detail in details:
            holder = AnyMessage()
            holder.Pack(detail)
            packed.details.append(holder)
        encoded: bytes = packed.SerializeToString()
        if len(encoded) < MAX_DETAILS_BYTES or not _shortened(details, failure):
            return encoded
        if failure is not None:
            failure.truncated = True
        else:
            info.metadata["truncated"] = "true"


def _shortened(details: list[Message], failure: pb.CallFailure | None) -> bool:
    """Takes the last of the longest list away; false when there is nothing left to take."""
    if failure is not None:
        if len(failure.rejections) >= len(failure.attempts) and failure.rejections:
            del failure.rejections[-1]
            return True
        if failure.attempts:
            del failure.attempts[-1]
            return True
    for detail in details:
        if isinstance(detail, error_details_pb2.BadRequest) and detail.field_violations:
            del detail.field_violations[-1]
            return True
    return False
