from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import NOW, SetBreaker, SetFleet, candidate, decided, names, reasons, spec, warm
from turnout_server.core.decide import Hop
from turnout_server.core.model import (
    BreakerState,
    Caller,
    Complexity,
    Priority,
    RejectionReason,
    RequestProfile,
    Strategy,
    Weights,
)
from turnout_server.core.settings import NearEqual, Policy, QualityFloor, RoutingSettings


def policy(**facts: Any) -> RoutingSettings:
    return RoutingSettings(policies={"default": Policy(**facts)})


NO_FLOOR = policy(quality_floor=QualityFloor(auto=False))


def firsts(fleet: SetFleet, count: int = 400, **asked: Any) -> Counter[str]:
    """How often each target comes first, over as many seeds."""
    return Counter(names(decided(fleet, seed=seed, **asked).candidates)[0] for seed in range(count))


def three() -> SetFleet:
    """`one` is cheapest, `two` fastest, `three` best and most available; none is near another in anything."""
    fleet = SetFleet(
        spec("one/m", price=(1, 1), latency_prior_seconds=3.0, quality=60.0, provider_rank=2),
        spec("two/m", price=(5, 5), latency_prior_seconds=0.3, quality=76.0, provider_rank=1),
        spec("three/m", price=(9, 9), latency_prior_seconds=1.5, quality=99.0, provider_rank=3),
    )
    for name, availability in (("one/m", 0.90), ("two/m", 0.95), ("three/m", 0.999)):
        fleet.at(name).availability.current = availability
        warm(fleet.at(name))
    return fleet


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.COST, ["one/m", "two/m", "three/m"]),
        (Strategy.LATENCY, ["two/m", "three/m", "one/m"]),
        (Strategy.QUALITY, ["three/m", "two/m", "one/m"]),
        (Strategy.AVAILABILITY, ["three/m", "two/m", "one/m"]),
        (Strategy.PRIORITY, ["two/m", "one/m", "three/m"]),
    ],
)
def test_strategy_ranks_by_its_own_factor(strategy: Strategy, expected: list[str]) -> None:
    decision = decided(three(), settings=NO_FLOOR, strategy=strategy)

    assert (expected, strategy) == (names(decision.candidates), decision.strategy)


def test_cost_is_for_the_tokens_of_this_request() -> None:
    fleet = SetFleet(spec("cheap/input", price=(1, 50)), spec("cheap/output", price=(10, 2)))
    long_prompt = RequestProfile(task="t", input_tokens=100_000, max_output_tokens=10)
    long_answer = RequestProfile(task="t", input_tokens=10, max_output_tokens=400)

    assert names(decided(fleet, profile=long_prompt, strategy=Strategy.COST).candidates)[0] == "cheap/input"
    assert names(decided(fleet, profile=long_answer, strategy=Strategy.COST).candidates)[0] == "cheap/output"


def test_latency_is_for_the_tokens_of_this_request() -> None:
    fleet = SetFleet(
        spec("quick/start", latency_prior_seconds=0.1, seconds_per_output_token_prior=0.1),
        spec("quick/flow", latency_prior_seconds=2.0, seconds_per_output_token_prior=0.001),
    )
    short = RequestProfile(task="t", input_tokens=10, max_output_tokens=1)
    long = RequestProfile(task="t", input_tokens=10, max_output_tokens=400)

    assert names(decided(fleet, profile=short, strategy=Strategy.LATENCY).candidates)[0] == "quick/start"
    assert names(decided(fleet, profile=long, strategy=Strategy.LATENCY).candidates)[0] == "quick/flow"


def test_unknown_price_ranks_last_on_cost() -> None:
    fleet = SetFleet(spec("a/unknown", price=None), spec("b/dear", price=(1000, 1000)), spec("c/cheap", price=(1, 1)))

    assert names(decided(fleet, strategy=Strategy.COST).candidates) == ["c/cheap", "b/dear", "a/unknown"]


def test_priority_ranks_by_provider_and_within_a_provider_by_quality() -> None:
    fleet = SetFleet(
        spec("second/best", provider_rank=1, quality=100.0),
        spec("first/weak", provider_rank=0, quality=10.0),
        spec("first/strong", provider_rank=0, quality=90.0),
        spec("first/unknown", provider_rank=0, quality=None),
    )
    ranked = names(decided(fleet, strategy=Strategy.PRIORITY).candidates)

    assert ranked == ["first/strong", "first/weak", "first/unknown", "second/best"]


