"""Sends outcomes in the background: a thread for the sync client, a task for the asyncio one, both over an `Outbox`.

While the sidecar is away outcomes wait, and are sent when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Awaitable, Callable, Sequence

from turnout import forking
from turnout.errors import TurnoutError
from turnout.outbox import GATHER_SECONDS, MAX_BATCH_COUNT, Outbox
from turnout.planning import is_away
from turnout.retrying import backoff_seconds
from turnout.seen_failures import speaks_against
from turnout.v1 import router_pb2 as pb

Send = Callable[[Sequence[pb.Outcome]], pb.ReportOutcomeResponse]
"""Sends a batch once, without tries of its own."""
SendAsync = Callable[[Sequence[pb.Outcome]], Awaitable[pb.ReportOutcomeResponse]]


class Pace:
    """How long to wait before the next batch: to gather, or because the last one found nobody."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.failed_count = 0
        self.seconds = GATHER_SECONDS

    @property
    def held(self) -> bool:
        """Whether the last batch found nobody: then a full one is no reason to hurry."""
        return self.failed_count > 0

    def settle(
        self, outbox: Outbox, batch: Sequence[pb.Outcome], end: pb.ReportOutcomeResponse | Exception, *, last: bool
    ) -> None:
        """Takes how sending a batch went; `last` says that there will be no other try."""
        if not isinstance(end, Exception):
            outbox.sent(batch, end)
        elif isinstance(end, TurnoutError) and is_away(end) and not last:
            outbox.put_back(batch, end)
            asked = end.retry_after_seconds or 0.0
            self.seconds = max(asked, GATHER_SECONDS, backoff_seconds(self.failed_count, self._rng))
            self.failed_count += 1
            return
        else:
            outbox.lost(batch, end)
        self.failed_count, self.seconds = 0, GATHER_SECONDS


IDLE_SECONDS = 10.0
"""How long a thread with nothing to send is kept: a client that nobody closed must not be kept by it for ever."""


