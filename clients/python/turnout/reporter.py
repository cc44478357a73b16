"""Sends outcomes in the background: a thread for the sync client, a task for the asyncio one, both over an `Outbox`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence

from turnout.outbox import GATHER_SECONDS, MAX_BATCH_COUNT, Outbox
from turnout.v1 import router_pb2 as pb

Send = Callable[[Sequence[pb.Outcome]], pb.ReportOutcomeResponse]
SendAsync = Callable[[Sequence[pb.Outcome]], Awaitable[pb.ReportOutcomeResponse]]


class ThreadReporter:
    """Reports from one daemon thread, which starts with the first outcome."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._outbox = Outbox()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._sending = False
        self._closed = False

    @property
    def dropped_count(self) -> int:
        """How many outcomes could not be reported."""
        return self._outbox.dropped_count

    def add(self, outcome: pb.Outcome) -> None:
        """Queues one outcome; never waits and never raises."""
        with self._changed:
            self._outbox.add(outcome)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="turnout-report", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout_seconds: float) -> bool:
        """Waits until everything queued was sent or given up; returns whether that came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._outbox and not self._sending, timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        """Sends what is queued, waiting no longer than told, and stops."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._outbox or self._closed)
                self._changed.wait_for(lambda: self._closed or len(self._outbox) >= MAX_BATCH_COUNT, GATHER_SECONDS)
                batch = self._outbox.take()
                if not batch:
                    # Closed and empty: a later outcome would start a new thread.
                    self._thread = None
                    return
                self._sending = True
            try:
                self._outbox.sent(self._send(batch))
            except Exception as error:  # noqa: BLE001 - the outermost edge of a thread: a report must never harm
                self._outbox.lost(batch, error)
            with self._changed:
                self._sending = False
                self._changed.notify_all()


class TaskReporter:
    """Reports from one asyncio task at a time, which ends when nothing is queued."""

    def __init__(self, send: SendAsync) -> None:
        self._send = send
        self._outbox = Outbox()
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    @property
    def dropped_count(self) -> int:
        """How many outcomes could not be reported."""
        return self._outbox.dropped_count

    def add(self, outcome: pb.Outcome) -> None:
        """Queues one outcome; never waits and never raises."""
        self._outbox.add(outcome)
        if len(self._outbox) >= MAX_BATCH_COUNT:
            self._hurry.set()
        if self._task is None or self._task.done():
            # Outside of a loop (a block that ends in a worker thread) the outcome waits for the next one.
            with contextlib.suppress(RuntimeError):
                loop = asyncio.get_running_loop()
                self._task = loop.create_task(self._run(), name="turnout-report")

    async def flush(self, timeout_seconds: float) -> bool:
        """Waits until everything queued was sent or given up; returns whether that came in time."""
        task = self._task
        if task is None or task.done():
            return True
        self._hurry.set()
        done, _ = await asyncio.wait({task}, timeout=timeout_seconds)
        return bool(done)

    async def close(self, timeout_seconds: float) -> None:
        """Sends what is queued, waiting no longer than told, and stops."""
        if await self.flush(timeout_seconds) or self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while self._outbox:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), GATHER_SECONDS)
            self._hurry.clear()
            batch = self._outbox.take()
            try:
                self._outbox.sent(await self._send(batch))
            except Exception as error:  # noqa: BLE001 - the outermost edge of a task: a report must never harm
                self._outbox.lost(batch, error)