def test_hybrid_weighs_cost_latency_and_availability() -> None:
    fleet = three()

    # 0.4 x 0.2 + 0.3 x 1 + 0.3 x 0.81 against 0.4 x 1 + 0.3 x 0.7 + 0.3 x 0.66 and 0.4 x 0.11 + 0.3 x 0.8 + 0.3 x 1.
    assert names(decided(fleet, settings=NO_FLOOR).candidates) == ["one/m", "two/m", "three/m"]


def test_round_robin_takes_turns_in_file_order() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"), spec("c/m"))
    turns = [names(decided(fleet, strategy=Strategy.ROUND_ROBIN, turn=turn).candidates) for turn in range(4)]

    assert turns == [
        ["a/m", "b/m", "c/m"],
        ["b/m", "c/m", "a/m"],
        ["c/m", "a/m", "b/m"],
        ["a/m", "b/m", "c/m"],
    ]


def test_round_robin_lets_a_ramping_target_miss_turns() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))
    fleet.at("a/m").breaker = SetBreaker(ramp=0.1)
    count = firsts(fleet, strategy=Strategy.ROUND_ROBIN, turn=0)

    assert 10 <= count["a/m"] <= 80


def test_round_robin_shares_are_equal() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))

    assert [c.share for c in decided(fleet, strategy=Strategy.ROUND_ROBIN).candidates] == [0.5, 0.5]


def test_weighted_gives_each_target_its_share() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))
    settings = policy(strategy=Strategy.WEIGHTED, shares={"a/m": 9.0, "b/m": 1.0})
    count = firsts(fleet, count=2000, settings=settings)

    assert 130 <= count["b/m"] <= 270
    assert candidate(decided(fleet, settings=settings), "b/m").share == pytest.approx(0.1)


def test_weighted_share_of_a_name_is_split_among_its_targets() -> None:
    fleet = SetFleet(spec("a/m@eu"), spec("a/m@us"), spec("b/m"))
    settings = policy(strategy=Strategy.WEIGHTED, shares={"a/m": 1.0, "b/m": 1.0})
    decision = decided(fleet, settings=settings)

    assert {str(c.target): c.share for c in decision.candidates} == {"a/m@eu": 0.25, "a/m@us": 0.25, "b/m": 0.5}


def test_weighted_without_shares_gives_equal_ones() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))

    assert [c.share for c in decided(fleet, strategy=Strategy.WEIGHTED).candidates] == [0.5, 0.5]


def test_weighted_target_without_a_share_stands_behind_all_with_one() -> None:
    fleet = SetFleet(spec("x/worse", price=(90, 90)), spec("x/better"), spec("a/m", quality=20.0))
    settings = policy(strategy=Strategy.WEIGHTED, shares={"a/m": 1.0})
    orders = {tuple(names(decided(fleet, settings=settings, seed=seed).candidates)) for seed in range(20)}

    assert orders == {("a/m", "x/better", "x/worse")}


@pytest.mark.parametrize("asked", [{"request_id": "r-1"}, {"sticky_key": "user-7"}])
def test_weighted_same_id_or_key_falls_on_the_same_side(asked: dict[str, str]) -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))
    settings = policy(strategy=Strategy.WEIGHTED, shares={"a/m": 1.0, "b/m": 1.0})

    assert len(firsts(fleet, count=50, settings=settings, **asked)) == 1


def test_weighted_sticky_key_outweighs_the_request_id() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))
    settings = policy(strategy=Strategy.WEIGHTED)
    sides = {
        names(decided(fleet, settings=settings, sticky_key="user-7", request_id=f"r-{i}").candidates)[0]
        for i in range(50)
    }

    assert len(sides) == 1


def test_weighted_keys_spread_by_the_shares() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))
    settings = policy(strategy=Strategy.WEIGHTED, shares={"a/m": 3.0, "b/m": 1.0})
    count = Counter(names(decided(fleet, settings=settings, request_id=f"r-{i}").candidates)[0] for i in range(2000))

    assert 400 <= count["b/m"] <= 600


