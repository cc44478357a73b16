"""What happened lately, minute by minute, and how well the percentiles hold."""

from __future__ import annotations

from math import ceil, inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.model import FailureKind, Outcome, Target, Usage
from turnout_server.core.statistics import MINUTES_KEPT, Histogram, MovingAverage, TargetStatistics

T = 6000.0
"""The beginning of a minute."""


def outcome(**facts: Any) -> Outcome:
    return Outcome(target=Target("p", "m"), **facts)


@given(st.lists(st.floats(0.001, 3600.0), min_size=1, max_size=300))
def test_percentiles_are_within_four_percent_of_the_nearest_rank(durations: list[float]) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    summary = histogram.summary(None)
    ordered = sorted(durations)

    assert summary is not None
    for share, told in ((0.5, summary.p50), (0.95, summary.p95), (0.99, summary.p99)):
        assert told == pytest.approx(ordered[ceil(share * len(ordered)) - 1], rel=0.041)
    assert (summary.minimum, summary.maximum) == (ordered[0], ordered[-1])
    assert summary.minimum <= summary.p50 <= summary.p95 <= summary.p99 <= summary.maximum
    assert summary.minimum <= summary.mean <= summary.maximum


@pytest.mark.parametrize("seconds", [nan, inf, -inf, -1.0, 1e12])
def test_durations_that_make_no_sense_are_ignored(seconds: float) -> None:
    histogram, average = Histogram(), MovingAverage()
    histogram.add(seconds)
    average.add(seconds, T)

    assert histogram.summary(None) is None
    assert average.value is None


def test_duration_of_nothing_has_a_place() -> None:
    histogram = Histogram()
    histogram.add(0.0)
    summary = histogram.summary(None)

    assert summary is not None
    assert summary.p50 == 0.0


def test_moving_average_follows_within_a_minute() -> None:
    average = MovingAverage()
    for n in range(100):
        average.add(1.0, T + n)
    for n in range(120):
        average.add(3.0, T + 100.0 + n)

    assert average.value == pytest.approx(2.5, abs=0.3)


def test_window_counts_what_ended_in_it() -> None:
    statistics = TargetStatistics()
    for minute in range(10):
        statistics.record(outcome(), T + 60.0 * minute)
    now = T + 9 * 60.0 + 30.0

    assert [statistics.window(seconds, now).total for seconds in (60.0, 300.0, 900.0)] == [2, 6, 10]


def test_window_begins_with_a_whole_minute_and_is_never_shorter_than_asked() -> None:
    statistics = TargetStatistics()
    statistics.record(outcome(), T + 59.0)

    assert statistics.window(60.0, T + 119.0).total == 1
    assert statistics.window(60.0, T + 120.0).total == 0


def test_an_hour_is_kept_and_no_more() -> None:
    statistics = TargetStatistics()
    for minute in range(500):
        statistics.record(outcome(), T + 60.0 * minute)

    assert len(statistics._minutes) == MINUTES_KEPT
    assert statistics.window(3600.0, T + 499 * 60.0).total == 61


def test_old_minutes_are_gone_after_a_pause() -> None:
    statistics = TargetStatistics()
    statistics.record(outcome(), T)

    assert statistics.window(3600.0, T + 7200.0).total == 0


def test_counts_tell_successes_and_failures_by_kind() -> None:
    statistics = TargetStatistics()
    for failure in (None, None, FailureKind.TIMEOUT, FailureKind.RATE_LIMITED, FailureKind.TIMEOUT):
        statistics.record(outcome(failure=failure), T)
    counts = statistics.window(60.0, T)

    assert (counts.total, counts.succeeded) == (5, 2)
    assert dict(counts.failures) == {FailureKind.TIMEOUT: 2, FailureKind.RATE_LIMITED: 1}


def test_only_complete_answers_have_a_latency() -> None:
    statistics = TargetStatistics()
    statistics.record(outcome(latency_seconds=2.0, time_to_first_token_seconds=0.5), T)
    statistics.record(outcome(failure=FailureKind.TIMEOUT, latency_seconds=60.0), T)
    counts = statistics.window(60.0, T)

    assert (counts.latency.count, counts.latency.highest, counts.first_token.highest) == (1, 2.0, 0.5)


def test_sums_hold_what_is_known_and_count_what_is_priced() -> None:
    statistics = TargetStatistics()
    statistics.record(
        outcome(
            usage=Usage(input_tokens=100, output_tokens=50),
            cost_nano_usd=700,
            latency_seconds=3.0,
            time_to_first_token_seconds=1.0,
        ),
        T,
    )
    statistics.record(outcome(usage=Usage()), T)
    statistics.record(outcome(), T)
    counts = statistics.window(60.0, T)

    assert (counts.input_tokens, counts.output_tokens, counts.cost_nano_usd, counts.priced) == (100, 50, 700, 1)
    assert (counts.timed_tokens, counts.output_seconds) == (50, 2.0)


def test_last_times_are_of_any_request_and_of_successes() -> None:
    statistics = TargetStatistics()
    statistics.record(outcome(), T)
    statistics.record(outcome(failure=FailureKind.TIMEOUT), T + 5.0)

    assert (statistics.last_request_at, statistics.last_success_at) == (T + 5.0, T)


def test_judgements_are_summed() -> None:
    statistics = TargetStatistics()
    statistics.feedback(0.5, T)
    statistics.feedback(1.0, T)
    counts = statistics.window(60.0, T)

    assert (counts.feedback_count, counts.feedback_sum) == (2, 1.5)
