"""Another fleet, other connections while calls run: nobody notices but those whose target is gone."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.execution.scripted import SILENCE, ScriptedUpstream, World, answer, asking, chat, fail, spec, text
from tests.virtual_time import in_virtual_time
from turnout_server.core.call import AttemptStarted
from turnout_server.core.errors import AttemptsExhaustedError, NoEligibleTargetError
from turnout_server.core.fleet import Fleet
from turnout_server.core.model import FailureKind, MidStreamPolicy, Strategy
from turnout_server.core.settings import Policy, RoutingSettings, Settings
from turnout_server.execution.upstreams import Upstreams

KIND = FailureKind


def adopt(world: World, *names: str, settings: Settings | None = None) -> None:
    fleet = Fleet(tuple(spec(name, rank) for rank, name in enumerate(names)))
    world.router.adopt(fleet, settings or world.router.settings)


def is_closed(upstream: ScriptedUpstream) -> bool:
    return upstream.closed_at is not None


@in_virtual_time
async def test_new_target_is_called_and_removed_one_is_not() -> None:
    world = World({"a/m": [answer("a")]})
    other = ScriptedUpstream(scripts={"b/m": [answer("b")]})
    world.executor.adopt({"b": other})
    adopt(world, "b/m")
    result = await world.executor.execute(asking(), chat())

    assert str(result.target) == "b/m"
    assert world.upstream.played == []


@in_virtual_time
async def test_replaced_upstream_is_closed_when_its_last_call_has_ended() -> None:
    world = World({"a/m": [answer("slow", first_after=5.0)]})
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(1.0)
    replacement = ScriptedUpstream(scripts={"a/m": [answer("new")]})
    world.executor.adopt({"a": replacement})
    await asyncio.sleep(1.0)

    assert not is_closed(world.upstream)

    new = await world.executor.execute(asking(), chat())
    await call
    await asyncio.sleep(0.0)

    assert replacement.names() == ["a/m"]
    assert str(new.target) == "a/m"
    assert world.upstream.closed_at == 5.0
    assert replacement.closed_at is None


@in_virtual_time
async def test_replaced_upstream_without_calls_is_closed_at_once() -> None:
    world = World({"a/m": [answer("a")]})
    world.executor.adopt({"a": ScriptedUpstream()})
    await asyncio.sleep(0.0)

    assert world.upstream.closed_at == 0.0


@in_virtual_time
async def test_upstream_that_stays_under_another_name_is_not_closed() -> None:
    first, second = ScriptedUpstream(), ScriptedUpstream()
    upstreams = Upstreams({"a": first, "b": second})
    upstreams.adopt({"c": first})
    await asyncio.sleep(0.0)

    assert first.closed_at is None
    assert second.closed_at == 0.0
    assert upstreams.take("a") is None


@in_virtual_time
async def test_upstream_that_comes_back_while_its_call_runs_stays_open() -> None:
    upstream = ScriptedUpstream()
    upstreams = Upstreams({"a": upstream})
    taken = upstreams.take("a")
    upstreams.adopt({})
    upstreams.adopt({"a": upstream})

    assert taken is upstream

    upstreams.give_back(upstream)
    await asyncio.sleep(0.0)

    assert upstream.closed_at is None


@in_virtual_time
async def test_closing_the_executor_closes_its_upstreams_and_those_replaced() -> None:
    first, second = ScriptedUpstream(), ScriptedUpstream()
    upstreams = Upstreams({"a": first})
    upstreams.take("a")
    upstreams.adopt({"a": second})
    await upstreams.aclose()

    assert first.closed_at == second.closed_at == 0.0


@in_virtual_time
async def test_call_of_a_removed_target_ends_with_its_answer() -> None:
    world = World({"a/m": [[1.0, [text("a")], 1.0, *answer("b", first_after=1.0)]]})
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(1.5)
    adopt(world, "b/m")
    world.executor.adopt({"b": ScriptedUpstream()})
    result = await call

    assert str(result.target) == "a/m"
    assert [target.in_flight for target in world.router.state.targets] == [0]


@in_virtual_time
async def test_failed_call_goes_on_in_the_fleet_adopted_meanwhile() -> None:
    world = World({"a/m": [[2.0, fail(KIND.SERVER_ERROR)]]})
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(1.0)
    world.upstream.scripts["b/m"] = [answer("b")]
    world.executor.adopt({"b": world.upstream})
    adopt(world, "b/m")
    result = await call

    assert str(result.target) == "b/m"
    assert world.names() == ["a/m", "b/m"]


@in_virtual_time
async def test_call_whose_target_was_named_and_is_gone_ends_with_its_own_failure() -> None:
    world = World({"a/m": [[2.0, fail(KIND.OVERLOADED)]], "b/m": [answer("b")]})
    call = asyncio.create_task(world.executor.execute(asking(include=("a/m",)), chat()))
    await asyncio.sleep(1.0)
    adopt(world, "b/m")
    with pytest.raises(AttemptsExhaustedError):
        await call


@in_virtual_time
async def test_call_whose_policy_is_gone_keeps_its_own_failure() -> None:
    world = World({"a/m": [[2.0, fail(KIND.OVERLOADED)]], "b/m": [answer("b")]})
    policies = {"default": Policy(strategy=Strategy.PRIORITY), "mine": Policy(name="mine", strategy=Strategy.PRIORITY)}
    both = Settings(routing=RoutingSettings(policies=policies))
    adopt(world, "a/m", "b/m", settings=both)
    call = asyncio.create_task(world.executor.execute(asking(policy="mine"), chat()))
    await asyncio.sleep(1.0)
    adopt(world, "a/m", "b/m", settings=Settings(routing=RoutingSettings(policies={"default": policies["default"]})))
    with pytest.raises(AttemptsExhaustedError):
        await call


@in_virtual_time
async def test_provider_removed_before_its_attempt_is_sent_leads_to_the_next() -> None:
    world = World({"a/m": [answer("a")], "b/m": [answer("b")]})
    events = world.executor.execute_stream(asking(mid_stream=MidStreamPolicy.RESTART), chat())
    seen = []
    async for event in events:
        seen.append(event)
        if isinstance(event, AttemptStarted) and str(event.target) == "a/m":
            world.executor.adopt({"b": world.upstream})
            adopt(world, "b/m")

    assert world.names() == ["b/m"]
    assert [KIND.UNKNOWN, None] == [attempt.failure for attempt in world.instruments.attempts]
    assert [target.in_flight for target in world.router.state.targets] == [0]


@in_virtual_time
async def test_fleet_without_targets_can_be_adopted() -> None:
    world = World({"a/m": [[SILENCE]]})
    adopt(world)
    with pytest.raises(NoEligibleTargetError):
        await world.executor.execute(asking(), chat())
