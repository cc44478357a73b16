from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import NOW, SetBreaker, SetFleet, candidate, decided, names, spec, warm
from turnout_server.core.health import Availability
from turnout_server.core.model import BreakerState, Priority, Strategy, Weights
from turnout_server.core.settings import HealthSettings, Policy, QualityFloor, RoutingSettings

NO_FLOOR = RoutingSettings(policies={"default": Policy(quality_floor=QualityFloor(auto=False))})
FACTORS = ("cost", "latency", "availability", "quality", "priority")


def test_best_target_on_cost_and_latency_has_the_factor_one() -> None:
    fleet = SetFleet(spec("a/m", price=(1, 1), latency_prior_seconds=0.2), spec("b/m", price=(2, 2)))
    factors = candidate(decided(fleet), "a/m").factors

    assert (1.0, 1.0) == (factors["cost"], factors["latency"])


def test_cost_factor_is_the_cheapest_over_the_own() -> None:
    fleet = SetFleet(spec("a/m", price=(100, 100)), spec("b/m", price=(200, 200)))

    assert candidate(decided(fleet), "b/m").factors["cost"] == pytest.approx(0.5, abs=0.001)


def test_free_target_does_not_make_all_others_worthless_at_once() -> None:
    fleet = SetFleet(spec("a/free", price=(0, 0)), spec("b/m", price=(0.001, 0.001)))

    assert candidate(decided(fleet), "b/m").factors["cost"] > 0.8


def test_unknown_price_has_the_cost_factor_zero() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m", price=None))

    assert candidate(decided(fleet), "b/m").factors["cost"] == 0.0


def test_latency_factor_is_the_fastest_over_the_own_for_this_request() -> None:
    fleet = SetFleet(
        spec("a/m", latency_prior_seconds=1.0, seconds_per_output_token_prior=0.0),
        spec("b/m", latency_prior_seconds=4.0, seconds_per_output_token_prior=0.0),
    )

    assert candidate(decided(fleet), "b/m").factors["latency"] == pytest.approx(0.25, abs=0.001)


def test_availability_factor_is_the_chance_of_four_successes_in_a_row() -> None:
    fleet = SetFleet(spec("a/m"))
    fleet.at("a/m").availability.current = 0.9

    assert candidate(decided(fleet), "a/m").factors["availability"] == pytest.approx(0.9**4)


def test_quality_factor_is_hundredths_and_zero_where_unknown() -> None:
    fleet = SetFleet(spec("a/m", quality=85.0), spec("b/m", quality=None))
    decision = decided(fleet)

    assert (0.85, 0.0) == (candidate(decision, "a/m").factors["quality"], candidate(decision, "b/m").factors["quality"])


def test_priority_factor_counts_the_providers_place_from_the_end_with_the_quality_as_fraction() -> None:
    fleet = SetFleet(spec("a/m", provider_rank=0, quality=100.0), spec("b/m", provider_rank=3, quality=50.0))
    decision = decided(fleet)

    assert candidate(decision, "a/m").factors["priority"] == pytest.approx(3.99 / 4)
    assert candidate(decision, "b/m").factors["priority"] == pytest.approx(0.495 / 4)


def test_hybrid_score_is_the_weighted_mean_of_the_factors() -> None:
    fleet = SetFleet(spec("a/m", price=(1, 1)), spec("b/m", price=(3, 3), latency_prior_seconds=0.3))
    weights = Weights(cost=4, latency=3, availability=2, quality=1, priority=0)
    found = candidate(decided(fleet, weights=weights, strategy=Strategy.HYBRID), "b/m")
    expected = sum(w * found.factors[f] for f, w in zip(FACTORS, (0.4, 0.3, 0.2, 0.1, 0.0), strict=True))

    assert found.score == pytest.approx(expected)


def test_default_weights_are_cost_40_latency_30_availability_30() -> None:
    fleet = SetFleet(spec("a/m", price=(1, 1)), spec("b/m", price=(3, 3), latency_prior_seconds=0.3))
    found = candidate(decided(fleet), "b/m")
    expected = 0.4 * found.factors["cost"] + 0.3 * found.factors["latency"] + 0.3 * found.factors["availability"]

    assert found.score == pytest.approx(expected)


def test_ramp_multiplies_the_score() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))
    fleet.at("b/m").breaker = SetBreaker(ramp=0.4)
    decision = decided(fleet)

    assert candidate(decision, "b/m").score == pytest.approx(0.4 * candidate(decision, "a/m").score)
    assert candidate(decision, "b/m").factors["ramp"] == 0.4


def test_half_open_target_is_ranked_as_recovered() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))
    fleet.at("b/m").breaker = SetBreaker(BreakerState.HALF_OPEN)
    fleet.at("b/m").availability.current = 0.3
    found = candidate(decided(fleet, executing=True), "b/m")

    assert found.factors["availability"] == pytest.approx(Availability(HealthSettings()).value(NOW) ** 4)


