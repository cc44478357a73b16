"""The W3C trace context and baggage of a caller, as OpenTelemetry's context. What is malformed counts as absent.

Only the OpenTelemetry API is needed: without an SDK nothing is recorded, and the context is passed on all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACE_KEYS = frozenset({"traceparent", "tracestate", "baggage"})

_TRACE_CONTEXT = TraceContextTextMapPropagator()
_BAGGAGE = W3CBaggagePropagator()


def carrier_of(metadata: Sequence[tuple[str, str | bytes]] | None) -> dict[str, str] | None:
    """Returns the trace headers among a call's metadata, None where there are none. Keys are lower case there."""
    carrier: dict[str, str] | None = None
    for key, value in metadata or ():
        if key in TRACE_KEYS and isinstance(value, str):
            carrier = carrier or {}
            # Several tracestate headers are one list, by the W3C specification.
            carrier[key] = f"{carrier[key]},{value}" if key in carrier else value
    return carrier


def parse(carrier: Mapping[str, str]) -> Context:
    """Reads `traceparent`, `tracestate` and `baggage` into a context; keys are lower case."""
    return _BAGGAGE.extract(dict(carrier), context=_TRACE_CONTEXT.extract(dict(carrier), context=Context()))


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
    _TRACE_CONTEXT.inject(carrier, trace.set_span_in_context(trace.NonRecordingSpan(span), Context()))
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
