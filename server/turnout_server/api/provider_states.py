"""The state of providers to protobuf."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from turnout.v1 import router_pb2 as pb
from turnout_server.api import enums
from turnout_server.api.answers import target, usd
from turnout_server.api.faults import Faults
from turnout_server.api.instants import duration, timestamp
from turnout_server.api.requests import names

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from turnout_server.core import status as core
    from turnout_server.core.accuracy import Accuracy
    from turnout_server.core.credentials import CredentialStatus
    from turnout_server.core.model import RateLimitBucket, RateLimitReading
    from turnout_server.core.status_report import Steps

T = TypeVar("T")

TARGETS_AT_ONCE = 16
"""Written without a pause: about 1 ms."""

DEFAULT_WINDOW_SECONDS = 300.0
WINDOWS_SECONDS = frozenset({60.0, 300.0, 900.0, 3600.0})
MAX_REVISION = 2**63 - 1


def status_query(request: pb.ProviderStatusRequest | pb.WatchProviderStatusRequest) -> tuple[tuple[str, ...], float]:
    """Reads providers and window. Raises InvalidRequestError for a window that is not kept."""
    faults = Faults()
    wanted = names(request.providers, "providers", faults)
    window_seconds = faults.span(request.window, "window") if request.HasField("window") else DEFAULT_WINDOW_SECONDS
    if window_seconds not in WINDOWS_SECONDS:
        faults.add("window", f"is {window_seconds:g} s; give 1, 5, 15 or 60 minutes")
    faults.raise_any()
    return tuple(dict.fromkeys(wanted)), window_seconds


def resume_revision(request: pb.WatchProviderStatusRequest) -> int | None:
    """Reads what was seen last, None for nothing. Raises InvalidRequestError for what no revision can be."""
    if not request.HasField("resume_revision"):
        return None
    faults = Faults()
    revision = faults.whole(request.resume_revision, "resume_revision", 0, MAX_REVISION)
    faults.raise_any()
    return revision


async def in_turns(steps: Steps[T]) -> T:
    """Does work piece by piece, with pauses in which other calls have their turn."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)


async def provider_status(steps: Steps[core.StatusReport]) -> pb.ProviderStatusResponse:
    """Makes a report and writes it, other calls in between."""
    report = await in_turns(steps)
    return pb.ProviderStatusResponse(
        providers=await in_turns(provider_states(report)),
        aggregate=_aggregate(report.aggregate),
        as_of=timestamp(report.as_of_wall),
        actual_window=duration(report.window_seconds),
    )


def provider_states(report: core.StatusReport) -> Steps[list[pb.ProviderState]]:
    """Writes the providers of a report with their endpoints and targets, piece by piece."""
    times = _Times(report.as_of, report.as_of_wall)
    messages: list[pb.ProviderState] = []
    count = 0
    for state in report.providers:
        message = _provider(state, times)
        for inner in state.targets:
            message.targets.append(_target(inner, times))
            count += 1
            if count % TARGETS_AT_ONCE == 0:
                yield
        messages.append(message)
    return messages


class _Times:
    """Turns monotonic times of one report, and seconds from its moment on, into wall times."""

    __slots__ = ("_as_of_wall", "_offset")

    def __init__(self, as_of: float, as_of_wall: float) -> None:
        self._as_of_wall = as_of_wall
        self._offset = as_of_wall - as_of

    def at(self, monotonic_seconds: float | None) -> Timestamp | None:
        return None if monotonic_seconds is None else timestamp(monotonic_seconds + self._offset)

    def after(self, seconds_from_then: float | None) -> Timestamp | None:
        return None if seconds_from_then is None else timestamp(seconds_from_then + self._as_of_wall)


def _provider(state: core.ProviderStatus, times: _Times) -> pb.ProviderState:
    return pb.ProviderState(
        provider=state.provider,
        health=enums.HEALTH_STATE.to_wire[state.health],
        score=state.score,
        availability=state.availability,
        in_flight=state.in_flight,
        request_count=state.request_count,
        cost_usd=usd(state.cost_nano_usd),
        target_count=state.target_count,
        available_target_count=state.available_target_count,
        drained=state.drained,
        endpoints=[_endpoint(endpoint, times) for endpoint in state.endpoints],
    )


