"""Worlds of several regions, one of which goes down for everybody: no prompt ever comes where it must not be.

Each prompt says which regions may see it, and the providers look. Which region comes first, and that it comes first
again when it is well again, is the rule about what has recovered, by the order of the call.
"""

from __future__ import annotations

import pytest

from tests.simulation.rules import all_broken
from tests.simulation.scenarios import scenario_of
from tests.simulation.test_worlds import broken_in
from tests.simulation.troubles import Spell, Trouble
from tests.simulation.wishes import Mode
from tests.simulation.world import Scenario, Traffic, World, live
from tests.virtual_time import run
from turnout_server.core import preferences, shapes
from turnout_server.core.model import Strategy
from turnout_server.core.settings import Policy, RoutingSettings, Settings

SEEDS, LONG_SEEDS = 8, 300
PARTS = 10
TARGETS = ("north/m@us", "north/m@eu", "south/m@us", "south/m@eu", "centre/m")
DOWN_AT, UP_AT, SECONDS = 60.0, 150.0, 400.0


def outage(trouble: Trouble, *regions: tuple[str, ...], policy: tuple[str, ...] = ()) -> Scenario:
    """A world where eu goes down for all vendors, for a minute and a half."""
    return Scenario(
        targets=TARGETS,
        seconds=SECONDS,
        spells=tuple(
            Spell(trouble=trouble, start=DOWN_AT, end=UP_AT, where=f"{vendor}@eu", share=1.0)
            for vendor in ("north", "south")
        ),
        traffic=Traffic(calls_per_second=1.0, deadlines=(None,), regions=regions, policy_regions=policy),
        settings=Settings(
            routing=RoutingSettings(policies={"default": Policy(strategy=Strategy.PRIORITY, regions=policy)})
        ),
        regional=True,
    )


def lived(scenario: Scenario) -> World:
    world = run(live(scenario, "1"))

    assert [] == all_broken(world)
    return world


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_prompt_leaves_its_regions_in_the_world_of_a_seed(seed: int) -> None:
    assert [] == broken_in(f"regional-{seed}")


def test_the_worlds_of_the_short_run_hold_policies_and_requests_with_regions_and_every_way_to_call() -> None:
    scenarios = [scenario_of(f"regional-{seed}") for seed in range(SEEDS)]

    assert {True, False} == {bool(scenario.traffic.policy_regions) for scenario in scenarios}
    assert set(Mode) == {mode for scenario in scenarios for mode in scenario.traffic.modes}
    assert len({scenario.spells[0].trouble for scenario in scenarios}) > 2
    assert any(scenario.traffic.strategy not in (None, Strategy.PRIORITY) for scenario in scenarios)


@pytest.mark.parametrize("trouble", [Trouble.DARK, Trouble.HANG, Trouble.BROWN_OUT, Trouble.CUT])
def test_calls_for_one_region_wait_for_it_and_calls_with_an_order_go_to_the_next(trouble: Trouble) -> None:
    world = lived(outage(trouble, ("eu",), ("eu", "us")))
    within = {False: 0, True: 0}
    for called in world.calls:
        ordered = called.wish.held_to == ("eu", "us")
        down = DOWN_AT <= called.started < UP_AT
        if called.error is not None:
            # Only who may go nowhere else is lost, and while it is down (or believed to be, for an open time).
            assert not ordered or trouble is Trouble.CUT, called
            assert DOWN_AT - 30.0 <= called.started < UP_AT + 30.0
            within[ordered] += 1
        else:
            assert called.target.partition("@")[2] == "eu" or (ordered and down) or called.started < UP_AT + 60.0

    assert within[False] > 0


def test_limit_of_the_policy_holds_for_calls_that_ask_for_nothing() -> None:
    world = lived(outage(Trouble.DARK, (), ("eu", "us"), ("us", "eu"), policy=("us", "eu")))
    used = {called.target for called in world.calls if not called.wish.regions}

    assert {"north/m@us"} == used


def test_a_sidecar_that_forgets_the_policys_regions_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preferences, "held_to", lambda asked, _policy: asked)
    said = "\n".join(all_broken(run(live(outage(Trouble.DARK, (), policy=("eu",)), "1"))))

    assert "no prompt leaves its regions: " in said
    assert "for eu came to north/m@us" in said


def test_a_sidecar_that_takes_any_of_the_regions_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "in_region", lambda _place: 0)
    said = "\n".join(all_broken(run(live(outage(Trouble.DARK, ("eu", "us")), "1"))))

    assert "a recovered target is used again" in said


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_prompt_leaves_its_regions_in_hundreds_of_worlds(part: int) -> None:
    for seed in range(part, LONG_SEEDS, PARTS):
        assert [] == broken_in(f"regional-{seed}")
