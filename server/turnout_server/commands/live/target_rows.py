"""Targets as rows: the one word that says how a target is, the figures beside it, the orders they can stand in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from google.protobuf.timestamp_pb2 import Timestamp

from turnout.answer import target_name
from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.live.figures import one_line, seconds_of, until
from turnout_server.commands.live.seen import Seen
from turnout_server.commands.printing import enum_word

CLOSED, OPEN, HALF_OPEN = pb.BREAKER_STATE_CLOSED, pb.BREAKER_STATE_OPEN, pb.BREAKER_STATE_HALF_OPEN


class Tone(StrEnum):
    """How much something should be noticed."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    OFF = "off"


_TONES: Mapping[int, Tone] = MappingProxyType(
    {
        pb.HEALTH_STATE_HEALTHY: Tone.GOOD,
        pb.HEALTH_STATE_DEGRADED: Tone.WARN,
        pb.HEALTH_STATE_UNHEALTHY: Tone.BAD,
        pb.HEALTH_STATE_OFFLINE: Tone.BAD,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRow:
    """One target. None is unknown; durations are in seconds, money in USD, shares 0 to 1.

    `state` is the strongest thing to say of it, `breaker` the breaker that keeps it away, its own or its endpoint's.
    `trend` is the median latency of the last minutes, the one under way last. Figures are of the window, `spend_usd`
    as far back as sums are kept; where they are not to be had, of the window.
    """

    name: str
    state: str
    tone: Tone
    health: str
    score: float
    breaker: str
    drained: bool
    in_flight: int
    call_count: int
    calls_per_second: float
    error_rate: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    first_token_seconds: float | None
    trend: tuple[float | None, ...]
    output_tokens_per_second: float
    spend_usd: float
    usd_per_hour: float


def target_rows(seen: Seen) -> list[TargetRow]:
    """Returns a row for each target, in the order of the configuration."""
    spent = {group.name: group.cost_usd for group in seen.statistics.groups} if seen.statistics is not None else None
    return [
        _row(seen, target, endpoint, spent)
        for provider in seen.status.providers
        for target, endpoint in with_endpoints(provider)
    ]


def with_endpoints(provider: pb.ProviderState) -> Iterator[tuple[pb.TargetState, pb.EndpointState]]:
    """Yields each target of a provider with the state of its endpoint."""
    endpoints = {endpoint.endpoint: endpoint for endpoint in provider.endpoints}
    for target in provider.targets:
        yield target, endpoints.get(target.target.endpoint, pb.EndpointState(breaker=CLOSED))


def _row(
    seen: Seen, target: pb.TargetState, endpoint: pb.EndpointState, spent: Mapping[str, float] | None
) -> TargetRow:
    name = target_name(target.target)
    window = max(seen.window_seconds, 1.0)
    state, tone = _state(target, endpoint, seen.now)
    p50 = seconds_of(target.latency.p50) if target.HasField("latency") else None
    past = seen.trends.get(name, admin_pb2.GetTrendResponse()).points
    return TargetRow(
        name=one_line(name),
        state=state,
        tone=tone,
        health=enum_word(pb.HealthState, target.health).lower(),
        score=target.score,
        breaker=breaker_text(target, endpoint, seen.now),
        drained=target.drained,
        in_flight=target.in_flight,
        call_count=target.request_count,
        calls_per_second=target.request_count / window,
        error_rate=1.0 - target.success_rate if target.HasField("success_rate") else None,
        p50_seconds=p50,
        p95_seconds=seconds_of(target.latency.p95) if target.HasField("latency") else None,
        first_token_seconds=seconds_of(target.time_to_first_token.p50)
        if target.HasField("time_to_first_token")
        else None,
        trend=(*(point.value if point.HasField("value") else None for point in past), p50),
        output_tokens_per_second=target.output_tokens / window,
        spend_usd=target.cost_usd if spent is None else spent.get(name, 0.0),
        usd_per_hour=target.cost_usd / window * 3600.0,
    )


def breaker_text(target: pb.TargetState, endpoint: pb.EndpointState, now: datetime) -> str:
    """Returns the breaker that keeps the target away, and how long: "open 4s", "half-open", "open 4s (endpoint)"."""
    if target.breaker == CLOSED != endpoint.breaker:
        reopen = endpoint.reopen_time if endpoint.HasField("reopen_time") else None
        return f"{_breaker(endpoint.breaker, reopen, now)} (endpoint)"
    return _breaker(target.breaker, target.reopen_time if target.HasField("reopen_time") else None, now)


def _breaker(state: int, reopen: Timestamp | None, now: datetime) -> str:
    word = enum_word(pb.BreakerState, state).lower().replace("_", "-")
    return f"{word} {until(reopen, now)}" if state == OPEN and reopen is not None else word


def _state(target: pb.TargetState, endpoint: pb.EndpointState, now: datetime) -> tuple[str, Tone]:  # noqa: PLR0911 - a list of cases
    """Returns what keeps calls away from the target, the strongest first; else how it is."""
    if target.drained:
        return "drained", Tone.OFF
    breaker = breaker_text(target, endpoint, now)
    if OPEN in {target.breaker, endpoint.breaker}:
        return breaker.replace(" (endpoint)", " *"), Tone.BAD
    if HALF_OPEN in {target.breaker, endpoint.breaker}:
        return breaker.replace(" (endpoint)", " *"), Tone.WARN
    if target.HasField("cool_down_until"):
        return f"cooling {until(target.cool_down_until, now)}", Tone.WARN
    if endpoint.HasField("cool_down_until"):
        return f"cooling {until(endpoint.cool_down_until, now)}", Tone.WARN
    ours = [key.usable for key in endpoint.credentials if not key.reported]
    if ours and not any(ours):
        return "no key works", Tone.BAD
    if target.suspect:
        return "suspect", Tone.WARN
    if target.throttle >= 0.005:  # noqa: PLR2004 - what rounds to 0 %
        return f"throttled {target.throttle:.0%}", Tone.WARN
    if target.HasField("drift") and target.health == pb.HEALTH_STATE_HEALTHY:
        return "drifting", Tone.WARN
    return enum_word(pb.HealthState, target.health).lower(), _TONES.get(target.health, Tone.WARN)


UNSORTED = "configured"
_BY_NOTICE = (Tone.BAD, Tone.WARN, Tone.OFF, Tone.GOOD)

ORDERS: Mapping[str, Callable[[TargetRow], float]] = MappingProxyType(
    {
        UNSORTED: lambda _row: 0.0,
        "state": lambda row: _BY_NOTICE.index(row.tone) * 1000.0 + row.score,
        "calls": lambda row: -row.calls_per_second,
        "latency": lambda row: -_known(row.p50_seconds),
        "errors": lambda row: -_known(row.error_rate),
        "in flight": lambda row: -row.in_flight,
        "spend": lambda row: -row.spend_usd,
    }
)
"""The orders by name; what should be looked at first stands first, equal ones stay as configured."""


def arranged(rows: Iterable[TargetRow], *, order: str, pattern: str) -> list[TargetRow]:
    """Returns the rows that a filter lets through, in an order of `ORDERS`."""
    return sorted((row for row in rows if passes(pattern, row.name, row.state)), key=ORDERS[order])


def passes(pattern: str, *texts: str) -> bool:
    """Whether one of the texts has the pattern in it, whatever the case; an empty pattern lets everything through."""
    wanted = pattern.casefold()
    return any(wanted in text.casefold() for text in texts) or not wanted


def _known(value: float | None) -> float:
    return -1.0 if value is None else value
