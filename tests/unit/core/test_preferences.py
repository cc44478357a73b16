from __future__ import annotations

import math
from typing import Any

import pytest

from tests.unit.core.fleets import SetFleet, candidate, decided, names, spec
from turnout_server.core.errors import InvalidRequestError, NotYetError, UnknownPolicyError
from turnout_server.core.model import Caller, Complexity, RequestProfile, Strategy, Weights
from turnout_server.core.settings import Policy, PolicySelector, RoutingSettings


def fleet() -> SetFleet:
    return SetFleet(
        spec("cheap/m", price=(1, 1), latency_prior_seconds=4.0, quality=76.0),
        spec("quick/m", price=(50, 50), latency_prior_seconds=0.1, quality=86.0),
        spec("best/m", price=(90, 90), latency_prior_seconds=4.5, quality=100.0),
    )


BOUND = RoutingSettings(
    policies={name: Policy(name=name) for name in ("default", "strict", "loose", "of-task")},
    select=(
        PolicySelector(policy="strict", tenant="acme", binding=True, rule="row 1"),
        PolicySelector(policy="of-task", task="planning"),
    ),
)
TABLES = Policy(
    preferences=("best/m",),
    tasks={"code_review": {"pro": ("quick/m", "cheap/m"), "any": ("cheap/m",)}, "chat": {"any": ("quick/m",)}},
)


@pytest.mark.parametrize(
    ("task", "tier", "expected"),
    [
        ("code_review", "pro", ["quick/m", "cheap/m", "best/m"]),
        ("code_review", "ultimate", ["cheap/m", "best/m", "quick/m"]),
        ("code_review", "", ["cheap/m", "best/m", "quick/m"]),
        ("chat", "pro", ["quick/m", "best/m", "cheap/m"]),
        ("planning", "pro", ["best/m", "cheap/m", "quick/m"]),
        ("", "", ["best/m", "cheap/m", "quick/m"]),
    ],
)
def test_tasks_table_for_the_tier_or_for_any_comes_first_then_the_policys_then_the_strategy(
    task: str, tier: str, expected: list[str]
) -> None:
    profile = RequestProfile(task=task, input_tokens=100)
    settings = RoutingSettings(policies={"default": TABLES}, tiers={"pro": None, "ultimate": None})
    decision = decided(fleet(), profile=profile, caller=Caller(tier=tier), settings=settings, strategy=Strategy.COST)

    assert expected == names(decision.candidates)


def test_table_may_name_a_provider_or_a_model_of_several_endpoints() -> None:
    several = SetFleet(spec("x/one"), spec("y/m@eu"), spec("y/m@us"), spec("x/two"))
    settings = RoutingSettings(policies={"default": Policy(preferences=("y/m", "x"))})

    assert names(decided(several, settings=settings).candidates) == ["y/m@eu", "y/m@us", "x/one", "x/two"]


def test_preferred_target_that_is_rejected_does_not_stand_in_the_way() -> None:
    here = fleet()
    here.at("best/m").drained = True
    settings = RoutingSettings(policies={"default": TABLES})

    assert "best/m" not in names(decided(here, settings=settings).candidates)


@pytest.mark.parametrize(
    ("asked", "caller", "task", "expected"),
    [
        ({}, Caller(), "", "default"),
        ({"policy": "named"}, Caller(tenant="acme"), "", "named"),
        ({}, Caller(tenant="acme"), "", "of-tenant"),
        ({}, Caller(tier="pro"), "", "of-tier"),
        ({}, Caller(), "planning", "of-task"),
        ({}, Caller(labels={"team": "red"}), "", "of-label"),
        ({}, Caller(labels={"team": "blue"}), "", "default"),
        ({}, Caller(tenant="both"), "planning", "of-both"),
        ({}, Caller(tenant="both"), "", "default"),
        ({}, Caller(tenant="acme", tier="pro"), "", "of-tenant"),
    ],
)
def test_policy_is_the_one_named_else_the_first_that_fits_else_the_default(
    asked: dict[str, Any], caller: Caller, task: str, expected: str
) -> None:
    select = (
        PolicySelector(policy="of-both", tenant="both", task="planning"),
        PolicySelector(policy="of-tenant", tenant="acme"),
        PolicySelector(policy="of-tier", tier="pro"),
        PolicySelector(policy="of-task", task="planning"),
        PolicySelector(policy="of-label", label=("team", "red")),
    )
    every = {"default", "named", *(s.policy for s in select)}
    settings = RoutingSettings(policies={name: Policy(name=name) for name in every}, select=select)
    profile = RequestProfile(task=task, input_tokens=10)

    assert decided(fleet(), profile=profile, caller=caller, settings=settings, **asked).policy == expected


@pytest.mark.parametrize(
    ("asked", "caller", "task", "expected"),
    [
        ("", Caller(tenant="acme"), "", "strict"),
        ("strict", Caller(tenant="acme"), "", "strict"),
        ("", Caller(tenant="acme"), "planning", "strict"),
        ("", Caller(), "planning", "of-task"),
        ("loose", Caller(), "planning", "loose"),
    ],
)
def test_row_that_binds_comes_before_what_is_asked_for_and_before_other_rows(
    asked: str, caller: Caller, task: str, expected: str
) -> None:
    profile = RequestProfile(task=task, input_tokens=10)

    assert decided(fleet(), profile=profile, caller=caller, settings=BOUND, policy=asked).policy == expected


