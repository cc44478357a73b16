"""A call that has ended is freed at once: what only the collector finds stays in memory until it comes by."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.unit.execution.scripted import World, answer, asking, chat, fail
from tests.virtual_time import in_virtual_time
from turnout_server.core.errors import CallError
from turnout_server.core.model import FailureKind

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


@pytest.mark.parametrize("limit", [100, 4000])
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


@in_virtual_time
async def test_streams_leave_nothing_to_collect(collected: list[object]) -> None:
    world = World({"a/m": [answer("Hello")] * CALLS})
    for _ in range(CALLS):
        async for _event in world.executor.execute_stream(asking(), chat()):
            pass
    gc.collect()

    assert ours(collected) == set()
