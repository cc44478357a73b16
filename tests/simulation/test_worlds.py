"""Worlds drawn from seeds: every rule of behaviour holds in each of them.

A failing seed is in the test's name; `SIMULATION_SEED=17 pytest tests/simulation -k replay` lives through it again.
"""

import os

import pytest

from tests.simulation.rules import all_broken
from tests.simulation.scenarios import drawn
from tests.simulation.world import live
from tests.virtual_time import run

CALLS = 500
SEEDS = 30
SEEDS_IN_FULL = 200
FEW_CALLS_A_SEED = 400


def broken_in(seed: str, calls: int) -> list[str]:
    scenario = drawn(seed, calls=calls)
    broken = all_broken(run(live(scenario, seed)))
    return [f"seed {seed}, {scenario}", *broken] if broken else []


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_rule_holds_in_the_world_of_a_seed(seed: int) -> None:
    assert [] == broken_in(str(seed), CALLS)


@pytest.mark.skipif("SIMULATION_SEED" not in os.environ, reason="lives through the one seed named in SIMULATION_SEED")
def test_replay_of_one_seed() -> None:
    assert [] == broken_in(os.environ["SIMULATION_SEED"], CALLS)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tenth", range(10))
def test_every_rule_holds_in_two_hundred_worlds(tenth: int) -> None:
    for seed in range(tenth * SEEDS_IN_FULL // 10, (tenth + 1) * SEEDS_IN_FULL // 10):
        broken = broken_in(f"full-{seed}", FEW_CALLS_A_SEED)

        assert [] == broken


@pytest.mark.parametrize("seed", ["3", "14", "15"])
def test_the_same_seed_makes_the_same_decisions(seed: str) -> None:
    scenario = drawn(seed, calls=300)

    assert run(live(scenario, seed)).trace == run(live(scenario, seed)).trace
