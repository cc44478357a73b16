"""Ends waits at their limits. A stream waits once for each of its events, so that a wait must cost next to nothing.

`asyncio.timeout` sets a timer for each wait and takes it back. Here one timer stands for many: it is set for the first
wait, and where it rings in a later one whose limit has not come, it is set again for that.
"""

from __future__ import annotations

import asyncio


class Watch:
    """Watches one wait after the other, all of them on one event loop: `begin`, wait, `end`. To be closed.

    When the limit comes first, the task that began is cancelled, and `end` says so.
    """

    __slots__ = ("_cancelling", "_limit_at", "_loop", "_rang", "_task", "_timer")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._limit_at = 0.0
        self._rang = False

    def begin(self, seconds: float) -> None:
        """Begins a wait of the present task, for so long."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        task = self._task = asyncio.current_task(loop)
        assert task is not None
        self._cancelling = task.cancelling()
        self._limit_at = limit_at = loop.time() + seconds
        timer = self._timer
        if timer is None:
            self._timer = loop.call_at(limit_at, self._ring)
        elif timer.when() > limit_at:
            timer.cancel()
            self._timer = loop.call_at(limit_at, self._ring)

    def end(self) -> bool:
        """Ends the wait. True: its limit came, and nobody else cancelled the task."""
        task, self._task = self._task, None
        if not self._rang:
            return False
        self._rang = False
        assert task is not None
        return task.uncancel() <= self._cancelling

    def close(self) -> None:
        """Takes the timer back. May be called twice."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _ring(self) -> None:
        self._timer = None
        task, loop = self._task, self._loop
        if task is None or loop is None:
            # Nobody waits at the moment; the next wait sets it again.
            return
        if loop.time() < self._limit_at:
            self._timer = loop.call_at(self._limit_at, self._ring)
            return
        self._rang = True
        task.cancel()
