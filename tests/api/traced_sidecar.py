"""A running sidecar whose spans are gathered, as the SDK's own exporter gets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id

from tests.api.sidecar import LOCAL, SPECS, Script, Sidecar, running
from turnout_server.api.server import ServerSettings
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.settings import Settings
from turnout_server.telemetry.traces.tracer import Tracing, make_tracing

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLERS_SPAN = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{CALLERS_SPAN}-01"
UNSAMPLED = TRACEPARENT[:-2] + "00"
CALL = "turnout.v1.RouterService/"
WAIT_SECONDS = 60


class Traced:
    """A sidecar and the spans it has exported."""

    def __init__(self, sidecar: Sidecar, tracing: Tracing, exporter: InMemorySpanExporter) -> None:
        self.sidecar = sidecar
        self.tracing = tracing
        self._exporter = exporter

    async def spans(self, count: int) -> Sequence[ReadableSpan]:
        """Waits until so many spans have come; returns them in the order of their beginnings."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self._exporter.get_finished_spans()) < count:  # noqa: ASYNC110  # the SDK's own has no event
                await asyncio.sleep(0.005)
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def now(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()


@asynccontextmanager
async def traced(
    scripts: Mapping[str, Script] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    core: Settings | None = None,
    specs: tuple[TargetSpec, ...] = SPECS,
    settings: ServerSettings = LOCAL,
) -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    tracing = make_tracing(exporter, {"OTEL_BSP_SCHEDULE_DELAY": "1", **(environ or {})}, structlog.get_logger())
    tracing.export.start()
    try:
        async with running(scripts=scripts, tracing=tracing, core=core, specs=specs, settings=settings) as sidecar:
            yield Traced(sidecar, tracing, exporter)
    finally:
        await tracing.export.aclose()


def named(spans: Sequence[ReadableSpan], name: str) -> ReadableSpan:
    (span,) = (span for span in spans if span.name == name)
    return span


def ids(span: ReadableSpan) -> tuple[str, str, str]:
    context = span.get_span_context()
    assert context is not None
    parent = "" if span.parent is None else format_span_id(span.parent.span_id)
    return format_trace_id(context.trace_id), format_span_id(context.span_id), parent


def attributes(span: ReadableSpan) -> Mapping[str, object]:
    return dict(span.attributes or {})


def metadata(traceparent: str = TRACEPARENT) -> tuple[tuple[str, str], ...]:
    return (("traceparent", traceparent), ("tracestate", "vendor=x"), ("baggage", "user=7"))


def attempts(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    """The calls to providers, in the order of their beginnings."""
    return [span for span in spans if span.kind is SpanKind.CLIENT]


def decisions(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    """The decisions, in the order in which they were made."""
    return [span for span in spans if span.name == "turnout.decide"]
