"""What is measured of a wait, and that measuring changes nothing about it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator

import pytest

from tests.unit.execution.scripted import NOTHING, OwnTime
from tests.virtual_time import in_virtual_time, virtual_loop
from turnout_server.api.writing import CallerGoneError, written
from turnout_server.execution.waits import Suspended, Waits


async def worked(waits: tuple[float, ...], work_seconds: float = 0.0) -> str:
    """Waits, and works after each of the waits: nobody else has a turn then."""
    loop = virtual_loop()
    for seconds in waits:
        await asyncio.sleep(seconds)
        loop._jumping.now += work_seconds
    return "done"


@in_virtual_time
async def test_only_what_it_was_suspended_for_is_a_wait() -> None:
    waiting = Suspended(worked((2.0, 0.0, 3.0), work_seconds=0.5), virtual_loop().clock)

    assert await waiting == "done"
    assert waiting.seconds == pytest.approx(5.0)
    assert virtual_loop().time() == pytest.approx(6.5)


@in_virtual_time
async def test_what_never_waits_has_waited_for_nothing() -> None:
    waiting = Suspended(worked(()), virtual_loop().clock)

    assert await waiting == "done"
    assert waiting.seconds == 0.0


@in_virtual_time
async def test_cancelling_reaches_what_is_awaited_which_may_still_clean_up() -> None:
    told: list[str] = []

    async def clinging() -> None:
        try:
            await asyncio.sleep(100.0)
        except asyncio.CancelledError:
            await asyncio.sleep(1.0)
            told.append("cleaned up")
            raise

    waiting = Suspended(clinging(), virtual_loop().clock)

    async def awaited() -> None:
        await waiting

    task = asyncio.create_task(awaited())
    await asyncio.sleep(4.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert told == ["cleaned up"]
    assert waiting.seconds == pytest.approx(5.0)


@in_virtual_time
async def test_what_takes_its_cancelling_for_an_answer_goes_on() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(100.0)
        except asyncio.CancelledError:
            return "done anyway"
        return "done"

    waiting = Suspended(stubborn(), virtual_loop().clock)

    async def awaited() -> str:
        return await waiting

    task = asyncio.create_task(awaited())
    await asyncio.sleep(4.0)
    task.cancel()

    assert await task == "done anyway"


@in_virtual_time
async def test_errors_come_through_and_their_time_counts() -> None:
    async def failing() -> None:
        await asyncio.sleep(2.0)
        raise ConnectionError("gone")

    waits = Waits(virtual_loop().clock)
    with pytest.raises(ConnectionError, match="gone"):
        await waits.around(failing())
    with pytest.raises(ConnectionError, match="gone"):
        await waits.around(failing())

    assert waits.seconds == pytest.approx(4.0)


@in_virtual_time
async def test_ends_of_generators_come_through() -> None:
    async def numbers() -> AsyncGenerator[int]:
        await asyncio.sleep(1.0)
        yield 7

    stream = numbers()
    first = Suspended(anext(stream), virtual_loop().clock)

    assert await first == 7
    assert first.seconds == pytest.approx(1.0)
    with pytest.raises(StopAsyncIteration):
        await Suspended(stream.__anext__(), virtual_loop().clock)


@in_virtual_time
async def test_failed_future_leaves_nothing_to_collect() -> None:
    future: asyncio.Future[None] = virtual_loop().create_future()
    virtual_loop().call_later(1.0, future.set_exception, ConnectionError("gone"))
    waits = Waits(virtual_loop().clock)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ConnectionError):
            await waits.around(asyncio.shield(future))
        future.exception()
        del future
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [each for each in gc.garbage if isinstance(each, Suspended | ConnectionError)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()

    assert left == []


@in_virtual_time
async def test_caller_that_is_slow_to_take_its_stream_is_waited_for() -> None:
    own_time = OwnTime()
    for _ in range(3):
        await written(worked((20.0,), work_seconds=0.5))

    assert own_time.seconds == pytest.approx(1.5)


@in_virtual_time
async def test_caller_that_went_away_while_it_was_written_to_is_told_of() -> None:
    async def writing() -> None:
        await asyncio.sleep(2.0)
        raise RuntimeError("the RPC is over")

    own_time = OwnTime()
    with pytest.raises(CallerGoneError):
        await written(writing())

    assert own_time.seconds == NOTHING