def test_weighted_target_that_drops_out_moves_only_its_own_calls() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"), spec("c/m"))
    settings = policy(strategy=Strategy.WEIGHTED)
    keys = [f"user-{i}" for i in range(100)]
    before = {key: names(decided(fleet, settings=settings, sticky_key=key).candidates)[0] for key in keys}
    fleet.at("c/m").drained = True
    after = {key: names(decided(fleet, settings=settings, sticky_key=key).candidates)[0] for key in keys}

    assert {key for key in keys if before[key] != after[key]} == {key for key in keys if before[key] == "c/m"}


def test_weighted_sides_of_two_policies_are_independent() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))
    settings = RoutingSettings(
        policies={
            "default": Policy(strategy=Strategy.WEIGHTED),
            "other": Policy(name="other", strategy=Strategy.WEIGHTED),
        }
    )
    same = sum(
        names(decided(fleet, settings=settings, sticky_key=f"k{i}").candidates)[0]
        == names(decided(fleet, settings=settings, sticky_key=f"k{i}", policy="other").candidates)[0]
        for i in range(400)
    )

    assert 150 <= same <= 250


def test_table_comes_before_the_shares() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"), spec("c/m"))
    settings = policy(strategy=Strategy.WEIGHTED, shares={"a/m": 1.0, "c/m": 1.0}, preferences=("b/m", "c/m"))
    decision = decided(fleet, settings=settings)

    assert names(decision.candidates) == ["b/m", "c/m", "a/m"]
    assert [c.share for c in decision.candidates] == [1.0, 0.0, 0.0]


def test_best_takes_all_where_nobody_left_has_a_share() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m", price=(9, 9)), spec("c/m"))
    fleet.at("c/m").drained = True
    decision = decided(fleet, settings=policy(strategy=Strategy.WEIGHTED, shares={"c/m": 1.0}))

    assert [(str(c.target), c.share) for c in decision.candidates] == [("a/m", 1.0), ("b/m", 0.0)]


def test_soft_limit_holds_for_targets_without_a_share() -> None:
    fleet = SetFleet(
        spec("a/slow", latency_prior_seconds=6.0, price=(0.1, 0.1)), spec("b/m", price=(9, 9)), spec("c/m")
    )
    settings = policy(
        strategy=Strategy.WEIGHTED, shares={"c/m": 1.0}, weights=Weights(cost=1, latency=0, availability=0)
    )

    assert names(decided(fleet, settings=settings).candidates) == ["c/m", "b/m", "a/slow"]


def test_weighted_ramp_lowers_the_share() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))
    fleet.at("b/m").breaker = SetBreaker(ramp=0.25)
    decision = decided(fleet, settings=policy(strategy=Strategy.WEIGHTED))

    assert candidate(decision, "b/m").share == pytest.approx(0.2)


# Not all at once.


def pair(first: float, second: float, *, samples: int = 100) -> SetFleet:
    """Two targets whose QUALITY scores are `first` and `second` hundredths."""
    fleet = SetFleet(spec("a/m", quality=first), spec("b/m", quality=second))
    for target in fleet.targets:
        warm(target, samples)
    return fleet


@pytest.mark.parametrize(
    ("second", "samples", "spread"),
    [(95.0, 100, True), (94.0, 100, False), (94.0, 19, True), (86.0, 19, True), (84.0, 19, False), (94.0, 20, False)],
)
def test_near_equals_are_within_five_percent_or_fifteen_below_twenty_samples(
    second: float,
    samples: int,
    spread: bool,  # noqa: FBT001
) -> None:
    count = firsts(pair(100.0, second, samples=samples), count=60, strategy=Strategy.QUALITY)

    assert spread == (len(count) == 2)


def test_margin_is_wide_while_either_of_the_two_is_little_known() -> None:
    fleet = pair(100.0, 90.0, samples=0)
    warm(fleet.at("a/m"), 100)

    assert len(firsts(fleet, count=60, strategy=Strategy.QUALITY)) == 2


def test_near_equal_margins_are_settings() -> None:
    settings = RoutingSettings(near_equal=NearEqual(margin=0.3, cold_margin=0.0, cold_samples=5))

    assert len(firsts(pair(100.0, 75.0), count=60, strategy=Strategy.QUALITY, settings=settings)) == 2


def test_equals_with_equal_load_are_taken_alike() -> None:
    count = firsts(pair(90.0, 90.0), count=1000, strategy=Strategy.QUALITY)

    assert 400 <= count["a/m"] <= 600


