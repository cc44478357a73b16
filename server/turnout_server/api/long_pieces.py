"""Leaves others as much time after a long piece of work as it took.

Some things that a large message needs cannot be divided: gRPC joins what it received (15 ms for 20 MB), protobuf parses
it, Python makes a string of it. Eight messages that have come in the same moment would have theirs one after the other
in one round of the event loop, and since a call for a plan needs some five rounds from its arrival to its answer, a
round of the loop between two pieces lets nobody through either. Here they come one at a time, and after each there is a
pause as long as the piece was: in it whoever has little to do is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from itertools import count
from typing import Any

LONG_SECONDS = 0.002
"""From here on a piece is followed by a pause."""
LONGEST_PAUSE_SECONDS = 0.1
"""A piece that took longer met a machine that had no time for it; a longer pause would help nobody."""
SMALL_SECONDS = 0.01
"""What has come within this time of being waited for is small: 10 MB take longer through a Unix socket."""


class LongPieces:
    """Lets one long piece of work through at a time, on one event loop. `clock` is the monotonic one, in seconds."""

    __slots__ = ("_busy", "_free_at", "_numbers", "_timer", "_waiting", "clock")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._busy = False
        self._free_at = 0.0
        self._numbers = count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def piece(self, rank: float = 0.0) -> AsyncIterator[None]:
        """Waits until it is this piece's turn: the lowest rank first, equals in the order they came."""
        if self._busy or self._waiting or self.clock() < self._free_at:
            await self._turn(rank)
        self._busy = True
        began_at = self.clock()
        try:
            yield
        finally:
            self._busy = False
            self.took(self.clock() - began_at)
            self._look()

    def took(self, seconds: float) -> None:
        """Is told how long something took that had no turn."""
        if seconds >= LONG_SECONDS:
            self._free_at = max(self._free_at, self.clock() + min(seconds, LONGEST_PAUSE_SECONDS))

    async def _turn(self, rank: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._numbers), waiter))
        self._look()
        try:
            await waiter
        except asyncio.CancelledError:
            # It may have been given the turn in the same moment.
            if waiter.done() and not waiter.cancelled():
                self._busy = False
                self._look()
            raise

    def _look(self) -> None:
        """Gives the next its turn, or has it given when the pause is over."""
        if self._timer is not None or self._busy:
            return
        while self._waiting and self._waiting[0][2].done():
            heapq.heappop(self._waiting)
        if not self._waiting:
            return
        pause = self._free_at - self.clock()
        if pause > 0:
            self._timer = asyncio.get_running_loop().call_later(pause, self._pause_over)
            return
        waiter = heapq.heappop(self._waiting)[2]
        # From now on, since others may ask before it runs.
        self._busy = True
        waiter.set_result(None)

    def _pause_over(self) -> None:
        self._timer = None
        self._look()


class InTurn:
    """Awaits a message of gRPC's, which is joined and parsed in the last step of `receiving`, in its turn.

    gRPC's coroutine waits once, for the message to have come, and does the rest in the step after that. How large the
    message is nobody can ask before; but what is large took a while to come. Smaller ones go first.
    """

    __slots__ = ("_pieces", "_receiving")

    def __init__(self, receiving: Awaitable[Any], pieces: LongPieces) -> None:
        self._receiving = receiving
        self._pieces = pieces

    def __await__(self) -> Generator[Any, Any, Any]:
        """Returns the message."""
        clock = self._pieces.clock
        steps = self._receiving.__await__()
        began_at = clock()
        try:
            waited_for = next(steps)
        except StopIteration as done:
            return done.value
        try:
            yield waited_for
        except BaseException as error:  # noqa: BLE001  # whatever ends the waiting ends gRPC's too
            return (yield from _thrown(steps, error))
        came_at = clock()
        if came_at - began_at >= SMALL_SECONDS:
            return (yield from self._joined(steps, came_at - began_at).__await__())
        try:
            return (yield from steps)
        finally:
            self._pieces.took(clock() - came_at)

    async def _joined(self, steps: Generator[Any, Any, Any], waited_seconds: float) -> Any:
        taken = False
        try:
            async with self._pieces.piece(waited_seconds):
                taken = True
                return await _Rest(steps)
        finally:
            if not taken:
                # Whoever waited has gone. gRPC lets go of what it received when that is taken, and not before.
                with contextlib.suppress(BaseException):
                    for _ in steps:
                        pass


class _Rest:
    __slots__ = ("_steps",)

    def __init__(self, steps: Generator[Any, Any, Any]) -> None:
        self._steps = steps

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._steps)


def _thrown(steps: Generator[Any, Any, Any], error: BaseException) -> Generator[Any, Any, Any]:
    try:
        waited_for = steps.throw(error)
    except StopIteration as done:
        return done.value
    yield waited_for
    return (yield from steps)
