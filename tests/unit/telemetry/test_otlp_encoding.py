"""Our encoding of spans is the SDK's, for whatever spans there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from turnout_server.telemetry.otlp_encoding import encoded

RESOURCES = (Resource({"service.name": "turnout"}), Resource({"a": 1}, "https://schema.example/1"), Resource({}))
SCOPES = (InstrumentationScope("turnout", "0.1.0"), InstrumentationScope("x", None, "https://schema.example/2"), None)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)
SCALARS = (
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    TEXTS,
)
VALUES = st.one_of(*SCALARS, *(st.lists(scalar, max_size=5) for scalar in SCALARS))
ATTRIBUTES = st.one_of(
    st.none(),
    st.dictionaries(TEXTS, VALUES, max_size=6),
    st.dictionaries(TEXTS.filter(bool), VALUES, max_size=6).map(lambda found: BoundedAttributes(2, found)),
)
MOMENTS = st.integers(0, 2**63)
CONTEXTS = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.just(TraceFlags(1)),
    trace_state=st.sampled_from((None, TraceState(), TraceState([("a", "b"), ("c", "d e")]))),
)
SPANS = st.builds(
    ReadableSpan,
    name=TEXTS,
    context=CONTEXTS,
    parent=st.none() | CONTEXTS,
    resource=st.sampled_from(RESOURCES[:1]),
    attributes=ATTRIBUTES,
    events=st.lists(st.builds(Event, TEXTS, ATTRIBUTES, MOMENTS), max_size=3),
    links=st.lists(st.builds(Link, CONTEXTS, st.just({"of": "it"})), max_size=2),
    kind=st.sampled_from(SpanKind),
    status=st.sampled_from((Status(), Status(StatusCode.OK), Status(StatusCode.ERROR, "broken"))),
    start_time=MOMENTS,
    end_time=MOMENTS,
    instrumentation_scope=st.sampled_from(SCOPES[:1]),
)


@given(st.lists(SPANS, max_size=4))
def test_it_is_what_the_sdk_makes(spans: list[ReadableSpan]) -> None:
    assert ExportTraceServiceRequest.FromString(encoded(spans)) == encode_spans(spans)


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("scope", SCOPES)
def test_whoever_made_them_is_told_as_by_the_sdk(resource: Resource, scope: InstrumentationScope | None) -> None:
    context = SpanContext(1, 2, is_remote=False)
    span = ReadableSpan("x", context, resource=resource, instrumentation_scope=scope, start_time=1, end_time=2)

    assert ExportTraceServiceRequest.FromString(encoded([span, span])) == encode_spans([span, span])


def test_half_a_character_is_replaced() -> None:
    span = ReadableSpan("x", SpanContext(1, 2, is_remote=False), resource=RESOURCES[0], attributes={"model": "\ud800"})

    (resource,) = ExportTraceServiceRequest.FromString(encoded([span])).resource_spans

    assert resource.scope_spans[0].spans[0].attributes[0].value.string_value == "?"


def test_what_attributes_cannot_hold_is_refused() -> None:
    span = ReadableSpan("x", SpanContext(1, 2, is_remote=False), resource=RESOURCES[0], attributes={"a": object()})  # type: ignore[dict-item]

    with pytest.raises(TypeError, match="an attribute cannot be a object"):
        encoded([span])