def test_of_two_near_equals_the_one_with_less_in_flight_is_taken_three_times_in_four() -> None:
    fleet = pair(91.0, 90.0)
    fleet.at("a/m").in_flight = 5
    count = firsts(fleet, count=1000, strategy=Strategy.QUALITY)

    assert 680 <= count["b/m"] <= 820


def test_of_two_near_equals_with_equal_load_the_better_is_taken_three_times_in_four() -> None:
    count = firsts(pair(91.0, 90.0), count=1000, strategy=Strategy.QUALITY)

    assert 680 <= count["a/m"] <= 820


def test_share_is_the_chance_to_be_taken() -> None:
    fleet = SetFleet(*(spec(f"p{i}/m", quality=90.0 + i / 10) for i in range(4)), spec("far/m", quality=10.0))
    for target in fleet.targets:
        warm(target)
    fleet.at("p0/m").in_flight = fleet.at("p1/m").in_flight = 1
    shares = {str(c.target): c.share for c in decided(fleet, strategy=Strategy.QUALITY).candidates}
    count = firsts(fleet, count=4000, strategy=Strategy.QUALITY)

    assert shares == {"p3/m": 7 / 16, "p2/m": 5 / 16, "p1/m": 3 / 16, "p0/m": 1 / 16, "far/m": 0.0}
    for name, share in shares.items():
        assert count[name] / 4000 == pytest.approx(share, abs=0.03)


def test_shares_of_equals_are_equal() -> None:
    decision = decided(pair(90.0, 90.0), strategy=Strategy.QUALITY)

    assert [c.share for c in decision.candidates] == [0.5, 0.5]


def test_those_not_taken_stay_in_the_order_of_their_scores() -> None:
    fleet = SetFleet(*(spec(f"p{i}/m", quality=90.0 + i / 10) for i in range(4)))
    for target in fleet.targets:
        warm(target)
    for seed in range(30):
        rest = decided(fleet, strategy=Strategy.QUALITY, seed=seed).candidates[1:]
        assert sorted([c.score for c in rest], reverse=True) == [c.score for c in rest]


@pytest.mark.parametrize("strategy", [Strategy.PRIORITY, Strategy.ROUND_ROBIN])
def test_order_that_is_meant_is_not_left_to_chance(strategy: Strategy) -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))

    assert len(firsts(fleet, count=40, strategy=strategy)) == 1


@pytest.mark.parametrize(
    "strategy", [Strategy.COST, Strategy.LATENCY, Strategy.QUALITY, Strategy.AVAILABILITY, Strategy.HYBRID]
)
def test_equal_scores_are_left_to_chance(strategy: Strategy) -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))

    assert len(firsts(fleet, count=40, strategy=strategy)) == 2


def test_the_same_chance_decides_the_same() -> None:
    fleet = SetFleet(*(spec(f"p{i}/m") for i in range(5)))

    assert decided(fleet, seed=3) == decided(fleet, seed=3)


# Groups.


def test_preferred_targets_come_first_in_the_tables_order() -> None:
    settings = policy(preferences=("three/m", "one/m"))

    assert names(decided(three(), settings=settings, strategy=Strategy.LATENCY).candidates) == [
        "three/m",
        "one/m",
        "two/m",
    ]


def test_preferred_order_is_not_left_to_chance() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"), spec("c/m"))
    settings = policy(preferences=("b/m", "a/m"))
    decision = decided(fleet, settings=settings)

    assert firsts(fleet, count=40, settings=settings) == {"b/m": 40}
    assert [c.share for c in decision.candidates] == [1.0, 0.0, 0.0]
    assert candidate(decision, "b/m").reason == "preferred by preferences"


@pytest.mark.parametrize(
    ("complexity", "floor"), [(Complexity.SIMPLE, 60.0), (Complexity.MEDIUM, 75.0), (Complexity.COMPLEX, 85.0)]
)
@pytest.mark.parametrize("strategy", [Strategy.COST, Strategy.LATENCY, Strategy.HYBRID])
def test_soft_quality_floor_by_complexity_ranks_weaker_targets_after_the_others(
    complexity: Complexity, floor: float, strategy: Strategy
) -> None:
    fleet = SetFleet(
        spec("weak/m", quality=floor - 0.1, price=(0.1, 0.1), latency_prior_seconds=0.01),
        spec("fit/m", quality=floor, price=(9, 9), latency_prior_seconds=2.0),
    )
    profile = RequestProfile(task="t", input_tokens=1000, complexity=complexity)
    decision = decided(fleet, profile=profile, strategy=strategy)

    assert names(decision.candidates) == ["fit/m", "weak/m"]
    assert candidate(decision, "weak/m").reason == "below the soft quality floor"


