"""Sends what was recorded to a collector: in small batches, from a thread of its own, and never in a caller's way.

What waits is bounded. Where a collector is down, slow or refuses, what does not fit any more is dropped and counted.
Batches are small because encoding one holds the interpreter: everybody waits for so long.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from turnout_server.telemetry.call_spans import AttemptSpan, CallSpan
from turnout_server.telemetry.span_building import REPORTS_MAXIMUM, Spans

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from structlog.typing import FilteringBoundLogger

SLICE_SPANS = 8
"""So many are built before others have their turn: a tenth of a millisecond."""
AFTER_FAILURE_SECONDS = 1.0
"""Pause after a batch that was refused, so that a collector that always refuses costs little."""
FLUSH_SECONDS = 3.0
"""What the end of the process waits at most for what is left to be sent."""
TELL_AGAIN_SECONDS = 60.0
"""A failure of the same kind is logged again after so long."""

Recorded = CallSpan | AttemptSpan


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How spans are gathered. `queue_spans` wait at most; `delay_seconds` a batch that is not full waits to be."""

    queue_spans: int = 2048
    batch_spans: int = 64
    delay_seconds: float = 5.0


class SpanExport:
    """Takes what was recorded with `put`; sends it from `start` on, and what is left in `aclose`."""

    def __init__(
        self,
        exporter: SpanExporter,
        spans: Spans,
        batching: Batching,
        *,
        log: FilteringBoundLogger,
        clock: Callable[[], float],
    ) -> None:
        self._exporter = exporter
        self._spans = spans
        self._batching = batching
        self._log = log
        self._clock = clock
        self.flush_seconds = FLUSH_SECONDS
        self._sender = Sender(exporter)
        self._waiting: deque[tuple[int, Recorded]] = deque()
        self._waiting_spans = 0
        self._in_hand = 0
        """Spans that do not wait any more, and of which it is not known yet whether they are taken."""
        self._came = asyncio.Event()
        self._full = asyncio.Event()
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._told_at: float | None = None
        self.dropped_count = 0
        """Spans that were never sent."""
        self.sent_count = 0

    def put(self, recorded: Recorded) -> None:
        """Takes what has ended; returns at once."""
        count = _span_count(recorded)
        if self._stop.is_set() or self._waiting_spans + count > self._batching.queue_spans:
            self.dropped_count += count
            _let_go(recorded)
            return
        self._waiting.append((count, recorded))
        self._waiting_spans += count
        self._came.set()
        if self._waiting_spans >= self._batching.batch_spans:
            self._full.set()

    def start(self) -> None:
        """Begins to send."""
        self._running = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Sends what is left within its time, and closes the exporter. Nothing is taken any more."""
        self._stop.set()
        self._came.set()
        self._full.set()
        if self._running is not None:
            await asyncio.wait((self._running,), timeout=self.flush_seconds)
        # Ends what is still being sent, too.
        self._exporter.shutdown()
        self._sender.end()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))
        left = self._waiting_spans + self._in_hand
        if left:
            self.dropped_count += left
            self._log.warning("telemetry.spans_not_sent", spans=left)
        while self._waiting:
            _let_go(self._waiting.popleft()[1])

    async def _run(self) -> None:
        while not self._stop.is_set():
            await self._came.wait()
            await _within(self._batching.delay_seconds, self._full)
            if not await self._send_batch():
                await _within(AFTER_FAILURE_SECONDS, self._stop)
        while self._waiting and await self._send_batch():
            pass

    async def _send_batch(self) -> bool:
        """Builds and sends one batch; tells whether it was taken."""
        spans = await self._build()
        if not spans:
            return True
        taken = await self._sender.send(spans)
        self._in_hand = 0
        if taken:
            self.sent_count += len(spans)
        else:
            self.dropped_count += len(spans)
            self._tell(len(spans))
        return taken

    async def _build(self) -> Sequence[ReadableSpan]:
        built: list[ReadableSpan] = []
        others_at = SLICE_SPANS
        while self._waiting and len(built) < self._batching.batch_spans:
            count, recorded = self._waiting.popleft()
            self._waiting_spans -= count
            self._in_hand += count
            if isinstance(recorded, CallSpan):
                built.extend(self._spans.of_call(recorded))
            else:
                built.append(self._spans.of_attempt(recorded))
            _let_go(recorded)
            if len(built) >= others_at:
                others_at = len(built) + SLICE_SPANS
                await asyncio.sleep(0)
        if not self._waiting:
            self._came.clear()
        if self._waiting_spans < self._batching.batch_spans:
            self._full.clear()
        return built

    def _tell(self, spans: int) -> None:
        now = self._clock()
        if self._told_at is None or now - self._told_at >= TELL_AGAIN_SECONDS:
            self._told_at = now
            self._log.warning("telemetry.spans_refused", spans=spans, dropped_spans=self.dropped_count)


class Sender:
    """Calls the exporter in a thread that nothing waits for at the end of the process."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._inbox: queue.SimpleQueue[tuple[Sequence[ReadableSpan], asyncio.Future[bool]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def send(self, spans: Sequence[ReadableSpan]) -> bool:
        """Hands spans to the exporter; tells whether they were taken. Never raises for the exporter's sake."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="turnout-spans", daemon=True)
            self._thread.start()
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._inbox.put((spans, future))
        return await future

    def end(self) -> None:
        """Lets the thread end, once its exporter lets go of it."""
        self._inbox.put(None)

    def _work(self) -> None:
        while (task := self._inbox.get()) is not None:
            spans, future = task
            try:
                taken = self._exporter.export(spans) is SpanExportResult.SUCCESS
            except Exception:  # the edge of a thread: an exporter of the environment's choosing may do anything
                logging.getLogger(__name__).exception("an exporter failed")
                taken = False
            with contextlib.suppress(RuntimeError):
                # The loop may be gone by now, and with it whoever wanted to know.
                future.get_loop().call_soon_threadsafe(_tell_result, future, taken)


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Waits for an event, or so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _tell_result(future: asyncio.Future[bool], taken: bool) -> None:  # noqa: FBT001 - called by the loop
    if not future.done():
        future.set_result(taken)


def _span_count(recorded: Recorded) -> int:
    if isinstance(recorded, AttemptSpan):
        return 1
    return 1 + (recorded.decision is not None) + len(recorded.attempts) + min(len(recorded.reports), REPORTS_MAXIMUM)


def _let_go(recorded: Recorded) -> None:
    if isinstance(recorded, CallSpan):
        recorded.let_go()
