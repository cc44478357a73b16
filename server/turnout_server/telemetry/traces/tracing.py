"""The W3C trace context of a caller, as OpenTelemetry's context. What is malformed counts as absent.

Baggage is not read: nothing here needs it, it never leaves, and the 8 KiB that a caller may send take 2 ms to read.

Only the OpenTelemetry API is needed: without an SDK nothing is recorded, and the context is passed on all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry import context as trace_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACE_KEYS = frozenset({"traceparent", "tracestate"})
KNOWN_FLAGS = TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID
"""Flags that version 00 of the header has. Others say nothing, and must be 0 in what is passed on."""
OF_CALLERS_NONSENSE = (
    "opentelemetry.attributes",
    "opentelemetry.trace.propagation.tracecontext",
    "opentelemetry.trace.span",
)
"""Loggers that quote each malformed header as a warning. What a caller sends is not ours to log, nor any trouble."""

_TRACE_CONTEXT = TraceContextTextMapPropagator()


def carrier_of(metadata: Sequence[tuple[str, str | bytes]] | None) -> dict[str, str] | None:
    """Returns the trace headers among a call's metadata, None where there are none. Keys are lower case there."""
    carrier: dict[str, str] | None = None
    for key, value in metadata or ():
        if key in TRACE_KEYS and isinstance(value, str):
            carrier = carrier or {}
            if key not in carrier:
                carrier[key] = value
            elif key == "traceparent":
                # Two parents are none: neither is more right than the other.
                carrier[key] = ""
            else:
                # Several headers of a list are one list, by the W3C specification.
                carrier[key] = f"{carrier[key]},{value}"
    return carrier


def parse(carrier: Mapping[str, str]) -> Context:
    """Reads `traceparent` and `tracestate` into a context; keys are lower case.

    What follows is level 2 of W3C Trace Context: an unknown version is read as far as it is like 00, flags that nobody
    knows are dropped, and a malformed `tracestate` spoils itself alone.
    """
    context = _TRACE_CONTEXT.extract(carrier, context=Context())
    found = trace.get_current_span(context).get_span_context()
    if found.trace_flags & ~KNOWN_FLAGS:
        context = _with_flags(context, found, found.trace_flags & KNOWN_FLAGS)
    return context


def _with_flags(context: Context, span: SpanContext, flags: int) -> Context:
    """Returns a context with a span of other flags than it came with."""
    other = SpanContext(span.trace_id, span.span_id, span.is_remote, TraceFlags(flags), span.trace_state)
    return trace.set_span_in_context(NonRecordingSpan(other), context)


def attach_unrecorded(context: Context, span: SpanContext) -> None:
    """Makes a span that is not recorded the current one of the task, in place of the context's own: whoever is told of
    it is told that, too.
    """
    if span.trace_flags.sampled:
        context = _with_flags(context, span, span.trace_flags & ~TraceFlags.SAMPLED)
    else:
        context = trace.set_span_in_context(NonRecordingSpan(span), context)
    trace_context.attach(context)


def outgoing_headers() -> tuple[tuple[str, str], ...]:
    """Returns `traceparent` and `tracestate` of the current context, for providers that are configured to get them.

    Baggage is the caller's own business and never leaves the pod. Empty without a context.
    """
    carrier: dict[str, str] = {}
    _TRACE_CONTEXT.inject(carrier)
    return tuple(carrier.items())


def headers_of(span: SpanContext) -> tuple[tuple[str, str], ...]:
    """Returns `traceparent` and `tracestate` with a span as the parent of what its receiver does."""
    carrier: dict[str, str] = {}
    _TRACE_CONTEXT.inject(carrier, trace.set_span_in_context(NonRecordingSpan(span), Context()))
    return tuple(carrier.items())


def add_to_span(name: str, fields: Mapping[str, str | int | float]) -> None:
    """Adds something that happened to the span of the call under way, where one is recorded."""
    span = trace.get_current_span()
    if span.is_recording():
        span.add_event(f"turnout.{name}", {f"turnout.{key}": value for key, value in fields.items()})


def trace_ids() -> tuple[str, str] | None:
    """Returns trace id and span id of the current context in hex, or None where there is none."""
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return trace.format_trace_id(span.trace_id), trace.format_span_id(span.span_id)
