"""Worlds whose calls have caps: no call costs more than its cap, whatever its providers do.

What a call costs is what the providers have in their books, not what the sidecar believes.
"""

from __future__ import annotations

import pytest

from tests.simulation.rules import all_broken
from tests.simulation.scenarios import RESTARTING, scenario_of
from tests.simulation.test_worlds import broken_in
from tests.simulation.troubles import Spell, Trouble
from tests.simulation.wishes import Mode
from tests.simulation.world import Scenario, Traffic, live
from tests.virtual_time import run
from turnout_server.core.errors import NoEligibleTargetError
from turnout_server.execution import sending

SEEDS, LONG_SEEDS = 4, 300
PARTS = 10
CUTTING = Scenario(
    targets=("north/m", "south/m", "east/m"),
    seconds=120.0,
    spells=(Spell(trouble=Trouble.CUT, start=0.0, end=120.0, share=0.3),),
    traffic=Traffic(
        calls_per_second=2.0,
        modes={Mode.STREAM: 1.0},
        deadlines=(None,),
        prompt_bytes=(40,),
        max_costs_usd=(0.0004, 0.0005, 0.0008),
    ),
    settings=RESTARTING,
)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_call_costs_more_than_its_cap_in_the_world_of_a_seed(seed: int) -> None:
    assert [] == broken_in(f"capped-{seed}")


def test_the_worlds_of_the_short_run_hold_capped_calls_served_after_failures_and_refused() -> None:
    worlds = [run(live(scenario_of(f"capped-{seed}"), f"capped-{seed}")) for seed in range(SEEDS)]
    calls = [called for world in worlds for called in world.calls if called.wish.max_cost_usd is not None]

    assert {Mode.UNARY, Mode.STREAM} == {called.wish.mode for called in calls}
    assert any(called.target and len(called.attempts) > 1 for called in calls)
    assert any(isinstance(called.error, NoEligibleTargetError) for called in calls)
    assert any(record.hedge for called in calls for record in called.attempts)


def test_nothing_is_said_of_a_world_where_streams_are_cut() -> None:
    assert [] == all_broken(run(live(CUTTING, "1")))


def test_a_sidecar_that_sends_no_limit_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_lower", lambda wanted, _paid_for: wanted)

    assert "no call costs more than its cap" in "\n".join(all_broken(run(live(CUTTING, "1"))))


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_call_costs_more_than_its_cap_in_hundreds_of_worlds(part: int) -> None:
    for seed in range(part, LONG_SEEDS, PARTS):
        assert [] == broken_in(f"capped-{seed}")
