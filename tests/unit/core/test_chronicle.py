"""Sums over the past: what is told apart, how long, and never more than its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.chronicle import HEADINGS_MAXIMUM, OTHER, Chronicle, Heading, Sums
from turnout_server.core.model import FailureKind, Outcome, Target, Usage
from turnout_server.core.summaries import Dimension, StatisticsQuery, compare, summarise

A, B = Target("a", "m"), Target("b", "m", "eu")
MIB = 1024 * 1024
HOUR = 3600.0


def outcome(target: Target = A, failure: FailureKind | None = None, **facts: object) -> Outcome:
    return Outcome(target=target, failure=failure, latency_seconds=1.0, **facts)  # type: ignore[arg-type]  # fields


def chronicle(max_bytes: int = 16 * MIB) -> Chronicle:
    return Chronicle(max_bytes, started_at=0.0)


def totals(made: Chronicle, now: float, from_at: float | None = None, until_at: float | None = None) -> tuple[int, int]:
    """Decisions and attempts of a time."""
    whole = Sums()
    for slot in made.stretch(from_at, until_at, now).slots:
        for sums in slot.sums.values():
            whole.merge(sums)
    return whole.decision_count, whole.attempts.total


def test_attempts_are_found_by_the_minute_for_a_quarter_of_an_hour_and_then_by_quarters() -> None:
    made = chronicle()
    made.ended(Heading(A), outcome(), now=10.0)
    made.ended(Heading(A), outcome(), now=130.0)

    assert totals(made, 140.0, from_at=61.0) == (0, 1)

    made.ended(Heading(A), outcome(), now=HOUR)

    assert totals(made, HOUR, from_at=61.0, until_at=HOUR - 60.0) == (0, 2)
    assert totals(made, HOUR, from_at=901.0) == (0, 1)


def test_a_day_is_kept_and_no_more() -> None:
    made = chronicle()
    for hour in range(30):
        made.ended(Heading(A), outcome(), now=hour * HOUR)
    now = 29 * HOUR

    assert 24 <= totals(made, now)[1] <= 25
    assert made.stretch(None, None, now).from_at >= now - 25 * HOUR


def test_time_covered_is_told_in_whole_slots_and_never_beyond_what_is_known() -> None:
    made = Chronicle(MIB, started_at=100.0)
    made.ended(Heading(A), outcome(), now=130.0)
    stretch = made.stretch(None, None, 200.0)

    assert (stretch.from_at, stretch.until_at) == (100.0, 200.0)

    stretch = made.stretch(131.0, 150.0, 200.0)

    assert (stretch.from_at, stretch.until_at) == (120.0, 180.0)

    stretch = made.stretch(5000.0, 6000.0, 200.0)

    assert (stretch.slots, stretch.from_at, stretch.until_at) == ((), 200.0, 200.0)


def test_words_of_callers_beyond_the_bound_are_counted_as_other() -> None:
    made = chronicle()
    for number in range(HEADINGS_MAXIMUM + 50):
        made.decided(Heading(A, tenant=f"t{number}"), score=0.5, confidence=0.5, now=1.0)
    (slot,) = made.stretch(None, None, 1.0).slots

    assert len(slot.sums) == HEADINGS_MAXIMUM + 1
    assert slot.sums[Heading(A, OTHER, OTHER, OTHER)].decision_count == 50


def test_clearing_forgets_the_slots_that_ended_before_and_tells_so() -> None:
    made = chronicle()
    for minute in range(5):
        made.ended(Heading(A), outcome(), now=minute * 60.0)
    made.clear(before=125.0)

    assert totals(made, 299.0) == (0, 3)
    assert made.stretch(None, None, 299.0).from_at == 120.0

    made.clear()

    assert totals(made, 299.0) == (0, 0)


def test_forgetting_a_quarter_leaves_its_later_minutes_covered() -> None:
    made = chronicle(6105)
    for now in (0.0, 60.0, 120.0, 180.0, 900.0):
        made.ended(Heading(A), outcome(), now=now)
    stretch = made.stretch(None, None, 900.0)

    assert (stretch.from_at, totals(made, 900.0)) == (stretch.slots[0].begins_at, (0, len(stretch.slots)))
    assert stretch.from_at < 900.0


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2000), st.sampled_from(["ended", "decided"])), max_size=60),
    st.integers(0, 60_000),
)
def test_sums_never_take_more_than_their_bytes_and_what_is_kept_adds_up(
    events: list[tuple[int, int, str]], max_bytes: int
) -> None:
    made, now, count = chronicle(max_bytes), 0.0, 0
    for word, seconds, what in events:
        now += seconds
        heading = Heading(A, task=f"task {word}")
        if what == "ended":
            made.ended(heading, outcome(), now=now)
        else:
            made.decided(heading, score=1.0, confidence=1.0, now=now)
        count += 1

        assert made.size_bytes <= max(max_bytes, 0)

    # What was forgotten is exactly what lies before the time that it says it covers.
    stretch = made.stretch(None, None, now)
    assert sum(totals(made, now)) <= count
    assert all(slot.ends_at > stretch.from_at for slot in stretch.slots)
    if max_bytes == 60_000 and now < HOUR and count < 10:
        assert sum(totals(made, now)) == count


def filled() -> Chronicle:
    made = chronicle()
    made.decided(Heading(A, "chat", "pro", "acme"), score=0.8, confidence=0.4, now=10.0)
    made.decided(Heading(A, "chat", "pro", "other"), score=0.6, confidence=0.2, now=10.0)
    made.decided(Heading(B, "plan", "", "acme"), score=0.5, confidence=0.9, now=10.0)
    made.decided(Heading(None, "plan", "", "acme"), score=0.0, confidence=0.0, now=10.0)
    failed = outcome(A, FailureKind.TIMEOUT, cost_nano_usd=100)
    made.ended(Heading(A, "chat", "pro", "acme"), failed, now=11.0)
    made.moved(Heading(A, "chat", "pro", "acme"), now=11.0)
    used = Usage(input_tokens=10, output_tokens=20)
    made.ended(Heading(B, "chat", "pro", "acme"), outcome(B, usage=used, cost_nano_usd=300), now=12.0)
    made.judged(Heading(B, "chat", "pro", "acme"), 0.5, now=13.0)
    return made


def groups(query: StatisticsQuery) -> dict[str, tuple[int, int, int]]:
    """Decisions, attempts and calls moved, by group."""
    found = summarise(filled(), query, now=20.0, now_wall=1020.0)
    return {g.name: (g.sums.decision_count, g.sums.attempts.total, g.sums.moved_count) for g in found.groups}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (StatisticsQuery(), {"": (4, 2, 1)}),
        (StatisticsQuery(group_by=Dimension.PROVIDER), {"a": (2, 1, 1), "b": (1, 1, 0), "": (1, 0, 0)}),
        (StatisticsQuery(group_by=Dimension.MODEL), {"a/m": (2, 1, 1), "b/m": (1, 1, 0), "": (1, 0, 0)}),
        (StatisticsQuery(group_by=Dimension.TARGET), {"a/m": (2, 1, 1), "b/m@eu": (1, 1, 0), "": (1, 0, 0)}),
        (StatisticsQuery(group_by=Dimension.TASK), {"chat": (2, 2, 1), "plan": (2, 0, 0)}),
        (StatisticsQuery(group_by=Dimension.TIER), {"pro": (2, 2, 1), "": (2, 0, 0)}),
        (StatisticsQuery(group_by=Dimension.TENANT), {"acme": (3, 2, 1), "other": (1, 0, 0)}),
        (StatisticsQuery(group_by=Dimension.TASK, tenant="other"), {"chat": (1, 0, 0)}),
        (StatisticsQuery(task="plan"), {"": (2, 0, 0)}),
        (StatisticsQuery(from_wall=2000.0), {"": (0, 0, 0)}),
        (StatisticsQuery(until_wall=900.0), {"": (0, 0, 0)}),
    ],
)
def test_sums_are_grouped_and_filtered(query: StatisticsQuery, expected: dict[str, tuple[int, int, int]]) -> None:
    assert groups(query) == expected


def test_means_are_of_what_they_are_about() -> None:
    (group,) = summarise(filled(), StatisticsQuery(), now=20.0, now_wall=1020.0).groups

    assert group.mean_score == pytest.approx((0.8 + 0.6 + 0.5) / 3)
    assert group.mean_confidence == pytest.approx((0.4 + 0.2 + 0.9) / 3)
    assert group.failover_rate == pytest.approx(1 / 3)
    assert (group.success_rate, group.mean_feedback, group.cost_per_attempt_nano_usd) == (0.5, 0.5, 200)
    assert group.preferred is not None
    assert (group.preferred[0], group.preferred[1] * 3) == (A, 2.0)


def test_nothing_is_told_of_nothing() -> None:
    (group,) = summarise(chronicle(), StatisticsQuery(), now=20.0, now_wall=1020.0).groups

    assert group.preferred is None
    assert {
        group.mean_score,
        group.mean_confidence,
        group.failover_rate,
        group.success_rate,
        group.mean_feedback,
        group.cost_per_attempt_nano_usd,
    } == {None}


def test_groups_beyond_a_thousand_are_one() -> None:
    made = chronicle()
    for number in range(1010):
        made.decided(Heading(A, tenant=f"t{number:04d}"), score=1.0, confidence=1.0, now=1.0)
    query = StatisticsQuery(group_by=Dimension.TENANT)
    found = summarise(made, query, now=2.0, now_wall=2.0).groups

    assert len(found) == 1000
    assert (found[-1].name, found[-1].sums.decision_count) == (OTHER, 11)


def test_targets_are_compared_in_the_order_asked_for_those_without_calls_too() -> None:
    unused = Target("c", "m")
    found = compare(filled(), [B, unused, A], StatisticsQuery(task="chat"), now=20.0, now_wall=1020.0).groups

    assert [(g.name, g.sums.attempts.total) for g in found] == [("b/m@eu", 1), ("c/m", 0), ("a/m", 1)]