def _endpoint(state: core.EndpointStatus, times: _Times) -> pb.EndpointState:
    return pb.EndpointState(
        endpoint=state.endpoint,
        breaker=enums.BREAKER_STATE.to_wire[state.breaker],
        reopen_time=times.at(state.reopen_at),
        cool_down_until=times.at(state.cool_down_until),
        credentials=[_credential(credential, times) for credential in state.credentials],
        region=state.region,
        unreachable=state.unreachable,
    )


def _credential(state: CredentialStatus, times: _Times) -> pb.CredentialState:
    message = pb.CredentialState(
        label=state.label,
        reported=state.reported,
        usable=state.usable,
        retry_at=times.at(state.retry_at),
        models=state.models,
    )
    if state.failure is not None:
        message.failure = enums.FAILURE_KIND.to_wire[state.failure]
    return message


def _target(state: core.TargetStatus, times: _Times) -> pb.TargetState:
    cost = state.cost_per_request_nano_usd
    return pb.TargetState(
        target=target(state.target),
        health=enums.HEALTH_STATE.to_wire[state.health],
        score=state.score,
        breaker=enums.BREAKER_STATE.to_wire[state.breaker],
        reopen_time=times.at(state.reopen_at),
        cool_down_until=times.at(state.cool_down_until),
        availability=state.availability,
        success_rate=state.success_rate,
        error_rates={kind.value: rate for kind, rate in state.error_rates.items()},
        consecutive_failures=state.consecutive_failures,
        latency=latency_summary(state.latency),
        time_to_first_token=latency_summary(state.time_to_first_token),
        output_tokens_per_second=state.output_tokens_per_second,
        predicted_latency=duration(state.predicted_latency_seconds),
        input_tokens=state.input_tokens,
        output_tokens=state.output_tokens,
        cost_usd=usd(state.cost_nano_usd),
        cost_per_request_usd=None if cost is None else usd(cost),
        in_flight=state.in_flight,
        utilisation=state.utilisation,
        rate_limit=None if state.rate_limit is None else _rate_limit(state.rate_limit, times),
        headroom=state.headroom,
        last_request_time=times.at(state.last_request_at),
        last_success_time=times.at(state.last_success_at),
        last_check_time=times.at(state.last_check_at),
        drained=state.drained,
        suspect=state.suspect,
        sample_count=state.sample_count,
        request_count=state.request_count,
        input_estimate=_accuracy(state.estimates.input_tokens),
        output_estimate=_accuracy(state.estimates.output_tokens),
        cost_estimate=_accuracy(state.estimates.cost),
        throttle=state.throttle,
        concurrency_limit=state.concurrency_limit,
        drift=state.drift if state.worse_in else None,
        drifting_measures=[measure.value for measure in state.worse_in],
    )


def _accuracy(accuracy: Accuracy | None) -> pb.EstimateAccuracy | None:
    if accuracy is None:
        return None
    return pb.EstimateAccuracy(
        mean_absolute_error=accuracy.mean_absolute_error, bias=accuracy.bias, sample_count=accuracy.sample_count
    )


def latency_summary(summary: core.LatencySummary | None) -> pb.LatencySummary | None:
    """Writes a summary of durations, None for none."""
    if summary is None:
        return None
    return pb.LatencySummary(
        p50=duration(summary.p50),
        p95=duration(summary.p95),
        p99=duration(summary.p99),
        min=duration(summary.minimum),
        max=duration(summary.maximum),
        mean=duration(summary.mean),
        moving_average=duration(summary.moving_average),
    )


def _rate_limit(reading: RateLimitReading, times: _Times) -> pb.RateLimitState:
    return pb.RateLimitState(requests=_bucket(reading.requests, times), tokens=_bucket(reading.tokens, times))


def _bucket(bucket: RateLimitBucket | None, times: _Times) -> pb.RateLimitBucket | None:
    if bucket is None:
        return None
    return pb.RateLimitBucket(
        limit=bucket.limit, remaining=bucket.remaining, reset_time=times.after(bucket.reset_seconds)
    )


def _aggregate(state: core.AggregateStatus) -> pb.AggregateState:
    return pb.AggregateState(
        health=enums.HEALTH_STATE.to_wire[state.health],
        target_count=state.target_count,
        available_target_count=state.available_target_count,
        targets_by_health={health.value: count for health, count in state.targets_by_health.items()},
        request_count=state.request_count,
        success_rate=state.success_rate,
        in_flight=state.in_flight,
        input_tokens=state.input_tokens,
        output_tokens=state.output_tokens,
        cost_usd=usd(state.cost_nano_usd),
    )
