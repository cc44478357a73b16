"""Days that every sidecar will have, one by one: what happens then is known in advance, and asserted to the number."""

import asyncio
import random

import pytest

from tests.simulation.providers import Providers, Spell, Trouble
from tests.simulation.rules import all_broken
from tests.simulation.sidecars import Sidecar, sidecar
from tests.simulation.world import BY_PRIORITY, Called, Scenario, Traffic, World, call, live, spec_of
from tests.virtual_time import WALL_EPOCH, run
from turnout_server.core.events import EventName
from turnout_server.core.fleet import Fleet
from turnout_server.core.model import HealthState

FOREVER = 1e9


def lived(scenario: Scenario, seed: str = "1") -> World:
    world = run(live(scenario, seed))

    assert [] == all_broken(world)
    return world


def successes(world: World, target: str) -> list[float]:
    return [called.started for called in world.calls if called.error is None and called.target == target]


def test_a_thousand_calls_caught_by_one_silent_provider_are_all_answered_by_the_next() -> None:
    async def main() -> None:
        scenario = Scenario(
            targets=("north/m", "south/m"),
            seconds=1.0,
            spells=(Spell(trouble=Trouble.HANG, start=0.0, end=FOREVER, where="north"),),
        )
        one = await _sidecar(scenario)
        calls = [Called(sidecar="s", started=0.0, deadline=120.0, streamed=n % 2 == 0, bad=False) for n in range(1000)]
        await asyncio.gather(*(call(one, called, "hello") for called in calls))

        assert ["south/m"] * 1000 == [called.target for called in calls]
        assert [] == one.watch.broken

    run(main())


def test_eight_dark_models_of_one_endpoint_cost_at_most_four_attempts_once_the_first_failure_is_known() -> None:
    dark = tuple(f"north/model-{n}" for n in range(8))
    world = lived(
        Scenario(
            targets=(*dark, "south/m"),
            seconds=4.0,
            spells=(Spell(trouble=Trouble.DARK, start=0.0, end=FOREVER, where="north"),),
            traffic=Traffic(calls_per_second=20.0, deadlines=(None,)),
            sidecar_count=3,
        )
    )
    for each in world.sidecars:
        at_dark = [begun for begun in each.watch.begun if begun.target.startswith("north")]
        known_at = min(a.started_at_wall + (a.latency_seconds or 0.0) for a in each.watch.attempts if a.failure)
        after = [b for b in at_dark if b.closed and WALL_EPOCH + b.at > known_at]

        assert len(after) <= 4


@pytest.mark.parametrize("calls_per_second", [1 / 60, 0.5, 20.0])
def test_a_recovered_target_is_used_again_within_30_seconds_of_its_trials_succeeding(calls_per_second: float) -> None:
    world = lived(
        Scenario(
            targets=("north/m", "south/m"),
            seconds=7200.0 if calls_per_second < 1 else 900.0,
            spells=(Spell(trouble=Trouble.HANG, start=100.0, end=400.0, where="north"),),
            traffic=Traffic(calls_per_second=calls_per_second, deadlines=(None,)),
        )
    )
    watch = world.sidecars[0].watch
    closed = [at for at in watch.times(EventName.BREAKER_CLOSED, "north/m") if at > 400.0]
    opened = watch.times(EventName.BREAKER_OPENED, "north/m")
    if not opened:
        # At a call a minute nobody was caught often enough for the breaker to open.
        closed = [400.0]
    later = [called for called in world.calls if called.started >= closed[-1] + 30.0 and called.error is None]
    reopened_by = 400.0 + BY_PRIORITY.failover.breaker.open_max_seconds * 1.1
    needed = [called for called in world.calls if reopened_by < called.started < closed[-1]]

    assert "north/m" == later[0].target
    # Each call lets one trial be made; two successes close the breaker, and the first may have met the old trouble.
    assert len(needed) <= max(4, calls_per_second * 30.0)


def test_a_provider_dead_for_a_minute_sees_one_attempt_in_each_time_that_its_breaker_is_open() -> None:
    world = lived(
        Scenario(
            targets=("north/m", "south/m"),
            seconds=120.0,
            spells=(Spell(trouble=Trouble.DARK, start=10.0, end=70.0, where="north"),),
            traffic=Traffic(calls_per_second=0.25, deadlines=(None,)),
        )
    )
    watch = world.sidecars[0].watch
    opened = watch.times(EventName.BREAKER_OPENED, "north/m") + [
        event.at for event in watch.events if event.name is EventName.ENDPOINT_OPENED
    ]
    trials = [begun.at for begun in watch.begun if begun.target == "north/m" and not begun.closed and begun.at < 70.0]

    assert opened
    assert len(trials) <= len(opened)


def test_callers_errors_alone_change_nobodys_health() -> None:
    world = lived(
        Scenario(targets=("north/m", "south/m"), seconds=600.0, traffic=Traffic(calls_per_second=2.0, bad_share=1.0))
    )
    state = world.sidecars[0].router.state

    assert {HealthState.HEALTHY} == {target.health(600.0) for target in state.targets}
    assert {24.9 / 25} == {round(target.availability.value(600.0), 6) for target in state.targets}
    assert [] == world.sidecars[0].watch.events


def test_a_lost_network_of_the_pod_opens_nothing_for_longer_than_it_lasts() -> None:
    world = lived(
        Scenario(
            targets=("north/m", "south/m", "east/m"),
            seconds=200.0,
            spells=(Spell(trouble=Trouble.DARK, start=50.0, end=60.0, where=""),),
            traffic=Traffic(calls_per_second=5.0, deadlines=(None,)),
        )
    )
    failed = [called for called in world.calls if called.error is not None]
    names = {event.name for event in world.sidecars[0].watch.events}

    assert EventName.LOCAL_NETWORK in names
    assert all(45.0 <= called.started <= 62.0 for called in failed)


def test_a_limit_with_a_word_for_how_long_is_never_met_again_before_that() -> None:
    world = lived(
        Scenario(
            targets=("north/m", "south/m"),
            seconds=300.0,
            spells=(Spell(trouble=Trouble.LIMIT, start=0.0, end=FOREVER, where="north"),),
            traffic=Traffic(calls_per_second=10.0, deadlines=(None,)),
        )
    )
    limited = [a for a in world.sidecars[0].watch.attempts if a.http_status == 429]

    # 5 requests in 10 s are allowed: one refusal tells of it, and the wait ends when there is room again.
    assert 10 <= len(limited) <= 300 / 10 * 3
    assert all(called.error is None for called in world.calls)


async def _sidecar(scenario: Scenario) -> Sidecar:
    fleet = Fleet(tuple(spec_of(name, rank, 1) for rank, name in enumerate(scenario.targets)))
    return sidecar("s", fleet, BY_PRIORITY, Providers(random.Random(1), scenario.spells), "1")
