"""How the gemini wire reads what is its own in answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.conftest import Bench, connection_of, secrets_of
from tests.wire.gemini_speaker import GeminiSpeaker, content_of, decoded
from tests.wire.scripted_server import Head, ScriptedServer, json_answer
from tests.wire.speakers import data, hello, spec_of
from turnout_server.core.chat import (
    Finished,
    ReasoningDelta,
    SignatureDelta,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from turnout_server.core.model import FailureKind, FinishReason, Usage
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.gemini.answer import FAILED_REASONS, FINISH_REASONS, GeminiDecoder
from turnout_server.providers.upstream import build_upstreams

VENDOR = GeminiSpeaker()


@pytest.fixture
async def bench(server: ScriptedServer) -> AsyncIterator[Bench]:
    connection = connection_of(VENDOR)
    upstream = build_upstreams([connection], secrets_of(connection))["google"]
    call = UpstreamCall(spec=spec_of(VENDOR, server.url), credential="main", chat=hello())
    yield Bench(speaker=VENDOR, server=server, upstream=upstream, call=call)
    await upstream.aclose()


def test_words_after_a_signature_or_of_another_kind_are_a_new_part() -> None:
    events = decoded(
        VENDOR.response([{"text": "Hm", "thought": True}]),
        VENDOR.response([{"text": ".", "thought": True}, {"text": "Y"}]),
        VENDOR.response([{"text": "es.", "thoughtSignature": "YQ=="}]),
        VENDOR.response([{"text": "More."}]),
    )

    assert [
        ReasoningDelta(part_index=0, text="Hm"),
        ReasoningDelta(part_index=0, text="."),
        TextDelta(part_index=1, text="Y"),
        TextDelta(part_index=1, text="es."),
        SignatureDelta(part_index=1, signature="YQ=="),
        TextDelta(part_index=2, text="More."),
    ] == content_of(events)


def test_signature_on_empty_words_belongs_to_the_words_before_it() -> None:
    events = decoded(VENDOR.response([{"text": "Yes."}]), VENDOR.response([{"text": "", "thoughtSignature": "YQ=="}]))

    assert [TextDelta(part_index=0, text="Yes."), SignatureDelta(part_index=0, signature="YQ==")] == content_of(events)


def test_signature_with_nothing_before_it_is_a_part_of_its_own() -> None:
    events = decoded(
        VENDOR.response([VENDOR.call("c1", "f", "{}")]), VENDOR.response([{"text": "", "thoughtSignature": "YQ=="}])
    )

    assert SignatureDelta(part_index=1, signature="YQ==") == content_of(events)[-1]


def test_signature_of_something_that_is_not_passed_on_goes_with_it() -> None:
    code = {"executableCode": {"code": "1"}, "thoughtSignature": "YQ=="}

    assert [TextDelta(part_index=0, text="x")] == content_of(decoded(VENDOR.response([code, {"text": "x"}])))


def test_part_may_hold_words_and_a_call() -> None:
    events = content_of(decoded(VENDOR.response([{"text": "So: "} | VENDOR.call("c1", "f", "{}")])))

    assert [TextDelta, ToolCallDelta] == [type(event) for event in events]


def test_calls_without_ids_get_different_ones() -> None:
    call = {"functionCall": {"name": "f"}}

    first, second = content_of(decoded(VENDOR.response([call, call])))

    assert isinstance(first, ToolCallDelta)
    assert isinstance(second, ToolCallDelta)
    assert first.id
    assert first.id != second.id
    assert ("{}", "{}") == (first.arguments_fragment, second.arguments_fragment)


@pytest.mark.parametrize(
    "call", [{}, {"name": ""}, {"name": 1}, {"name": "f", "args": [1]}, {"name": "f", "args": "x"}, []]
)
def test_call_of_the_wrong_shape_is_a_protocol_failure(call: object) -> None:
    with pytest.raises(UpstreamError) as caught:
        decoded(VENDOR.response([{"functionCall": call}]))

    assert FailureKind.PROTOCOL is caught.value.kind


def test_further_candidates_are_left_out() -> None:
    second = VENDOR.response([{"text": "b"}], "STOP")
    second["candidates"][0]["index"] = 1

    assert [] == [event for event in decoded(second) if not isinstance(event, UsageReported)][1:]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "totalTokenCount": 17},
            Usage(input_tokens=10, output_tokens=7, reasoning_tokens=3),
        ),
        (
            {"promptTokenCount": 10, "thoughtsTokenCount": 3, "totalTokenCount": 13},
            Usage(input_tokens=10, output_tokens=3, reasoning_tokens=3),
        ),
        (
            {"promptTokenCount": 10, "cachedContentTokenCount": 8, "candidatesTokenCount": 1},
            Usage(input_tokens=10, output_tokens=1, cached_input_tokens=8),
        ),
        (
            {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 1},
            Usage(input_tokens=15, output_tokens=1),
        ),
        ({"promptTokenCount": 10, "totalTokenCount": 10}, Usage(input_tokens=10, output_tokens=0)),
        ({"promptTokenCount": 10}, Usage(input_tokens=10)),
        ({"promptTokenCount": -1, "candidatesTokenCount": "4"}, Usage()),
    ],
)
def test_usage_counts_thoughts_as_output_and_results_of_server_tools_as_input(
    said: dict[str, Any], expected: Usage
) -> None:
    events = decoded(VENDOR.response([{"text": "x"}], "STOP", said))

    assert [expected] == [event.usage for event in events if isinstance(event, UsageReported)]


def test_usage_that_says_nothing_new_is_not_repeated() -> None:
    events = decoded(*[VENDOR.response([{"text": "x"}])] * 3)

    assert 1 == sum(isinstance(event, UsageReported) for event in events)


@pytest.mark.parametrize(("usage", "ended"), [(True, True), (False, False)])
def test_answer_has_ended_when_its_finish_came_with_the_counts(*, usage: bool, ended: bool) -> None:
    decoder = GeminiDecoder(hello(), "google")
    response = VENDOR.response([{"text": "x"}], "STOP", VENDOR.usage())
    if not usage:
        del response["usageMetadata"]
    decoder.feed(orjson.dumps(response), [])

    assert (True, ended) == (decoder.finished, decoder.ended)


async def test_counts_after_the_finish_are_still_read(bench: Bench) -> None:
    finish = VENDOR.response([{"text": "x"}], "STOP")
    del finish["usageMetadata"]
    events = await bench.stream([Head(), data(finish), data({"usageMetadata": VENDOR.usage()})])

    assert [20] == [event.usage.output_tokens for event in events if isinstance(event, UsageReported)]


def test_unspecified_reason_is_none() -> None:
    events = decoded(VENDOR.response([{"text": "a"}], "FINISH_REASON_UNSPECIFIED"), VENDOR.response([], "STOP"))

    assert [FinishReason.STOP] == [event.reason for event in events if isinstance(event, Finished)]


@pytest.mark.parametrize("reason", [*FINISH_REASONS, "LANGUAGE", "OTHER", "SOMETHING_NEW", *FAILED_REASONS])
def test_every_reason_after_an_answer_finishes_it(reason: str) -> None:
    events = decoded(VENDOR.response([{"text": "a"}], reason))

    assert [FINISH_REASONS.get(reason, FinishReason.OTHER)] == [e.reason for e in events if isinstance(e, Finished)]


@pytest.mark.parametrize("reason", [r for r, meant in FINISH_REASONS.items() if meant is FinishReason.CONTENT_FILTER])
def test_filter_before_any_content_is_a_failure_that_names_it(reason: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        decoded(VENDOR.response([], reason))

    assert FailureKind.CONTENT_FILTERED is caught.value.kind
    assert reason in caught.value.detail


@pytest.mark.parametrize("reason", FAILED_REASONS)
@pytest.mark.parametrize("thought", [False, True])
def test_malformed_calls_and_the_like_are_failures_without_an_answer(reason: str, *, thought: bool) -> None:
    parts = [{"text": "Hm.", "thought": True}] if thought else []

    with pytest.raises(UpstreamError) as caught:
        decoded(VENDOR.response(parts, reason))

    assert FAILED_REASONS[reason][0] is caught.value.kind
    assert reason in caught.value.detail


def test_reason_that_is_no_word_is_not_shown() -> None:
    with pytest.raises(UpstreamError) as caught:
        decoded({"promptFeedback": {"blockReason": "the prompt said swordfish"}})

    assert "the provider refused the content" == caught.value.detail


def test_block_after_content_ends_the_answer_as_filtered() -> None:
    events = decoded(VENDOR.response([{"text": "a"}]), {"promptFeedback": {"blockReason": "OTHER"}})

    assert Finished(reason=FinishReason.CONTENT_FILTER) == events[-1]


def test_empty_answer_is_one() -> None:
    assert [FinishReason.STOP] == [e.reason for e in decoded(VENDOR.response([], "STOP")) if isinstance(e, Finished)]


async def test_whole_answer_brings_thoughts_and_signatures_too(bench: Bench) -> None:
    answer = VENDOR.response(
        [{"text": "Hm.", "thought": True}, {"text": "Yes.", "thoughtSignature": "YQ=="}], "STOP", VENDOR.usage()
    )

    events = await bench.complete(json_answer(orjson.dumps(answer)))

    assert [
        ReasoningDelta(part_index=0, text="Hm."),
        TextDelta(part_index=1, text="Yes."),
        SignatureDelta(part_index=1, signature="YQ=="),
    ] == content_of(events)


@pytest.mark.parametrize("body", [b"[]", b'[{"candidates":[]}]', b'[{"text":"x"}]'])
async def test_list_of_responses_is_a_protocol_failure(bench: Bench, body: bytes) -> None:
    error = await bench.failing_stream(json_answer(body))

    assert FailureKind.PROTOCOL is error.kind
    assert "alt=sse" in error.detail


async def test_list_that_holds_an_error_is_that_error(bench: Bench) -> None:
    body = b"[" + VENDOR.error_body("overloaded_error", "went wrong") + b"]"

    streamed = await bench.failing_stream(json_answer(body))
    with pytest.raises(UpstreamError) as caught:
        await bench.complete(json_answer(body, status=503))

    assert (FailureKind.OVERLOADED, FailureKind.OVERLOADED) == (streamed.kind, caught.value.kind)


async def test_whole_answer_without_a_reason_is_a_protocol_failure(bench: Bench) -> None:
    error = await bench.failing_stream(json_answer(orjson.dumps(VENDOR.response([{"text": "x"}]))))

    assert FailureKind.PROTOCOL is error.kind


PIECES = st.lists(
    st.one_of(
        st.builds(
            lambda words, thought, signature: (
                {"text": words}
                | ({"thought": True} if thought else {})
                | ({"thoughtSignature": signature} if signature else {})
            ),
            st.text(max_size=5),
            st.booleans(),
            st.sampled_from(["", "YQ=="]),
        ),
        st.just({"functionCall": {"id": "c", "name": "f", "args": {}}}),
        st.just({"inlineData": {"mimeType": "image/png", "data": "eA=="}}),
    ),
    max_size=12,
)


@given(pieces=PIECES, cut=st.integers(0, 12))
def test_parts_are_numbered_without_a_gap_and_lose_no_word_however_the_pieces_fall(
    pieces: list[dict[str, Any]], cut: int
) -> None:
    events = content_of(decoded(VENDOR.response(pieces[:cut]), VENDOR.response(pieces[cut:], "STOP")))
    indices = [event.part_index for event in events]

    assert indices == sorted(indices)
    assert sorted(set(indices)) == list(range(len(set(indices))))
    said = "".join(p["text"] for p in pieces if "text" in p and not p.get("thought"))
    thought = "".join(p["text"] for p in pieces if "text" in p and p.get("thought"))
    assert said == "".join(event.text for event in events if isinstance(event, TextDelta))
    assert thought == "".join(event.text for event in events if isinstance(event, ReasoningDelta))
    assert sum("thoughtSignature" in p for p in pieces) == sum(isinstance(e, SignatureDelta) for e in events)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "candidates",
                        "content",
                        "parts",
                        "text",
                        "functionCall",
                        "name",
                        "args",
                        "finishReason",
                        "thoughtSignature",
                        "promptFeedback",
                        "blockReason",
                        "usageMetadata",
                        "promptTokenCount",
                        "error",
                        "index",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_comes_is_read_or_refused_as_an_upstream_error(value: object) -> None:
    for wrapped in (value, {"candidates": [value]}, {"candidates": [{"content": {"parts": [value]}}]}):
        try:
            GeminiDecoder(hello(), "google").feed(orjson.dumps(wrapped), [])
        except UpstreamError as error:
            assert error.kind in FailureKind
