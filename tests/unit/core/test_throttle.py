"""Client-side throttling: a target that refuses most of its calls is sent about twice what it accepts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout_server.core.settings import PressureSettings
from turnout_server.core.throttle import Throttle


def throttle(**settings: object) -> Throttle:
    return Throttle(PressureSettings(**settings))  # type: ignore[arg-type]  # as the test names them


def told(made: Throttle, sent: int, refused: int = 0, *, now: float = 0.0) -> Throttle:
    for _ in range(sent):
        made.sent(now)
    for _ in range(refused):
        made.refused(now)
    return made


@pytest.mark.parametrize(
    ("sent", "refused", "expected"),
    [(100, 0, 0.0), (100, 50, 0.0), (100, 51, 2 / 101), (100, 70, 40 / 101), (100, 100, 100 / 101), (9, 9, 0.0)],
)
def test_the_formula_is_the_one_of_the_book_from_ten_requests_on(sent: int, refused: int, expected: float) -> None:
    assert expected == pytest.approx(told(throttle(), sent, refused).pressure(0.0))


def test_calls_that_went_elsewhere_are_requests_too() -> None:
    made = told(throttle(), 100, 70)
    for _ in range(100):
        made.spare(0.0)

    assert pytest.approx((200 - 2 * 30) / 201) == made.pressure(0.0)


def test_calls_that_run_still_are_not_held_against_the_target() -> None:
    assert told(throttle(), 1000).pressure(0.0) == 0.0


def test_what_is_two_minutes_old_is_forgotten() -> None:
    made = told(throttle(), 100, 100)

    assert made.pressure(119.0) > 0.9
    assert (made.pressure(126.0), made.troubled) == (0.0, False)


def test_one_call_a_second_is_let_through_whatever_is_held_against_the_target() -> None:
    made = told(throttle(), 100, 100)

    assert made.share(0.9) > 0.9
    assert made.share(1.0) == 0.0


def test_it_begins_once_however_many_refusals_follow() -> None:
    made = told(throttle(), 100)

    assert [True] == [begins for begins in [made.refused(0.0) for _ in range(100)] if begins]


def test_five_answers_over_five_seconds_halve_what_is_held_against_the_target() -> None:
    made = told(throttle(), 100, 80)
    for second in range(5):
        made.accepted(10.0 + second)

    assert made.accepts(14.0) == (100, 20)

    made.accepted(15.0)

    assert made.accepts(15.0) == (100, 60)


def test_a_refusal_begins_the_row_of_answers_anew() -> None:
    made = told(throttle(), 100, 80)
    for second in range(20):
        made.accepted(10.0 + second)
        if second % 4 == 3:
            made.refused(10.0 + second)

    assert made.accepts(30.0) == (100, 15)


def test_without_a_multiplier_nothing_is_spared() -> None:
    assert told(throttle(throttle_multiplier=None), 100, 100).pressure(0.0) == 0.0


def test_begun_anew_it_holds_nothing_against_the_target() -> None:
    made = told(throttle(), 100, 100)
    made.reset()

    assert (made.troubled, made.pressure(0.0), made.accepts(0.0)) == (False, 0.0, (0, 0))


@given(capacity=st.integers(2, 20), demand=st.integers(10, 50), seed=st.integers(0, 3))
@settings(max_examples=15)
def test_a_target_of_any_capacity_is_sent_at_most_about_twice_what_it_takes(
    capacity: int, demand: int, seed: int
) -> None:
    """Demand comes every second, spread evenly; the target takes the first `capacity` calls of each second."""
    rng = random.Random(seed)
    made = throttle()
    sent = accepted = 0
    for second in range(420):
        taken = 0
        for n in range(demand):
            now = second + n / demand
            if rng.random() < made.share(now):
                made.spare(now)
                continue
            made.sent(now)
            taken += 1
            if taken > capacity:
                made.refused(now)
            else:
                made.accepted(now)
            if second >= 240:
                sent += 1
                accepted += taken <= capacity

    # A tenth for chance, and the one call a second.
    assert sent <= 2.2 * accepted + 180
    assert accepted >= 0.9 * 180 * min(capacity, demand)


@pytest.mark.parametrize("demand", [2, 20, 100])
def test_a_target_that_takes_everything_again_gets_everything_again_within_half_a_minute(demand: int) -> None:
    rng = random.Random(1)
    made = throttle()
    well_from, all_from = 200.0, 0.0
    for n in range(260 * demand):
        now = n / demand
        if rng.random() < made.share(now):
            made.spare(now)
            all_from = now
            continue
        made.sent(now)
        if now < well_from:
            made.refused(now)
        else:
            made.accepted(now)

    assert all_from < well_from + 35.0
