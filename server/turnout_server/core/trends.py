"""One measure of some targets over time: by the minute for an hour, by quarters of an hour for a day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from turnout_server.core.chronicle import QUARTER_MINUTES, QUARTERS_KEPT, Chronicle
from turnout_server.core.model import CALLER_FAILURES, CREDENTIAL_FAILURES, NANO_USD, Target
from turnout_server.core.statistics import MINUTE_SECONDS, Counts, TargetStatistics, first_minute

FINE_WINDOW_SECONDS = 3600.0
QUARTER_SECONDS = QUARTER_MINUTES * MINUTE_SECONDS
LONGEST_WINDOW_SECONDS = QUARTERS_KEPT * QUARTER_SECONDS
SLOPE_POINTS_MINIMUM = 3
HOUR_SECONDS = 3600.0


class Measure(StrEnum):
    """What a trend shows. Latencies are those of complete answers, in seconds; shares are 0 to 1."""

    LATENCY = "LATENCY"
    TIME_TO_FIRST_TOKEN = "TIME_TO_FIRST_TOKEN"  # noqa: S105  # no password
    SUCCESS_RATE = "SUCCESS_RATE"
    REQUEST_RATE = "REQUEST_RATE"
    COST = "COST"
    LATENCY_P50 = "LATENCY_P50"
    LATENCY_P95 = "LATENCY_P95"
    LATENCY_P99 = "LATENCY_P99"
    ERROR_RATE = "ERROR_RATE"
    AVAILABILITY = "AVAILABILITY"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendQuery:
    """What is wanted: `window_seconds` up to now, in points of `step_seconds`, whole minutes or quarters of an hour."""

    measure: Measure
    window_seconds: float
    step_seconds: float


@dataclass(frozen=True, slots=True)
class Point:
    """One point: it begins at `at_wall`, seconds since the epoch. `value` is None without samples."""

    at_wall: float
    value: float | None
    sample_count: int


@dataclass(frozen=True, slots=True)
class Trend:
    """Points in order of time, and the slope of a straight line through them, per hour; None below three values."""

    points: tuple[Point, ...]
    slope_per_hour: float | None


def trend(
    wanted: TrendQuery,
    *,
    targets: Mapping[Target, TargetStatistics],
    chronicle: Chronicle,
    started_at: float,
    now: float,
    now_wall: float,
) -> Trend:
    """Returns the trend of these targets together: from the point that the window, or `started_at`, falls into."""
    step = max(1, round(wanted.step_seconds / MINUTE_SECONDS))
    oldest = first_minute(wanted.window_seconds, max(now, wanted.window_seconds))
    first = max(oldest, int(started_at // MINUTE_SECONDS)) // step
    last = int(now // MINUTE_SECONDS) // step
    found: dict[int, Counts] = {}
    for minute, counts in _counted(wanted.window_seconds, targets, chronicle, now):
        place = minute // step
        if first <= place <= last:
            found.setdefault(place, Counts()).merge(counts)
    points: list[Point] = []
    for place in range(first, last + 1):
        begins_at = place * step * MINUTE_SECONDS
        lasts = min(now, begins_at + step * MINUTE_SECONDS) - max(begins_at, started_at)
        points.append(Point(begins_at + now_wall - now, *VALUES[wanted.measure](found.get(place) or Counts(), lasts)))
    return Trend(tuple(points), _slope(points))


def _counted(
    window_seconds: float, targets: Mapping[Target, TargetStatistics], chronicle: Chronicle, now: float
) -> Iterable[tuple[int, Counts]]:
    if window_seconds <= FINE_WINDOW_SECONDS:
        for statistics in targets.values():
            yield from statistics.minutes()
        return
    for slot in chronicle.stretch(now - window_seconds, None, now).slots:
        for heading, sums in slot.sums.items():
            if heading.target in targets:
                yield slot.first, sums.attempts


Value = tuple[float | None, int]


def _mean_latency(counts: Counts, _: float) -> Value:
    return counts.latency.mean, counts.latency.count


def _mean_first_token(counts: Counts, _: float) -> Value:
    return counts.first_token.mean, counts.first_token.count


def _success_rate(counts: Counts, _: float) -> Value:
    return counts.succeeded / counts.total if counts.total else None, counts.total


def _error_rate(counts: Counts, _: float) -> Value:
    return 1.0 - counts.succeeded / counts.total if counts.total else None, counts.total


def _availability(counts: Counts, _: float) -> Value:
    counted = counts.total - sum(counts.failures[kind] for kind in CALLER_FAILURES | CREDENTIAL_FAILURES)
    return counts.succeeded / counted if counted else None, counted


def _request_rate(counts: Counts, seconds: float) -> Value:
    return counts.total / seconds if seconds > 0.0 else None, counts.total


def _cost(counts: Counts, _: float) -> Value:
    return counts.cost_nano_usd / NANO_USD, counts.priced


def _percentile(share: float) -> Callable[[Counts, float], Value]:
    return lambda counts, _: (counts.latency.quantile(share), counts.latency.count)


VALUES: Mapping[Measure, Callable[[Counts, float], Value]] = {
    Measure.LATENCY: _mean_latency,
    Measure.TIME_TO_FIRST_TOKEN: _mean_first_token,
    Measure.SUCCESS_RATE: _success_rate,
    Measure.REQUEST_RATE: _request_rate,
    Measure.COST: _cost,
    Measure.LATENCY_P50: _percentile(0.50),
    Measure.LATENCY_P95: _percentile(0.95),
    Measure.LATENCY_P99: _percentile(0.99),
    Measure.ERROR_RATE: _error_rate,
    Measure.AVAILABILITY: _availability,
}


def _slope(points: Sequence[Point]) -> float | None:
    """Least squares over the points that have a value, each as one."""
    known = [(point.at_wall / HOUR_SECONDS, point.value) for point in points if point.value is not None]
    if len(known) < SLOPE_POINTS_MINIMUM:
        return None
    middle_at = sum(at for at, _ in known) / len(known)
    middle = sum(value for _, value in known) / len(known)
    spread = sum((at - middle_at) ** 2 for at, _ in known)
    return sum((at - middle_at) * (value - middle) for at, value in known) / spread
