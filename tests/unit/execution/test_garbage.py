"""A call that has ended is freed at once: what only the collector finds stays in memory until it comes by."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import aclosing, suppress
from dataclasses import replace

import pytest

from tests.unit.execution.scripted import SILENCE, Script, Step, World, answer, asking, chat, fail
from tests.virtual_time import in_virtual_time
from turnout_server.core.errors import CallError
from turnout_server.core.model import FailureKind
from turnout_server.core.settings import CacheSettings, FailoverSettings, Policy
from turnout_server.execution.answering import Answering

CALLS = 5


@pytest.fixture
def collected() -> Iterator[list[object]]:
    """What the collector finds is kept here instead of being freed."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def ours(found: list[object]) -> set[str]:
    """The names of our own types among what was found."""
    return {type(each).__qualname__ for each in found if type(each).__module__.startswith("turnout_server")}


@pytest.mark.parametrize("limit", [100, pytest.param(4000, marks=pytest.mark.full)])
@in_virtual_time
async def test_answered_calls_leave_nothing_to_collect(limit: int, collected: list[object]) -> None:
    world = World({"a/m": [answer("Hello")] * (CALLS + 1)})
    await world.executor.execute(asking(), chat(max_output_tokens=limit))
    gc.collect()
    collected.clear()
    for _ in range(CALLS):
        await world.executor.execute(asking(), chat(max_output_tokens=limit))
    gc.collect()

    assert ours(collected) == set()


@in_virtual_time
async def test_calls_that_fail_over_leave_nothing_to_collect(collected: list[object]) -> None:
    world = World({"a/m": [[fail(FailureKind.CONTENT_FILTERED)]] * (CALLS + 1)})
    for _ in range(CALLS):
        with pytest.raises(CallError):
            await world.executor.execute(asking(), chat())
    gc.collect()

    assert ours(collected) == set()


@pytest.mark.parametrize("first_after", [1.8, pytest.param(5.0, marks=pytest.mark.full)])
@in_virtual_time
async def test_hedged_calls_leave_nothing_to_collect(first_after: float, collected: list[object]) -> None:
    policy = Policy(hedge=True)
    world = World({"a/m": [answer("slow", first_after=first_after)], "b/m": [answer("quick")]}, policy=policy)
    for _ in range(CALLS):
        await world.executor.execute(asking(), chat())
        await asyncio.sleep(60.0)
    gc.collect()

    assert world.instruments.hedges
    assert ours(collected) == set()


@in_virtual_time
async def test_hedged_calls_of_which_one_fails_leave_nothing_to_collect(collected: list[object]) -> None:
    silent: list[Step] = [SILENCE]
    world = World(
        {"a/m": [silent], "b/m": [answer("late", first_after=2.0)]},
        policy=Policy(hedge=True),
        failover=FailoverSettings(first_token_timeout_seconds=3.0),
    )
    for _ in range(2):
        await world.executor.execute(asking(), chat())
        await asyncio.sleep(60.0)
    gc.collect()

    assert world.instruments.hedges
    assert ours(collected) == set()


@in_virtual_time
async def test_streams_leave_nothing_to_collect(collected: list[object]) -> None:
    world = World({"a/m": [answer("Hello")] * CALLS})
    for _ in range(CALLS):
        async for _event in world.executor.execute_stream(asking(), chat()):
            pass
    gc.collect()

    assert ours(collected) == set()


@in_virtual_time
async def test_requests_that_share_one_call_leave_nothing_to_collect(collected: list[object]) -> None:
    scripts: list[Script] = [answer("Hello"), [fail(FailureKind.CONTENT_FILTERED)], [SILENCE]]
    world = World({"a/m": scripts}, policy=Policy(cache=CacheSettings(any_temperature=True)))
    answering = Answering(world.executor, world.router, clock=world.loop.clock)

    async def ask(name: str, seconds: float) -> None:
        query = replace(asking(seconds), request_id=name)
        with suppress(CallError):
            await answering.execute(query, chat(name), principal="p", on_decision=lambda _: None)

    for name, seconds in (("answered", 100.0), ("refused", 100.0), ("late", 2.0)):
        await asyncio.gather(*(ask(name, seconds + more) for more in range(3)))
    async with aclosing(answering.execute_stream(asking(), chat("answered"), principal="p")) as events:
        async for _event in events:
            pass
    gc.collect()

    assert answering.once.joined_count == 2
    assert ours(collected) == set()
