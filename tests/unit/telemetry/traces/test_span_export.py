"""Spans on their way to a collector that is there, slow, down, or refuses: what waits is bounded, and nobody waits.

Every exporter here is of the SDK's own interface; the ones over the network talk to a real gRPC server.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Sequence
from itertools import count
from typing import Any, cast

import grpc
import pytest
import structlog
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from tests.unit.telemetry.otlp.scripted_collector import Refused, collecting
from turnout_server.telemetry.otlp.delivery import Delivery, EncodedExporter
from turnout_server.telemetry.otlp.otlp_exporter import QuickSpanExporter
from turnout_server.telemetry.seldom import QUIET_SECONDS, Seldom
from turnout_server.telemetry.traces.call_spans import CallSpan, NoSpan
from turnout_server.telemetry.traces.span_export import SpanExport
from turnout_server.telemetry.traces.span_queue import SpanQueue
from turnout_server.telemetry.traces.tracer import Tracing, batching, make_tracing
from turnout_server.telemetry.traces.tracing import trace_ids

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


class Answering:
    """Takes encoded spans, and says of each message what it is told to; of the last one on, always the same."""

    def __init__(self, *answers: Delivery) -> None:
        self.messages: list[bytes] = []
        self.span_counts: list[int] = []
        self._answers = list(answers)

    def deliver(self, message: bytes, span_count: int) -> Delivery:
        self.messages.append(message)
        self.span_counts.append(span_count)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def shutdown(self) -> None:
        pass


def tracing_to(exporter: EncodedExporter | SpanExporter, **environ: str) -> Tracing:
    return make_tracing(exporter, {**AT_ONCE, **environ}, structlog.get_logger())


def call(tracing: Tracing) -> NoSpan:
    span = tracing.begin("Route", ())
    assert isinstance(span, CallSpan)
    span.answered()
    span.finish()
    return span


async def until(export: SpanExport[Any], *, sent: int = 0, dropped: int = 0) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while export.sent_count < sent or export.dropped_count < dropped:  # noqa: ASYNC110  # counts have no event
            await asyncio.sleep(0.005)


async def test_spans_reach_a_collector() -> None:
    with collecting() as (collector, endpoint):
        tracing = tracing_to(QuickSpanExporter(endpoint=endpoint), OTEL_BSP_MAX_EXPORT_BATCH_SIZE="64")
        tracing.export.start()
        for _ in range(100):
            call(tracing)
        await until(tracing.export, sent=100)
        await tracing.export.aclose()

    assert collector.names() == ["turnout.v1.RouterService/Route"] * 100
    assert len(collector.requests) == 2
    assert tracing.export.dropped_count == 0
    (resource,) = collector.requests[0].resource_spans
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert named["service.name"] == "turnout"
    assert resource.scope_spans[0].scope.name == "turnout"


@pytest.mark.parametrize(
    ("seconds_a_look", "expected"), [(0.0, [0, 16, 32, 40]), (0.0004, [*range(0, 40, 3), 40])], ids=["quick", "slow"]
)
async def test_spans_are_made_a_few_at_a_time_once_their_calls_have_ended(
    seconds_a_look: float, expected: list[int]
) -> None:
    looks = count()
    tracing = tracing_to(Answering(Delivery()))
    export = SpanExport(
        tracing.export.queue._outlet,
        batching({"OTEL_BSP_SCHEDULE_DELAY": "600000"}),
        log=structlog.get_logger(),
        clock=lambda: next(looks) * seconds_a_look,
    )
    tracing = dataclasses.replace(tracing, export=export)
    export.start()
    for _ in range(40):
        call(tracing)
    made = [export.queue.made_spans]
    async with asyncio.timeout(WAIT_SECONDS):
        while export.queue.has_recorded:
            await asyncio.sleep(0)
            if export.queue.made_spans != made[-1]:
                made.append(export.queue.made_spans)
    await export.aclose()

    # Nothing while calls are under way, and others have their turn in between.
    assert made == expected


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
    with collecting(Refused(grpc.StatusCode.UNAUTHENTICATED)) as (collector, endpoint):
        tracing = tracing_to(QuickSpanExporter(endpoint=endpoint))
        tracing.export.start()
        call(tracing)
        await until(tracing.export, dropped=1)
        await tracing.export.aclose()

    assert len(collector.requests) == 1


async def test_what_a_collector_takes_in_part_is_counted_in_part() -> None:
    answer = otlp.ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 3
    with collecting(answer) as (collector, endpoint):
        tracing = tracing_to(QuickSpanExporter(endpoint=endpoint))
        tracing.export.start()
        for _ in range(10):
            call(tracing)
        await until(tracing.export, sent=7, dropped=3)
        await tracing.export.aclose()

    assert len(collector.requests) == 1
    assert (tracing.export.sent_count, tracing.export.dropped_count) == (7, 3)


async def test_a_collector_that_asks_for_a_pause_has_it() -> None:
    exporter = Answering(Delivery(1, "RESOURCE_EXHAUSTED: later", 200.0), Delivery())
    tracing = tracing_to(exporter)
    tracing.export.after_failure_seconds = 0.0
    tracing.export.start()
    call(tracing)
    await until(tracing.export, dropped=1)
    for _ in range(20):
        call(tracing)
        await asyncio.sleep(0.005)
    during = list(exporter.span_counts)
    await tracing.export.aclose()

    assert during == [1]
    # What has waited meanwhile is tried once more at the end.
    assert exporter.span_counts == [1, 20]
    assert (tracing.export.sent_count, tracing.export.dropped_count) == (20, 1)


async def test_a_collector_that_comes_back_gets_what_has_waited() -> None:
    exporter = Answering(Delivery(1, "UNAVAILABLE: away"), Delivery())
    tracing = tracing_to(exporter)
    tracing.export.after_failure_seconds = 0.01
    tracing.export.start()
    call(tracing)
    await until(tracing.export, dropped=1)
    for _ in range(5):
        call(tracing)
    await until(tracing.export, sent=5)
    await tracing.export.aclose()

    assert sum(exporter.span_counts) == 6


async def test_what_is_dropped_is_told_once_a_minute_with_the_reason() -> None:
    exporter = Answering(Delivery(1, "UNAUTHENTICATED: who are you"))
    with structlog.testing.capture_logs() as lines:
        tracing = tracing_to(exporter, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1")
        tracing.export.after_failure_seconds = 0.0
        tracing.export.start()
        for _ in range(20):
            call(tracing)
        await until(tracing.export, dropped=20)
        await tracing.export.aclose()

    assert lines == [
        {
            "event": "telemetry.spans_dropped",
            "log_level": "warning",
            "spans": 1,
            "dropped_spans": 1,
            "reason": "UNAUTHENTICATED: who are you",
        }
    ]


async def test_a_full_queue_is_told_with_what_the_collector_said_last() -> None:
    exporter = Answering(Delivery(1, "UNAVAILABLE: connection refused"))
    with structlog.testing.capture_logs() as lines:
        tracing = tracing_to(exporter, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1", OTEL_BSP_MAX_QUEUE_SIZE="1")
        tracing.export.after_failure_seconds = 3600.0
        now = count(step=QUIET_SECONDS)
        tracing.export._seldom = Seldom(lambda: next(now))
        tracing.export.start()
        call(tracing)
        await until(tracing.export, dropped=1)
        call(tracing)
        call(tracing)
        await tracing.export.aclose()

    assert [line["reason"] for line in lines[:2]] == [
        "UNAVAILABLE: connection refused",
        "the queue is full; the collector's last refusal: UNAVAILABLE: connection refused",
    ]


async def test_that_the_queue_is_full_is_not_told_as_if_it_were_about_a_call() -> None:
    told: list[tuple[str, object]] = []

    class Log:
        def warning(self, event: str, **_facts: object) -> None:
            told.append((event, trace_ids()))

    tracing = make_tracing(Answering(Delivery()), {"OTEL_BSP_MAX_QUEUE_SIZE": "1"}, cast("Any", Log()))
    call(tracing)
    call(tracing)

    assert trace_ids() is not None
    assert told == [("telemetry.spans_dropped", None)]


async def test_memory_is_bounded_while_a_collector_takes_nothing() -> None:
    exporter = Held()
    tracing = tracing_to(exporter, OTEL_BSP_MAX_QUEUE_SIZE="100")
    tracing.export.start()
    queue, most = tracing.export.queue, 0
    for _ in range(50):
        for _ in range(100):
            call(tracing)
            most = max(most, queue.spans)
        await asyncio.sleep(0)
    exporter.let.set()
    await tracing.export.aclose()

    assert most == 100
    assert tracing.export.sent_count + tracing.export.dropped_count == 5000
    assert (queue.spans, queue.made_bytes) == (0, 0)


async def test_the_bytes_that_wait_are_bounded_too() -> None:
    tracing = tracing_to(Answering(Delivery()))
    outlet = tracing.export.queue._outlet
    queue = SpanQueue(outlet, most_spans=10**6, most_bytes=10_000)
    refused = 0
    for _ in range(1000):
        refused += queue.put(call(tracing))  # type: ignore[arg-type]
        while queue.has_recorded:
            queue.make()
    size = queue.made_bytes // queue.spans

    assert 10_000 <= queue.made_bytes < 10_000 + size
    assert queue.spans + refused == 1000
    batch = queue.take(1000, most_bytes=10 * size)
    assert len(batch) == 10
    assert queue.made_bytes == size * queue.spans
    # A span larger than any batch goes alone.
    assert len(queue.take(1000, most_bytes=1)) == 1


async def test_spans_that_cannot_be_made_are_dropped_and_end_nothing() -> None:
    exporter = Answering(Delivery())
    tracing = tracing_to(exporter)
    tracing.export.start()
    broken = tracing.begin("Route", ())
    assert isinstance(broken, CallSpan)
    broken.add_event("turnout.hedged", {"second": object()})  # type: ignore[dict-item]
    broken.finish()
    call(tracing)
    await until(tracing.export, sent=1, dropped=1)
    await tracing.export.aclose()

    assert exporter.span_counts == [1]


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

    assert len(collector.names()) == 70
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
    assert (usual.queue_spans, usual.batch_spans, usual.delay_seconds) == (2048, 512, 5.0)
