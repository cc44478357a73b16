"""Decides for each call whether it is traced, and begins its span. Loaded only where an OTLP endpoint is configured.

Sampler, resource and limits are the SDK's own, as its `OTEL_*` variables say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from opentelemetry import context as trace_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision as Sampled
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from turnout_server.telemetry.otlp.delivery import EncodedExporter
from turnout_server.telemetry.otlp.resource import own_resource, own_scope
from turnout_server.telemetry.seldom import quieten_exporters
from turnout_server.telemetry.traces import conventions as names
from turnout_server.telemetry.traces.call_spans import NO_SPAN, SAMPLED, CallSpan, NoSpan
from turnout_server.telemetry.traces.decision_contexts import DecisionContexts
from turnout_server.telemetry.traces.span_export import Batching, SpanExport
from turnout_server.telemetry.traces.span_outlets import EncodedOutlet, SdkOutlet
from turnout_server.telemetry.traces.tracing import attach_unrecorded, carrier_of, parse

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
    from structlog.typing import FilteringBoundLogger

    from turnout_server.core.chat import ChatInput
    from turnout_server.telemetry.traces.message_content import Content

NO_CONTEXT = Context()
ALWAYS_THE_SAME = ("AlwaysOnSampler", "AlwaysOffSampler")
"""Samplers, by the SDK's descriptions of them, that look at nothing."""
CAPTURE_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
PROPAGATORS = "OTEL_PROPAGATORS"
UNFLAGGED, RANDOM = TraceFlags(0), TraceFlags(TraceFlags.RANDOM_TRACE_ID)
SAMPLED_RANDOM = TraceFlags(SAMPLED | RANDOM)


class UnrecordedSpan(NonRecordingSpan):
    """The span of a call that is neither recorded nor below another one: whoever asks for its identity begins a trace
    that says so, and most calls are asked by nobody.
    """

    def __init__(self, ids: IdGenerator) -> None:
        # The base class wants the context at once.
        self._ids = ids
        self._own_context: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        """Returns its identity, the same each time."""
        if self._own_context is None:
            ids = self._ids
            flags = RANDOM if ids.is_trace_id_random() else UNFLAGGED
            self._own_context = SpanContext(
                ids.generate_trace_id(), ids.generate_span_id(), is_remote=False, trace_flags=flags
            )
        return self._own_context

    def __repr__(self) -> str:
        return f"UnrecordedSpan({self.get_span_context()!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """What calls need to be traced. `begin` one, and `export` what it recorded."""

    sampler: Sampler
    ids: IdGenerator
    export: SpanExport[Any]
    decisions: DecisionContexts
    capture: Callable[[ChatInput], Content] | None = None
    """Keeps the content of an attempt, None where none is asked for."""
    alone: Mapping[str, SamplingResult] = field(default_factory=dict)
    """What the sampler says of calls without a caller's trace, by method, where it is the same for each of them."""

    def begin(self, method: str, metadata: Sequence[tuple[str, str | bytes]] | None) -> NoSpan:
        """Begins an RPC's span where it is to be traced; makes it, or else the caller's, the current one of the task.

        A call that is not sampled costs the decision, and what it takes to read the caller's headers.
        """
        carrier = carrier_of(metadata)
        context, parent = NO_CONTEXT, None
        if carrier is not None:
            context = parse(carrier)
            caller = trace.get_current_span(context).get_span_context()
            parent = caller if caller.is_valid else None
        sampled = self.alone.get(method) if parent is None else None
        if sampled is not None and sampled.decision is not Sampled.RECORD_AND_SAMPLE:
            trace_context.attach(trace.set_span_in_context(UnrecordedSpan(self.ids), context))
            return NO_SPAN
        trace_id = self.ids.generate_trace_id() if parent is None else parent.trace_id
        name, attributes = _METHODS[method]
        if sampled is None:
            sampled = self.sampler.should_sample(
                context, trace_id, name, kind=SpanKind.SERVER, attributes=attributes, links=()
            )
        # A trace id of ours is random in all its bits; a caller says of its own whether it is.
        random_id = self.ids.is_trace_id_random() if parent is None else parent.trace_flags.random_trace_id
        if sampled.decision is not Sampled.RECORD_AND_SAMPLE:
            if parent is not None and not parent.trace_flags.sampled:
                trace_context.attach(context)
                return NO_SPAN
            # Providers are told that it is not recorded: they would begin a trace of their own without the rest.
            flags = RANDOM if random_id else UNFLAGGED
            attach_unrecorded(
                context,
                parent
                or SpanContext(
                    trace_id,
                    self.ids.generate_span_id(),
                    is_remote=False,
                    trace_flags=flags,
                    trace_state=sampled.trace_state,
                ),
            )
            return NO_SPAN
        span = CallSpan(
            method,
            trace_id=trace_id,
            new_span_id=self.ids.generate_span_id,
            parent=parent,
            trace_state=sampled.trace_state,
            trace_flags=SAMPLED_RANDOM if random_id else SAMPLED,
            attributes=sampled.attributes or attributes,
            capture=self.capture,
            on_decided=self.decisions.add,
            on_finish=self.export.put,
            on_late_attempt=self.export.put,
        )
        trace_context.attach(trace.set_span_in_context(span, context))
        return span


