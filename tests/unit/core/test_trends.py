"""Trends: one measure, point by point, from what was counted by the minute and by quarters of an hour."""

from __future__ import annotations

import pytest

from turnout_server.core.chronicle import Chronicle, Heading
from turnout_server.core.model import FailureKind, Outcome, Target
from turnout_server.core.statistics import TargetStatistics
from turnout_server.core.trends import Measure, Trend, TrendQuery, trend

A, B = Target("a", "m"), Target("b", "m")
MINUTE, QUARTER, HOUR = 60.0, 900.0, 3600.0


class Counted:
    """Two targets, whose outcomes are counted both ways."""

    def __init__(self) -> None:
        self.statistics = {A: TargetStatistics(), B: TargetStatistics()}
        self.chronicle = Chronicle(1 << 24, started_at=0.0)

    def ended(self, now: float, latency: float = 1.0, failure: FailureKind | None = None, target: Target = A) -> None:
        outcome = Outcome(
            target=target,
            failure=failure,
            latency_seconds=latency,
            time_to_first_token_seconds=latency / 4,
            cost_nano_usd=500_000_000,
        )
        self.statistics[target].record(outcome, now)
        self.chronicle.ended(Heading(target), outcome, now)

    def trend(
        self,
        measure: Measure,
        *,
        now: float,
        window: float = HOUR,
        step: float = MINUTE,
        targets: tuple[Target, ...] = (A,),
    ) -> Trend:
        return trend(
            TrendQuery(measure=measure, window_seconds=window, step_seconds=step),
            targets={target: self.statistics[target] for target in targets},
            chronicle=self.chronicle,
            started_at=0.0,
            now=now,
            now_wall=now + 1e9,
        )


def values(found: Trend) -> list[float | None]:
    return [point.value for point in found.points]


def test_points_begin_with_the_start_and_end_now() -> None:
    counted = Counted()
    counted.ended(130.0)
    found = counted.trend(Measure.LATENCY, now=185.0)

    assert [point.at_wall - 1e9 for point in found.points] == [0.0, 60.0, 120.0, 180.0]
    assert values(found) == [None, None, 1.0, None]
    assert [point.sample_count for point in found.points] == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (Measure.LATENCY, 2.0),
        (Measure.TIME_TO_FIRST_TOKEN, 0.5),
        (Measure.SUCCESS_RATE, 0.5),
        (Measure.ERROR_RATE, 0.5),
        (Measure.AVAILABILITY, 2 / 3),
        (Measure.REQUEST_RATE, 4 / 60),
        (Measure.COST, 2.0),
        (Measure.LATENCY_P50, pytest.approx(1.0, rel=0.04)),
        (Measure.LATENCY_P95, pytest.approx(3.0, rel=0.04)),
        (Measure.LATENCY_P99, pytest.approx(3.0, rel=0.04)),
    ],
)
def test_measures(measure: Measure, expected: float) -> None:
    counted = Counted()
    counted.ended(1.0, 1.0)
    counted.ended(2.0, 3.0)
    counted.ended(3.0, failure=FailureKind.TIMEOUT)
    # The caller's own mistake: a failure, but none of the provider's.
    counted.ended(4.0, failure=FailureKind.INVALID_REQUEST)

    assert values(counted.trend(measure, now=60.0))[0] == expected


def test_nothing_happened_is_no_latency_but_a_cost_and_a_rate_of_nothing() -> None:
    counted = Counted()

    assert values(counted.trend(Measure.LATENCY, now=70.0)) == [None, None]
    assert values(counted.trend(Measure.COST, now=70.0)) == [0.0, 0.0]
    assert values(counted.trend(Measure.REQUEST_RATE, now=70.0)) == [0.0, 0.0]


def test_steps_add_minutes_up() -> None:
    counted = Counted()
    for minute in range(10):
        counted.ended(minute * MINUTE, float(minute))

    assert values(counted.trend(Measure.LATENCY, now=599.0, step=5 * MINUTE)) == [2.0, 7.0]


def test_beyond_an_hour_quarters_are_told() -> None:
    counted = Counted()
    for minute in range(180):
        counted.ended(minute * MINUTE, float(1 + minute // 15))
    found = counted.trend(Measure.LATENCY, now=180 * MINUTE - 1.0, window=2 * HOUR, step=QUARTER)

    assert values(found) == [float(quarter) for quarter in range(4, 13)]
    assert found.slope_per_hour == pytest.approx(4.0)


def test_targets_are_told_together() -> None:
    counted = Counted()
    counted.ended(1.0, 1.0)
    counted.ended(2.0, 3.0, target=B)

    assert values(counted.trend(Measure.LATENCY, now=50.0)) == [1.0]
    assert values(counted.trend(Measure.LATENCY, now=50.0, targets=(A, B))) == [2.0]


def test_slope_is_the_change_per_hour_and_needs_three_values() -> None:
    counted = Counted()
    for minute in range(3):
        assert counted.trend(Measure.LATENCY, now=minute * MINUTE).slope_per_hour is None

        counted.ended(minute * MINUTE, 1.0 + minute)

    assert counted.trend(Measure.LATENCY, now=125.0).slope_per_hour == pytest.approx(60.0)