def test_candidate_shows_what_the_score_was_made_of() -> None:
    fleet = SetFleet(spec("a/m", price=(10, 20), latency_prior_seconds=2.0, seconds_per_output_token_prior=0.01))
    warm(fleet.at("a/m"), 7)
    found = candidate(decided(fleet), "a/m")

    assert set(FACTORS) == set(found.factors)
    assert found.expected_cost_nano_usd == 18_000_000
    assert found.expected_time_to_first_token_seconds == pytest.approx(2.06)
    assert found.expected_latency_seconds == pytest.approx(2.06 + 4.0)
    assert found.sample_count == 7


numbers = st.floats(0, 1e6)


@given(
    facts=st.lists(
        st.tuples(
            st.none() | st.tuples(numbers, numbers),
            st.floats(0, 1e4),
            st.none() | st.floats(0, 100),
            st.floats(0, 1),
            st.integers(0, 30),
            st.floats(0.1, 1),
        ),
        min_size=1,
        max_size=8,
    ),
    strategy=st.sampled_from([s for s in Strategy if s is not Strategy.ADAPTIVE]),
    weights=st.tuples(*[st.floats(0, 1e300)] * 5).filter(lambda w: 0 < sum(w) < math.inf),
    priority=st.sampled_from(Priority),
    seed=st.integers(0, 99),
)
def test_every_factor_and_score_is_from_zero_to_one_and_shares_sum_to_one(
    facts: list[tuple[tuple[float, float] | None, float, float | None, float, int, float]],
    strategy: Strategy,
    weights: tuple[float, ...],
    priority: Priority,
    seed: int,
) -> None:
    fleet = SetFleet(
        *(
            spec(f"p{i}/m", price=price, latency_prior_seconds=prior, quality=quality, provider_rank=rank)
            for i, (price, prior, quality, _, rank, _) in enumerate(facts)
        )
    )
    for target, (_, _, _, availability, _, ramp) in zip(fleet.targets, facts, strict=True):
        target.availability.current = availability
        target.breaker.ramp = ramp
    given_weights = Weights(**dict(zip(FACTORS, weights, strict=True)))
    decision = decided(fleet, strategy=strategy, weights=given_weights, priority=priority, seed=seed)

    assert len(decision.candidates) == len(facts)
    for found in decision.candidates:
        assert all(0.0 <= value <= 1.0 for value in [found.score, *found.factors.values()])
    assert sum(found.share for found in decision.candidates) == pytest.approx(1.0)
    assert 0.0 <= decision.confidence <= 1.0


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), min_size=2, max_size=6, unique=True))
def test_cheaper_target_never_has_a_lower_cost_factor(prices: list[tuple[float, float]]) -> None:
    fleet = SetFleet(*(spec(f"p{i}/m", price=price) for i, price in enumerate(prices)))
    found = sorted(decided(fleet, settings=NO_FLOOR).candidates, key=lambda c: c.expected_cost_nano_usd or 0)
    factors = [c.factors["cost"] for c in found]

    assert sorted(factors, reverse=True) == factors


def test_confidence_is_full_only_with_a_clear_lead_and_many_samples() -> None:
    cold, warmed = SetFleet(spec("a/m", quality=90.0)), SetFleet(spec("a/m", quality=90.0))
    warm(warmed.at("a/m"), 180, now=NOW)

    assert decided(cold).confidence == 0.5
    assert decided(warmed).confidence == pytest.approx(0.95)


def test_confidence_grows_with_the_margin() -> None:
    def margin(second: float) -> float:
        fleet = SetFleet(spec("a/m", quality=100.0), spec("b/m", quality=second))
        return decided(fleet, strategy=Strategy.QUALITY).confidence

    assert margin(80.0) == pytest.approx(0.1)
    assert margin(80.0) < margin(60.0) < margin(20.0)


def test_margin_is_a_share_of_the_firsts_score() -> None:
    fleet = SetFleet(spec("a/m", quality=50.0), spec("b/m", quality=40.0))

    assert decided(fleet, strategy=Strategy.QUALITY).confidence == pytest.approx(0.1)


def test_confidence_counts_the_samples_of_the_less_known_of_the_two() -> None:
    fleet = SetFleet(spec("a/m", quality=100.0), spec("b/m", quality=50.0))
    warm(fleet.at("a/m"), 100)
    before = decided(fleet, strategy=Strategy.QUALITY).confidence
    warm(fleet.at("b/m"), 20)
    after = decided(fleet, strategy=Strategy.QUALITY).confidence

    assert before == 0.25
    assert after == pytest.approx(0.375)


def test_confidence_is_not_lowered_by_what_ranks_in_a_later_group() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))
    settings = RoutingSettings(policies={"default": Policy(preferences=("a/m",))})

    assert decided(fleet, settings=settings).confidence == 0.5


def test_confidence_without_candidates_is_zero() -> None:
    fleet = SetFleet(spec("a/m"))
    fleet.at("a/m").drained = True
    decision = decided(fleet)

    assert ([], 0.0) == (names(decision.candidates), decision.confidence)