@pytest.mark.parametrize("strategy", [Strategy.AVAILABILITY, Strategy.PRIORITY, Strategy.ROUND_ROBIN])
def test_quality_floor_does_not_hold_where_the_strategy_means_something_else(strategy: Strategy) -> None:
    fleet = SetFleet(spec("weak/m", quality=5.0, provider_rank=0), spec("fit/m", provider_rank=1))
    fleet.at("fit/m").availability.current = 0.5

    assert names(decided(fleet, strategy=strategy).candidates) == ["weak/m", "fit/m"]


def test_unknown_quality_is_not_shown_to_reach_the_floor() -> None:
    fleet = SetFleet(spec("unknown/m", quality=None, price=(0.1, 0.1)), spec("fit/m", price=(9, 9)))

    assert names(decided(fleet, strategy=Strategy.COST).candidates) == ["fit/m", "unknown/m"]


def test_policy_sets_or_drops_the_floor() -> None:
    fleet = SetFleet(spec("weak/m", quality=50.0, price=(1, 1)), spec("fit/m", quality=80.0, price=(9, 9)))
    floors = (QualityFloor(auto=False, value=50.0), QualityFloor(auto=False, value=51.0), QualityFloor(auto=False))
    ranked = [
        names(decided(fleet, strategy=Strategy.COST, settings=policy(quality_floor=floor)).candidates)[0]
        for floor in floors
    ]

    assert ranked == ["weak/m", "fit/m", "weak/m"]


@pytest.mark.parametrize(
    ("priority", "prior", "within"),
    [
        (Priority.CRITICAL, 0.96, True),
        (Priority.CRITICAL, 1.01, False),
        (Priority.HIGH, 1.9, True),
        (Priority.HIGH, 2.01, False),
        (Priority.NORMAL, 4.8, True),
        (Priority.NORMAL, 5.01, False),
        (Priority.LOW, 60.0, True),
    ],
)
def test_soft_limit_to_the_first_token_by_priority_ranks_slower_targets_after_the_others(
    priority: Priority,
    prior: float,
    within: bool,  # noqa: FBT001
) -> None:
    fleet = SetFleet(
        spec("slow/m", price=(1, 1), latency_prior_seconds=prior),
        spec("quick/m", price=(9, 9), latency_prior_seconds=0.1),
    )
    decision = decided(fleet, strategy=Strategy.COST, priority=priority)

    assert names(decision.candidates) == (["slow/m", "quick/m"] if within else ["quick/m", "slow/m"])
    assert within == (candidate(decision, "slow/m").reason == "")


def test_target_exactly_at_the_soft_limit_is_within_it() -> None:
    fleet = SetFleet(spec("at/m", price=(1, 1), latency_prior_seconds=5.0), spec("quick/m", latency_prior_seconds=0.1))
    decision = decided(fleet, profile=RequestProfile(task="t", input_tokens=0), strategy=Strategy.COST)

    assert candidate(decision, "at/m").reason == ""


def test_suspect_ranks_after_all_others_and_is_not_rejected() -> None:
    fleet = SetFleet(
        spec("a/m", price=(0.1, 0.1)), spec("b/weak", quality=1.0), spec("c/slow", latency_prior_seconds=30.0)
    )
    fleet.at("a/m").suspected = True
    settings = policy(preferences=("a/m",))

    assert names(decided(fleet, settings=settings).candidates) == ["b/weak", "c/slow", "a/m"]


