"""The one error that a failed call ends with, by what its attempts came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from turnout_server.core.call import AttemptRecord, CallReport
from turnout_server.core.decision import Rejection
from turnout_server.core.errors import (
    AllAttemptsRefusedError,
    AttemptsExhaustedError,
    CallError,
    ContentFilteredError,
    DeadlineError,
    ProviderRejectedRequestError,
    StreamInterruptedError,
    try_again,
)
from turnout_server.core.model import FailureKind
from turnout_server.execution.accounting import total_cost_nano_usd, total_usage
from turnout_server.ports import UpstreamError

RETRY_AFTER_SECONDS = 1.0
"""Told to callers whose attempts were all refused by providers that did not say for how long."""
RETRY_AFTER_MINIMUM_SECONDS = 0.1


_CALLERS: Mapping[FailureKind, tuple[type[CallError], str]] = MappingProxyType(
    {
        FailureKind.CONTENT_FILTERED: (ContentFilteredError, "the provider refuses this content: change the request"),
        FailureKind.CONTEXT_LENGTH: (
            ProviderRejectedRequestError,
            "no target with a larger window can be used: shorten the request",
        ),
        FailureKind.INVALID_REQUEST: (ProviderRejectedRequestError, "correct the request"),
    }
)
"""What is wrong with the request itself, and what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnd:
    """A call that failed: the last failure, what was tried, what the caller holds of it."""

    decision_id: str
    error: UpstreamError
    attempts: tuple[AttemptRecord, ...]
    rejections: Sequence[Rejection]
    delivered_bytes: int
    delivered: bool
    out_of_time: bool
    free_in_seconds: float | None = None
    """When the first of the targets asked, or of those that could not be, can be asked again; None where unknown."""


def error_of(end: CallEnd) -> CallError:
    """Returns the error to raise, with the report of everything tried, delivered and spent."""
    report = report_of(end.attempts, delivered_bytes=end.delivered_bytes, rejections=end.rejections)
    last = end.attempts[-1]
    what = f"{last.target} answered {end.error.kind}: {end.error.detail}"
    tried = _count(len(end.attempts))
    if end.out_of_time:
        message = f"the call's time ran out in {tried}, the last at {last.target}; give it a longer deadline"
        return DeadlineError(message, report=report, decision_id=end.decision_id)
    if end.delivered:
        message = (
            f"the stream broke after {end.delivered_bytes} bytes of the answer: {what}; the answer is not complete"
        )
        return StreamInterruptedError(message, report=report, decision_id=end.decision_id)
    if end.error.kind in _CALLERS:
        error, advice = _CALLERS[end.error.kind]
        return error(f"{what}; {advice}", report=report, decision_id=end.decision_id)
    if not any(attempt.possibly_billed for attempt in end.attempts):
        retry_after = _retry_after_seconds(end)
        # Before the provider's own words, which may be cut.
        message = f"{tried} failed, none was billed; {try_again(retry_after)}; the last: {what}"
        return AllAttemptsRefusedError(
            message, report=report, retry_after_seconds=retry_after, decision_id=end.decision_id
        )
    message = f"{tried} failed, some perhaps billed; the last: {what}"
    return AttemptsExhaustedError(message, report=report, decision_id=end.decision_id)


def report_of(
    attempts: tuple[AttemptRecord, ...], *, delivered_bytes: int, rejections: Sequence[Rejection]
) -> CallReport:
    """Returns the report of a call that failed: its attempts, and what they come to together."""
    return CallReport(
        attempts=attempts,
        usage=total_usage(attempts),
        cost_nano_usd=total_cost_nano_usd(attempts),
        delivered_bytes=delivered_bytes,
        rejections=rejections,
    )


def _retry_after_seconds(end: CallEnd) -> float:
    seconds = RETRY_AFTER_SECONDS if end.free_in_seconds is None else end.free_in_seconds
    return max(seconds, RETRY_AFTER_MINIMUM_SECONDS)


def _count(attempts: int) -> str:
    return "one attempt" if attempts == 1 else f"{attempts} attempts"
