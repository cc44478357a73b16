"""Held against its own past, a calm target is left in peace, and one that becomes slow or fails is soon seen."""

from __future__ import annotations

import statistics

import pytest

from tests.simulation.drift import CALM, DAY_SECONDS, WEEK_SECONDS, Shape, Shift, false_alarms, live, seen_after
from turnout_server.core.charts import Measure

STEADY_TRAFFIC = Shape(rate=1.0, rate_swing=0.0)
"""A call a second."""
HOUR = 3600.0


def test_a_day_of_calm_of_each_shape_raises_no_more_alarms_than_one_target_in_a_week() -> None:
    shapes = {name: shape for name, shape in CALM.items() if name != "a busy one"}
    alarms = {name: false_alarms(shape, seed=1, seconds=DAY_SECONDS) for name, shape in shapes.items()}
    alarms["a busy one"] = false_alarms(CALM["a busy one"], seed=1, seconds=4 * HOUR)

    assert sum(alarms.values()) <= 1, alarms


@pytest.mark.full
@pytest.mark.parametrize("name", CALM)
def test_weeks_of_calm_raise_at_most_one_alarm_a_target_and_week(name: str) -> None:
    weeks = 1 if name == "a busy one" else 4
    alarms = [false_alarms(CALM[name], seed=seed, seconds=WEEK_SECONDS) for seed in range(weeks)]

    assert sum(alarms) <= weeks, alarms


def test_target_that_takes_twice_as_long_is_seen_within_minutes_at_a_call_a_second() -> None:
    found = [seen_after(STEADY_TRAFFIC, Shift(HOUR, times=2.0), seed=seed) for seed in range(11)]
    seen = [after for after in found if after is not None]

    assert len(seen) == len(found)
    assert statistics.median(seen) <= 300.0
    assert max(seen) <= 1800.0


def test_the_worse_it_is_the_sooner_it_is_seen() -> None:
    medians = []
    for times in (2.0, 3.0, 6.0):
        found = [seen_after(STEADY_TRAFFIC, Shift(HOUR, times=times), seed=seed) for seed in range(5)]
        medians.append(statistics.median(each for each in found if each is not None))

    assert medians == sorted(medians, reverse=True)
    assert medians[-1] <= 90.0


def test_target_of_which_a_seventh_fails_is_seen_within_minutes() -> None:
    found = [seen_after(STEADY_TRAFFIC, Shift(HOUR, failing_share=0.15), seed=seed) for seed in range(7)]
    seen = [after for after in found if after is not None]

    assert len(seen) == len(found)
    assert statistics.median(seen) <= 300.0


def test_what_lasts_becomes_usual_but_not_at_once() -> None:
    turns = list(live(STEADY_TRAFFIC, seed=3, seconds=12 * HOUR, shift=Shift(HOUR, times=2.0)))
    kinds = [(seen.turn.measure, seen.turn.drifting) for seen in turns]

    assert kinds == [(Measure.FIRST_TOKEN, True), (Measure.FIRST_TOKEN, False)]
    assert turns[1].at - turns[0].at >= HOUR / 2