def test_groups_stand_in_their_stated_order() -> None:
    fleet = SetFleet(
        spec("x/suspect"),
        spec("x/slow", latency_prior_seconds=30.0),
        spec("x/slowandweak", latency_prior_seconds=30.0, quality=1.0),
        spec("x/weak", quality=1.0),
        spec("x/normal", price=(99, 99)),
        spec("x/preferred", quality=1.0, latency_prior_seconds=30.0),
        spec("failed/preferred"),
        spec("failed/normal"),
        spec("x/silent"),
    )
    fleet.at("x/suspect").suspected = True
    fleet.at("x/silent").breaker = SetBreaker(BreakerState.HALF_OPEN, opened_by_silence=True)
    settings = policy(preferences=("failed/preferred", "x/preferred"))
    decision = decided(fleet, settings=settings, executing=True, hop=Hop(failed_providers=frozenset({"failed"})))

    assert names(decision.candidates) == [
        "x/preferred",
        "x/normal",
        "x/weak",
        "x/slow",
        "x/slowandweak",
        "failed/preferred",
        "failed/normal",
        "x/suspect",
        "x/silent",
    ]


def test_chance_never_reaches_across_groups() -> None:
    fleet = SetFleet(spec("a/weak", quality=70.0, price=(1, 1)), spec("b/fit", price=(1, 1)))

    assert firsts(fleet, count=40, strategy=Strategy.COST) == {"b/fit": 40}


def test_hop_goes_to_another_provider_before_another_model_of_the_same() -> None:
    fleet = SetFleet(spec("failed/a"), spec("failed/b", price=(0.1, 0.1)), spec("other/c", price=(9, 9)))
    hop = Hop(tried=frozenset({fleet.at("failed/a").spec.target}), failed_providers=frozenset({"failed"}))

    assert names(decided(fleet, executing=True, hop=hop).candidates) == ["other/c", "failed/b"]


def test_hop_goes_to_another_region_before_the_one_that_failed_and_to_another_provider_before_that() -> None:
    fleet = SetFleet(
        spec("failed/a@us", region="us"),
        spec("failed/a@eu", region="eu"),
        spec("other/cheap@us", region="us", price=(0.1, 0.1)),
        spec("other/dear@eu", region="eu", price=(9, 9)),
        spec("third/unknown", price=(0.5, 0.5)),
    )
    hop = Hop(
        tried=frozenset({fleet.at("failed/a@us").spec.target}),
        failed_providers=frozenset({"failed"}),
        failed_regions=frozenset({"us"}),
    )
    decision = decided(fleet, executing=True, hop=hop, strategy=Strategy.COST)

    assert names(decision.candidates) == ["third/unknown", "other/dear@eu", "other/cheap@us", "failed/a@eu"]
    assert decision.candidates[2].reason == "its region failed in this call"


def test_weighted_share_outweighs_the_soft_limit_so_that_sides_stay() -> None:
    fleet = SetFleet(spec("a/slow", latency_prior_seconds=30.0), spec("b/unshared"))
    settings = policy(strategy=Strategy.WEIGHTED, shares={"a/slow": 1.0})

    assert names(decided(fleet, settings=settings).candidates) == ["a/slow", "b/unshared"]


# Half-open targets.


def half_open(*, silence: bool = False, price: tuple[float, float] = (0.1, 0.1), free: bool = True) -> SetFleet:
    fleet = SetFleet(spec("trial/m", price=price), spec("fine/m"))
    fleet.at("trial/m").breaker = SetBreaker(
        BreakerState.HALF_OPEN, opened_by_silence=silence, free=free, again_at=NOW + 1
    )
    return fleet


@pytest.mark.parametrize("executing", [True, False])
def test_half_open_target_stands_at_its_natural_rank(executing: bool) -> None:  # noqa: FBT001
    decision = decided(half_open(), strategy=Strategy.COST, executing=executing)

    assert names(decision.candidates) == ["trial/m", "fine/m"]
    assert [c.half_open for c in decision.candidates] == [True, False]
    assert [c.share for c in decision.candidates] == [1.0, 0.0]


@pytest.mark.parametrize("strategy", [Strategy.ROUND_ROBIN, Strategy.WEIGHTED])
def test_plan_that_begins_with_a_trial_gives_it_to_one_call_only(strategy: Strategy) -> None:
    fleet = SetFleet(spec("trial/m"), spec("fine/m"))
    fleet.at("trial/m").breaker = SetBreaker(BreakerState.HALF_OPEN)
    shares = {
        names(decision.candidates)[0]: [c.share for c in decision.candidates]
        for decision in (decided(fleet, strategy=strategy, seed=seed, turn=seed, executing=True) for seed in range(20))
    }

    assert shares["trial/m"] == [1.0, 0.0]