def test_policy_that_a_row_does_not_allow_is_refused_with_the_row() -> None:
    with pytest.raises(InvalidRequestError, match="'loose' may not be named: row 1 binds these requests to 'strict'"):
        decided(fleet(), caller=Caller(tenant="acme"), settings=BOUND, policy="loose")


def test_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownPolicyError, match="'nope' does not exist; the policies are default") as caught:
        decided(fleet(), policy="nope")

    assert caught.value.name == "nope"


def test_unknown_tier_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError, match="'gold' is not a tier; the tiers are free, pro, ultimate"):
        decided(fleet(), caller=Caller(tier="gold"))


def test_tier_without_a_cap_caps_nothing() -> None:
    settings = RoutingSettings(tiers={"staff": None})

    assert len(decided(fleet(), caller=Caller(tier="staff"), settings=settings).candidates) == 3


def test_requests_strategy_outweighs_the_policys() -> None:
    settings = RoutingSettings(policies={"default": Policy(strategy=Strategy.PRIORITY)})

    assert decided(fleet(), settings=settings).strategy is Strategy.PRIORITY
    assert decided(fleet(), settings=settings, strategy=Strategy.COST).strategy is Strategy.COST


def profile_of(complexity: Complexity, task: str = "") -> RequestProfile:
    return RequestProfile(task=task, input_tokens=100, complexity=complexity)


def test_without_a_task_a_complex_request_prefers_quality() -> None:
    decision = decided(fleet(), profile=profile_of(Complexity.COMPLEX))

    assert (Strategy.QUALITY, "best/m") == (decision.strategy, names(decision.candidates)[0])


def test_without_a_task_a_medium_request_takes_the_policys_strategy_as_it_is() -> None:
    decision = decided(fleet(), profile=profile_of(Complexity.MEDIUM))
    with_task = decided(fleet(), profile=profile_of(Complexity.MEDIUM, task="chat"))

    assert decision.strategy is Strategy.HYBRID
    assert [c.score for c in with_task.candidates] == [c.score for c in decision.candidates]


def test_without_a_task_a_simple_request_prefers_cheap_and_fast() -> None:
    here = fleet()
    here.at("cheap/m").availability.current = 0.5
    simple = candidate(decided(here, profile=profile_of(Complexity.SIMPLE)), "cheap/m")
    as_it_is = candidate(decided(here, profile=profile_of(Complexity.SIMPLE, task="chat")), "cheap/m")
    weights = (0.4 * 3, 0.3 * 3, 0.3)
    expected = sum(w * simple.factors[f] for w, f in zip(weights, ("cost", "latency", "availability"), strict=True))

    assert simple.score == pytest.approx(expected / sum(weights))
    assert simple.score > as_it_is.score


@pytest.mark.parametrize(
    "asked",
    [
        {"profile": profile_of(Complexity.COMPLEX, task="chat")},
        {"profile": profile_of(Complexity.COMPLEX), "strategy": Strategy.HYBRID},
        {"profile": profile_of(Complexity.COMPLEX), "weights": Weights(cost=1.0)},
    ],
)
def test_complexity_does_not_overrule_a_task_a_strategy_or_weights(asked: dict[str, Any]) -> None:
    assert decided(fleet(), **asked).strategy is Strategy.HYBRID


def test_complexity_does_not_overrule_another_strategy_of_the_operators() -> None:
    settings = RoutingSettings(policies={"default": Policy(strategy=Strategy.COST)})

    assert decided(fleet(), profile=profile_of(Complexity.COMPLEX), settings=settings).strategy is Strategy.COST


def test_inferred_complexity_is_told() -> None:
    decision = decided(fleet(), profile=RequestProfile(input_tokens=20_000))

    assert (Complexity.COMPLEX, Strategy.QUALITY) == (decision.complexity, decision.strategy)


def test_adaptive_is_not_there_yet() -> None:
    with pytest.raises(NotYetError, match="ADAPTIVE"):
        decided(fleet(), strategy=Strategy.ADAPTIVE)


def test_weights_not_given_are_the_policys() -> None:
    settings = RoutingSettings(policies={"default": Policy(weights=Weights(cost=1.0, latency=0.0, availability=0.0))})
    found = candidate(decided(fleet(), settings=settings, weights=Weights(quality=1.0)), "best/m")

    assert found.score == pytest.approx((found.factors["cost"] + found.factors["quality"]) / 2)


@pytest.mark.parametrize(
    "weights",
    [
        Weights(cost=-1.0),
        Weights(cost=-0.1),
        Weights(cost=math.nan),
        Weights(cost=math.inf),
        Weights(cost=0.0, latency=0.0, availability=0.0),
        Weights(cost=1e308, latency=1e308),
    ],
)
def test_senseless_weights_are_refused(weights: Weights) -> None:
    with pytest.raises(InvalidRequestError, match=r"options\.weights"):
        decided(fleet(), weights=weights)
