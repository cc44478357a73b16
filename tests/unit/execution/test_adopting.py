"""Another fleet, other connections while calls run: each call ends under the configuration that it began with."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace

import pytest

from tests.unit.core.budgets import budget
from tests.unit.execution.scripted import (
    SILENCE,
    ScriptedUpstream,
    World,
    answer,
    asking,
    chat,
    fail,
    refused,
    spec,
    text,
)
from tests.virtual_time import in_virtual_time
from turnout_server.core.decision import Decision
from turnout_server.core.errors import NoEligibleTargetError
from turnout_server.core.fleet import CredentialSpec, Fleet, Price, TargetSpec
from turnout_server.core.in_force import FormerFleet
from turnout_server.core.model import FailureKind, MidStreamPolicy, Strategy, Usage
from turnout_server.core.settings import FailoverSettings, Policy, RoutingSettings, Settings
from turnout_server.execution.upstreams import Upstreams

KIND = FailureKind
USAGE = Usage(input_tokens=10, output_tokens=5)


def adopt(world: World, *names: str, settings: Settings | None = None) -> None:
    fleet = Fleet(tuple(spec(name, rank) for rank, name in enumerate(names)))
    world.router.adopt(fleet, settings or world.router.configured.settings)


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
    assert list(upstreams.take().by_provider) == ["c"]


@in_virtual_time
async def test_upstream_that_comes_back_while_its_call_runs_stays_open() -> None:
    upstream = ScriptedUpstream()
    upstreams = Upstreams({"a": upstream})
    taken = upstreams.take()
    upstreams.adopt({})
    upstreams.adopt({"a": upstream})

    assert taken.by_provider["a"] is upstream

    upstreams.give_back(taken)
    await asyncio.sleep(0.0)

    assert upstream.closed_at is None


@in_virtual_time
async def test_upstream_is_closed_once_when_the_last_call_of_all_that_may_use_it_has_ended() -> None:
    upstream = ScriptedUpstream()
    upstreams = Upstreams({"a": upstream})
    first = upstreams.take()
    upstreams.adopt({"a": upstream, "b": ScriptedUpstream()})
    second = upstreams.take()
    upstreams.adopt({})
    upstreams.give_back(first)
    await asyncio.sleep(1.0)

    assert not is_closed(upstream)

    upstreams.give_back(second)
    await asyncio.sleep(0.0)

    assert upstream.closed_at == 1.0
    assert upstreams._former == []


@in_virtual_time
async def test_closing_the_executor_closes_its_upstreams_and_those_replaced() -> None:
    first, second = ScriptedUpstream(), ScriptedUpstream()
    upstreams = Upstreams({"a": first})
    upstreams.take()
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


# A call ends under the configuration that it began with.


@in_virtual_time
async def test_failed_call_moves_on_within_the_fleet_that_it_began_with() -> None:
    world = World({"a/m": [[2.0, fail(KIND.SERVER_ERROR)]], "b/m": [answer("b")]})
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(1.0)
    new = ScriptedUpstream(scripts={"c/m": [answer("c")]})
    world.executor.adopt({"c": new})
    adopt(world, "c/m")
    result = await call
    later = await world.executor.execute(asking(), chat())
    await asyncio.sleep(0.0)

    assert (str(result.target), str(later.target)) == ("b/m", "c/m")
    assert world.names() == ["a/m", "a/m", "b/m"]
    assert new.names() == ["c/m"]
    assert is_closed(world.upstream)
    record = world.router.looking_back.decision(result.decision.decision_id)
    assert [str(attempt.outcome.target) for attempt in record.attempts] == ["a/m", "a/m", "b/m"]
    assert world.router.state._running == {}


@in_virtual_time
async def test_call_moves_on_at_the_address_limit_and_price_that_it_began_with() -> None:
    old = spec("b/m", base_url="http://before", max_output_tokens=77)
    world = World({"a/m": [[2.0, fail(KIND.OVERLOADED)]], old: [answer("b", usage=USAGE)]})
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(1.0)
    dear = Price(input_per_million=9_000_000_000, output_per_million=9_000_000_000)
    new = spec("b/m", 1, base_url="http://after", price=dear)
    world.router.adopt(Fleet((spec("a/m"), new)), world.router.configured.settings)
    world.executor.adopt({"a": world.upstream, "b": ScriptedUpstream()})
    result = await call

    assert world.upstream.played[-1].call.spec == replace(old, provider_rank=1)
    assert result.cost_nano_usd == 10 * 1_000 + 5 * 2_000


@in_virtual_time
async def test_call_moves_on_to_what_its_budget_has_room_for_at_the_prices_that_it_began_with() -> None:
    limit = budget(limit=20_000_000)
    world = World({"a/m": [[2.0, refused()]], "b/m": [answer("b", usage=USAGE)]}, budgets=(limit,))
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(1.0)
    dear = Price(input_per_million=1_000_000_000_000, output_per_million=1_000_000_000_000)
    # In a smaller fleet, too, so that places mean other targets.
    world.router.adopt(Fleet((spec("c/m", price=dear),)), world.router.configured.settings)
    result = await call

    assert str(result.target) == "b/m"
    assert world.router.budgets.report(limit.name).accounts[0].spent == 10 * 1_000 + 5 * 2_000


@in_virtual_time
async def test_call_is_not_hedged_with_a_target_that_came_after_it_and_is_with_one_that_went() -> None:
    world = World({"a/m": [[SILENCE]], "b/m": [answer("b")]}, policy=Policy(hedge=True), failover=FailoverSettings())
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(0.1)
    world.executor.adopt({"a": world.upstream, "c": ScriptedUpstream()})
    adopt(world, "a/m", "c/m")
    result = await call

    assert str(result.target) == "b/m"
    assert [(str(a.target), a.hedge) for a in result.attempts] == [("a/m", False), ("b/m", True)]


@in_virtual_time
async def test_key_that_was_taken_out_is_used_by_calls_that_began_with_it_and_by_no_other() -> None:
    def keyed(*labels: str) -> TargetSpec:
        return spec("a/m", needs_credential=True, credentials=tuple(CredentialSpec(label=label) for label in labels))

    world = World({keyed("first", "second"): [[1.0, refused(KIND.AUTHENTICATION)], answer("a")]})
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(0.5)
    world.router.adopt(Fleet((keyed("third"),)), world.router.configured.settings)
    await call
    await world.executor.execute(asking(), chat())

    used = [played.call.credential for played in world.upstream.played]
    assert set(used[:2]) == {"first", "second"}
    assert used[2] == "third"


@in_virtual_time
async def test_call_keeps_the_policy_and_limits_that_it_began_with() -> None:
    world = World({"a/m": [[2.0, fail(KIND.OVERLOADED)]], "b/m": [answer("b")]})
    policies = {"default": Policy(strategy=Strategy.PRIORITY), "mine": Policy(name="mine", strategy=Strategy.PRIORITY)}
    both = Settings(routing=RoutingSettings(policies=policies, policy_version="1"))
    adopt(world, "a/m", "b/m", settings=both)
    call = asyncio.create_task(world.executor.execute(asking(policy="mine"), chat()))
    await asyncio.sleep(1.0)
    without = RoutingSettings(policies={"default": policies["default"]}, policy_version="2")
    adopt(world, "a/m", "b/m", settings=Settings(routing=without, failover=FailoverSettings(max_attempts=1)))
    result = await call

    assert str(result.target) == "b/m"
    assert (result.decision.policy, result.decision.policy_version) == ("mine", "1")


@in_virtual_time
async def test_caller_who_is_slow_to_take_the_decision_still_gets_the_target_that_it_names() -> None:
    world = World({"a/m": [answer("a")], "b/m": [answer("b")]})
    events = world.executor.execute_stream(asking(mid_stream=MidStreamPolicy.RESTART), chat())
    async for event in events:
        if isinstance(event, Decision):
            world.executor.adopt({"b": ScriptedUpstream()})
            adopt(world, "b/m")
            await asyncio.sleep(5.0)

            assert not is_closed(world.upstream)

    await asyncio.sleep(0.0)

    assert world.names() == ["a/m"]
    assert [attempt.failure for attempt in world.instruments.attempts] == [None]
    assert is_closed(world.upstream)


@in_virtual_time
async def test_connections_are_closed_when_a_caller_goes_away_before_the_first_attempt() -> None:
    world = World({"a/m": [answer("a")]})
    events = world.executor.execute_stream(asking(), chat())
    await anext(events)
    world.executor.adopt({"a": ScriptedUpstream()})
    await events.aclose()
    await asyncio.sleep(0.0)

    assert is_closed(world.upstream)


@in_virtual_time
async def test_trial_off_the_path_ends_with_the_connections_that_it_began_with() -> None:
    world = World({"a/m": [[SILENCE]], "b/m": [answer("b")]})
    for _ in range(3):
        await world.executor.execute(asking(), chat())
        await asyncio.sleep(1.0)
    await asyncio.sleep(6.0)
    world.upstream.scripts["a/m"] = [answer("a", first_after=3.0)]
    await world.executor.execute(asking(), chat())
    replacement = ScriptedUpstream(scripts={"a/m": [answer("a")], "b/m": [answer("b")]})
    world.executor.adopt(dict.fromkeys(("a", "b"), replacement))

    assert world.names()[-2:] == ["a/m", "b/m"] or world.names()[-2:] == ["b/m", "a/m"]
    assert not is_closed(world.upstream)

    await asyncio.sleep(30.0)

    assert is_closed(world.upstream)


@in_virtual_time
async def test_configuration_that_no_call_uses_any_more_is_let_go(request: pytest.FixtureRequest) -> None:
    def kept() -> int:
        gc.collect()
        return sum(isinstance(each, FormerFleet) and each._state is world.router.state for each in gc.get_objects())

    # What is there already, of all modules and tests, need not be looked through.
    gc.freeze()
    request.addfinalizer(gc.unfreeze)
    world = World({"a/m": [answer("a", first_after=5.0)]})
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(1.0)
    adopt(world, "b/m")

    assert kept() == 1

    await call

    assert kept() == 0


@in_virtual_time
async def test_fleet_without_targets_can_be_adopted() -> None:
    world = World({"a/m": [[SILENCE]]})
    adopt(world)
    with pytest.raises(NoEligibleTargetError):
        await world.executor.execute(asking(), chat())
