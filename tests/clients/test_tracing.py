"""The caller's trace goes on in the sidecar, and tracing never gets in the way of a call."""

from __future__ import annotations

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider

from tests.clients.scripted_sidecar import ScriptedSidecar, Serving
from turnout import Client
from turnout.tracing import installed_inject, trace_metadata
from turnout.v1 import router_pb2 as pb


def test_the_current_span_and_baggage_go_with_the_call() -> None:
    sidecar = ScriptedSidecar()
    sidecar.will("Route", pb.RouteResponse())
    tracer = TracerProvider().get_tracer("test")

    with Serving(sidecar), Client(sidecar.address) as client, tracer.start_as_current_span("work") as span:
        token = context.attach(baggage.set_baggage("team", "blue"))
        client.route()
        context.detach(token)

    metadata = sidecar.calls[0].metadata
    assert trace.format_trace_id(span.get_span_context().trace_id) in str(metadata["traceparent"])
    assert metadata["baggage"] == "team=blue"


def test_without_a_span_nothing_is_sent() -> None:
    assert trace_metadata(installed_inject()) == []


def test_without_opentelemetry_nothing_is_sent() -> None:
    assert trace_metadata(None) == []


@pytest.mark.parametrize("value", ["x" * 2049, "käse"])
def test_what_metadata_cannot_hold_is_left_out(value: str) -> None:
    def inject(carrier: dict[str, str]) -> None:
        carrier.update({"traceparent": "00-1-2-01", "baggage": value, "x-b3-traceid": "1"})

    assert trace_metadata(inject) == [("traceparent", "00-1-2-01")]
