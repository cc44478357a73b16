"""Regions are a hard limit and an order: nothing is served outside, and the first comes first while it can answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.core.fleets import NOW, SetBreaker, SetFleet, candidate, decided, names, reasons, rejection, spec, warm
from tests.unit.core.test_budgets_in_decisions import room
from tests.unit.core.test_columns_agree import fleets, questions
from turnout_server.core.affinity import AffinityKey
from turnout_server.core.asking import Hop
from turnout_server.core.candidates import Candidates
from turnout_server.core.decide import unavailable
from turnout_server.core.errors import InvalidRequestError
from turnout_server.core.groups import FAILED_REGION, NOT_PREFERRED, REGION_PLACES, in_region, region_place
from turnout_server.core.model import BreakerState, RejectionReason, Strategy
from turnout_server.core.settings import Policy, RoutingSettings

EVERY_STRATEGY = [strategy for strategy in Strategy if strategy is not Strategy.ADAPTIVE]
ALLOWED = st.lists(st.sampled_from(["eu", "us", "ch"]), max_size=3, unique=True).map(tuple)


def two_regions(**facts: Any) -> SetFleet:
    """What the strategies would take is in us: it is cheaper, quicker, better and first in the order of providers."""
    fleet = SetFleet(
        spec("best/m@us", region="us", price=(0.1, 0.1), quality=95.0, latency_prior_seconds=0.1, provider_rank=0),
        spec("good/m@eu", region="eu", price=(9, 9), latency_prior_seconds=2.0, provider_rank=1, **facts),
        spec("odd/m", price=(0.1, 0.1), provider_rank=2),
    )
    for target in fleet.targets:
        warm(target)
    return fleet


def policies(**rules: Any) -> RoutingSettings:
    return RoutingSettings(policies={"default": Policy(**rules)})


@pytest.mark.parametrize("strategy", EVERY_STRATEGY)
def test_first_region_comes_first_whatever_the_strategy_would_take(strategy: Strategy) -> None:
    decision = decided(two_regions(), strategy=strategy, regions=("eu", "us"))

    assert ["good/m@eu", "best/m@us"] == names(decision.candidates)
    assert ("eu", "us") == decision.regions
    assert " in eu, else us: good/m@eu with score" in decision.reason
    assert candidate(decision, "best/m@us").reason == "its region is number 2 of those allowed"
    assert candidate(decision, "good/m@eu").share == 1.0


def test_regions_in_another_order_are_another_preference() -> None:
    fleet = two_regions()

    for first, second in (("eu", "us"), ("us", "eu"), ("eu", "us")):
        decision = decided(fleet, strategy=Strategy.COST, regions=(first, second))
        assert [first, second] == [each.spec.region for each in decision.candidates]


def test_target_outside_is_rejected_whatever_speaks_for_it_and_an_unknown_region_is_outside() -> None:
    table = policies(preferences=("best/m", "odd/m"), regions=("eu",))
    decision = decided(two_regions(), settings=table)

    assert ["good/m@eu"] == names(decision.candidates)
    assert (RejectionReason.REGION,) == reasons(decision, "best/m@us") == reasons(decision, "odd/m")
    assert "region us, not eu" == rejection(decision, "best/m@us").detail
    assert "region unknown, not eu" == rejection(decision, "odd/m").detail


def test_forced_target_outside_is_rejected() -> None:
    decision = decided(two_regions(), settings=policies(regions=("eu",)), force_target="best/m")

    assert [] == names(decision.candidates)
    assert (RejectionReason.REGION,) == reasons(decision, "best/m@us")


def test_region_beats_a_table_a_soft_limit_and_the_quality_floor() -> None:
    fleet = two_regions()
    fleet.at("good/m@eu").latency = type(fleet.at("good/m@eu").latency)(30.0, 0.5)
    table = policies(preferences=("best/m",), regions=("eu", "us"))
    decision = decided(fleet, settings=table)

    assert ["good/m@eu", "best/m@us"] == names(decision.candidates)


def test_table_orders_within_a_region_and_names_all_endpoints_of_a_model() -> None:
    fleet = SetFleet(
        spec("a/m@us", region="us"),
        spec("a/m@eu", region="eu"),
        spec("b/m@eu", region="eu", price=(0.1, 0.1)),
        spec("b/m@us", region="us", price=(0.1, 0.1)),
    )
    decision = decided(fleet, strategy=Strategy.COST, settings=policies(preferences=("a/m",), regions=("eu", "us")))

    assert ["a/m@eu", "b/m@eu", "a/m@us", "b/m@us"] == names(decision.candidates)


@pytest.mark.parametrize("doubt", ["open", "full", "suspect", "failed", "region failed"])
def test_doubt_whether_a_target_answers_beats_its_region(doubt: str) -> None:
    fleet, hop = two_regions(max_concurrency=3), None
    match doubt:
        case "open":
            fleet.at("good/m@eu").breaker = SetBreaker(BreakerState.OPEN, again_at=NOW + 5.0)
        case "full":
            fleet.at("good/m@eu").in_flight = 3
        case "suspect":
            fleet.at("good/m@eu").suspected = True
        case "failed":
            hop = Hop(failed_providers=frozenset({"good"}))
        case _:
            hop = Hop(failed_providers=frozenset({"gone"}), failed_regions=frozenset({"eu"}))
    decision = decided(fleet, regions=("eu", "us"), hop=hop, executing=True)

    assert "best/m@us" == names(decision.candidates)[0]


def test_chance_decides_only_within_a_region() -> None:
    same: dict[str, Any] = {"price": (1, 1)}
    fleet = SetFleet(*(spec(f"{name}/m@{at}", region=at, **same) for at in ("us", "eu") for name in ("a", "b")))
    firsts = {names(decided(fleet, seed=seed, regions=("eu", "us")).candidates)[0] for seed in range(40)}

    assert {"a/m@eu", "b/m@eu"} == firsts


def test_key_that_was_answered_in_a_later_region_comes_back_to_the_first() -> None:
    fleet = two_regions()
    fleet.affinity.answered(AffinityKey("", "k", ""), fleet.at("best/m@us").spec, None, NOW)
    kept = decided(fleet, sticky_key="k", regions=("us", "eu"))
    back = decided(fleet, sticky_key="k", regions=("eu", "us"))

    assert "best/m@us" == names(kept.candidates)[0]
    assert "good/m@eu" == names(back.candidates)[0]


def test_policy_and_request_allow_what_both_do_in_the_order_of_the_request() -> None:
    fleet = SetFleet(*(spec(f"p/m@{region}", region=region) for region in ("eu", "us", "ch")))
    limited = policies(regions=("ch", "eu"))

    assert ["p/m@ch", "p/m@eu"] == names(decided(fleet, settings=limited).candidates)
    assert ["p/m@eu", "p/m@ch"] == names(decided(fleet, settings=limited, regions=("us", "eu", "ch")).candidates)
    assert ("eu",) == decided(fleet, settings=limited, regions=("eu", "us")).regions


def test_no_region_in_both_is_refused_with_both_named() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decided(two_regions(), settings=policies(name="strict", regions=("eu", "ch")), regions=("us",))

    (violation,) = caught.value.violations
    assert "options.regions" == violation.field
    assert "us asked for, policy strict allows eu, ch: no region is in both" in violation.description


def test_sentence_names_few_of_many_regions() -> None:
    many = tuple(f"r{n}" for n in range(256))
    fleet = SetFleet(*(spec(f"p/m@{region}", region=region) for region in many))
    decision = decided(fleet, regions=many, strategy=Strategy.COST)

    assert " in r0, else r1, else r2, else r3, else r4 and 251 more: " in decision.reason
    assert list(many) == [each.spec.region for each in decision.candidates]


def test_budget_that_runs_out_takes_the_cheapest_of_all_regions_allowed() -> None:
    fleet = SetFleet(*two_regions().fleet.specs, spec("dear/m@eu", region="eu", price=(900, 900)))
    decision = decided(fleet, regions=("eu", "us"), room=room(50_000_000, fleet, downgrades=True))

    assert ["best/m@us", "good/m@eu"] == names(decision.candidates)
    assert (RejectionReason.REGION,) == reasons(decision, "odd/m")


def test_bits_of_regions_keep_to_themselves() -> None:
    assert region_place(in_region(7) | NOT_PREFERRED | FAILED_REGION) == 7
    assert in_region(REGION_PLACES - 1) < FAILED_REGION
    assert in_region(10_000) == in_region(REGION_PLACES - 1)


@given(fleets(), questions(), ALLOWED, ALLOWED, st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_nothing_outside_is_ever_a_candidate_and_regions_stand_in_order_within_equal_doubt(
    fleet: SetFleet, question: dict[str, Any], asked: tuple[str, ...], of_policy: tuple[str, ...], seed: int
) -> None:
    try:
        decision = decided(fleet, settings=policies(regions=of_policy), seed=seed, **{**question, "regions": asked})
    except InvalidRequestError:
        assert asked
        assert of_policy
        assert not set(asked) & set(of_policy)
        return

    both = [region for region in asked if region in of_policy] if asked and of_policy else asked or of_policy
    assert list(both) == list(decision.regions)
    if both:
        assert all(each.spec.region in both for each in decision.candidates)
        outside = [target.spec for target in fleet.targets if target.spec.region not in both]
        assert all(RejectionReason.REGION in reasons(decision, each.name) for each in outside)
        assert isinstance(decision.candidates, Candidates)
        line = decision.candidates.line
        doubts = [(line.groups[place] >> 11, region_place(line.groups[place])) for place in line.order]
        # Of those that refuse part of their calls, the one that refuses least may stand in front of its group.
        assert decision.spared or sorted(doubts) == doubts
        assert [both.index(each.spec.region) for each in decision.candidates] == [place for _, place in doubts]


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (("us", "eu"), "; no target is in moon or mars: the regions are eu, us"),
        (("us", ""), "; no target is in moon or mars: the regions are us, others are unknown"),
        (("", ""), "; no target is in moon or mars: none has a region, configure the endpoints' own"),
        (tuple("abcdefg"), "; no target is in moon or mars: the regions are a, b, c, d, e and 2 more"),
        (("us", "moon"), ""),
    ],
)
def test_where_no_target_is_in_a_region_asked_for_the_error_says_which_there_are(
    there: tuple[str, ...], told: str
) -> None:
    fleet = SetFleet(*(spec(f"a/m{place}", region=region, quality=1.0) for place, region in enumerate(there)))
    decision = decided(fleet, regions=("moon", "mars"), min_quality=50.0)
    error = unavailable(decision, NOW, regions=there)
    outside = sum(region != "moon" for region in there)
    counts = f"{outside} REGION" + (", 1 QUALITY" if outside < len(there) else "")

    assert f"no target can serve this request as asked: {counts}{told}" == error.message
