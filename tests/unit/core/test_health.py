"""Availability, the word and the number that people read, and slowness against a target's own past."""

from __future__ import annotations

from math import exp, inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.health import Availability, Slowness, health_score, health_state
from turnout_server.core.model import BreakerState, HealthState
from turnout_server.core.settings import HealthSettings

T = 1000.0


def availability(outcomes: str = "", at: float = T) -> Availability:
    """An availability after these outcomes, "+" for a success."""
    result = Availability(HealthSettings())
    for outcome in outcomes:
        result.record(at, ok=outcome == "+")
    return result


def test_availability_starts_from_the_prior() -> None:
    assert availability().value(T) == pytest.approx(24.9 / 25.0)


def test_one_failure_does_not_condemn() -> None:
    value = availability("-").value(T)

    assert value == pytest.approx(24.9 / 26.0)
    assert health_state(value, BreakerState.CLOSED) is HealthState.DEGRADED


def test_availability_is_successes_and_prior_by_all_and_prior() -> None:
    keep = 0.99
    value = availability("+-+").value(T)

    assert value == pytest.approx((keep**2 + 1.0 + 24.9) / (keep**2 + keep + 1.0 + 25.0))


def test_availability_remembers_about_a_hundred_outcomes() -> None:
    forgotten = availability("-" * 1000 + "+" * 500)

    assert forgotten.value(T) > 0.99
    assert availability("-" * 1000).value(T) == pytest.approx(24.9 / 125.0, rel=1e-3)


def test_availability_fades_over_five_minutes_without_traffic() -> None:
    value = availability("-" * 10)
    total = sum(0.99**n for n in range(10)) * exp(-1.0)

    assert value.value(T + 300.0) == pytest.approx(24.9 / (25.0 + total))


def test_reset_takes_it_back_to_the_prior() -> None:
    value = availability("-" * 10)
    value.reset()

    assert value.value(T) == pytest.approx(24.9 / 25.0)


def test_availability_asked_for_before_an_outcome_does_not_stand_after_it() -> None:
    value = availability("+")
    readings = [value.value(T)]
    value.record(T, ok=False)
    readings.append(value.value(T))
    value.forgive_one()
    readings.append(value.value(T))
    value.record(T, ok=False)
    value.value(T)
    value.reset()
    value.record(T, ok=True)
    readings.append(value.value(T))

    assert readings[1] < readings[2] <= readings[0] == readings[3]


def test_forgiven_failure_is_as_if_it_had_not_been() -> None:
    value = availability("++-")
    value.forgive_one()

    assert value.value(T) == pytest.approx(availability("++").value(T), abs=1e-3)


def test_more_is_never_forgiven_than_there_was() -> None:
    value = availability("+-")
    for _ in range(5):
        value.forgive_one()

    assert value.value(T) <= 1.0


@given(st.lists(st.tuples(st.floats(0.0, 1e6), st.booleans()), max_size=300), st.floats(0.0, 1e9))
def test_availability_stays_between_zero_and_one_and_a_success_never_lowers_it(
    steps: list[tuple[float, bool]], later: float
) -> None:
    value = Availability(HealthSettings())
    now = 0.0
    for passed, ok in steps:
        now += passed
        before = value.value(now)
        value.record(now, ok=ok)

        assert 0.0 < value.value(now) < 1.0
        # Below the prior a success raises it; above it, forgetting may take it a hair towards the prior.
        assert not ok or value.value(now) >= before - 0.001
        assert ok or value.value(now) <= before + 1e-12

    assert 0.0 < value.value(now + later) < 1.0


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (1.0, HealthState.HEALTHY),
        (0.99, HealthState.HEALTHY),
        (0.9899, HealthState.DEGRADED),
        (0.95, HealthState.DEGRADED),
        (0.9499, HealthState.UNHEALTHY),
        (0.5, HealthState.UNHEALTHY),
        (0.4999, HealthState.OFFLINE),
        (0.0, HealthState.OFFLINE),
    ],
)
def test_bands_of_health(value: float, word: HealthState) -> None:
    assert health_state(value, BreakerState.CLOSED) is word


def test_open_breaker_is_offline_and_a_half_open_one_is_what_its_availability_says() -> None:
    assert health_state(1.0, BreakerState.OPEN) is HealthState.OFFLINE
    assert health_state(1.0, BreakerState.HALF_OPEN) is HealthState.HEALTHY


def score(**facts: float | None) -> float:
    values: dict[str, float | None] = {"availability": 1.0, "latency_factor": 1.0, "utilisation": None, **facts}
    return health_score(
        availability=values["availability"] or 0.0,
        latency_factor=values["latency_factor"] or 0.0,
        consecutive_failures=int(values.get("consecutive_failures") or 0),
        failure_threshold=3,
        utilisation=values["utilisation"],
        breaker=BreakerState.CLOSED,
    )


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, 100.0),
        ({"availability": 0.9}, 90.0),
        ({"latency_factor": 0.5}, 85.0),
        ({"latency_factor": 0.0}, 70.0),
        ({"consecutive_failures": 1}, 100.0 * (1 - 0.5 / 3)),
        ({"consecutive_failures": 3}, 50.0),
        ({"consecutive_failures": 30}, 50.0),
        ({"utilisation": 0.5}, 90.0),
        ({"utilisation": 1.0}, 80.0),
    ],
)
def test_score_falls_with_each_of_its_four_parts(facts: dict[str, float | None], expected: float) -> None:
    assert score(**facts) == pytest.approx(expected)


def test_score_of_an_open_breaker_is_zero() -> None:
    value = health_score(
        availability=1.0,
        latency_factor=1.0,
        consecutive_failures=0,
        failure_threshold=3,
        utilisation=None,
        breaker=BreakerState.OPEN,
    )

    assert value == 0.0


@given(
    st.fixed_dictionaries(
        {
            "availability": st.floats(0.0, 1.0),
            "latency_factor": st.floats(-10.0, 10.0),
            "consecutive_failures": st.integers(0, 10_000),
            "failure_threshold": st.integers(0, 10),
            "utilisation": st.none() | st.floats(-1.0, 100.0),
            "breaker": st.sampled_from(BreakerState),
        }
    )
)
def test_score_is_always_from_zero_to_a_hundred(facts: dict[str, Any]) -> None:
    assert 0.0 <= health_score(**facts) <= 100.0


def test_slowness_is_unknown_and_harmless_at_first() -> None:
    assert Slowness().factor == 1.0


def test_target_that_becomes_slower_than_it_used_to_be_is_slow() -> None:
    slowness = Slowness()
    for n in range(100):
        slowness.observe(2.0, T + n)

    assert slowness.factor == pytest.approx(1.0)

    for n in range(60):
        slowness.observe(8.0, T + 100.0 + n)

    assert slowness.factor < 0.5


def test_target_that_becomes_faster_is_not_slow() -> None:
    slowness = Slowness()
    for n in range(10):
        slowness.observe(8.0, T + n)
    for n in range(10):
        slowness.observe(1.0, T + 10.0 + n)

    assert slowness.factor == 1.0


@given(st.lists(st.tuples(st.floats(0.0, 1e5), st.floats(allow_nan=True, allow_infinity=True)), max_size=60))
def test_slowness_is_above_zero_and_at_most_one(samples: list[tuple[float, float]]) -> None:
    slowness = Slowness()
    now = 0.0
    for passed, ratio in (*samples, (1.0, nan), (1.0, inf), (1.0, -1.0)):
        now += passed
        slowness.observe(ratio, now)

    assert 0.0 < slowness.factor <= 1.0
