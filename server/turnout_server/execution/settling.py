"""How one attempt ended, told twice: to health as an outcome, to the caller as a record."""

from __future__ import annotations

from dataclasses import dataclass

from turnout_server.core.call import AttemptRecord
from turnout_server.core.cost import settled_cost_nano_usd
from turnout_server.core.model import NANO_USD, FailureKind, Outcome, RateLimitReading, RouteQuery, Usage
from turnout_server.core.permits import Permit
from turnout_server.execution.accounting import settled_usage
from turnout_server.execution.attempt import Attempt
from turnout_server.ports import UpstreamError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What was sent, for estimates: tokens as the decision estimated them, bytes of text."""

    tokens: int | None
    text_bytes: int | None
    tokens_per_byte: float


def settle(  # names and types say the rest
    permit: Permit,
    attempt: Attempt | None,
    error: UpstreamError | None,
    *,
    query: RouteQuery,
    sent: Sent,
    now: float,
    now_wall: float,
    began_at: float,
    reason: str = "",
    hedge: bool = False,
) -> tuple[Outcome, AttemptRecord]:
    """Returns the outcome and the record of an attempt that ended; `error` is None for success.

    `attempt` is None where the caller went away before anything was sent. An attempt given up to leave time for others
    is a TIMEOUT for the caller, but for health the caller's own end: its target was not late by its own measure.
    """
    failure = None if error is None else error.kind
    latency_seconds = max(0.0, now - began_at)
    usage: Usage | None
    cost: int | None
    if attempt is None:
        usage, cost, possibly_billed, first_token_seconds = None, 0, False, None
    else:
        possibly_billed = error is None or error.possibly_billed or attempt.has_content
        usage = settled_usage(
            attempt.reported,
            sent_tokens=sent.tokens,
            received_bytes=attempt.received_bytes,
            tokens_per_byte=sent.tokens_per_byte,
            possibly_billed=possibly_billed,
            complete=attempt.finish_reason is not None,
        )
        reported_cost = attempt.reported_cost_usd
        # Nothing can be billed, so that nothing was used is known, and not merely unknown.
        cost = (
            0
            if usage is None
            else settled_cost_nano_usd(
                None if reported_cost is None else round(reported_cost * NANO_USD), usage, permit.spec.price
            )
        )
        first_token_seconds = None if attempt.first_content_at is None else attempt.first_content_at - began_at
    http_status, rate_limit = _head(attempt, error)
    record = AttemptRecord(
        target=permit.spec.target,
        attempt_id=permit.attempt_id,
        started_at_wall=permit.started_at_wall,
        credential=permit.credential,
        failure=failure,
        http_status=http_status,
        detail="" if error is None else error.detail,
        latency_seconds=latency_seconds,
        time_to_first_token_seconds=first_token_seconds,
        usage=usage,
        cost_nano_usd=cost,
        possibly_billed=possibly_billed,
        retry_reason=reason,
        hedge=hedge,
        streamed=attempt is not None and attempt.streaming,
        region=permit.spec.region,
    )
    outcome = Outcome(
        target=permit.spec.target,
        failure=FailureKind.CANCELLED if attempt is not None and attempt.cut_by_share else failure,
        decision_id=permit.decision_id,
        attempt_id=permit.attempt_id,
        probe_id=permit.probe_id,
        credential=permit.credential,
        http_status=http_status,
        latency_seconds=latency_seconds,
        time_to_first_token_seconds=first_token_seconds,
        streamed=attempt is not None and attempt.streaming,
        before_first_byte=attempt is not None and not attempt.byte_came,
        off_path=not permit.decision_id,
        usage=usage,
        cost_nano_usd=cost,
        possibly_billed=possibly_billed,
        retry_reason=reason,
        hedge=hedge,
        retry_after_seconds=None if error is None else error.retry_after_seconds,
        rate_limit=rate_limit,
        estimated_input_tokens=sent.tokens,
        input_bytes=sent.text_bytes,
        task=query.profile.task,
        caller=query.caller,
        session_id=query.session_id,
        sticky_key=query.options.sticky_key,
        finished_at_wall=now_wall,
        detail=record.detail,
        region=record.region,
    )
    return outcome, record


def _head(attempt: Attempt | None, error: UpstreamError | None) -> tuple[int | None, RateLimitReading | None]:
    """Returns status and rate limit as the error has them, else as the response began."""
    status = None if error is None else error.http_status
    rate_limit = None if error is None else error.rate_limit
    if attempt is not None:
        status = attempt.http_status if status is None else status
        rate_limit = attempt.rate_limit if rate_limit is None else rate_limit
    return status, rate_limit
