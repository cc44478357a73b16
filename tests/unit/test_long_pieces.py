"""Long pieces of work come one at a time with pauses between; what is small goes first; nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import virtual_time
from tests.virtual_time import in_virtual_time, virtual_loop
from turnout_server.api.long_pieces import LONGEST_PAUSE_SECONDS, SMALL_SECONDS, InTurn, LongPieces


class Worked:
    """A clock that moves with the loop's and with work, which holds the loop."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.spans: list[tuple[str, float, float]] = []

    def __call__(self) -> float:
        return virtual_loop().time() + self.seconds

    def work(self, name: str, seconds: float) -> None:
        began_at = self()
        self.seconds += seconds
        self.spans.append((name, began_at, self()))


class Message:
    """What gRPC's coroutine does: it waits once for the message, and joins it in the next step."""

    def __init__(self, clock: Worked, name: str, come_seconds: float, join_seconds: float) -> None:
        self._clock = clock
        self._name = name
        self._come_seconds = come_seconds
        self._join_seconds = join_seconds
        self.ended = ""

    def __await__(self) -> Generator[Any, Any, str]:
        return self._receive().__await__()

    async def _receive(self) -> str:
        come = asyncio.get_running_loop().create_future()
        timer = asyncio.get_running_loop().call_later(self._come_seconds, come.set_result, None)
        try:
            await come
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        finally:
            timer.cancel()
        self._clock.work(self._name, self._join_seconds)
        self.ended = "joined"
        return self._name


async def piece(pieces: LongPieces, clock: Worked, name: str, seconds: float, rank: float = 0.0) -> None:
    async with pieces.piece(rank):
        clock.work(name, seconds)


@given(st.lists(st.tuples(st.floats(0, 0.3), st.floats(0, 0.2)), min_size=1, max_size=12))
def test_after_each_piece_the_loop_is_free_for_as_long(pieces: list[tuple[float, float]]) -> None:
    async def main() -> list[tuple[str, float, float]]:
        clock = Worked()
        turns = LongPieces(clock)

        async def come(number: int, at: float, seconds: float) -> None:
            await asyncio.sleep(at)
            await piece(turns, clock, str(number), seconds)

        await asyncio.gather(*(come(number, *each) for number, each in enumerate(pieces)))
        return clock.spans

    spans = virtual_time.run(main())

    assert len(pieces) == len(spans)
    for (_, began, ended), (_, next_began, _) in pairwise(spans):
        seconds = ended - began
        pause = min(seconds, LONGEST_PAUSE_SECONDS) if seconds >= 0.002 else 0.0
        assert next_began - ended >= pause - 1e-6


@in_virtual_time
async def test_short_pieces_make_no_pause() -> None:
    clock = Worked()
    turns = LongPieces(clock)

    await asyncio.gather(*(piece(turns, clock, str(number), 0.0019) for number in range(5)))

    assert 0.0 == virtual_loop().time()
    assert ["0", "1", "2", "3", "4"] == [name for name, _, _ in clock.spans]


@in_virtual_time
async def test_the_lowest_rank_is_next_whenever_it_came() -> None:
    clock = Worked()
    turns = LongPieces(clock)
    async with asyncio.TaskGroup() as group:
        for name, rank in (("first", 9.0), ("large", 3.0), ("larger", 4.0), ("small", 0.1)):
            group.create_task(piece(turns, clock, name, 0.03, rank))

    assert ["first", "small", "large", "larger"] == [name for name, _, _ in clock.spans]


@in_virtual_time
async def test_who_is_cancelled_gives_its_turn_on_at_any_moment() -> None:
    for moment in range(4):
        clock = Worked()
        turns = LongPieces(clock)
        async with asyncio.TaskGroup() as group:
            group.create_task(piece(turns, clock, "first", 0.05))
            leaving = group.create_task(piece(turns, clock, "leaving", 0.05))
            group.create_task(piece(turns, clock, "last", 0.05))
            await asyncio.sleep(0)
            if moment == 1:
                await asyncio.sleep(0.04)
            elif moment == 2:
                # The pause ends in this very moment: the turn is given, and not taken yet.
                await asyncio.sleep(0.05)
            elif moment == 3:
                await asyncio.sleep(0.06)
            leaving.cancel()

        names = [name for name, _, _ in clock.spans]
        assert "first" == names[0]
        assert "last" == names[-1]


@in_virtual_time
async def test_a_failing_piece_lets_the_next_in() -> None:
    clock = Worked()
    turns = LongPieces(clock)

    async def fail() -> None:
        async with turns.piece():
            clock.work("bad", 0.05)
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        await fail()
    await piece(turns, clock, "next", 0.05)

    assert ["bad", "next"] == [name for name, _, _ in clock.spans]


@in_virtual_time
async def test_messages_that_came_in_one_moment_are_joined_with_pauses_between() -> None:
    clock = Worked()
    turns = LongPieces(clock)

    names = await asyncio.gather(*(InTurn(Message(clock, str(n), 0.5, 0.03), turns) for n in range(8)))

    assert [str(n) for n in range(8)] == names
    began = [began for _, began, _ in clock.spans]
    assert all(later - earlier >= 0.06 - 1e-6 for earlier, later in pairwise(began))


@in_virtual_time
async def test_a_small_message_waits_for_no_large_one() -> None:
    clock = Worked()
    turns = LongPieces(clock)

    async def small() -> object:
        await asyncio.sleep(0.5)
        return await InTurn(Message(clock, "small", SMALL_SECONDS / 2, 0.0001), turns)

    await asyncio.gather(*(InTurn(Message(clock, f"large {n}", 0.5, 0.03), turns) for n in range(3)), small())

    names = [name for name, _, _ in clock.spans]
    assert 4 == len(names)
    assert "small" in names[:2]


@in_virtual_time
async def test_what_is_there_at_once_needs_no_waiting() -> None:
    async def there() -> str:
        return "there"

    assert "there" == await InTurn(there(), LongPieces(Worked()))


@pytest.mark.parametrize(("cancel_at", "ended"), [(0.1, "cancelled"), (0.5, "joined")])
def test_who_leaves_leaves_nothing_in_grpcs_hands(cancel_at: float, ended: str) -> None:
    """gRPC keeps a message that came until it is taken."""

    async def main() -> str:
        clock = Worked()
        turns = LongPieces(clock)
        message = Message(clock, "leaving", 0.45, 0.03)

        async def hold() -> None:
            await asyncio.sleep(0.44)
            async with turns.piece():
                await asyncio.sleep(0.2)

        async def receive() -> object:
            return await InTurn(message, turns)

        holding = asyncio.create_task(hold())
        task = asyncio.create_task(receive())
        await asyncio.sleep(cancel_at)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await holding
        await piece(turns, clock, "after", 0.01)
        return message.ended

    assert ended == virtual_time.run(main())
