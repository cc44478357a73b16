"""Worlds drawn from seeds: every rule of behaviour holds in each of them.

A failing seed is printed with the command that lives through it again. `make test` lives through minutes to hours of
virtual time in each of some worlds, `make test-full` through thousands of hours, most of them slow.
"""

from __future__ import annotations

import os

import pytest

from tests.simulation.rules import all_broken
from tests.simulation.scenarios import CALLS_PER_SECOND, STRATEGIES, scenario_of
from tests.simulation.troubles import DRAWN
from tests.simulation.wishes import Mode
from tests.simulation.world import live
from tests.virtual_time import run

SEEDS = 30
LONG_SEEDS = 100
DAYS = 90
CROWDS = 5
PRESSED, LONG_PRESSED = 2, 100
HEDGED, LONG_HEDGED = (16, 85), 200
"""The short ones hold many hedges: won, lost, failed, and not allowed."""
PARTS = 10
"""The long runs are cut in so many parts, for a sign of life between them."""


def broken_in(seed: str) -> list[str]:
    """Lives through the world of a seed; returns what was broken in it, the way to see it again first."""
    scenario = scenario_of(seed)
    broken = all_broken(run(live(scenario, seed)))
    if not broken:
        return []
    again = f"SIMULATION_SEED={seed} make test TESTS='tests/simulation/test_worlds.py -k replay'"
    return [f"seed {seed}, replay with: {again}", str(scenario), *broken[:20]]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_rule_holds_in_the_world_of_a_seed(seed: int) -> None:
    assert [] == broken_in(str(seed))


def test_the_worlds_of_the_short_run_hold_every_trouble_every_strategy_and_every_way_to_call() -> None:
    scenarios = [scenario_of(str(seed)) for seed in range(SEEDS)]

    assert set(DRAWN) == {spell.trouble for scenario in scenarios for spell in scenario.spells}
    assert set(STRATEGIES) == {scenario.traffic.strategy for scenario in scenarios}
    assert set(Mode) == {mode for scenario in scenarios for mode in scenario.traffic.modes}
    assert set(CALLS_PER_SECOND) == {scenario.traffic.calls_per_second for scenario in scenarios}
    assert any(scenario.price_changes for scenario in scenarios)
    assert any(spell.every_seconds for scenario in scenarios for spell in scenario.spells)
    assert any("@" in target for scenario in scenarios for target in scenario.targets)


def test_every_rule_holds_for_a_thousand_sidecars_with_little_traffic_each() -> None:
    assert [] == broken_in("crowd-1")


@pytest.mark.parametrize("seed", range(PRESSED))
def test_every_rule_holds_where_targets_take_only_part_of_their_calls(seed: int) -> None:
    assert [] == broken_in(f"pressed-{seed}")


@pytest.mark.parametrize("seed", HEDGED)
def test_every_rule_holds_where_calls_are_hedged(seed: int) -> None:
    assert [] == broken_in(f"hedged-{seed}")


def test_every_rule_holds_on_a_day_of_one_call_a_minute() -> None:
    assert [] == broken_in("day-1")


@pytest.mark.skipif("SIMULATION_SEED" not in os.environ, reason="lives through the one seed named in SIMULATION_SEED")
def test_replay_of_one_seed() -> None:
    assert [] == broken_in(os.environ["SIMULATION_SEED"])


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(
    ("kind", "count"),
    [("long", LONG_SEEDS), ("day", DAYS), ("crowd", CROWDS), ("pressed", LONG_PRESSED), ("hedged", LONG_HEDGED)],
)
def test_every_rule_holds_in_hundreds_of_worlds_and_thousands_of_hours(kind: str, count: int, part: int) -> None:
    for seed in range(part, count, PARTS):
        assert [] == broken_in(f"{kind}-{seed}")
