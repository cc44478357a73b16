"""Sends metrics to a collector every now and then, in small messages, from a thread of its own.

Loaded only where an OTLP endpoint is configured. Nothing waits in line: what a collector does not take is told again
with the next round, since all sums are since the start; the data points that were given up are counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from opentelemetry.sdk.metrics.export import MetricExportResult

from turnout_server.telemetry.otlp.flushing import FLUSH_SECONDS
from turnout_server.telemetry.otlp.otlp_metrics import Batches
from turnout_server.telemetry.otlp.resource import own_resource, own_scope
from turnout_server.telemetry.seldom import quieten_exporters

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData
    from prometheus_client.core import Metric
    from structlog.typing import FilteringBoundLogger

PART_SAMPLES = 2000
"""Samples that are collected before they are sent: all of hundreds of targets at once would take tens of megabytes, and
that the garbage collector looks through them would hold up everybody."""
TELL_AGAIN_SECONDS = 60.0
"""That a collector takes nothing is logged again after so long."""

INTERVAL, DEFAULT_INTERVAL_MILLISECONDS = "OTEL_METRIC_EXPORT_INTERVAL", 60_000.0
TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"


class PointExporter(Protocol):
    """Takes messages, one after the other, in a thread that may wait: an exporter of the SDK's, or ours."""

    def export(self, metrics_data: MetricsData) -> MetricExportResult:
        """Sends one message, more than once where that helps."""
        ...

    def shutdown(self) -> None:
        """Ends what is being sent, from another thread."""
        ...


@dataclass(slots=True)
class _Round:
    """One round of messages: how many data points were given up so far, and why no more are sent, if none are."""

    dropped: int = 0
    refused: bool = False
    """A message was not taken: the rest is not tried, since it would not be taken either."""
    stopped: bool = False


class MetricExport:
    """Exports the families that `collect` yields, each `every_seconds`: `start`, then `aclose` once.

    Where it yields None others may have their turn.
    `clock` is monotonic seconds, `wall_ns` nanoseconds since the epoch.
    """

    def __init__(
        self,
        exporter: PointExporter,
        batches: Batches,
        collect: Callable[[], Iterable[Metric | None]],
        *,
        every_seconds: float,
        log: FilteringBoundLogger,
        clock: Callable[[], float],
        wall_ns: Callable[[], int],
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._exporter = exporter
        self._batches = batches
        self._collect = collect
        self._every_seconds = every_seconds
        self._log = log
        self._clock = clock
        self._wall_ns = wall_ns
        self.flush_seconds = flush_seconds
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._round: _Round | None = None
        self._told_at: float | None = None
        self.dropped_count = 0
        """Data points that no collector took."""

    def start(self) -> None:
        """Begins to export; the first round is one interval from now."""
        self._running = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Exports a last time, within its time, and closes the exporter."""
        self._stop.set()
        if self._running is not None:
            await asyncio.wait((self._running,), timeout=self.flush_seconds)
            if self._round is not None:
                self._round.stopped = True
            self._running.cancel()
            await asyncio.wait((self._running,))
        # Ends what is still being sent, too.
        self._exporter.shutdown()

    async def _run(self) -> None:
        last = False
        while not last:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_seconds):
                    await self._stop.wait()
            # What happened while a round was under way is told by one more.
            last = self._stop.is_set()
            await self._export()

    async def _export(self) -> None:
        this = self._round = _Round()
        families: list[Metric] = []
        count = 0
        for family in self._collect():
            if family is not None:
                families.append(family)
                count += len(family.samples)
            # Each takes up to some milliseconds: others have their turn in between.
            await asyncio.sleep(0)
            if count >= PART_SAMPLES:
                await self._sent(families, this)
                families, count = [], 0
        await self._sent(families, this)
        self.dropped_count += this.dropped
        if this.dropped:
            self._tell(this.dropped)

    async def _sent(self, families: Sequence[Metric], this: _Round) -> None:
        """Waits until a part of a round is sent, or given up."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        # Not a thread of the loop's own: the end of the process would wait for it, however long a collector takes.
        threading.Thread(
            target=self._send,
            args=(families, this, lambda: loop.call_soon_threadsafe(_finish, done)),
            name="turnout-metrics",
            daemon=True,
        ).start()
        await done

    def _send(self, families: Sequence[Metric], this: _Round, finished: Callable[[], object]) -> None:
        """Runs in the thread."""
        try:
            for count, message in self._batches.of(families, self._wall_ns()):
                if not this.refused and not this.stopped:
                    this.refused = not self._taken(message)
                if this.refused or this.stopped:
                    this.dropped += count
        except Exception:  # the edge of a thread
            logging.getLogger(__name__).exception("metrics were not exported")
        with contextlib.suppress(RuntimeError):
            # The loop may be gone by now, and with it whoever waits.
            finished()

    def _taken(self, message: MetricsData) -> bool:
        try:
            return self._exporter.export(message) is MetricExportResult.SUCCESS
        except Exception:  # an exporter of the environment's choosing may do anything
            logging.getLogger(__name__).exception("an exporter failed")
            return False

    def _tell(self, dropped: int) -> None:
        now = self._clock()
        if self._told_at is None or now - self._told_at >= TELL_AGAIN_SECONDS:
            self._told_at = now
            self._log.warning("telemetry.metrics_refused", data_points=dropped, dropped_count=self.dropped_count)


def make_export(
    exporter: PointExporter,
    collect: Callable[[], Iterable[Metric | None]],
    environ: Mapping[str, str],
    log: FilteringBoundLogger,
) -> MetricExport:
    """Returns what exports metrics by the environment's rules. Whoever calls starts and closes it."""
    quieten_exporters()
    temporality = environ.get(TEMPORALITY, "").strip().lower()
    if temporality not in {"", "cumulative"}:
        log.warning("telemetry.temporality", asked=temporality, used="cumulative")
    return MetricExport(
        exporter,
        Batches(own_resource(environ), own_scope(), time.time_ns()),
        collect,
        every_seconds=_milliseconds(environ, INTERVAL, DEFAULT_INTERVAL_MILLISECONDS) / 1000,
        log=log,
        clock=time.monotonic,
        wall_ns=time.time_ns,
    )


def _milliseconds(environ: Mapping[str, str], name: str, default: float) -> float:
    """Returns a duration; what is no number above 0 counts as absent, as with the SDK."""
    try:
        value = float(environ.get(name, ""))
    except ValueError:
        return default
    # NaN compares false, and infinity is no time to wait for.
    return value if 0.0 < value < math.inf else default


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
