"""The caller's trace context, as far as it follows the specification."""

import pytest
from opentelemetry import context as trace_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from turnout_server.core.events import Event, EventName
from turnout_server.telemetry.logs.event_log import event_to_span
from turnout_server.telemetry.traces.tracing import add_to_span, outgoing_headers, parse, trace_ids

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_the_context_is_passed_on_without_baggage() -> None:
    token = trace_context.attach(parse({"traceparent": TRACEPARENT, "tracestate": "a=b", "baggage": "user=7"}))
    headers = dict(outgoing_headers())
    trace_context.detach(token)

    assert headers == {"traceparent": TRACEPARENT, "tracestate": "a=b"}


@pytest.mark.parametrize(
    "traceparent",
    ["", "x", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
)
def test_a_malformed_context_counts_as_absent(traceparent: str) -> None:
    token = trace_context.attach(parse({"traceparent": traceparent, "baggage": ";;=,"}))
    ids = trace_ids()
    trace_context.detach(token)

    assert ids is None


def test_what_happens_in_a_call_is_an_event_of_its_span() -> None:
    tracer = TracerProvider().get_tracer("tests")
    with tracer.start_as_current_span("call") as span:
        add_to_span("hedged", {"second": "b/m", "waited_seconds": 0.2})
    add_to_span("hedged", {"second": "nobody listens"})
    assert isinstance(span, ReadableSpan)
    (event,) = span.events

    assert not trace.get_current_span().is_recording()
    assert event.name == "turnout.hedged"
    assert event.attributes == {"turnout.second": "b/m", "turnout.waited_seconds": 0.2}


def test_what_looks_like_a_credential_is_in_no_event_of_a_span() -> None:
    key = "sk-ant-api03-" + "a1B2" * 20
    told = Event(name=EventName.BREAKER_OPENED, at=1.0, fields={"detail": f"refused: {key}", "open_seconds": 5})
    with TracerProvider().get_tracer("tests").start_as_current_span("call") as span:
        event_to_span(told)
    assert isinstance(span, ReadableSpan)
    (event,) = span.events

    assert event.attributes == {"turnout.detail": "refused: [redacted]", "turnout.open_seconds": 5}