class ThreadReporter:
    """Reports from one daemon thread, which starts with an outcome and ends when none came for a while."""

    def __init__(self, send: Send, rng: random.Random, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._send = send
        self._rng = rng
        self._idle_seconds = idle_seconds
        self._closed = False
        self.begin_anew()
        forking.remember(self)

    def begin_anew(self) -> None:
        """Begins with nothing queued; in a forked child, where what is queued is the parent's to report."""
        self._outbox = Outbox()
        self._pace = Pace(self._rng)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._tried_count = 0
        self._waiting_count = 0
        self._hurry = False

    @property
    def dropped_count(self) -> int:
        """How many outcomes were given up; after the close also those that were not sent before it."""
        return self._outbox.dropped_count + (self.pending_count if self._closed else 0)

    @property
    def pending_count(self) -> int:
        """How many outcomes wait or are under way."""
        return self._outbox.added_count - self._outbox.settled_count

    @property
    def pressing(self) -> bool:
        """Whether a failure waits that the next decision should know of."""
        return self._outbox.pressing

    def add(self, outcome: pb.Outcome) -> None:
        """Queues one outcome; never waits for the sidecar and never raises."""
        with self._changed:
            self._outbox.add(outcome, urgent=speaks_against(outcome))
            self._start()
            # Waking the thread for each would cost the caller more than the rest of its call.
            if len(self._outbox) in (1, MAX_BATCH_COUNT):
                self._changed.notify_all()

    def send_pressing(self, timeout_seconds: float) -> None:
        """Sends what the next decision should know of, waiting no longer than told, and for no second try."""
        with self._changed:
            self._start()
            tried_count = self._tried_count
            self._waiting_count += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(
                    lambda: not self._outbox.pressing or self._tried_count != tried_count,
                    min(timeout_seconds, threading.TIMEOUT_MAX),
                )
            finally:
                self._waiting_count -= 1

    def flush(self, timeout_seconds: float) -> bool:
        """Waits until everything queued was sent or given up; returns whether that came in time."""
        with self._changed:
            self._start()
            self._hurry = self.pending_count > 0
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self.pending_count, timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        """Sends what is queued, waiting no longer than told, and stops."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_seconds)

    def _start(self) -> None:
        """Starts the thread where it is wanted and not there; the lock is held."""
        if self._thread is not None or not self._outbox:
            return
        thread = threading.Thread(target=self._run, name="turnout-report", daemon=True)
        # Where no thread can be had, there are too many or the process is ending: what is queued waits for the next.
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _due(self) -> bool:
        if self._closed or self._hurry or self._waiting_count:
            return True
        return not self._pace.held and len(self._outbox) >= MAX_BATCH_COUNT

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._outbox or self._closed, self._idle_seconds):
                    self._thread = None
                    return
                self._changed.wait_for(self._due, self._pace.seconds)
                self._hurry = False
                batch, last = self._outbox.take(), self._closed
                if not batch:
                    if not self._closed:
                        continue
                    # Closed and empty: a later outcome would start a new thread.
                    self._thread = None
                    return
            end: pb.ReportOutcomeResponse | Exception
            try:
                end = self._send(batch)
            except Exception as error:  # noqa: BLE001 - the outermost edge of a thread: a report must never harm
                end = error
            with self._changed:
                self._pace.settle(self._outbox, batch, end, last=last)
                self._tried_count += isinstance(end, Exception)
                self._changed.notify_all()


class TaskReporter:
    """Reports from one asyncio task at a time, which ends when nothing is queued."""

    def __init__(self, send: SendAsync, rng: random.Random) -> None:
        self._send = send
        self._outbox = Outbox()
        self._pace = Pace(rng)
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._moved = asyncio.Event()
        self._tried_count = 0
        self._closed = False

    @property
    def dropped_count(self) -> int:
        """How many outcomes were given up; after the close also those that were not sent before it."""
        return self._outbox.dropped_count + (self.pending_count if self._closed else 0)

    @property
    def pending_count(self) -> int:
        """How many outcomes wait or are under way."""
        return self._outbox.added_count - self._outbox.settled_count

    @property
    def pressing(self) -> bool:
        """Whether a failure waits that the next decision should know of."""
        return self._outbox.pressing

    def add(self, outcome: pb.Outcome) -> None:
        """Queues one outcome; never waits for the sidecar and never raises."""
        self._outbox.add(outcome, urgent=speaks_against(outcome))
        # Outside of a loop (a block that ends in a worker thread) the outcome waits for the next one.
        with contextlib.suppress(RuntimeError):
            self._start(asyncio.get_running_loop())
            if len(self._outbox) >= MAX_BATCH_COUNT and not self._pace.held:
                self._hurry.set()

    async def send_pressing(self, timeout_seconds: float) -> None:
        """Sends what the next decision should know of, waiting no longer than told, and for no second try."""
        self._start(asyncio.get_running_loop())
        tried_count = self._tried_count
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self._outbox.pressing and self._tried_count == tried_count:
                    self._hurry.set()
                    await self._moved.wait()

    async def flush(self, timeout_seconds: float) -> bool:
        """Waits until everything queued was sent or given up; returns whether that came in time."""
        if not self.pending_count:
            return True
        self._start(asyncio.get_running_loop())
        assert self._task is not None
        self._hurry.set()
        await asyncio.wait({self._task}, timeout=timeout_seconds)
        return not self.pending_count

    async def close(self, timeout_seconds: float) -> None:
        """Sends what is queued, waiting no longer than told, and stops."""
        self._closed = True
        if await self.flush(timeout_seconds) or self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._outbox and (self._task is None or self._task.done()):
            self._task = loop.create_task(self._run(), name="turnout-report")

    async def _run(self) -> None:
        while self._outbox:
            if not self._closed:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), self._pace.seconds)
            self._hurry.clear()
            batch, last = self._outbox.take(), self._closed
            end: pb.ReportOutcomeResponse | Exception
            try:
                end = await self._send(batch)
            except asyncio.CancelledError:
                # Whoever ends all tasks of the loop ends this one too; the client may be closed in good order after it.
                self._outbox.take_back(batch)
                raise
            except Exception as error:  # noqa: BLE001 - the outermost edge of a task: a report must never harm
                end = error
            self._pace.settle(self._outbox, batch, end, last=last)
            self._tried_count += isinstance(end, Exception)
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()
