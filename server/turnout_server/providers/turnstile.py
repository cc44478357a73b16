"""Lets the events of many streams through a few at a time, so that whoever else has something to do comes in between.

An event loop runs all that is ready before it looks for more. After a moment in which the process did not run, that is
an event of each of hundreds of streams, a tenth of a millisecond each; a plan that is asked for then needs several
rounds of the loop, and waits for all of the streams in each of them. Here only some of them have their turn in a round,
and the others in the rounds after it, first come first served.
"""

from __future__ import annotations

import asyncio
from collections import deque

AT_ONCE = 8
"""Chunks of streams in one round of the loop: about a millisecond. More make others wait longer; fewer make rounds,
which cost something themselves, a larger part of the work."""


class Turnstile:
    """Lets `at_once` through in each round of the running event loop; used on one loop.

    `passes` says whether the present round has room; where it has none, `turn` waits for a round that has.
    """

    __slots__ = ("_at_once", "_counting", "_left", "_waiting")

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._left = at_once
        self._counting = False
        """The end of the present round will be noticed."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    def passes(self) -> bool:
        """Takes one place of the present round; False where there is none, or others wait already."""
        if not self._left or self._waiting:
            return False
        self._left -= 1
        self._count()
        return True

    async def turn(self) -> None:
        """Waits for a place of a later round."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._count()
        await waiter

    def _count(self) -> None:
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._next_round)

    def _next_round(self) -> None:
        left, waiting = self._at_once, self._waiting
        while left and waiting:
            waiter = waiting.popleft()
            # Those who gave up take no place.
            if not waiter.done():
                waiter.set_result(None)
                left -= 1
        self._left = left
        self._counting = left < self._at_once
        if self._counting:
            asyncio.get_running_loop().call_soon(self._next_round)
