"""Decides for each call whether it is traced, and begins its span. Loaded only where an OTLP endpoint is configured.

Sampler, resource and limits are the SDK's own, as its `OTEL_*` variables say.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import TYPE_CHECKING

from opentelemetry import context as trace_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision as Sampled
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind

from turnout_server.telemetry import conventions as names
from turnout_server.telemetry.call_spans import NO_SPAN, CallSpan, NoSpan
from turnout_server.telemetry.decision_contexts import DecisionContexts
from turnout_server.telemetry.span_building import Spans
from turnout_server.telemetry.span_export import Batching, SpanExport
from turnout_server.telemetry.tracing import carrier_of, parse

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.sdk.trace.sampling import Sampler
    from structlog.typing import FilteringBoundLogger

NO_CONTEXT = Context()
SPANS_OF_A_BATCH = 64
"""At most, whatever the environment says: encoding them holds the interpreter for two milliseconds."""
QUIET_LOGGERS = ("opentelemetry.exporter.otlp.proto.grpc.exporter", "opentelemetry.exporter.otlp.proto.http")
QUIET_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """What calls need to be traced. `begin` one, and `export` what it recorded."""

    sampler: Sampler
    ids: IdGenerator
    export: SpanExport
    decisions: DecisionContexts

    def begin(self, method: str, metadata: Sequence[tuple[str, str | bytes]] | None) -> NoSpan:
        """Begins an RPC's span where it is to be traced; makes it, or else the caller's, the current one of the task.

        A call that is not sampled costs the decision, and what it takes to read the caller's headers.
        """
        carrier = carrier_of(metadata)
        context = NO_CONTEXT if carrier is None else parse(carrier)
        caller = trace.get_current_span(context).get_span_context()
        parent = caller if caller.is_valid else None
        trace_id = self.ids.generate_trace_id() if parent is None else parent.trace_id
        name, attributes = _METHODS[method]
        sampled = self.sampler.should_sample(
            context, trace_id, name, kind=SpanKind.SERVER, attributes=attributes, links=()
        )
        if sampled.decision is not Sampled.RECORD_AND_SAMPLE:
            if carrier is not None:
                trace_context.attach(context)
            return NO_SPAN
        span = CallSpan(
            method,
            trace_id=trace_id,
            new_span_id=self.ids.generate_span_id,
            parent=parent,
            trace_state=sampled.trace_state,
            attributes=sampled.attributes or attributes,
            on_finish=self._finished,
            on_late_attempt=self.export.put,
        )
        trace_context.attach(trace.set_span_in_context(span, context))
        return span

    def _finished(self, call: CallSpan) -> None:
        decided = call.decision
        if decided is not None and decided.decision is not None:
            self.decisions.add(decided.decision.decision_id, call.trace_id, decided.span_id, call.trace_state)
        self.export.put(call)


def make_tracing(exporter: SpanExporter, environ: Mapping[str, str], log: FilteringBoundLogger) -> Tracing:
    """Returns what traces calls by the environment's rules. Whoever calls starts its `export`, and closes it."""
    for name in QUIET_LOGGERS:
        logging.getLogger(name).addFilter(SeldomRepeated(time.monotonic))
    # Reads the sampler of the environment; no span is ever made by it.
    provider = TracerProvider(resource=_resource(environ), shutdown_on_exit=False)
    decisions = DecisionContexts()
    scope = InstrumentationScope("turnout", _version())
    export = SpanExport(
        exporter,
        Spans(provider.resource, scope, SpanLimits(), decisions),
        batching(environ),
        log=log,
        clock=time.monotonic,
    )
    return Tracing(sampler=provider.sampler, ids=provider.id_generator, export=export, decisions=decisions)


def batching(environ: Mapping[str, str]) -> Batching:
    """Reads the variables of the SDK's batch processor, with its defaults; what is no number counts as absent."""
    queue_spans = max(1, _number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 2048))
    return Batching(
        queue_spans=queue_spans,
        batch_spans=max(1, min(_number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), SPANS_OF_A_BATCH, queue_spans)),
        delay_seconds=_number(environ, "OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000,
    )


class SeldomRepeated(logging.Filter):
    """Lets a logger say the same only once a minute: an exporter says of every batch that it failed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._said_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written. Lines are the same that differ only in what is filled into them."""
        now, said_at = self._clock(), self._said_at.get(str(record.msg))
        if said_at is not None and now - said_at < QUIET_SECONDS:
            return False
        self._said_at[str(record.msg)] = now
        return True


def _attributes(method: str) -> tuple[str, Mapping[str, str]]:
    name = f"{names.SERVICE}/{method}"
    return name, MappingProxyType({names.RPC_SYSTEM: "grpc", names.RPC_METHOD: name})


_METHODS = {method: _attributes(method) for method in ("Route", "Execute", "ExecuteStream", "ReportOutcome")}


def _resource(environ: Mapping[str, str]) -> Resource:
    own = {SERVICE_VERSION: _version()}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        own[SERVICE_NAME] = "turnout"
    return Resource.create(own)


def _version() -> str:
    try:
        return version("turnout")
    except PackageNotFoundError:
        return ""


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    try:
        return max(0, int(environ.get(name, "")))
    except ValueError:
        return default