def test_half_open_target_behind_others_is_left_out_of_a_plan_to_be_carried_out_elsewhere() -> None:
    decision = decided(half_open(price=(90, 90)), strategy=Strategy.COST)

    assert names(decision.candidates) == ["fine/m"]
    assert reasons(decision, "trial/m") == (RejectionReason.BREAKER_OPEN,)


def test_half_open_target_behind_others_stays_a_fallback_of_our_own_calls() -> None:
    decision = decided(half_open(price=(90, 90)), strategy=Strategy.COST, executing=True)

    assert names(decision.candidates) == ["fine/m", "trial/m"]


def test_half_open_endpoint_makes_its_targets_trials() -> None:
    fleet = SetFleet(spec("trial/m", price=(0.1, 0.1)), spec("fine/m"))
    fleet.at("trial/m").endpoint = SetBreaker(BreakerState.HALF_OPEN)

    assert [c.half_open for c in decided(fleet, strategy=Strategy.COST, executing=True).candidates] == [True, False]


@pytest.mark.parametrize("gate", ["breaker", "endpoint"])
def test_target_opened_by_silence_ranks_last_and_is_to_be_probed_off_the_path(gate: str) -> None:
    fleet = SetFleet(spec("trial/m", price=(0.1, 0.1)), spec("fine/m"))
    setattr(fleet.at("trial/m"), gate, SetBreaker(BreakerState.HALF_OPEN, opened_by_silence=True))
    decision = decided(fleet, strategy=Strategy.COST, executing=True)

    assert names(decision.candidates) == ["fine/m", "trial/m"]
    assert decision.probes_wanted == (fleet.at("trial/m").spec.target,)


def test_target_opened_by_silence_is_used_on_the_path_where_there_is_no_other() -> None:
    fleet = half_open(silence=True)
    fleet.at("fine/m").drained = True
    decision = decided(fleet, executing=True)

    assert (["trial/m"], ()) == (names(decision.candidates), decision.probes_wanted)


@pytest.mark.parametrize(
    ("priority", "tried"),
    [(Priority.LOW, True), (Priority.NORMAL, True), (Priority.HIGH, False), (Priority.CRITICAL, False)],
)
def test_trial_of_a_target_opened_by_silence_goes_to_low_and_normal_calls_only(
    priority: Priority,
    tried: bool,  # noqa: FBT001
) -> None:
    decision = decided(half_open(silence=True), strategy=Strategy.COST, priority=priority)

    assert tried == ("trial/m" in names(decision.candidates))
    assert tried or reasons(decision, "trial/m") == (RejectionReason.BREAKER_OPEN,)
    assert decision.probes_wanted == ()


def test_trial_of_a_target_opened_otherwise_goes_to_calls_of_any_priority() -> None:
    decision = decided(half_open(), strategy=Strategy.COST, priority=Priority.CRITICAL)

    assert names(decision.candidates)[0] == "trial/m"


@given(
    qualities=st.lists(st.floats(0, 100), min_size=1, max_size=8),
    loads=st.lists(st.integers(0, 3), min_size=8, max_size=8),
    seed=st.integers(0, 1000),
)
def test_taken_target_is_near_the_best_and_shares_sum_to_one(
    qualities: list[float], loads: list[int], seed: int
) -> None:
    fleet = SetFleet(*(spec(f"p{i}/m", quality=quality) for i, quality in enumerate(qualities)))
    for target, load in zip(fleet.targets, loads, strict=False):
        target.in_flight = load
    decision = decided(fleet, strategy=Strategy.QUALITY, seed=seed)
    taken = decision.candidates[0]

    assert taken.score >= 0.85 * max(c.score for c in decision.candidates)
    assert taken.share > 0.0
    assert sum(c.share for c in decision.candidates) == pytest.approx(1.0)


def test_thousand_sidecars_with_the_same_knowledge_do_not_jump_on_one_target() -> None:
    fleet = SetFleet(*(spec(f"p{i}/m", price=(1 + i / 100, 2)) for i in range(5)))
    count = Counter(
        names(decided(fleet, seed=random.Random(pod).randrange(10**9), caller=Caller()).candidates)[0]
        for pod in range(1000)
    )

    assert len(count) == 5
    assert max(count.values()) < 450
