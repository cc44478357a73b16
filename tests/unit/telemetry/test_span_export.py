"""Spans on their way to a collector that is there, slow, down, or refuses: what waits is bounded, and nobody waits.

Every exporter here is of the SDK's own interface; the ones over the network talk to a real gRPC server.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest
import structlog
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from turnout_server.telemetry import otlp_exporter
from turnout_server.telemetry.call_spans import CallSpan, NoSpan
from turnout_server.telemetry.otlp_encoding import encoded
from turnout_server.telemetry.otlp_exporter import QuickSpanExporter
from turnout_server.telemetry.span_export import SpanExport
from turnout_server.telemetry.tracer import SeldomRepeated, Tracing, batching, make_tracing

WAIT_SECONDS = 60
AT_ONCE = {"OTEL_BSP_SCHEDULE_DELAY": "1"}


class Held(SpanExporter):
    """Takes a batch when it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.batches: list[Sequence[ReadableSpan]] = []
        self.began = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.began.set()
        self.let.wait(WAIT_SECONDS)
        self.batches.append(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.let.set()


class Failing(SpanExporter):
    """Refuses, or breaks."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def export(self, _spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._error is not None:
            raise self._error
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        pass


class Collector(otlp_grpc.TraceServiceServicer):
    """A collector that keeps names of spans, or answers with a status."""

    def __init__(self, refuses_with: grpc.StatusCode | None) -> None:
        self.names: list[str] = []
        self.call_count = 0
        self._refuses_with = refuses_with

    def Export(  # noqa: N802 - gRPC's name
        self, request: otlp.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> otlp.ExportTraceServiceResponse:
        self.call_count += 1
        if self._refuses_with is not None:
            context.abort(self._refuses_with, "not today")
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.names += [span.name for span in scope.spans]
        return otlp.ExportTraceServiceResponse()


@contextmanager
def collecting(refuses_with: grpc.StatusCode | None = None) -> Iterator[tuple[Collector, str]]:
    collector = Collector(refuses_with)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    otlp_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]  # generated
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def tracing_to(exporter: SpanExporter, **environ: str) -> Tracing:
    return make_tracing(exporter, {**AT_ONCE, **environ}, structlog.get_logger())


def call(tracing: Tracing) -> NoSpan:
    span = tracing.begin("Route", ())
    assert isinstance(span, CallSpan)
    span.answered()
    span.finish()
    return span


async def until(export: SpanExport, *, sent: int = 0, dropped: int = 0) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while export.sent_count < sent or export.dropped_count < dropped:  # noqa: ASYNC110  # counts have no event
            await asyncio.sleep(0.005)


async def test_spans_reach_a_collector() -> None:
    with collecting() as (collector, endpoint):
        tracing = tracing_to(QuickSpanExporter(endpoint=endpoint))
        tracing.export.start()
        for _ in range(100):
            call(tracing)
        await until(tracing.export, sent=100)
        await tracing.export.aclose()

    assert collector.names == ["turnout.v1.RouterService/Route"] * 100
    # Small batches, so that encoding one holds nobody up for long.
    assert collector.call_count == 2
    assert tracing.export.dropped_count == 0


async def test_spans_are_encoded_by_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    # The SDK's own encoding would work just as well, so that nobody would notice a change of its inside.
    counts: list[int] = []

    def counting(spans: Sequence[ReadableSpan]) -> bytes:
        counts.append(len(spans))
        return encoded(spans)

    monkeypatch.setattr(otlp_exporter, "encoded", counting)
    with collecting() as (_, endpoint):
        tracing = tracing_to(QuickSpanExporter(endpoint=endpoint))
        tracing.export.start()
        call(tracing)
        await until(tracing.export, sent=1)
        await tracing.export.aclose()

    assert counts == [1]


async def test_a_slow_collector_delays_nobody_and_what_waits_is_bounded() -> None:
    exporter = Held()
    tracing = tracing_to(exporter, OTEL_BSP_MAX_QUEUE_SIZE="50", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
    tracing.export.start()
    call(tracing)
    async with asyncio.timeout(WAIT_SECONDS):
        while not exporter.began.is_set():  # noqa: ASYNC110  # it is set by a thread
            await asyncio.sleep(0.005)
    for _ in range(500):
        call(tracing)
    assert tracing.export.dropped_count == 450
    exporter.let.set()
    await until(tracing.export, sent=51)
    await tracing.export.aclose()

    assert [len(batch) for batch in exporter.batches] == [1, 10, 10, 10, 10, 10]
    assert tracing.export.dropped_count == 450


@pytest.mark.parametrize("error", [None, RuntimeError("a fault of an exporter")])
async def test_what_an_exporter_does_not_take_is_dropped_and_counted(error: Exception | None) -> None:
    tracing = tracing_to(Failing(error))
    tracing.export.start()
    call(tracing)
    await until(tracing.export, dropped=1)
    await tracing.export.aclose()

    assert (tracing.export.sent_count, tracing.export.dropped_count) == (0, 1)


async def test_a_collector_that_refuses_costs_what_it_refuses() -> None:
    with collecting(grpc.StatusCode.UNAUTHENTICATED) as (collector, endpoint):
        tracing = tracing_to(QuickSpanExporter(endpoint=endpoint))
        tracing.export.start()
        call(tracing)
        await until(tracing.export, dropped=1)
        await tracing.export.aclose()

    assert collector.call_count == 1


async def test_nothing_of_a_call_stays_once_its_spans_are_made() -> None:
    tracing = tracing_to(Failing())
    tracing.export.start()
    span = tracing.begin("Route", ())
    assert isinstance(span, CallSpan)
    span.add_event("turnout.hedged", {"second": "b/m"})
    span.undecided("d-1", "nobody can", ())
    span.finish()
    await until(tracing.export, dropped=2)
    await tracing.export.aclose()

    # Connections that a call opens keep its context for as long as they live.
    assert (span.decision, span.attempts, span.happenings) == (None, [], [])


async def test_what_is_left_at_the_end_is_sent() -> None:
    with collecting() as (collector, endpoint):
        tracing = tracing_to(QuickSpanExporter(endpoint=endpoint), OTEL_BSP_SCHEDULE_DELAY="600000")
        tracing.export.start()
        for _ in range(70):
            call(tracing)
        await tracing.export.aclose()
        call(tracing)

    assert len(collector.names) == 70
    # Whatever ends later than that is not forgotten silently.
    assert tracing.export.dropped_count == 1


async def test_a_collector_that_is_down_does_not_hold_up_the_end() -> None:
    with collecting() as (_, endpoint):
        pass
    tracing = tracing_to(QuickSpanExporter(endpoint=endpoint))
    export = tracing.export
    export.flush_seconds = 0.2
    export.start()
    for _ in range(40):
        call(tracing)
    async with asyncio.timeout(WAIT_SECONDS):
        await export.aclose()

    assert export.sent_count == 0
    assert export.dropped_count == 40


def test_the_variables_of_the_batch_processor_are_read_and_bounded() -> None:
    batch = batching({"OTEL_BSP_MAX_QUEUE_SIZE": "10", "OTEL_BSP_SCHEDULE_DELAY": "250"})
    usual = batching({"OTEL_BSP_MAX_QUEUE_SIZE": "many"})

    assert (batch.queue_spans, batch.batch_spans, batch.delay_seconds) == (10, 10, 0.25)
    assert (usual.queue_spans, usual.batch_spans, usual.delay_seconds) == (2048, 64, 5.0)


def test_an_exporter_says_the_same_once_a_minute() -> None:
    now = [0.0]
    seldom = SeldomRepeated(lambda: now[0])

    def said(text: str, *values: object) -> bool:
        return seldom.filter(logging.LogRecord("exporter", logging.ERROR, "", 0, text, values, None))

    heard = [said("failed to export %s", 1), said("failed to export %s", 2), said("something else")]
    now[0] = 60.0

    assert heard == [True, False, True]
    assert said("failed to export %s", 3)