def make_tracing(
    exporter: EncodedExporter | SpanExporter, environ: Mapping[str, str], log: FilteringBoundLogger
) -> Tracing:
    """Returns what traces calls by the environment's rules. Whoever calls starts its `export`, and closes it."""
    quieten_exporters()
    _warn_of_other_contexts(environ, log)
    # Reads the sampler of the environment; no span is ever made by it.
    provider = TracerProvider(resource=own_resource(environ), shutdown_on_exit=False)
    decisions = DecisionContexts()
    to = (provider.resource, own_scope(), SpanLimits(), decisions)
    outlet = EncodedOutlet(exporter, *to) if isinstance(exporter, EncodedExporter) else SdkOutlet(exporter, *to)
    export: SpanExport[Any] = SpanExport(outlet, batching(environ), log=log, clock=time.monotonic)
    capture = None
    if environ.get(CAPTURE_CONTENT):
        from turnout_server.telemetry.traces.message_content import capturing  # noqa: PLC0415 - hardly anybody asks for it

        capture = capturing(environ, log)
    return Tracing(
        sampler=provider.sampler,
        ids=provider.id_generator,
        export=export,
        decisions=decisions,
        capture=capture,
        alone=_alone(provider.sampler),
    )


def _warn_of_other_contexts(environ: Mapping[str, str], log: FilteringBoundLogger) -> None:
    """Whoever asks for another form of contexts alone would wonder why no trace is joined."""
    given = environ.get(PROPAGATORS, "").strip()
    if given and "tracecontext" not in (name.strip().lower() for name in given.split(",")):
        log.warning("telemetry.propagators", variable=PROPAGATORS, given=given, used="tracecontext")


def _alone(sampler: Sampler) -> Mapping[str, SamplingResult]:
    """Asks the sampler once what it would say each time; nothing where it looks at the trace's id, or at more."""
    if not sampler.get_description().removeprefix("ParentBased{root:").startswith(ALWAYS_THE_SAME):
        return {}
    return {
        method: sampler.should_sample(NO_CONTEXT, 1, name, kind=SpanKind.SERVER, attributes=attributes, links=())
        for method, (name, attributes) in _METHODS.items()
    }


def batching(environ: Mapping[str, str]) -> Batching:
    """Reads the variables of the SDK's batch processor, with its defaults; what is no number counts as absent."""
    queue_spans = max(1, _number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 2048))
    return Batching(
        queue_spans=queue_spans,
        batch_spans=max(1, min(_number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), queue_spans)),
        delay_seconds=_number(environ, "OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000,
    )


def _attributes(method: str) -> tuple[str, Mapping[str, str]]:
    name = f"{names.SERVICE}/{method}"
    return name, MappingProxyType({names.RPC_SYSTEM: "grpc", names.RPC_METHOD: name})


_METHODS = {method: _attributes(method) for method in ("Route", "Execute", "ExecuteStream", "ReportOutcome")}


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    try:
        return max(0, int(environ.get(name, "")))
    except ValueError:
        return default
