"""Targets that take only part of what they are sent: they are sent little more, and callers are served by others."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tests.simulation.providers import Temper
from tests.simulation.rules import all_broken
from tests.simulation.troubles import Spell, Trouble
from tests.simulation.wishes import Mode
from tests.simulation.world import BY_PRIORITY, Scenario, Traffic, World, live
from tests.virtual_time import WALL_EPOCH, run
from turnout_server.core.events import EventName
from turnout_server.core.model import FailureKind
from turnout_server.core.settings import BreakerSettings, PressureSettings

FOREVER = 1e9
NEVER_OPENS = BreakerSettings(consecutive_failures=64, failure_ratio=1.0, ratio_minimum_count=10**6)
"""So that what the throttle does by itself can be seen."""
SLOW_ANSWERS = Temper(first_token_seconds=0.5, seconds_per_output_token=0.02)
"""About three seconds each: at six calls a second, eighteen are in flight where the target copes with eight."""


def lived(spell: Spell, *, rate: float, seconds: float, pressure: PressureSettings, breaker: bool = True) -> World:
    failover = replace(BY_PRIORITY.failover, pressure=pressure)
    world = run(
        live(
            Scenario(
                targets=("north/m", "south/m"),
                seconds=seconds,
                spells=(spell,),
                # Streams, so that a slow answer is not taken for none.
                traffic=Traffic(calls_per_second=rate, modes={Mode.STREAM: 1.0}, deadlines=(None,), prompt_bytes=(40,)),
                tempers={"north": SLOW_ANSWERS},
                settings=replace(BY_PRIORITY, failover=failover if breaker else replace(failover, breaker=NEVER_OPENS)),
            ),
            "1",
        )
    )

    assert [] == all_broken(world)
    assert {None} == {called.error for called in world.calls}
    return world


def ends_at_north(world: World, since: float) -> Counter[FailureKind | None]:
    """Counts how the attempts at the target in trouble ended that were sent from then on."""
    attempts = world.sidecars[0].watch.attempts
    return Counter(
        record.failure
        for record in attempts
        if record.target.provider == "north" and record.started_at_wall - WALL_EPOCH >= since
    )


def test_a_target_that_takes_three_calls_in_ten_is_sent_about_twice_what_it_takes_and_one_a_second() -> None:
    overload = Spell(trouble=Trouble.OVERLOAD, start=0.0, end=FOREVER, where="north", share=0.7)
    only_throttle = PressureSettings(adaptive_concurrency=False)
    world = lived(overload, rate=4.0, seconds=180.0, pressure=only_throttle, breaker=False)
    ends = ends_at_north(world, since=60.0)
    accepted = ends.total() - ends[FailureKind.OVERLOADED]

    # Four calls a second for two minutes would be 480.
    assert ends.total() <= 2 * accepted + 120 * 1.1
    assert ends.total() <= 240
    assert EventName.THROTTLED in {event.name for event in world.sidecars[0].watch.events}


def test_a_target_in_a_crowd_answers_more_and_refuses_less_than_where_only_breakers_protect_it() -> None:
    crowd = Spell(trouble=Trouble.CROWD, start=5.0, end=FOREVER, where="north")
    nothing = PressureSettings(throttle_multiplier=None, adaptive_concurrency=False)
    before, after = (
        ends_at_north(lived(crowd, rate=6.0, seconds=50.0, pressure=pressure), since=5.0)
        for pressure in (nothing, PressureSettings())
    )

    assert after[None] >= 1.5 * before[None]
    assert after[FailureKind.OVERLOADED] / after.total() <= before[FailureKind.OVERLOADED] / before.total() / 3


def test_a_healthy_target_is_never_held_back_though_it_is_slow_for_a_while() -> None:
    slow = Spell(trouble=Trouble.SLOW, start=5.0, end=10.0, where="north")
    world = lived(slow, rate=24.0, seconds=15.0, pressure=PressureSettings())
    states = world.sidecars[0].router.state.targets

    assert {"north"} == {called.attempts[0].target.provider for called in world.calls}
    assert not any(target.concurrency.in_force or target.throttle.troubled for target in states)
