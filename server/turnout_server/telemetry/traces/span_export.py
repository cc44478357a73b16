"""Sends what was recorded to a collector, and never in a caller's way.

Spans are made on the event loop, soon after their calls have their answers, a few calls' at a time: one by one they
take half as long again, since each finds the processor's caches full of other things, and many at once make others
wait. What is made is sent from a thread. What waits is bounded: where a collector is down, slow or refuses, what does
not fit any more is dropped and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from turnout_server.telemetry.otlp.delivery import Delivery, Outlet
from turnout_server.telemetry.otlp.flushing import FLUSH_SECONDS
from turnout_server.telemetry.seldom import Seldom
from turnout_server.telemetry.traces.span_making import Made
from turnout_server.telemetry.traces.span_queue import SpanQueue, let_go

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from turnout_server.telemetry.traces.span_queue import Recorded

SLICE_CALLS = 16
"""Calls whose spans are made in one go, at most; those of a Route over eight targets take 0.05 ms."""
SLICE_SECONDS = 0.001
"""A slice ends after so long, with whatever call it is at: others have waited for long enough."""
GATHER_SECONDS = 0.01
"""For so long a slice that is not full waits to be."""
AFTER_FAILURE_SECONDS = 1.0
"""Pause after a batch that was refused, so that a collector that always refuses costs little."""
PAUSE_SECONDS_MAXIMUM = 300.0
"""The longest pause that a collector may ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How spans are gathered. `queue_spans` wait at most; `delay_seconds` a batch that is not full waits to be."""

    queue_spans: int = 2048
    batch_spans: int = 512
    delay_seconds: float = 5.0


class SpanExport(Generic[Made]):
    """Takes what was recorded with `put`; sends it from `start` on, and what is left in `aclose`."""

    def __init__(
        self,
        outlet: Outlet[Made],
        batching: Batching,
        *,
        log: FilteringBoundLogger,
        clock: Callable[[], float],
    ) -> None:
        self._outlet = outlet
        self._batch_spans = min(batching.batch_spans, outlet.batch_spans_maximum)
        self._delay_seconds = batching.delay_seconds
        self._log = log
        self._clock = clock
        self._seldom = Seldom(clock)
        self.flush_seconds = FLUSH_SECONDS
        self.after_failure_seconds = AFTER_FAILURE_SECONDS
        self.queue = SpanQueue(outlet, most_spans=batching.queue_spans)
        self._sender = Sender(outlet.deliver)
        self._in_hand = 0
        """Spans that do not wait any more, and of which it is not known yet whether they are taken."""
        self._refusal = ""
        """Why the last batch was not taken."""
        self._came = asyncio.Event()
        self._full = asyncio.Event()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._making: asyncio.Handle | None = None
        # Not the context of the call that happens to come first.
        self._context = Context()
        self._running: asyncio.Task[None] | None = None
        self.dropped_count = 0
        """Spans that no collector took."""
        self.sent_count = 0

    def put(self, recorded: Recorded) -> None:
        """Takes what has ended; returns at once."""
        # What ends later than the last batch is counted, too: as one span, since nobody looks into it any more.
        without_room = self.queue.put(recorded) if not self._stop.is_set() else 1
        if without_room:
            let_go(recorded)
            # What is dropped first says nothing of why nobody takes it.
            refused = f"; the collector's last refusal: {self._refusal}" if self._refusal else ""
            self._dropped(without_room, f"the queue is full{refused}")
        elif self._making is None and self._loop is not None:
            self._making = self._loop.call_later(GATHER_SECONDS, self._make, context=self._context)

    def start(self) -> None:
        """Begins to make and to send."""
        self._loop = asyncio.get_running_loop()
        if self.queue.has_recorded:
            self._making = self._loop.call_soon(self._make, context=self._context)
        self._running = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Sends what is left within its time, and closes the exporter. Nothing is taken any more."""
        self._stop.set()
        self._came.set()
        self._full.set()
        if self._running is not None:
            await asyncio.wait((self._running,), timeout=self.flush_seconds)
        # Ends what is still being sent, too.
        self._outlet.shutdown()
        self._sender.end()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))
        if self._making is not None:
            self._making.cancel()
        left = self.queue.clear() + self._in_hand
        if left:
            self.dropped_count += left
            self._log.warning("telemetry.spans_not_sent", spans=left)

    def _make(self) -> None:
        """Makes the spans of a few calls, and sees to it that the next have their turn."""
        self._making = None
        if not self.queue.has_recorded:
            return
        queue, until = self.queue, self._clock() + SLICE_SECONDS
        for _ in range(SLICE_CALLS):
            waiting = queue.spans
            try:
                queue.make()
            except Exception as error:  # noqa: BLE001  # the outermost edge: telemetry never ends what it tells of
                self._dropped(waiting - queue.spans, f"they could not be made: {error!r}")
            if not queue.has_recorded or self._clock() >= until:
                break
        if queue.has_recorded and self._loop is not None:
            self._making = self._loop.call_soon(self._make, context=self._context)
        self._came.set()
        if queue.made_spans >= self._batch_spans:
            self._full.set()

    async def _run(self) -> None:
        while not self._stop.is_set():
            await self._came.wait()
            await _within(self._delay_seconds, self._full)
            await _within(await self._send_batch(), self._stop)
        while self.queue.has_recorded:
            self._make()
            await asyncio.sleep(0)
        while self.queue.spans and not await self._send_batch():
            pass

    async def _send_batch(self) -> float:
        """Sends one batch; returns how long to leave the collector alone, in seconds."""
        batch = self.queue.take(self._batch_spans)
        if not self.queue.spans:
            self._came.clear()
        if self.queue.made_spans < self._batch_spans:
            self._full.clear()
        if not batch:
            return 0.0
        self._in_hand = len(batch)
        became = await self._sender.send(batch)
        self._in_hand = 0
        self.sent_count += len(batch) - became.rejected
        self._refusal = became.reason if became.rejected else ""
        if became.rejected:
            self._dropped(became.rejected, became.reason)
        elif became.reason and self._seldom.may_say("warned"):
            self._log.warning("telemetry.collector_warns", reason=became.reason)
        if became.rejected < len(batch):
            return 0.0
        return min(max(became.pause_seconds, self.after_failure_seconds), PAUSE_SECONDS_MAXIMUM)

    def _dropped(self, spans: int, reason: str) -> None:
        self.dropped_count += spans
        if self._seldom.may_say("dropped"):
            # Not in the context of the call that it happens in: the line is not about that call.
            Context().run(
                self._log.warning,
                "telemetry.spans_dropped",
                spans=spans,
                dropped_spans=self.dropped_count,
                reason=reason,
            )


