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
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from uuid import uuid4

from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from turnout_server.telemetry.otlp_metrics import Batches
from turnout_server.telemetry.tracer import QUIET_LOGGERS, SeldomRepeated

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter
    from prometheus_client.core import Metric
    from structlog.typing import FilteringBoundLogger

FLUSH_SECONDS = 2.0
"""What the end of the process waits at most for the last round."""
TELL_AGAIN_SECONDS = 60.0
"""That a collector takes nothing is logged again after so long."""

INTERVAL, DEFAULT_INTERVAL_MILLISECONDS = "OTEL_METRIC_EXPORT_INTERVAL", 60_000.0
TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"


@dataclass(slots=True)
class _Round:
    """One round of messages: how many data points were given up so far, and whether it was told to stop."""

    dropped: int = 0
    stopped: bool = False


class MetricExport:
    """Exports what `collect` yields, each `every_seconds`: `start`, then `aclose` once.

    `clock` is monotonic seconds, `wall_ns` nanoseconds since the epoch.
    """

    def __init__(
        self,
        exporter: MetricExporter,
        batches: Batches,
        collect: Callable[[], Iterable[Metric]],
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
        self._flush_seconds = flush_seconds
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
            await asyncio.wait((self._running,), timeout=self._flush_seconds)
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
        families: list[Metric] = []
        for family in self._collect():
            families.append(family)
            # Each takes up to some milliseconds: others have their turn in between.
            await asyncio.sleep(0)
        self._round = _Round()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        # Not a thread of the loop's own: the end of the process would wait for it, however long a collector takes.
        threading.Thread(
            target=self._send,
            args=(families, self._round, lambda: loop.call_soon_threadsafe(_finish, done)),
            name="turnout-metrics",
            daemon=True,
        ).start()
        await done
        self.dropped_count += self._round.dropped
        if self._round.dropped:
            self._tell(self._round.dropped)

    def _send(self, families: Sequence[Metric], this: _Round, finished: Callable[[], object]) -> None:
        """Runs in the thread. Once a message is not taken the rest is not tried: it would not be taken either."""
        refused = False
        try:
            for count, message in self._batches.of(families, self._wall_ns()):
                if not refused and not this.stopped:
                    refused = self._exporter.export(message) is not MetricExportResult.SUCCESS
                if refused or this.stopped:
                    this.dropped += count
        except Exception:  # the edge of a thread: an exporter of the environment's choosing may do anything
            logging.getLogger(__name__).exception("metrics were not exported")
        with contextlib.suppress(RuntimeError):
            # The loop may be gone by now, and with it whoever waits.
            finished()

    def _tell(self, dropped: int) -> None:
        now = self._clock()
        if self._told_at is None or now - self._told_at >= TELL_AGAIN_SECONDS:
            self._told_at = now
            self._log.warning("telemetry.metrics_refused", data_points=dropped, dropped_count=self.dropped_count)


def make_export(
    exporter: MetricExporter,
    collect: Callable[[], Iterable[Metric]],
    environ: Mapping[str, str],
    log: FilteringBoundLogger,
) -> MetricExport:
    """Returns what exports metrics by the environment's rules. Whoever calls starts and closes it."""
    for name in QUIET_LOGGERS:
        logging.getLogger(name).addFilter(SeldomRepeated(time.monotonic))
    temporality = environ.get(TEMPORALITY, "").strip().lower()
    if temporality not in {"", "cumulative"}:
        log.warning("telemetry.temporality", asked=temporality, used="cumulative")
    return MetricExport(
        exporter,
        Batches(Resource.create(_own_attributes(environ)), InstrumentationScope("turnout", _version()), time.time_ns()),
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


def _own_attributes(environ: Mapping[str, str]) -> dict[str, str]:
    """What the resource has beside what the environment gives it.

    Without an instance of its own, each sidecar's sums would overwrite those of the others.
    """
    given = environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    own = {"service.version": _version()}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in given:
        own["service.name"] = "turnout"
    if "service.instance.id=" not in given:
        own["service.instance.id"] = str(uuid4())
    return own


def _version() -> str:
    try:
        return version("turnout")
    except PackageNotFoundError:
        return ""


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
