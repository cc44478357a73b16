"""The table of thresholds: every one exists, and its default is among the values."""

from __future__ import annotations

import pytest

from tests.simulation.sweep import THRESHOLDS, days, settings_with, worth
from tests.simulation.world import BY_PRIORITY, live
from tests.virtual_time import run


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_default_is_among_the_values_that_are_compared(threshold: str) -> None:
    same = [value for value in THRESHOLDS[threshold] if settings_with(threshold, value) == BY_PRIORITY]

    assert 1 == len(same)


def test_a_day_in_the_dark_wastes_attempts_and_a_quiet_one_none() -> None:
    quiet, dark, *_ = (worth([run(live(day, "1"))]) for day in days(0.5, 40)[:2])

    assert (0, 0) == (quiet.failed, quiet.wasted)
    assert 0 < dark.wasted <= dark.attempts - dark.calls + dark.failed
