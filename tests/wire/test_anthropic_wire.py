"""What is the anthropic wire's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.wire.conftest import Bench, connection_of, secrets_of
from tests.wire.scripted_server import Head, ScriptedServer, json_answer
from tests.wire.speakers import AnthropicSpeaker, as_read, hello, spec_of, user
from turnout_server.core.chat import (
    ChatInput,
    Finished,
    JsonFormat,
    Media,
    MediaKind,
    Message,
    Part,
    Reasoning,
    ReasoningDelta,
    Role,
    SignatureDelta,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
    UsageReported,
)
from turnout_server.core.model import Capability, FailureKind, FinishReason, ReasoningEffort
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.anthropic import AnthropicWire, messages_url
from turnout_server.providers.anthropic.models import Thinking, facts_of
from turnout_server.providers.anthropic.structured import ANSWER_TOOL
from turnout_server.providers.dialects import ANTHROPIC
from turnout_server.providers.upstream import build_upstreams

VENDOR = AnthropicSpeaker()
SCHEMA_JSON = '{"type":"object","properties":{"at":{"type":"object","properties":{}}}}'


@pytest.fixture
async def bench(server: ScriptedServer) -> AsyncIterator[Bench]:
    connection = connection_of(VENDOR)
    upstream = build_upstreams([connection], secrets_of(connection))["anthropic"]
    call = UpstreamCall(spec=spec_of(VENDOR, server.url), credential="main", chat=hello())
    yield Bench(speaker=VENDOR, server=server, upstream=upstream, call=call)
    await upstream.aclose()


def call_of(chat: ChatInput, model: str = "claude-sonnet-4-5", **call: Any) -> UpstreamCall:
    spec = spec_of(VENDOR, "https://api.anthropic.com")
    return UpstreamCall(spec=replace(spec, target=replace(spec.target, model=model)), credential="", chat=chat, **call)


def body_of(chat: ChatInput, model: str = "claude-sonnet-4-5", **call: Any) -> dict[str, Any]:
    return as_read(AnthropicWire().body(call_of(chat, model, **call), ANTHROPIC, stream=False))


async def test_thinking_brings_text_signature_and_redacted_data(bench: Bench) -> None:
    thinking = [
        {"type": "thinking_delta", "thinking": "Hm."},
        {"type": "signature_delta", "signature": "c2ln"},
    ]
    events = await bench.stream(
        [
            Head(),
            VENDOR.start(),
            *VENDOR.block(0, {"type": "thinking", "thinking": "", "signature": ""}, thinking),
            *VENDOR.block(1, {"type": "redacted_thinking", "data": "b3BhcXVl"}, []),
            *VENDOR.block(2, {"type": "text", "text": ""}, [{"type": "text_delta", "text": "Yes."}]),
            *VENDOR.end("end_turn"),
        ]
    )

    content = [e for e in events if isinstance(e, (ReasoningDelta, SignatureDelta, TextDelta))]
    assert [
        ReasoningDelta(part_index=0, text="Hm."),
        SignatureDelta(part_index=0, signature="c2ln"),
        ReasoningDelta(part_index=1, redacted_data=b"b3BhcXVl"),
        TextDelta(part_index=2, text="Yes."),
    ] == content


async def test_whole_answer_brings_thinking_and_signature_too(bench: Bench) -> None:
    body = orjson.loads(VENDOR.whole_text("Yes."))
    body["content"].insert(0, {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"})
    body["content"].insert(1, {"type": "redacted_thinking", "data": "b3BhcXVl"})

    events = await bench.complete(json_answer(orjson.dumps(body)))

    assert [
        ReasoningDelta(part_index=0, text="Hm."),
        SignatureDelta(part_index=0, signature="c2ln"),
        ReasoningDelta(part_index=1, redacted_data=b"b3BhcXVl"),
        TextDelta(part_index=2, text="Yes."),
    ] == [e for e in events if isinstance(e, (ReasoningDelta, SignatureDelta, TextDelta))]


async def test_hidden_thinking_brings_its_signature_alone(bench: Bench) -> None:
    signature = [{"type": "signature_delta", "signature": "c2ln"}]
    events = await bench.stream(
        [
            Head(),
            VENDOR.start(),
            *VENDOR.block(0, {"type": "thinking", "thinking": "", "signature": ""}, signature),
            *VENDOR.block(1, {"type": "text", "text": ""}, [{"type": "text_delta", "text": "Yes."}]),
            *VENDOR.end("end_turn"),
        ]
    )

    assert [SignatureDelta(part_index=0, signature="c2ln")] == [e for e in events if isinstance(e, SignatureDelta)]


async def test_message_stop_alone_makes_an_answer_complete(bench: Bench) -> None:
    error = await bench.failing_stream([Head(), *VENDOR.text_stream(["x"])[:-1]])

    assert FailureKind.TRUNCATED is error.kind


async def test_tool_call_without_arguments_gets_an_empty_object(bench: Bench) -> None:
    events = await bench.stream([Head(), *VENDOR.tool_stream([("toolu_1", "now", [])])])

    assert "{}" == "".join(event.arguments_fragment for event in events if isinstance(event, ToolCallDelta))


async def test_server_tools_and_unknown_blocks_and_events_are_left_out(bench: Bench) -> None:
    events = await bench.stream(
        [
            Head(),
            VENDOR.start(),
            *VENDOR.block(
                0,
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                [{"type": "input_json_delta", "partial_json": "{}"}],
            ),
            *VENDOR.block(1, {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}, []),
            VENDOR.event("something_new", value=1),
            *VENDOR.block(
                2,
                {"type": "text", "text": ""},
                [{"type": "citations_delta", "citation": {}}, {"type": "text_delta", "text": "x"}],
            ),
            *VENDOR.end("end_turn"),
        ]
    )

    assert [TextDelta(part_index=0, text="x")] == [e for e in events if isinstance(e, (TextDelta, ToolCallDelta))]


async def test_input_tokens_are_known_before_the_answer_ends(bench: Bench) -> None:
    events = await bench.stream([Head(), *VENDOR.text_stream(["x"])])

    first, *_, last = [event.usage for event in events if isinstance(event, UsageReported)]
    assert (110, 1) == (first.input_tokens, first.output_tokens)
    assert (110, 20, 4) == (last.input_tokens, last.output_tokens, last.cache_write_1h_tokens)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop_sequence", FinishReason.STOP),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("pause_turn", FinishReason.OTHER),
        ("something_new", FinishReason.OTHER),
    ],
)
async def test_stop_reasons_of_its_own(bench: Bench, reason: str, expected: FinishReason) -> None:
    block = VENDOR.block(0, {"type": "text", "text": ""}, [{"type": "text_delta", "text": "x"}])
    events = await bench.stream([Head(), VENDOR.start(), *block, *VENDOR.end(reason)])

    assert [expected] == [event.reason for event in events if isinstance(event, Finished)]


async def test_spending_limit_is_told_from_a_rate_limit(bench: Bench) -> None:
    body = {
        "type": "error",
        "error": {
            "type": "rate_limit_error",
            "message": "x",
            "details": {"error_code": "enforced_spend_limit_reached"},
        },
    }

    error = await bench.failing_stream(json_answer(orjson.dumps(body), status=429))

    assert FailureKind.QUOTA_EXHAUSTED is error.kind


async def test_rate_limit_reading_takes_the_tightest_token_bucket(bench: Bench) -> None:
    headers = (
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "49"),
        ("anthropic-ratelimit-input-tokens-limit", "1000"),
        ("anthropic-ratelimit-input-tokens-remaining", "900"),
        ("anthropic-ratelimit-output-tokens-limit", "100"),
        ("anthropic-ratelimit-output-tokens-remaining", "0"),
        ("anthropic-ratelimit-output-tokens-reset", "2020-01-01T00:00:00Z"),
    )
    await bench.complete(json_answer(VENDOR.whole_text("x"), headers=headers))

    reading = bench.head.rate_limit
    assert reading is not None
    assert reading.requests is not None
    assert reading.tokens is not None
    assert (49, 0, 0.0) == (reading.requests.remaining, reading.tokens.remaining, reading.tokens.reset_seconds)


async def test_json_by_tool_comes_out_as_text(bench: Bench) -> None:
    chat = ChatInput(messages=(user("Where?"),), response_format=JsonFormat())

    events = await bench.stream([Head(), *VENDOR.tool_stream([("toolu_1", ANSWER_TOOL, ['{"a"', ":1}"])])], chat)

    assert '{"a":1}' == "".join(event.text for event in events if isinstance(event, TextDelta))
    assert not any(isinstance(event, ToolCallDelta) for event in events)
    assert [FinishReason.STOP] == [event.reason for event in events if isinstance(event, Finished)]


async def test_whole_json_by_tool_comes_out_as_text(bench: Bench) -> None:
    chat = ChatInput(messages=(user("Where?"),), response_format=JsonFormat())

    events = await bench.complete(json_answer(VENDOR.whole_tools([("toolu_1", ANSWER_TOOL, '{"a":1}')])), chat)

    assert ['{"a":1}'] == [event.text for event in events if isinstance(event, TextDelta)]


def test_schema_goes_into_the_apis_own_field_with_closed_objects() -> None:
    body = body_of(ChatInput(messages=(user("x"),), response_format=JsonFormat(schema_json=SCHEMA_JSON)))

    schema = body["output_config"]["format"]["schema"]
    assert (False, False) == (schema["additionalProperties"], schema["properties"]["at"]["additionalProperties"])


def test_schema_for_an_older_model_is_a_tool_it_must_call() -> None:
    body = body_of(
        ChatInput(messages=(user("x"),), response_format=JsonFormat(schema_json=SCHEMA_JSON)), "claude-3-opus-20240229"
    )

    assert {"type": "tool", "name": ANSWER_TOOL} == body["tool_choice"]
    assert orjson.loads(SCHEMA_JSON) == body["tools"][0]["input_schema"]


@pytest.mark.parametrize(
    "chat",
    [
        ChatInput(messages=(user("x"),), response_format=JsonFormat(), tools=(Tool(name="f"),)),
        ChatInput(messages=(user("x"),), response_format=JsonFormat(), reasoning_effort=ReasoningEffort.LOW),
    ],
)
def test_json_beside_tools_or_thinking_is_an_instruction(chat: ChatInput) -> None:
    body = body_of(chat)

    assert "JSON" in body["system"][-1]["text"]
    assert "tool_choice" not in body


@pytest.mark.parametrize(
    ("model", "thinking", "always", "sampling", "schema"),
    [
        ("claude-3-haiku-20240307", Thinking.BUDGET, False, True, False),
        ("claude-3-7-sonnet-20250219", Thinking.BUDGET, False, True, False),
        ("claude-opus-4-20250514", Thinking.BUDGET, False, True, False),
        ("claude-sonnet-4-5-20250929", Thinking.BUDGET, False, True, True),
        ("claude-opus-4-6", Thinking.ADAPTIVE, False, True, True),
        ("claude-opus-4-7", Thinking.ADAPTIVE, False, False, True),
        ("claude-sonnet-5", Thinking.ADAPTIVE, False, False, True),
        ("claude-fable-5", Thinking.ADAPTIVE, True, False, True),
        ("claude-opus-5-5", Thinking.ADAPTIVE, True, False, True),
        ("us.anthropic.claude-sonnet-4-6-v1:0", Thinking.ADAPTIVE, False, True, True),
        ("house-model", Thinking.BUDGET, False, True, False),
    ],
)
def test_models_are_known_by_their_names(
    model: str, thinking: Thinking, *, always: bool, sampling: bool, schema: bool
) -> None:
    facts = facts_of(model)

    assert (thinking, always, sampling, schema) == (facts.thinking, facts.always_thinks, facts.sampling, facts.schema)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-sonnet-4-5", {}),
        ("claude-opus-4-8", {}),
        ("claude-opus-5", {"thinking": {"type": "disabled"}}),
        ("claude-opus-5-5", {"output_config": {"effort": "low"}}),
        ("claude-sonnet-5-5", {"thinking": {"type": "between_tools"}}),
    ],
)
def test_no_thinking_is_asked_for_in_the_models_own_way(model: str, expected: dict[str, Any]) -> None:
    body = body_of(ChatInput(messages=(user("x"),), reasoning_effort=ReasoningEffort.NONE), model)

    assert expected == {key: body[key] for key in ("thinking", "output_config") if key in body}


@pytest.mark.parametrize(("limit", "expected"), [(10_000, 8192), (4096, 3072), (2048, 1024), (2047, None)])
def test_thinking_budget_leaves_room_for_the_answer(limit: int, expected: int | None) -> None:
    chat = ChatInput(messages=(user("x"),), reasoning_effort=ReasoningEffort.MEDIUM)

    body = body_of(chat, max_output_tokens=limit)

    assert expected == body.get("thinking", {}).get("budget_tokens")


def test_thinking_is_not_asked_of_a_model_that_cannot() -> None:
    call = call_of(ChatInput(messages=(user("x"),), reasoning_effort=ReasoningEffort.HIGH))
    call = replace(call, spec=replace(call.spec, capabilities=frozenset({Capability.TOOLS})))

    assert "thinking" not in AnthropicWire().body(call, ANTHROPIC, stream=False)


def test_forced_tool_use_goes_before_thinking() -> None:
    chat = ChatInput(
        messages=(user("x"),),
        reasoning_effort=ReasoningEffort.HIGH,
        tools=(Tool(name="f"),),
        tool_choice=ToolChoice(mode=ToolChoiceMode.NAMED, name="f"),
    )

    assert "thinking" not in body_of(chat)
    assert {"type": "disabled"} == body_of(chat, "claude-opus-5")["thinking"]


def test_tool_loop_begun_by_another_provider_goes_on_without_a_thinking_budget() -> None:
    call = Part(content=ToolCall(id="c", name="f", arguments_json="{}"))
    thought = Part(content=Reasoning(text="t"), signature="s", origin_provider="anthropic")
    result = Message(role=Role.TOOL, parts=(Part(content=ToolResult(tool_call_id="c")),))

    def chat(*parts: Part) -> ChatInput:
        turn = Message(role=Role.ASSISTANT, parts=parts)
        return ChatInput(
            messages=(user("x"), turn, result), tools=(Tool(name="f"),), reasoning_effort=ReasoningEffort.LOW
        )

    assert "thinking" not in body_of(chat(call))
    assert "thinking" in body_of(chat(thought, call))


@pytest.mark.parametrize(
    "part",
    [
        Part(content=Reasoning(text="t"), signature="s", origin_provider="openai"),
        Part(content=Reasoning(redacted_data=b"d"), origin_provider="other"),
        Part(content=Reasoning(text="t"), origin_provider="anthropic"),
    ],
)
def test_state_of_another_provider_and_unsigned_thoughts_are_dropped(part: Part) -> None:
    turn = Message(role=Role.ASSISTANT, parts=(part, Part(content=Text(text="Yes."))))

    content = body_of(ChatInput(messages=(user("x"), turn, user("y"))))["messages"][1]["content"]

    assert [{"type": "text", "text": "Yes."}] == content


def test_newer_models_get_one_sampling_parameter_or_none() -> None:
    chat = ChatInput(messages=(user("x"),), temperature=1.5, top_p=0.5)

    assert (1.0, 0.5) == tuple(body_of(chat, "claude-3-haiku-20240307")[key] for key in ("temperature", "top_p"))
    assert "top_p" not in body_of(chat, "claude-sonnet-4-5")
    assert "temperature" not in body_of(chat, "claude-sonnet-5")


def test_token_limit_that_the_wire_demands_is_always_there() -> None:
    chat = ChatInput(messages=(user("x"),))
    call = call_of(chat)
    unknown = replace(call, spec=replace(call.spec, max_output_tokens=None))

    assert 7 == body_of(chat, max_output_tokens=7)["max_tokens"]
    assert 8192 == body_of(chat)["max_tokens"]
    assert 4096 == AnthropicWire().body(unknown, ANTHROPIC, stream=False)["max_tokens"]


def test_no_more_than_four_cache_breakpoints_are_sent() -> None:
    parts = tuple(Part(content=Text(text=str(i)), cache_breakpoint=True) for i in range(6))

    content = body_of(ChatInput(messages=(Message(role=Role.USER, parts=parts),)))["messages"][0]["content"]

    assert [False, False, True, True, True, True] == ["cache_control" in block for block in content]


def test_empty_texts_and_trailing_space_of_a_turn_to_continue_are_not_sent() -> None:
    turn = Message(role=Role.ASSISTANT, parts=(Part(content=Text(text="")), Part(content=Text(text="So  "))))

    assert [{"type": "text", "text": "So"}] == body_of(ChatInput(messages=(user("x"), turn)))["messages"][1]["content"]


def test_turn_to_continue_that_is_white_space_alone_is_not_sent() -> None:
    space = Message(role=Role.ASSISTANT, parts=(Part(content=Text(text=" ")), Part(content=Text(text="\n "))))
    said = Message(role=Role.ASSISTANT, parts=(Part(content=Text(text="So ")), Part(content=Text(text=" "))))

    assert ["user"] == [turn["role"] for turn in body_of(ChatInput(messages=(user("x"), space)))["messages"]]
    assert [{"type": "text", "text": "So"}] == body_of(ChatInput(messages=(user("x"), said)))["messages"][1]["content"]


def test_arguments_that_are_no_object_are_wrapped() -> None:
    turn = Message(role=Role.ASSISTANT, parts=(Part(content=ToolCall(id="c", name="f", arguments_json="{bad")),))

    block = body_of(ChatInput(messages=(user("x"), turn)))["messages"][1]["content"][0]

    assert {"arguments": "{bad"} == block["input"]


def test_tools_of_the_past_are_declared_and_forbidden_when_none_are_given() -> None:
    turn = Message(role=Role.ASSISTANT, parts=(Part(content=ToolCall(id="c", name="f", arguments_json="{}")),))

    body = body_of(ChatInput(messages=(user("x"), turn)))

    assert (["f"], {"type": "none"}) == ([tool["name"] for tool in body["tools"]], body["tool_choice"])


def test_tool_results_stand_before_what_else_the_user_says() -> None:
    calls = tuple(Part(content=ToolCall(id=name, name="f", arguments_json="{}")) for name in ("a", "b"))
    results = [Message(role=Role.TOOL, parts=(Part(content=ToolResult(tool_call_id=name)),)) for name in ("a", "b")]
    turns = (user("x"), Message(role=Role.ASSISTANT, parts=calls), results[0], user("Also:"), results[1])

    content = body_of(ChatInput(messages=turns))["messages"][2]["content"]

    assert ["a", "b", None] == [block.get("tool_use_id") for block in content]


def test_audio_is_refused_before_sending() -> None:
    part = Part(content=Media(kind=MediaKind.AUDIO, data=b"x"))
    with pytest.raises(UpstreamError) as caught:
        body_of(ChatInput(messages=(Message(role=Role.USER, parts=(part,)),)))

    assert FailureKind.INVALID_REQUEST is caught.value.kind


def test_malformed_schema_is_refused_before_sending_and_says_which() -> None:
    with pytest.raises(UpstreamError, match=r"tools\[0\]\.parameters_json_schema"):
        body_of(ChatInput(messages=(user("x"),), tools=(Tool(name="f", parameters_json_schema="{"),)))


@pytest.mark.parametrize(
    "base",
    ["https://api.anthropic.com", "https://api.anthropic.com/v1", "https://api.anthropic.com/v1/messages"],
)
def test_base_url_may_end_in_part_of_the_path(base: str) -> None:
    assert "https://api.anthropic.com/v1/messages" == messages_url(base)
