"""Writes the headers that OpenTelemetry's propagators for Python write: cases as JSON in, objects of headers out."""

from __future__ import annotations

import json
import sys
from typing import Any

from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

BOTH = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])


def headers(one: dict[str, Any]) -> dict[str, str]:
    span = trace.SpanContext(
        int(one["trace_id"], 16),
        int(one["span_id"], 16),
        is_remote=False,
        trace_flags=trace.TraceFlags(one["flags"]),
        trace_state=trace.TraceState.from_header([one["tracestate"]]),
    )
    context = trace.set_span_in_context(trace.NonRecordingSpan(span), Context())
    for name, value in one["baggage"].items():
        context = baggage.set_baggage(name, value, context)
    carrier: dict[str, str] = {}
    BOTH.inject(carrier, context)
    return carrier


sys.stdout.write(json.dumps([headers(one) for one in json.load(sys.stdin)]))
