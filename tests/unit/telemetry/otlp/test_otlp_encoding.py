"""Our bytes of spans are what the SDK's exporter would send, for whatever spans and calls there are."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from turnout_server.core.call import AttemptRecord
from turnout_server.core.chat import ChatInput
from turnout_server.core.decision import Decision, Rejection
from turnout_server.core.fleet import Fleet, Price, TargetSpec
from turnout_server.core.model import (
    FailureKind,
    Feedback,
    FinishReason,
    Outcome,
    RejectionReason,
    RequestProfile,
    RouteQuery,
    Target,
    Usage,
)
from turnout_server.core.settings import Settings
from turnout_server.ports import UpstreamCall
from turnout_server.router import Router
from turnout_server.telemetry.metrics.metrics import Metrics
from turnout_server.telemetry.otlp.otlp_encoding import SpanEncoder
from turnout_server.telemetry.otlp.otlp_values import LENGTHS_MAXIMUM, NAMES_MAXIMUM, TEXTS_MAXIMUM, Attributes
from turnout_server.telemetry.traces.attempt_spans import AttemptSpan
from turnout_server.telemetry.traces.call_spans import CallSpan, Reported
from turnout_server.telemetry.traces.decision_contexts import DecisionContexts
from turnout_server.telemetry.traces.span_building import Spans
from turnout_server.telemetry.traces.span_making import Happened, ReadableSpans

RESOURCES = (Resource({"service.name": "turnout"}), Resource({"a": 1}, "https://schema.example/1"), Resource({}))
SCOPES = (
    InstrumentationScope("turnout", "0.1.0"),
    InstrumentationScope("x", None, "https://schema.example/2"),
    InstrumentationScope("y", "", "", {"of": "it", "each": (1, 2)}),
)
LIMITS = (
    SpanLimits(),
    SpanLimits(max_span_attributes=3, max_event_attributes=1, max_events=1, max_links=1),
    SpanLimits(max_attribute_length=4),
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=300)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300)
SCALARS = (st.booleans(), NUMBERS, st.floats(allow_nan=False), TEXTS)
VALUES = st.one_of(
    *SCALARS, *(st.lists(scalar, max_size=5) for scalar in SCALARS), st.lists(st.lists(TEXTS), max_size=2)
)
ATTRIBUTES = st.dictionaries(TEXTS.filter(bool), VALUES, max_size=6)
MOMENTS = st.integers(0, 2**64 - 1)
SPAN_IDS = st.integers(1, 2**64 - 1)
TRACE_STATES = st.sampled_from((None, TraceState(), TraceState([("a", "b"), ("c", "d e")])))
CONTEXTS = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    SPAN_IDS,
    is_remote=st.booleans(),
    trace_flags=st.sampled_from((TraceFlags(0), TraceFlags(1), TraceFlags(3))),
    trace_state=TRACE_STATES,
)
STATUSES = (Status(), Status(StatusCode.OK), Status(StatusCode.ERROR), Status(StatusCode.ERROR, "broken"))


def call(trace_id: int = 1, parent: SpanContext | None = None, trace_state: TraceState | None = None) -> CallSpan:
    return CallSpan(
        "Execute",
        trace_id=trace_id,
        new_span_id=lambda: 7,
        parent=parent,
        trace_state=trace_state,
        attributes={"rpc.system.name": "grpc"},
        on_decided=lambda *_: None,
        on_finish=lambda _: None,
        on_late_attempt=lambda _: None,
    )


@dataclass
class Told:
    """What is known of a provider's answer."""

    model: str
    response_id: str
    finish_reason: FinishReason | None


class Given(NamedTuple):
    """What one span is made of."""

    name: str
    call: CallSpan
    span_id: int
    facts: Mapping[str, Any]


@st.composite
def givens(draw: st.DrawFn) -> Given:
    happened: st.SearchStrategy[Happened] = st.tuples(TEXTS, MOMENTS, st.none() | ATTRIBUTES)
    facts = {
        "parent": draw(st.none() | CONTEXTS),
        "kind": draw(st.sampled_from(SpanKind)),
        "attributes": draw(ATTRIBUTES),
        "times": (draw(MOMENTS), draw(MOMENTS)),
        "status": draw(st.sampled_from(STATUSES)),
        "events": draw(st.lists(happened, max_size=3)),
        "links": draw(st.lists(st.builds(Link, CONTEXTS, st.none() | ATTRIBUTES), max_size=2)),
    }
    of = call(draw(st.integers(1, 2**128 - 1)), trace_state=draw(TRACE_STATES))
    return Given(draw(TEXTS), of, draw(SPAN_IDS), facts)


