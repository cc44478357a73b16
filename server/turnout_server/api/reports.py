"""Outcomes and feedback to the core.

A report that makes no sense is rejected alone, with its reason; the others of the same request count.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from turnout_server.api import enums
from turnout_server.api.faults import MAX_ID_LENGTH, MAX_NAME_LENGTH, MAX_TOKENS, MAX_WORD_LENGTH, Faults
from turnout_server.api.instants import seconds
from turnout_server.api.requests import caller, nobody_named
from turnout_server.core.model import (
    CREDENTIAL_FAILURES,
    NANO_USD,
    FailureKind,
    Feedback,
    Outcome,
    RateLimitBucket,
    RateLimitReading,
    Target,
    Usage,
    UsageSource,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.duration_pb2 import Duration

    from turnout.v1 import router_pb2 as pb

MAX_REPORT_COUNT = 1000
MAX_CALL_SECONDS = 86_400.0
MAX_RETRY_SECONDS = 3600.0
MAX_COST_USD = 1_000_000.0
MAX_BUCKET = 10**15
"""Vendors state what stands for "no limit" in many ways; this is room for them."""


def check_counts(request: pb.ReportOutcomeRequest) -> None:
    """Raises InvalidRequestError where there are more reports than one request may bring."""
    faults = Faults()
    faults.count(request.outcomes, "outcomes", MAX_REPORT_COUNT)
    faults.count(request.feedback, "feedback", MAX_REPORT_COUNT)
    faults.raise_any()


def outcome(message: pb.Outcome, now_wall: float) -> Outcome:
    """Reads one outcome. Raises InvalidRequestError with every fault of it."""
    faults = Faults()
    for field in ("decision_id", "attempt_id", "probe_id", "credential"):
        faults.text(getattr(message, field), field, MAX_NAME_LENGTH)
    faults.text(message.task, "task", MAX_WORD_LENGTH)
    if not message.attempt_id:
        faults.add("attempt_id", "is missing; make a UUID for each call")
    if not (message.target.provider and message.target.model):
        faults.add("target", "is missing; name provider and model")
    for field in ("provider", "model", "endpoint"):
        faults.text(getattr(message.target, field), f"target.{field}", MAX_ID_LENGTH)
    faults.text(message.session_id, "session_id", MAX_ID_LENGTH)
    failure = _failure(message, faults)
    result = Outcome(
        target=target(message.target),
        failure=failure,
        decision_id=message.decision_id,
        attempt_id=message.attempt_id,
        probe_id=message.probe_id,
        credential=message.credential,
        reported=True,
        http_status=faults.whole(message.http_status, "http_status", 100, 599)
        if message.HasField("http_status")
        else None,
        latency_seconds=_span(message.latency, "latency", MAX_CALL_SECONDS, faults)
        if message.HasField("latency")
        else None,
        time_to_first_token_seconds=_span(message.time_to_first_token, "time_to_first_token", MAX_CALL_SECONDS, faults)
        if message.HasField("time_to_first_token")
        else None,
        streamed=message.streamed,
        before_first_byte=failure is FailureKind.CANCELLED and not message.HasField("time_to_first_token"),
        usage=usage(message.usage, faults) if message.HasField("usage") else None,
        cost_nano_usd=_cost_nano_usd(message.cost_usd, faults) if message.HasField("cost_usd") else None,
        retry_after_seconds=_span(message.retry_after, "retry_after", MAX_RETRY_SECONDS, faults)
        if message.HasField("retry_after")
        else None,
        rate_limit=_rate_limit(message.rate_limit, now_wall, faults) if message.HasField("rate_limit") else None,
        task=message.task,
        caller=caller(message.caller, "caller", faults) if message.HasField("caller") else nobody_named(),
        session_id=message.session_id,
        finished_at_wall=_finished(message, now_wall, faults),
        possibly_billed=_possibly_billed(message, failure),
    )
    faults.raise_any()
    return result


def feedback(message: pb.Feedback) -> Feedback:
    """Reads one judgement. Raises InvalidRequestError with every fault of it."""
    faults = Faults()
    if not message.decision_id:
        faults.add("decision_id", "is missing; name the decision that is judged")
    for field in ("decision_id", "attempt_id"):
        faults.text(getattr(message, field), field, MAX_NAME_LENGTH)
    faults.number(message.quality, "quality", 0, 1)
    faults.raise_any()
    return Feedback(decision_id=message.decision_id, attempt_id=message.attempt_id, quality=message.quality)


def target(message: pb.Target) -> Target:
    """Reads a target as it stands."""
    return Target(message.provider, message.model, message.endpoint)


def _failure(message: pb.Outcome, faults: Faults) -> FailureKind | None:
    failure = faults.choice(enums.FAILURE_KIND.to_core, message.failure, "failure")
    if message.ok and message.failure:
        faults.add("failure", "is given for an outcome that is ok")
    if not message.ok and not message.failure:
        faults.add("failure", "is missing for an outcome that is not ok; use FAILURE_KIND_UNKNOWN if none fits")
    return failure


def _cost_nano_usd(cost_usd: float, faults: Faults) -> int | None:
    """Reads an amount; None for one that no integer of nano-USD should hold, which is a fault."""
    if not math.isfinite(cost_usd):
        faults.add("cost_usd", "is not a finite number")
        return None
    given = faults.number(cost_usd, "cost_usd", 0, MAX_COST_USD)
    return round(given * NANO_USD) if 0 <= given <= MAX_COST_USD else None


def _span(message: Duration, path: str, longest: float, faults: Faults) -> float:
    return faults.span(message, path, longest)


def usage(message: pb.Usage, faults: Faults) -> Usage:
    """Reads token counts; parts that exceed their whole are faults."""
    # Fields with presence are listed when they are given, zero included.
    counts: Mapping[str, Any] = {
        field.name: faults.whole(count, f"usage.{field.name}", 0, MAX_TOKENS)
        for field, count in message.ListFields()
        if field.name != "source"
    }
    read = Usage(
        **counts,
        source=faults.choice(enums.USAGE_SOURCE.to_core, message.source, "usage.source") or UsageSource.REPORTED,
    )
    cached = (read.cached_input_tokens or 0) + (read.cache_write_tokens or 0)
    if read.input_tokens is not None and cached > read.input_tokens:
        faults.add("usage.input_tokens", f"is {read.input_tokens}, less than its cached and cache-write parts")
    if read.cache_write_tokens is not None and (read.cache_write_1h_tokens or 0) > read.cache_write_tokens:
        faults.add("usage.cache_write_tokens", f"is {read.cache_write_tokens}, less than its one-hour part")
    if read.output_tokens is not None and (read.reasoning_tokens or 0) > read.output_tokens:
        faults.add("usage.output_tokens", f"is {read.output_tokens}, less than its reasoning part")
    return read


def _rate_limit(message: pb.RateLimitState, now_wall: float, faults: Faults) -> RateLimitReading:
    return RateLimitReading(
        requests=_bucket(message.requests, now_wall, "rate_limit.requests", faults)
        if message.HasField("requests")
        else None,
        tokens=_bucket(message.tokens, now_wall, "rate_limit.tokens", faults) if message.HasField("tokens") else None,
    )


def _bucket(message: pb.RateLimitBucket, now_wall: float, path: str, faults: Faults) -> RateLimitBucket:
    reset: float | None = None
    if message.HasField("reset_time"):
        reset = min(max(faults.instant(message.reset_time, f"{path}.reset_time") - now_wall, 0.0), MAX_RETRY_SECONDS)
    return RateLimitBucket(
        limit=faults.whole(message.limit, f"{path}.limit", 0, MAX_BUCKET) if message.HasField("limit") else None,
        remaining=faults.whole(message.remaining, f"{path}.remaining", 0, MAX_BUCKET)
        if message.HasField("remaining")
        else None,
        reset_seconds=reset,
    )


def _finished(message: pb.Outcome, now_wall: float, faults: Faults) -> float:
    if not message.HasField("start_time"):
        return now_wall
    return min(now_wall, faults.instant(message.start_time, "start_time") + seconds(message.latency))


def _possibly_billed(message: pb.Outcome, failure: FailureKind | None) -> bool:
    """What was refused for the key's sake was not billed, unless the caller says what it used or cost."""
    told = message.HasField("usage") or message.HasField("cost_usd") or message.HasField("time_to_first_token")
    return told or failure not in CREDENTIAL_FAILURES
