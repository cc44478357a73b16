"""Finds in what a collector was sent the spans of one trace, as cases look at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.trace.v1 import trace_pb2


def server_spans(requests: Sequence[otlp.ExportTraceServiceRequest], trace_id: str) -> list[dict[str, Any]]:
    """Returns the SERVER spans of a trace in the order of their beginnings: name, parent and trace state."""
    found = [
        span
        for request in tuple(requests)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if span.trace_id.hex() == trace_id and span.kind == trace_pb2.Span.SPAN_KIND_SERVER
    ]
    return [
        {
            "name": span.name.rpartition("/")[2],
            "parent": span.parent_span_id.hex(),
            "trace_state": span.trace_state,
        }
        for span in sorted(found, key=lambda span: span.start_time_unix_nano)
    ]
