"""Held against its own past, a calm target is left in peace, and one that becomes slow or fails is soon seen."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest

from tests.simulation.drift import CALM, DEMANDING, WEEK_SECONDS, Shape, Shift, false_alarms, live, seen_after
from turnout_server.core.charts import Measure

STEADY_TRAFFIC = Shape(rate=1.0, rate_swing=0.0)
"""A call a second."""
HOUR = 3600.0


def test_first_hours_of_calm_raise_alarms_of_one_shape_of_all_at_most() -> None:
    alarms = {
        name: false_alarms(shape, seed=1, seconds=HOUR / 10 if name in DEMANDING else 1.5 * HOUR)
        for name, shape in CALM.items()
    }

    assert sum(count > 0 for count in alarms.values()) <= 1, alarms


def test_moods_of_a_target_are_learned_in_its_first_hours() -> None:
    """With limits for the slack that hold for all, there were 18."""
    moody = CALM["moods of 5 minutes by 40 %"]
    alarms = [false_alarms(moody, seed=seed, seconds=8 * HOUR) for seed in (1, 2, 3)]

    assert sum(alarms) <= 6, alarms


@pytest.mark.full
@pytest.mark.parametrize("name", CALM)
def test_weeks_of_calm_raise_at_most_one_alarm_a_target_and_week(name: str) -> None:
    shape = CALM[name]
    if name in DEMANDING:
        assert false_alarms(shape, seed=0, seconds=3 * HOUR) <= 1
        return
    weeks = 4 if shape.rate < 1.0 and shape.rush is None else 2
    alarms = [false_alarms(shape, seed=seed, seconds=WEEK_SECONDS) for seed in range(weeks)]

    assert sum(alarms) <= weeks, alarms


def test_two_percent_that_become_ten_are_seen_before_half_of_the_breakers_would_open() -> None:
    """Three failures in a row, that open a breaker, take some thousand calls of which a tenth fails."""
    of_two_percent = replace(STEADY_TRAFFIC, failing_share=0.02)
    found = [seen_after(of_two_percent, Shift(2 * HOUR, failing_share=0.1), seed=seed) for seed in range(5)]

    assert statistics.median(math.inf if after is None else after for after in found) <= 600.0


def test_target_that_takes_twice_as_long_is_seen_within_minutes_at_a_call_a_second() -> None:
    found = [seen_after(STEADY_TRAFFIC, Shift(HOUR, times=2.0), seed=seed) for seed in range(11)]
    seen = [math.inf if after is None else after for after in found]

    assert statistics.median(seen) <= 300.0
    assert sum(after > 1800.0 for after in seen) <= 1


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
