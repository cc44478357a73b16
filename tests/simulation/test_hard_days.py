"""Days that every sidecar will have, one by one: what happens then is known in advance, and asserted to the number."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.simulation.callers import make
from tests.simulation.providers import Temper
from tests.simulation.rules import all_broken
from tests.simulation.troubles import Spell, Trouble
from tests.simulation.wishes import Mode, Wish
from tests.simulation.world import BY_PRIORITY, Scenario, Traffic, World, born, live
from tests.virtual_time import run
from turnout_server.core.events import EventName
from turnout_server.core.model import FailureKind, HealthState, Strategy

FOREVER = 1e9
OPEN_MAX_SECONDS = BY_PRIORITY.failover.breaker.open_max_seconds * (1.0 + BY_PRIORITY.failover.breaker.open_jitter)
ADVISED: Mapping[Mode, float] = {Mode.ADVISED: 1.0}


def lived(scenario: Scenario, seed: str = "1") -> World:
    world = run(live(scenario, seed))

    assert [] == all_broken(world)
    return world


def day(
    *spells: Spell,
    seconds: float = 300.0,
    rate: float = 2.0,
    targets: tuple[str, ...] = ("north/m", "south/m"),
    **more: Any,
) -> Scenario:
    traffic = {"deadlines": (None,), **more.pop("traffic", {})}
    return Scenario(
        targets=targets, seconds=seconds, spells=spells, traffic=Traffic(calls_per_second=rate, **traffic), **more
    )


def spell(trouble: Trouble, start: float, end: float = FOREVER, where: str = "north", **more: Any) -> Spell:
    return Spell(trouble=trouble, start=start, end=end, where=where, **more)


def failed(world: World) -> list[float]:
    return [called.started for called in world.calls if called.error is not None]


def test_a_thousand_calls_caught_by_one_silent_provider_are_all_answered_by_the_next() -> None:
    async def main() -> World:
        world = await born(day(spell(Trouble.HANG, 0.0)), "1")
        (one,) = world.sidecars
        modes = (Mode.UNARY, Mode.STREAM)
        calls = [world.begin_call(one, Wish(mode=modes[n % 2], deadline=120.0)) for n in range(1000)]
        await asyncio.gather(*(make(one, called, world.providers) for called in calls))
        return world

    world = run(main())

    assert [] == all_broken(world)
    assert {"south/m"} == {called.target for called in world.calls}


@pytest.mark.parametrize("modes", [{Mode.STREAM: 1.0}, ADVISED])
@pytest.mark.parametrize("rate", [1 / 60, 0.5, 3.0])
def test_a_recovered_target_is_used_again_within_30_seconds_of_its_trials_succeeding(
    rate: float, modes: Mapping[Mode, float]
) -> None:
    world = lived(
        day(
            spell(Trouble.HANG, 100.0, 400.0 if rate < 1.0 else 130.0),
            seconds=7200.0 if rate < 0.1 else 800.0 if rate < 1.0 else 230.0,
            rate=rate,
            traffic={"modes": modes},
        )
    )
    (one,) = world.sidecars
    well_from = world.scenario.spells[0].end
    closed = [at for at in one.watch.times(EventName.BREAKER_CLOSED, "north/m") if at > well_from]
    if not one.watch.times(EventName.BREAKER_OPENED, "north/m"):
        # At a call a minute nobody was caught often enough for the breaker to open.
        closed = [well_from]
    later = [called for called in world.calls if called.started >= closed[-1] + 30.0]
    needed = [called for called in world.calls if well_from + OPEN_MAX_SECONDS < called.started < closed[-1]]

    assert {"north/m"} == {called.target for called in later}
    # Each call lets one trial be made; two successes close the breaker, and the first may have met the old trouble.
    assert len(needed) <= max(4, rate * 30.0)


def test_a_provider_dead_for_a_minute_sees_one_attempt_in_each_time_that_its_breaker_is_open() -> None:
    world = lived(day(spell(Trouble.DARK, 10.0, 70.0), seconds=120.0, rate=0.25))
    (one,) = world.sidecars
    opened = one.watch.times(EventName.BREAKER_OPENED, "north/m") + [
        event.at for event in one.watch.events if event.name is EventName.ENDPOINT_OPENED
    ]
    trials = [begun.at for begun in one.watch.begun if begun.target == "north/m" and not begun.closed and begun.at < 70]

    assert opened
    assert len(trials) <= len(opened)


@pytest.mark.parametrize("modes", [{Mode.UNARY: 1.0}, {Mode.STREAM: 1.0}, ADVISED])
def test_callers_errors_alone_change_nobodys_health(modes: Mapping[Mode, float]) -> None:
    world = lived(day(seconds=60.0, traffic={"bad_share": 1.0, "modes": modes}))
    (one,) = world.sidecars

    assert {HealthState.HEALTHY} == {target.health(60.0) for target in one.router.state.targets}
    assert {24.9 / 25} == {round(target.availability.value(60.0), 6) for target in one.router.state.targets}
    assert [] == one.watch.events


def test_the_lost_network_of_one_pod_opens_nothing_for_longer_than_it_lasts_and_nothing_elsewhere() -> None:
    world = lived(
        day(
            spell(Trouble.NETWORK_LOSS, 50.0, 60.0, where="", pod="sidecar-0"),
            targets=("north/m", "south/m", "east/m"),
            seconds=80.0,
            rate=3.0,
            sidecar_count=2,
        )
    )
    here, elsewhere = world.sidecars

    assert EventName.LOCAL_NETWORK in {event.name for event in here.watch.events}
    assert [] == elsewhere.watch.events
    assert failed(world)
    assert all(50.0 <= at <= 62.0 for at in failed(world))


def test_a_limit_with_a_word_for_how_long_is_never_met_again_before_that() -> None:
    world = lived(day(spell(Trouble.LIMIT, 0.0), seconds=120.0, rate=4.0))
    limited = [record for record in world.sidecars[0].watch.attempts if record.http_status == 429]

    # 5 requests in 10 s are allowed: one refusal tells of it, and the wait ends when there is room again.
    assert 4 <= len(limited) <= 120 / 10 * 3
    assert [] == failed(world)


def test_a_limit_that_is_counted_in_headers_is_hardly_ever_met() -> None:
    world = lived(day(spell(Trouble.HEADER_LIMIT, 0.0), seconds=120.0, rate=4.0))
    attempts = [record for record in world.sidecars[0].watch.attempts if record.target.provider == "north"]
    limited = [record for record in attempts if record.http_status == 429]

    # What is in flight when the last place is taken is refused; whoever comes later has read that there is none left.
    assert len(attempts) >= 40
    assert len(limited) <= len(attempts) / 4
    assert [] == failed(world)


def test_a_key_called_wrong_is_left_alone_and_taken_back() -> None:
    world = lived(day(spell(Trouble.FALSE_401, 50.0, 100.0, share=1.0), seconds=400.0, rate=1.0))
    failures = {EventName.FAILURE, EventName.SWITCH}
    names = [event.name for event in world.sidecars[0].watch.events if event.name not in failures]
    refused = [r for r in world.sidecars[0].watch.attempts if r.failure is FailureKind.AUTHENTICATION]

    assert [EventName.CREDENTIAL_OUT, EventName.CREDENTIAL_BACK] == names
    # Those of the first 5 s count as one; the second in a row takes the key out.
    assert len(refused) <= 12
    assert [] == failed(world)


def test_four_dead_providers_on_trial_do_not_cost_a_call_the_fifth_that_is_well() -> None:
    names = ("north", "south", "east", "west")
    world = lived(
        day(
            # One after the other, so that it is no loss of our own network.
            *(spell(Trouble.OVERLOAD, 10.0 + n, where=name, share=1.0) for n, name in enumerate(names)),
            targets=(*(f"{name}/m" for name in names), "centre/m"),
            seconds=600.0,
            rate=0.2,
        )
    )

    assert {"centre/m"} == {called.target for called in world.calls if called.started > 100.0}
    assert [] == [at for at in failed(world) if at > 100.0]


@pytest.mark.parametrize("strategy", [Strategy.PRIORITY, Strategy.LATENCY, Strategy.HYBRID])
def test_a_target_that_was_slow_for_a_while_is_used_again(strategy: Strategy) -> None:
    world = lived(
        day(
            spell(Trouble.SLOW, 100.0, 400.0),
            seconds=1600.0,
            rate=0.3,
            tempers={"south": Temper(first_token_seconds=1.0, seconds_per_output_token=0.01)},
            traffic={"strategy": strategy},
        )
    )
    late = [called.target for called in world.calls if called.started > 1300.0]

    assert late.count("north/m") > len(late) / 2


@pytest.mark.parametrize("trouble", [Trouble.OVERLOAD, Trouble.BROWN_OUT])
def test_an_outage_is_seen_within_seconds_though_long_answers_from_before_end_well(trouble: Trouble) -> None:
    world = lived(
        day(
            spell(trouble, 20.0, share=1.0),
            seconds=40.0,
            rate=10.0,
            tempers={"north": Temper(seconds_per_output_token=0.05)},
        )
    )
    blind = [b.at for b in world.sidecars[0].watch.begun if b.target == "north/m" and b.closed and b.at >= 20.0]

    assert max(blind) <= 23.0
    assert [] == failed(world)


def test_a_tenth_of_failures_opens_nothing_though_answers_take_longer_than_failures() -> None:
    world = lived(
        day(
            spell(Trouble.BROWN_OUT, 20.0, share=0.1),
            seconds=60.0,
            rate=10.0,
            tempers={"north": Temper(seconds_per_output_token=0.05)},
        )
    )

    assert [] == world.sidecars[0].watch.times(EventName.BREAKER_OPENED, "north/m")
