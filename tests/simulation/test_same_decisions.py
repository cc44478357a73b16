"""The same seed makes the same decisions: in one process, and in processes that hash in different orders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.simulation.scenarios import scenario_of
from tests.simulation.world import live
from tests.virtual_time import run

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ("3", "14", "15", "17")


def test_two_processes_that_hash_differently_decide_the_same() -> None:
    command = [sys.executable, "-m", "tests.simulation.digest", *SEEDS]
    started = [
        subprocess.Popen(  # noqa: S603  # our own module, with seeds for arguments
            command, env={**os.environ, "PYTHONHASHSEED": seed}, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for seed in ("1", "2")
    ]
    first, second = (process.communicate()[0].splitlines() for process in started)

    assert [0, 0] == [process.returncode for process in started]
    assert len(SEEDS) == len(set(first))
    assert first == second


def test_another_seed_makes_other_decisions_in_the_same_scenario() -> None:
    scenario = scenario_of("3")

    assert run(live(scenario, "3", deep=True)).digest != run(live(scenario, "4", deep=True)).digest
