"""The caller's trace context, as far as it follows the specification."""

import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as trace_context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from turnout_server.telemetry.tracing import add_to_span, outgoing_headers, parse, trace_ids

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_the_context_is_passed_on_without_baggage() -> None:
    token = trace_context.attach(parse({"traceparent": TRACEPARENT, "tracestate": "a=b", "baggage": "user=7"}))
    headers = dict(outgoing_headers())
    user = baggage.get_baggage("user")
    trace_context.detach(token)

    assert headers == {"traceparent": TRACEPARENT, "tracestate": "a=b"}
    assert user == "7"


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