def both(
    spans: Sequence[Given],
    resource: Resource = RESOURCES[0],
    scope: InstrumentationScope = SCOPES[0],
    limits: SpanLimits = LIMITS[0],
) -> tuple[ExportTraceServiceRequest, ExportTraceServiceRequest]:
    """What we send, read as a collector reads it, and what the SDK makes of the same spans."""
    ours, sdk = SpanEncoder(resource, scope, limits), ReadableSpans(resource, scope, limits)
    made = [ours.span(each.name, each.call, each.span_id, **each.facts) for each in spans]
    readable = [sdk.span(each.name, each.call, each.span_id, **each.facts) for each in spans]
    return ExportTraceServiceRequest.FromString(ours.message(made)), encode_spans(readable)


@given(st.lists(givens(), min_size=1, max_size=3), st.sampled_from(LIMITS))
def test_spans_are_what_the_sdk_makes_of_them(spans: list[Given], limits: SpanLimits) -> None:
    ours, sdk = both(spans, limits=limits)

    assert ours == sdk


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("scope", SCOPES)
def test_whoever_made_them_is_told_as_by_the_sdk(resource: Resource, scope: InstrumentationScope) -> None:
    facts: dict[str, Any] = {"parent": None, "kind": SpanKind.SERVER, "attributes": {}, "times": (1, 2)}
    ours, sdk = both([Given("x", call(), 2, facts)] * 2, resource, scope)

    assert ours == sdk


# Whole calls: what is recorded while they run, by the same code that makes spans of them for an exporter of the SDK.

DETAILS = st.sampled_from(("", "the model is overloaded", "zu viele Anfragen: \u00fcberlastet"))
SECONDS = st.none() | st.floats(0, 100)
COUNTS = st.none() | st.integers(0, 10**7)
USAGES = st.builds(
    Usage,
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    cached_input_tokens=COUNTS,
    cache_write_tokens=COUNTS,
    reasoning_tokens=COUNTS,
)
FAILURES = st.none() | st.sampled_from(FailureKind)
PRICES = st.none() | st.builds(
    Price, input_per_million=st.integers(0, 10**11), output_per_million=st.integers(0, 10**11)
)


@st.composite
def specs(draw: st.DrawFn, number: int) -> TargetSpec:
    target = Target("alpha", f"model-{number}")
    port = draw(st.sampled_from(("", ":8443", ":x")))
    return TargetSpec(
        target=target,
        wire="openai",
        base_url=f"https://alpha.example{port}/v1",
        name=str(target),
        needs_credential=False,
        price=draw(PRICES),
        context_window_tokens=draw(st.sampled_from((1000, 100_000))),
    )


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    router = Router(
        Fleet(tuple(draw(specs(number)) for number in range(draw(st.integers(1, 3))))),
        Settings(),
        clock=lambda: 100.0,
        wall=lambda: 1_000.0,
        rng=random.Random(1),
        new_id=lambda: "d-1",
        on_event=lambda _: None,
        instruments=Metrics(),
    )
    profile = RequestProfile(
        task=draw(st.sampled_from(("", "chat"))), input_tokens=draw(st.sampled_from((None, 10, 900)))
    )
    return router.deciding.route(RouteQuery(profile=profile))


@st.composite
def attempts(draw: st.DrawFn, of: CallSpan) -> AttemptSpan:
    attempt = of.attempt()
    spec = draw(specs(draw(st.integers(0, 5))))
    asked = UpstreamCall(
        spec=spec,
        credential="",
        chat=ChatInput(messages=(), temperature=draw(st.none() | st.floats(0, 2))),
        max_output_tokens=draw(COUNTS),
    )
    attempt.asked(asked, streaming=draw(st.booleans()))
    record = AttemptRecord(
        target=spec.target,
        attempt_id="a-1",
        started_at_wall=1.0,
        failure=draw(FAILURES),
        http_status=draw(st.none() | st.integers(100, 599)),
        detail=draw(DETAILS),
        time_to_first_token_seconds=draw(SECONDS),
        usage=draw(st.none() | USAGES),
        cost_nano_usd=draw(COUNTS),
        hedge=draw(st.booleans()),
        possibly_billed=draw(st.booleans()),
        retry_reason=draw(DETAILS),
    )
    attempt.ended(
        record, draw(st.none() | st.sampled_from((Told("model-9", "id-1", FinishReason.STOP), Told("", "", None))))
    )
    return attempt


