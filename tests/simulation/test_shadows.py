"""Shadow policies in whole worlds: what is decided, sent and told is the same with and without them, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation.scenarios import drawn, scenario_of
from tests.simulation.world import Scenario, World, live
from tests.virtual_time import run
from turnout_server.core.comparison import Comparison
from turnout_server.core.model import Strategy
from turnout_server.core.settings import Policy, RoutingSettings, Settings

SHORT = ("3", "15")
WHOLE = ("3", "8", "14", "15", "17", "21", "pressed-1", "pressed-2", "hedged-2")
PAIRS = (
    (Strategy.HYBRID, Strategy.ROUND_ROBIN),
    (Strategy.ROUND_ROBIN, Strategy.COST),
    (Strategy.WEIGHTED, Strategy.HYBRID),
    (Strategy.LATENCY, Strategy.WEIGHTED),
)


def with_policies(scenario: Scenario, *policies: Policy) -> Scenario:
    """The same world under other policies; callers leave it to these how to rank."""
    routing = RoutingSettings(policies={policy.name: policy for policy in policies})
    return replace(scenario, settings=Settings(routing=routing), traffic=replace(scenario.traffic, strategy=None))


def comparisons(world: World) -> list[Comparison]:
    return [each for sidecar in world.sidecars for each in sidecar.watch.comparisons]


def check_nothing_changes(scenario: Scenario, seed: str, own: Strategy, other: Strategy) -> None:
    policy = Policy(strategy=own, hedge=seed.startswith("hedged"))
    shadow = Policy(name="other", strategy=other)
    alone = run(live(with_policies(scenario, policy, shadow), seed, deep=True))
    beside = run(live(with_policies(scenario, replace(policy, shadow_policy="other"), shadow), seed, deep=True))

    assert [] == beside.broken
    assert [] == comparisons(alone)
    assert len(comparisons(beside)) > len(beside.calls) / 2
    assert not all(each.agreed for each in comparisons(beside))
    assert alone.digest == beside.digest


def check_twins_agree(scenario: Scenario, seed: str, strategy: Strategy) -> None:
    policy = Policy(strategy=strategy, shadow_policy="twin")
    world = run(live(with_policies(scenario, policy, Policy(name="twin", strategy=strategy)), seed))
    found = comparisons(world)

    assert len(found) > len(world.calls) / 2
    assert [] == [each for each in found if each.chosen != each.shadow_chosen]


@pytest.mark.parametrize("seed", SHORT)
def test_a_shadow_changes_nothing_of_what_is_decided_sent_and_told(seed: str) -> None:
    check_nothing_changes(drawn(seed, calls=60), seed, Strategy.HYBRID, Strategy.ROUND_ROBIN)


@pytest.mark.parametrize("seed", SHORT)
def test_a_shadow_with_the_same_rules_chooses_the_same_in_every_decision(seed: str) -> None:
    check_twins_agree(drawn(seed, calls=60), seed, Strategy.HYBRID)


@pytest.mark.full
@pytest.mark.parametrize(("own", "other"), PAIRS)
@pytest.mark.parametrize("seed", WHOLE)
def test_no_shadow_changes_anything_in_any_world(seed: str, own: Strategy, other: Strategy) -> None:
    check_nothing_changes(scenario_of(seed), seed, own, other)


@pytest.mark.full
@pytest.mark.parametrize("strategy", [own for own, _ in PAIRS])
@pytest.mark.parametrize("seed", WHOLE)
def test_twins_agree_in_every_world(seed: str, strategy: Strategy) -> None:
    check_twins_agree(scenario_of(seed), seed, strategy)