class Sender(Generic[Made]):
    """Hands batches over in a thread that nothing waits for at the end of the process."""

    def __init__(self, deliver: Callable[[Sequence[Made]], Delivery]) -> None:
        self._deliver = deliver
        self._inbox: queue.SimpleQueue[tuple[Sequence[Made], asyncio.Future[Delivery]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def send(self, batch: Sequence[Made]) -> Delivery:
        """Hands spans over; tells what became of them. Never raises for the exporter's sake."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="turnout-spans", daemon=True)
            self._thread.start()
        future: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        self._inbox.put((batch, future))
        return await future

    def end(self) -> None:
        """Lets the thread end, once its exporter lets go of it."""
        self._inbox.put(None)

    def _work(self) -> None:
        while (task := self._inbox.get()) is not None:
            batch, future = task
            try:
                became = self._deliver(batch)
            # The edge of a thread: an exporter of the environment's choosing may do anything.
            except Exception as error:
                logging.getLogger(__name__).exception("an exporter failed")
                became = Delivery(len(batch), f"the exporter failed: {error!r}")
            with contextlib.suppress(RuntimeError):
                # The loop may be gone by now, and with it whoever wanted to know.
                future.get_loop().call_soon_threadsafe(_tell_result, future, became)


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Waits for an event, or so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _tell_result(future: asyncio.Future[Delivery], became: Delivery) -> None:
    if not future.done():
        future.set_result(became)