@st.composite
def reports(draw: st.DrawFn) -> Reported:
    decision_id = draw(st.sampled_from(("d-1", "unheard-of", "")))
    if draw(st.booleans()):
        return Reported(Feedback(decision_id=decision_id, attempt_id="a-1", quality=draw(st.floats(0, 1))), "recorded")
    outcome = Outcome(
        target=Target("alpha", "model-0"),
        failure=draw(FAILURES),
        decision_id=decision_id,
        attempt_id="a-1",
        latency_seconds=draw(SECONDS),
        time_to_first_token_seconds=draw(SECONDS),
        usage=draw(st.none() | USAGES),
        cost_nano_usd=draw(COUNTS),
    )
    return Reported(outcome, "duplicate")


@st.composite
def calls(draw: st.DrawFn) -> CallSpan:
    parent = draw(st.none() | CONTEXTS)
    made = call(parent.trace_id if parent else 5, parent, draw(TRACE_STATES))
    reasons = (RejectionReason.CAPABILITY, RejectionReason.BREAKER_OPEN)
    match draw(st.integers(0, 2)):
        case 0:
            made.decided(draw(decisions()))
        case 1:
            made.undecided("d-2", "nobody can", [Rejection(Target("alpha", "m"), reasons)] * draw(st.integers(0, 60)))
    for _ in range(draw(st.integers(0, 2))):
        draw(attempts(made))
    for _ in range(draw(st.integers(0, 40))):
        made.add_event("turnout.hedged", {"turnout.second": "b/m", "turnout.after_seconds": 0.5})
    made.reported([draw(reports()) for _ in range(draw(st.integers(0, 2)))] * draw(st.sampled_from((1, 20))))
    if draw(st.booleans()):
        made.answered()
    elif draw(st.booleans()):
        made.failed(*draw(st.sampled_from((("UNAVAILABLE", "ALL_TARGETS_UNAVAILABLE"), ("NOT_FOUND", "X")))))
    made.finish()
    return made


@given(calls(), st.sampled_from(LIMITS))
def test_calls_are_what_the_sdk_makes_of_them(ended: CallSpan, limits: SpanLimits) -> None:
    known = DecisionContexts()
    known.add("d-1", 3, 4)
    ours, sdk = SpanEncoder(RESOURCES[0], SCOPES[0], limits), ReadableSpans(RESOURCES[0], SCOPES[0], limits)
    made, readable = list(Spans(ours, known).of_call(ended)), list(Spans(sdk, known).of_call(ended))

    assert len(made) == len(readable)
    assert ExportTraceServiceRequest.FromString(ours.message(made)) == encode_spans(readable)


# What the SDK does otherwise, and what bounds the memory of it.


def attributes_sent(attributes: Mapping[str, Any]) -> Any:
    ours = SpanEncoder(RESOURCES[0], SCOPES[0], LIMITS[0])
    made = ours.span("x", call(), 2, parent=None, kind=SpanKind.CLIENT, attributes=attributes, times=(1, 2))
    (resource,) = ExportTraceServiceRequest.FromString(ours.message([made])).resource_spans
    return resource.scope_spans[0].spans[0].attributes


def test_half_a_character_is_replaced() -> None:
    first, second = attributes_sent({"model": "\ud800", "models": ["a\ud800"]})

    assert first.value.string_value == "?"
    assert [each.string_value for each in second.value.array_value.values] == ["a?"]


@pytest.mark.parametrize("value", [object(), b"bytes", [None], {"a": 1}])
def test_what_attributes_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="an attribute cannot be a"):
        attributes_sent({"a": value})


def test_what_is_remembered_of_names_lengths_and_texts_is_bounded() -> None:
    written = Attributes(0x4A)
    for number in range(NAMES_MAXIMUM + 10):
        written.written({f"name-{number}": "x"})
    assert 0 < len(written) <= NAMES_MAXIMUM

    for number in range(LENGTHS_MAXIMUM + 10):
        written.written({"a": "x" * number, "b": [1.0] * number})
    assert 0 < len(written["a"].texts) <= LENGTHS_MAXIMUM
    assert 0 < len(written["b"].arrays) <= LENGTHS_MAXIMUM

    for number in range(TEXTS_MAXIMUM + 10):
        written.written({"c": [f"target-{number}", "long" * 100]})
    assert 0 < len(written.texts) <= TEXTS_MAXIMUM
    assert max(map(len, written.texts)) < len("long" * 100)
