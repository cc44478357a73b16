"""What is the openai wire's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.wire.conftest import Bench, connection_of, secrets_of
from tests.wire.scripted_server import Close, Head, Reset, ScriptedServer, Wait, json_answer
from tests.wire.speakers import OpenAISpeaker, as_read, data, hello, spec_of, user
from turnout_server.core.chat import (
    ChatInput,
    Finished,
    Media,
    MediaKind,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    UsageReported,
)
from turnout_server.core.model import FailureKind, FinishReason, ReasoningEffort
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.dialects import OPENAI, OPENAI_COMPATIBLE
from turnout_server.providers.openai import OpenAIWire, chat_url
from turnout_server.providers.openai.models import facts_of
from turnout_server.providers.upstream import build_upstreams

VENDOR = OpenAISpeaker()


@pytest.fixture
async def bench(server: ScriptedServer) -> AsyncIterator[Bench]:
    connection = connection_of(VENDOR)
    upstream = build_upstreams([connection], secrets_of(connection))["openai"]
    call = UpstreamCall(spec=spec_of(VENDOR, server.url), credential="main", chat=hello())
    yield Bench(speaker=VENDOR, server=server, upstream=upstream, call=call)
    await upstream.aclose()


def body_of(chat: ChatInput, *, model: str = "gpt-4o", vendor: bool = True, **call: Any) -> dict[str, Any]:
    spec = spec_of(VENDOR, "https://example.com/v1")
    spec = replace(spec, target=replace(spec.target, model=model))
    wire_call = UpstreamCall(spec=spec, credential="", chat=chat, **call)
    return as_read(OpenAIWire().body(wire_call, OPENAI if vendor else OPENAI_COMPATIBLE, stream=False))


async def test_answer_is_given_out_complete_before_done_comes(bench: Bench) -> None:
    late = asyncio.Event()
    stream = VENDOR.text_stream(["x"])
    bench.server.scripts.append([Head(), *stream[:-2], Wait(late), *stream[-2:]])
    finished = usage = False
    async for batch in bench.upstream.stream(bench.call):
        for event in batch:
            finished = finished or isinstance(event, Finished)
            usage = usage or isinstance(event, UsageReported)
        if finished:
            late.set()

    assert (True, True) == (finished, usage)


async def test_finish_reason_without_done_is_complete_when_the_connection_ends(bench: Bench) -> None:
    events = await bench.stream([Head(), *VENDOR.cut_before_end(["x"]), VENDOR.chunk({}, "stop")])

    assert [FinishReason.STOP] == [event.reason for event in events if isinstance(event, Finished)]


@pytest.mark.parametrize("after", [Reset(), Close(), b"data: {nonsense\n\n", b"data: " + b"x" * 2_000_000])
async def test_whatever_breaks_after_the_finish_reason_leaves_the_answer_complete(
    bench: Bench, after: Reset | Close | bytes
) -> None:
    events = await bench.stream([Head(), *VENDOR.cut_before_end(["x"]), VENDOR.chunk({}, "stop"), after])

    assert [FinishReason.STOP] == [event.reason for event in events if isinstance(event, Finished)]


async def test_done_without_its_blank_line_ends_the_stream(bench: Bench) -> None:
    events = await bench.stream([Head(), *VENDOR.cut_before_end(["x"]), b"data: [DONE]"])

    assert [FinishReason.OTHER] == [event.reason for event in events if isinstance(event, Finished)]


async def test_done_after_nothing_is_no_answer(bench: Bench) -> None:
    error = await bench.failing_stream([Head(), b"data: [DONE]\n\n"])

    assert FailureKind.PROTOCOL is error.kind


async def test_refusal_text_is_shown_and_marked_as_filtered(bench: Bench) -> None:
    events = await bench.stream(
        [Head(), VENDOR.chunk({"role": "assistant", "refusal": "I will not."}), VENDOR.chunk({}, "stop"), *VENDOR.end()]
    )

    assert ["I will not."] == [event.text for event in events if isinstance(event, TextDelta)]
    assert FinishReason.CONTENT_FILTER is next(event.reason for event in events if isinstance(event, Finished))


def tool_chunk(*calls: dict[str, Any]) -> bytes:
    return VENDOR.chunk({"tool_calls": list(calls)})


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (
            [
                tool_chunk(
                    {"id": "a", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "b", "function": {"name": "g", "arguments": "{}"}},
                )
            ],
            [("a", "f", "{}"), ("b", "g", "{}")],
        ),
        (
            [
                tool_chunk({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}),
                tool_chunk({"index": 0, "function": {"arguments": "{}"}}),
                tool_chunk({"index": 0, "id": "b", "function": {"name": "g", "arguments": ""}}),
                tool_chunk({"index": 0, "function": {"arguments": "[]"}}),
            ],
            [("a", "f", "{}"), ("b", "g", "[]")],
        ),
        (
            [
                tool_chunk({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}),
                tool_chunk({"index": 0, "id": "a", "function": {"name": "f", "arguments": "}"}}),
            ],
            [("a", "f", "{}")],
        ),
        (
            [tool_chunk({"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}})],
            [("a", "f", '{"x":1}')],
        ),
        (
            [tool_chunk({"id": "a", "function": {"name": "f"}}), tool_chunk({"function": {"arguments": "{}"}})],
            [("a", "f", "{}")],
        ),
    ],
    ids=["no index", "index always 0", "id and name repeated", "arguments as an object", "fragment without index"],
)
async def test_sloppy_tool_calls_of_compatible_servers_are_understood(
    bench: Bench, chunks: list[bytes], expected: list[tuple[str, str, str]]
) -> None:
    events = await bench.stream([Head(), *chunks, VENDOR.chunk({}, "stop"), *VENDOR.end()])

    calls: dict[int, tuple[str, str, str]] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            one, two, three = calls.get(event.part_index, ("", "", ""))
            calls[event.part_index] = (one + event.id, two + event.name, three + event.arguments_fragment)
    assert expected == list(calls.values())
    assert FinishReason.TOOL_CALLS is next(event.reason for event in events if isinstance(event, Finished))


async def test_missing_tool_call_ids_are_made_and_differ(bench: Bench) -> None:
    chunk = tool_chunk({"function": {"name": "f", "arguments": "{}"}}, {"function": {"name": "g", "arguments": "{}"}})
    events = await bench.stream([Head(), chunk, VENDOR.chunk({}, "tool_calls"), *VENDOR.end()])

    ids = [event.id for event in events if isinstance(event, ToolCallDelta)]
    assert 2 == len(set(ids) - {""})


async def test_error_in_the_middle_of_a_stream_with_a_finish_reason_is_a_failure(bench: Bench) -> None:
    last = VENDOR.chunk({"content": ""}, "error", error={"code": 502, "message": "provider disconnected"})

    error = await bench.failing_stream([Head(), *VENDOR.cut_before_end(["x"]), last])

    assert FailureKind.SERVER_ERROR is error.kind


async def test_provider_that_states_its_price_is_heard(bench: Bench) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "cost": 0.0042}
    events = await bench.stream(
        [
            Head(),
            *VENDOR.cut_before_end(["x"]),
            VENDOR.chunk({}, "stop"),
            data({"choices": [], "usage": usage}),
            b"data: [DONE]\n\n",
        ]
    )

    assert [0.0042] == [event.cost_usd for event in events if isinstance(event, UsageReported)]


async def test_unknown_token_counts_stay_unknown(bench: Bench) -> None:
    body = orjson.loads(VENDOR.whole_text("x"))
    body["usage"] = {"prompt_tokens": 3, "completion_tokens": None}

    events = await bench.complete(json_answer(orjson.dumps(body)))

    usage = next(event.usage for event in events if isinstance(event, UsageReported))
    assert (3, None, None, None) == (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.reasoning_tokens,
    )


async def test_other_choices_are_left_out(bench: Bench) -> None:
    second = data({"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": None}]})
    events = await bench.stream(
        [Head(), *VENDOR.cut_before_end(["yes"]), second, VENDOR.chunk({}, "stop"), *VENDOR.end()]
    )

    assert ["yes"] == [event.text for event in events if isinstance(event, TextDelta)]


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
        ("https://x.example/chat/completions", "https://x.example/chat/completions"),
    ],
)
def test_calls_go_below_the_base_url(base: str, url: str) -> None:
    assert url == chat_url(base)


def test_compatible_servers_get_the_older_name_of_the_token_limit() -> None:
    chat = ChatInput(messages=(user("x"),), max_output_tokens=5)

    assert 5 == body_of(chat)["max_completion_tokens"]
    assert 5 == body_of(chat, vendor=False)["max_tokens"]
    assert 9 == body_of(chat, max_output_tokens=9)["max_completion_tokens"]


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("gpt-4o", ReasoningEffort.HIGH, None),
        ("gpt-5", ReasoningEffort.NONE, "minimal"),
        ("gpt-5.1", ReasoningEffort.NONE, "none"),
        ("gpt-6-astra", ReasoningEffort.MEDIUM, "medium"),
        ("o3-mini", ReasoningEffort.NONE, "low"),
    ],
)
def test_effort_is_asked_for_in_the_models_own_words(model: str, effort: ReasoningEffort, expected: str | None) -> None:
    assert expected == body_of(ChatInput(messages=(user("x"),), reasoning_effort=effort), model=model).get(
        "reasoning_effort"
    )


def test_models_that_reason_get_no_sampling_parameters() -> None:
    chat = ChatInput(messages=(user("x"),), temperature=0.3, top_p=0.5, stop=("a",))

    assert {"temperature", "top_p", "stop"}.isdisjoint(body_of(chat, model="o3"))
    assert {"temperature", "top_p", "stop"} <= body_of(chat, model="o3", vendor=False).keys()


@pytest.mark.parametrize(
    ("model", "reasons"),
    [("gpt-4.1", False), ("gpt-5-chat-latest", False), ("gpt-5", True), ("ft:x/gpt-5", True), ("llama", False)],
)
def test_models_are_known_by_their_names(model: str, *, reasons: bool) -> None:
    assert reasons is facts_of(model).reasons


def test_images_of_a_tool_result_follow_all_results_of_the_turn() -> None:
    image = Part(content=Media(kind=MediaKind.IMAGE, url="https://example.com/a.png"))
    results = tuple(
        Message(role=Role.TOOL, parts=(Part(content=ToolResult(tool_call_id=name, content=(image,))),))
        for name in ("a", "b")
    )

    roles = [message["role"] for message in body_of(ChatInput(messages=(*results, user("?"))))["messages"]]

    assert ["tool", "tool", "user", "user"] == roles


def test_reasoning_and_its_state_are_not_sent_to_a_wire_that_has_no_place_for_them() -> None:
    turn = Message(
        role=Role.ASSISTANT,
        parts=(
            Part(content=Reasoning(text="secret thought"), signature="sig", origin_provider="anthropic"),
            Part(content=Text(text="Yes.")),
        ),
    )

    assert [{"role": "assistant", "content": "Yes."}] == body_of(ChatInput(messages=(turn,)))["messages"]


def test_foreign_tool_call_ids_are_made_fit_on_both_sides() -> None:
    long = "functions.weather:0/" + "x" * 60
    turns = (
        Message(role=Role.ASSISTANT, parts=(Part(content=ToolCall(id=long, name="f", arguments_json="{}")),)),
        Message(role=Role.TOOL, parts=(Part(content=ToolResult(tool_call_id=long)),)),
    )

    first, second = body_of(ChatInput(messages=turns))["messages"]

    assert first["tool_calls"][0]["id"] == second["tool_call_id"]
    assert len(second["tool_call_id"]) <= 40


@pytest.mark.parametrize(
    "media",
    [
        Media(kind=MediaKind.DOCUMENT, url="https://example.com/a.pdf"),
        Media(kind=MediaKind.AUDIO, media_type="audio/ogg", data=b"x"),
        Media(kind=MediaKind.IMAGE),
    ],
)
def test_media_that_the_wire_cannot_carry_is_refused_before_sending(media: Media) -> None:
    with pytest.raises(UpstreamError) as caught:
        body_of(ChatInput(messages=(Message(role=Role.USER, parts=(Part(content=media),)),)))

    assert FailureKind.INVALID_REQUEST is caught.value.kind
    assert not caught.value.possibly_billed


@pytest.mark.parametrize("name", ["model", "stream", "messages", "max_tokens", "max_completion_tokens", "n"])
def test_options_cannot_take_over_what_is_the_sidecars_to_set(name: str) -> None:
    with pytest.raises(UpstreamError, match=name):
        body_of(ChatInput(messages=(user("x"),), provider_options={"openai": {name: 1}}))
