"""What each vendor of the openai wire is sent, and what is read of its answers, where it differs from the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.wire.conftest import bench_of
from tests.wire.dialect_speakers import (
    DialectSpeaker,
    GroqSpeaker,
    KimiSpeaker,
    LocalSpeaker,
    MiniMaxSpeaker,
    MistralSpeaker,
    OpenRouterSpeaker,
    XaiSpeaker,
)
from tests.wire.every_speaker import SPEAKERS
from tests.wire.scripted_server import Head, Script, ScriptedServer, json_answer
from tests.wire.speakers import EVERYTHING, as_read, data, hello, spec_of, user
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
    StreamEvent,
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
from turnout_server.core.model import Capability, FailureKind, FinishReason, ReasoningEffort, Target
from turnout_server.execution.gather import Gatherer
from turnout_server.execution.sending import output_limit
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.media import media_by_url
from turnout_server.providers.openai import OpenAIWire

TOOLS = (Tool(name="weather"), Tool(name="time"))
LOW, MEDIUM, HIGH, NONE = ReasoningEffort.LOW, ReasoningEffort.MEDIUM, ReasoningEffort.HIGH, ReasoningEffort.NONE
VENDORS = sorted(name for name, make in SPEAKERS.items() if isinstance(make(), DialectSpeaker))


def body_of(provider: str, model: str, chat: ChatInput, *, thinks: bool = True, stream: bool = False) -> dict[str, Any]:
    spec = spec_of(LocalSpeaker(), "https://example.com/v1")
    capabilities = EVERYTHING if thinks else EVERYTHING - {Capability.THINKING}
    spec = replace(spec, target=Target(provider, model), capabilities=capabilities)
    call = UpstreamCall(spec=spec, credential="", chat=chat)
    return as_read(OpenAIWire().body(call, dialect_of(provider, "openai"), stream=stream))


async def answered(speaker: DialectSpeaker, server: ScriptedServer, stream: list[bytes]) -> list[StreamEvent]:
    async with bench_of(speaker, server) as bench:
        return await bench.stream([Head(), *stream])


def text_of(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def thinking_of(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, ReasoningDelta))


def turn_of(events: list[StreamEvent], provider: str) -> Message:
    """The answer as a caller sends it back."""
    gatherer = Gatherer()
    gatherer.add(e for e in events if isinstance(e, (TextDelta, ReasoningDelta, ToolCallDelta, SignatureDelta)))
    return Message(role=Role.ASSISTANT, parts=gatherer.parts(provider))


@pytest.mark.parametrize(
    ("provider", "field"),
    [
        ("openai", "max_completion_tokens"),
        ("mistral", "max_tokens"),
        ("groq", "max_completion_tokens"),
        ("cerebras", "max_completion_tokens"),
        ("xai", "max_completion_tokens"),
        ("kimi", "max_completion_tokens"),
        ("minimax", "max_completion_tokens"),
        ("openrouter", "max_tokens"),
        ("onnx", "max_tokens"),
    ],
)
def test_token_limit_has_the_vendors_name(provider: str, field: str) -> None:
    body = body_of(provider, "m", ChatInput(messages=(user("x"),), max_output_tokens=5))

    assert {field: 5} == {name: value for name, value in body.items() if name.startswith("max_")}


@pytest.mark.parametrize(
    ("provider", "asked"), [("mistral", False), ("groq", False), ("cerebras", True), ("xai", True), ("kimi", True)]
)
def test_usage_of_a_stream_is_asked_for_where_it_does_not_come_by_itself(provider: str, *, asked: bool) -> None:
    body = body_of(provider, "m", hello(), stream=True)

    assert asked is ("stream_options" in body)


def test_cost_is_asked_for_where_it_can_be_had() -> None:
    assert {"include": True} == body_of("openrouter", "x/y", hello())["usage"]
    assert "usage" not in body_of("onnx", "m", hello())


def test_seed_has_the_vendors_name() -> None:
    chat = ChatInput(messages=(user("x"),), seed=7)

    assert 7 == body_of("mistral", "codestral-latest", chat)["random_seed"]
    assert "seed" not in body_of("mistral", "codestral-latest", chat)
    assert "seed" not in body_of("minimax", "MiniMax-M2.7", chat)
    assert 7 == body_of("groq", "llama-3.3-70b-versatile", chat)["seed"]


@pytest.mark.parametrize(
    ("provider", "model", "effort", "expected"),
    [
        ("mistral", "mistral-medium-3-5", LOW, {"reasoning_effort": "high"}),
        ("mistral", "mistral-medium-3-5", NONE, {"reasoning_effort": "none"}),
        ("mistral", "magistral-medium-latest", HIGH, {}),
        ("mistral", "codestral-latest", HIGH, {}),
        ("mistral", "devstral-small-2505", HIGH, {}),
        ("groq", "openai/gpt-oss-120b", NONE, {"reasoning_effort": "low"}),
        ("groq", "openai/gpt-oss-20b", HIGH, {"reasoning_effort": "high"}),
        ("groq", "qwen/qwen3-32b", HIGH, {"reasoning_effort": "default", "reasoning_format": "parsed"}),
        ("groq", "qwen/qwen3-32b", NONE, {"reasoning_effort": "none", "reasoning_format": "parsed"}),
        ("groq", "qwen/qwen3.8-27b", MEDIUM, {"reasoning_effort": "medium", "reasoning_format": "parsed"}),
        ("groq", "llama-3.3-70b-versatile", HIGH, {}),
        ("cerebras", "gpt-oss-120b", NONE, {"reasoning_effort": "low"}),
        ("cerebras", "qwen-3.8-27b", NONE, {"reasoning_effort": "none", "reasoning_format": "parsed"}),
        ("cerebras", "zai-glm-4.7", HIGH, {"reasoning_format": "parsed"}),
        ("xai", "grok-3-mini", MEDIUM, {"reasoning_effort": "low"}),
        ("xai", "grok-3", HIGH, {}),
        ("xai", "grok-4", HIGH, {}),
        ("xai", "grok-4-0709", HIGH, {}),
        ("xai", "grok-4-fast-reasoning", HIGH, {}),
        ("xai", "grok-4.20-0309-reasoning", HIGH, {}),
        ("xai", "grok-4.20-0309-non-reasoning", HIGH, {}),
        ("xai", "grok-4.3", NONE, {"reasoning_effort": "none"}),
        ("xai", "grok-4.7", NONE, {"reasoning_effort": "low"}),
        ("kimi", "kimi-k3", MEDIUM, {"reasoning_effort": "high"}),
        ("kimi", "kimi-k2.6", NONE, {"thinking": {"type": "disabled"}}),
        ("kimi", "kimi-k2.5", LOW, {"thinking": {"type": "enabled"}}),
        ("kimi", "kimi-k2.7-code", NONE, {}),
        ("kimi", "moonshot-v1-128k", HIGH, {}),
        ("minimax", "MiniMax-M3", NONE, {"thinking": {"type": "disabled"}, "reasoning_split": True}),
        ("minimax", "MiniMax-M2.7", HIGH, {"reasoning_split": True}),
        ("minimax", "MiniMax-Text-01", HIGH, {}),
        ("openrouter", "anthropic/claude-sonnet-4.5", LOW, {"reasoning": {"effort": "low"}}),
        ("onnx", "qwen3-4b-onnx", NONE, {"reasoning_effort": "none"}),
    ],
)
def test_effort_is_asked_for_as_the_model_takes_it(
    provider: str, model: str, effort: ReasoningEffort, expected: dict[str, Any]
) -> None:
    thinks = "v1" not in model
    body = body_of(provider, model, ChatInput(messages=(user("x"),), reasoning_effort=effort), thinks=thinks)

    assert expected == {name: body[name] for name in body.keys() - {"model", "messages", "usage"}}


@pytest.mark.parametrize("provider", ["mistral", "cerebras", "xai", "openrouter", "onnx"])
def test_model_that_does_not_think_is_not_asked_to(provider: str) -> None:
    chat = ChatInput(messages=(user("x"),), reasoning_effort=HIGH)

    assert body_of(provider, "m", replace(chat, reasoning_effort=None), thinks=False) == body_of(
        provider, "m", chat, thinks=False
    )


@pytest.mark.parametrize(
    ("provider", "model", "dropped"),
    [
        ("xai", "grok-4.3", {"stop"}),
        ("xai", "grok-3", set()),
        ("xai", "grok-4-fast-non-reasoning", set()),
        ("kimi", "kimi-k2.6", {"temperature", "top_p"}),
        ("kimi", "moonshot-v1-8k", set()),
        ("minimax", "MiniMax-M2", {"parallel_tool_calls", "response_format", "tool_choice"}),
        ("minimax", "MiniMax-M3", {"parallel_tool_calls", "tool_choice"}),
        ("groq", "openai/gpt-oss-120b", set()),
        ("mistral", "codestral-latest", set()),
        ("openrouter", "openai/gpt-5", set()),
    ],
)
def test_what_a_model_refuses_is_not_sent(provider: str, model: str, dropped: set[str]) -> None:
    chat = ChatInput(
        messages=(user("x"),),
        temperature=0.5,
        top_p=0.9,
        stop=("END",),
        tools=TOOLS,
        tool_choice=ToolChoice(mode=ToolChoiceMode.AUTO),
        parallel_tool_calls=True,
        response_format=JsonFormat(),
    )
    asked = {"temperature", "top_p", "stop", "tools", "tool_choice", "parallel_tool_calls", "response_format"}

    body = body_of(provider, model, chat, thinks="moonshot" not in model)

    assert dropped == asked - body.keys()


def test_callers_own_options_stand_above_what_is_dropped() -> None:
    chat = ChatInput(messages=(user("x"),), provider_options={"xai": {"stop": ["END"], "search_parameters": {}}})

    assert ["END"] == body_of("xai", "grok-4.3", chat)["stop"]


NAMED = ToolChoice(mode=ToolChoiceMode.NAMED, name="time")
REQUIRED = ToolChoice(mode=ToolChoiceMode.REQUIRED)


@pytest.mark.parametrize(
    ("provider", "model", "choice", "expected"),
    [
        ("mistral", "codestral-latest", REQUIRED, {"tool_choice": "any"}),
        ("groq", "openai/gpt-oss-120b", REQUIRED, {"tool_choice": "required"}),
        ("kimi", "kimi-k3", REQUIRED, {"tool_choice": "required"}),
        ("kimi", "kimi-k2.6", REQUIRED, {"tool_choice": "required", "thinking": {"type": "disabled"}}),
        (
            "kimi",
            "kimi-k2.6",
            NAMED,
            {
                "tool_choice": {"type": "function", "function": {"name": "time"}},
                "thinking": {"type": "disabled"},
            },
        ),
        ("kimi", "kimi-k2.7-code", REQUIRED, {"tool_choice": "auto"}),
        ("kimi", "kimi-k2.7-code", ToolChoice(mode=ToolChoiceMode.NONE), {"tool_choice": "none"}),
    ],
)
def test_model_is_made_to_call_a_tool_as_far_as_it_can_be(
    provider: str, model: str, choice: ToolChoice, expected: dict[str, Any]
) -> None:
    body = body_of(provider, model, ChatInput(messages=(user("x"),), tools=TOOLS, tool_choice=choice))

    assert expected == {name: body[name] for name in body.keys() - {"model", "messages", "tools"}}
    assert 2 == len(body["tools"])


def test_model_that_cannot_be_made_to_call_a_named_tool_is_offered_no_other() -> None:
    body = body_of("kimi", "kimi-k3", ChatInput(messages=(user("x"),), tools=TOOLS, tool_choice=NAMED))

    assert "required" == body["tool_choice"]
    assert ["time"] == [tool["function"]["name"] for tool in body["tools"]]


def called(call_id: str) -> tuple[Message, Message]:
    call = ToolCall(id=call_id, name="time", arguments_json="{}")
    result = ToolResult(tool_call_id=call_id, content=(Part(content=Text(text="noon")),))
    return (
        Message(role=Role.ASSISTANT, parts=(Part(content=call),)),
        Message(role=Role.TOOL, parts=(Part(content=result),)),
    )


@pytest.mark.parametrize(
    "call_id", ["call_8f14e45fceea167a5a36dedd4bea2543", "toolu_01", "a", "", "functions.time:0", "größer12"]
)
def test_foreign_tool_call_id_becomes_nine_letters_or_digits_for_mistral_on_both_sides(call_id: str) -> None:
    first, second = body_of("mistral", "codestral-latest", ChatInput(messages=called(call_id)))["messages"]

    made = second["tool_call_id"]
    assert made == first["tool_calls"][0]["id"]
    assert made.isascii()
    assert made.isalnum()
    assert 9 == len(made)


def test_mistrals_own_tool_call_ids_stay_and_different_ones_stay_different() -> None:
    turns = [turn for call_id in ("aB3dE6gH9", "call_1", "call_2") for turn in called(call_id)]

    messages = body_of("mistral", "codestral-latest", ChatInput(messages=tuple(turns)))["messages"]
    ids = [message["tool_call_id"] for message in messages if message["role"] == "tool"]

    assert "aB3dE6gH9" == ids[0]
    assert 3 == len(set(ids))


def test_mistral_hears_the_assistant_between_tools_and_the_user() -> None:
    turns = (user("?"), *called("aB3dE6gH9"), user("!"))
    image = Part(content=Media(kind=MediaKind.IMAGE, url="https://example.com/a.png"))
    shown = Message(role=Role.TOOL, parts=(Part(content=ToolResult(tool_call_id="a", content=(image,))),))

    def roles(provider: str, *messages: Message) -> list[str]:
        return [message["role"] for message in body_of(provider, "m", ChatInput(messages=messages))["messages"]]

    assert ["user", "assistant", "tool", "assistant", "user"] == roles("mistral", *turns)
    assert ["user", "assistant", "tool", "user"] == roles("groq", *turns)
    assert ["tool", "assistant", "user"] == roles("mistral", shown)
    assert ["user", "assistant", "tool"] == roles("mistral", *turns[:3])


def test_kimi_is_given_pictures_as_bytes_only() -> None:
    assert {Capability.VISION} == media_by_url("openai", dialect_of("groq", "openai"))
    assert set() == media_by_url("openai", dialect_of("kimi", "openai"))


def test_mistral_gets_documents_and_sound_in_its_own_form() -> None:
    pdf = Media(kind=MediaKind.DOCUMENT, media_type="application/pdf", data=b"PDF")
    sound = Media(kind=MediaKind.AUDIO, media_type="audio/mpeg", data=b"mp3")
    chat = ChatInput(messages=(Message(role=Role.USER, parts=(Part(content=pdf), Part(content=sound))),))

    assert [
        {"type": "document_url", "document_url": "data:application/pdf;base64,UERG"},
        {"type": "input_audio", "input_audio": "bXAz"},
    ] == body_of("mistral", "mistral-medium-3-5", chat)["messages"][0]["content"]


REASONED: dict[str, tuple[str, dict[str, Any]]] = {
    "kimi": ("kimi", {"reasoning_content": "Hm, well.", "content": "Yes."}),
    "groq": ("groq", {"reasoning": "Hm, well.", "content": "Yes."}),
    "cerebras": ("cerebras", {"reasoning": "Hm, well.", "content": "Yes."}),
    "mistral": (
        "mistral",
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm, well."}]},
                {"type": "text", "text": "Yes."},
            ]
        },
    ),
    "openrouter": (
        "openrouter",
        {
            "reasoning_details": [
                {
                    "type": "reasoning.text",
                    "format": "anthropic-claude-v1",
                    "index": 0,
                    "text": "Hm, well.",
                    "signature": "c2ln",
                }
            ],
            "content": "Yes.",
        },
    ),
    "minimax": (
        "minimax",
        {"reasoning_details": [{"type": "reasoning.text", "text": "Hm, well."}], "content": "Yes."},
    ),
    "xai": ("xai", {"content": "Yes."}),
    "onnx": ("onnx", {"content": "Yes."}),
}


@pytest.mark.parametrize("provider", VENDORS)
async def test_reasoning_goes_back_to_its_vendor_as_it_wants_it(provider: str, server: ScriptedServer) -> None:
    speaker = SPEAKERS[provider]()
    assert isinstance(speaker, DialectSpeaker)
    events = await answered(speaker, server, speaker.reasoning_stream(["Hm, ", "well."], "Yes."))

    turn = turn_of(events, provider)
    sent = body_of(provider, speaker.model, ChatInput(messages=(turn, user("Sure?"))))["messages"][0]

    assert {"role": "assistant", **REASONED[provider][1]} == sent


@pytest.mark.parametrize("provider", ["kimi", "groq", "mistral", "openrouter", "minimax"])
async def test_reasoning_of_another_vendor_stays_behind(provider: str) -> None:
    speaker = SPEAKERS[provider]()
    parts = (
        Part(content=Reasoning(text="Hm."), signature="[]", origin_provider="anthropic"),
        Part(content=Reasoning(text="Well.")),
        Part(content=Reasoning(text="So."), origin_provider=provider),
        Part(content=Text(text="Yes.")),
    )

    sent = body_of(provider, speaker.model, ChatInput(messages=(Message(role=Role.ASSISTANT, parts=parts),)))

    assert [{"role": "assistant", "content": "Yes."}] == sent["messages"]


def test_model_that_does_not_reason_gets_no_reasoning_back() -> None:
    part = Part(content=Reasoning(text="Hm."), signature="reasoning", origin_provider="groq")
    chat = ChatInput(messages=(Message(role=Role.ASSISTANT, parts=(part, Part(content=Text(text="Yes.")))),))

    assert [{"role": "assistant", "content": "Yes."}] == body_of("groq", "llama-3.3-70b-versatile", chat)["messages"]


def test_kimi_finds_reasoning_in_every_turn_that_called_tools() -> None:
    turns = (user("?"), *called("call_1"), user("!"))

    thinking = body_of("kimi", "kimi-k2.6", ChatInput(messages=turns))["messages"]
    plain = body_of("kimi", "moonshot-v1-8k", ChatInput(messages=turns), thinks=False)["messages"]

    own = Part(content=Reasoning(text="Hm."), signature="reasoning_content", origin_provider="kimi")
    turn = replace(turns[1], parts=(own, *turns[1].parts))
    known = body_of("kimi", "kimi-k2.6", ChatInput(messages=(turns[0], turn, *turns[2:])))["messages"]

    assert " " == thinking[1]["reasoning_content"]
    assert "Hm." == known[1]["reasoning_content"]
    assert "reasoning_content" not in plain[1]


async def test_mistrals_own_signature_goes_back_with_its_thinking(server: ScriptedServer) -> None:
    speaker = MistralSpeaker()
    signed = {**speaker.thinking("Hm."), "signature": "c2ln", "closed": True}
    events = await answered(
        speaker,
        server,
        [speaker.chunk({"content": [signed]}), speaker.chunk({"content": "Yes."}), *speaker.finish("stop")],
    )

    chat = ChatInput(messages=(turn_of(events, "mistral"),))
    sent = body_of("mistral", speaker.model, chat)["messages"][0]["content"]

    assert [{**speaker.thinking("Hm."), "signature": "c2ln"}, {"type": "text", "text": "Yes."}] == sent


async def test_chunks_of_a_list_that_are_no_text_are_left_out(server: ScriptedServer) -> None:
    speaker = MistralSpeaker()
    content = [
        {"type": "text", "text": "Ye"},
        {"type": "reference", "reference_ids": [0, 1]},
        {"type": "text", "text": "s."},
    ]

    events = await answered(speaker, server, [speaker.chunk({"content": content}), *speaker.finish("stop")])

    assert "Yes." == text_of(events)


async def test_full_window_is_an_answer_cut_short(server: ScriptedServer) -> None:
    speaker = MistralSpeaker()

    events = await answered(speaker, server, [*speaker.cut_before_end(["x"]), *speaker.finish("model_length")])

    assert [FinishReason.LENGTH] == [event.reason for event in events if isinstance(event, Finished)]


async def test_answer_that_minimax_repeats_at_the_end_is_told_once(server: ScriptedServer) -> None:
    speaker = MiniMaxSpeaker()

    events = await answered(speaker, server, speaker.text_stream(["Hel", "lo"]))

    assert "Hello" == text_of(events)


async def test_thinking_that_minimax_sends_in_a_field_and_in_tags_is_told_once(server: ScriptedServer) -> None:
    speaker = MiniMaxSpeaker()
    both = [
        speaker.chunk({"content": "<think>Hm, ", "reasoning_content": "Hm, "}),
        speaker.chunk({"content": "well.</think>\n\nYes.", "reasoning_content": "well."}),
    ]

    events = await answered(speaker, server, [*both, *speaker.end_with("", "stop")])

    assert ("Hm, well.", "Yes.") == (thinking_of(events), text_of(events))


@pytest.mark.parametrize("texts", [["Hm, ", "well."], ["Hm, ", "Hm, well."]], ids=["what is new", "all so far"])
async def test_thinking_that_minimax_sends_in_blocks_is_told_once(server: ScriptedServer, texts: list[str]) -> None:
    speaker = MiniMaxSpeaker()
    block = {"type": "reasoning.text", "id": "reasoning-text-1", "format": "MiniMax-response-v1", "index": 0}
    chunks = [speaker.chunk({"reasoning_details": [{**block, "text": text}]}) for text in texts]

    events = await answered(
        speaker, server, [*chunks, speaker.chunk({"content": "Yes."}), *speaker.end_with("", "stop")]
    )
    sent = body_of("minimax", speaker.model, ChatInput(messages=(turn_of(events, "minimax"),)))["messages"][0]

    assert ("Hm, well.", "Yes.") == (thinking_of(events), text_of(events))
    assert [{**block, "text": "Hm, well."}] == sent["reasoning_details"]


@pytest.mark.parametrize(
    ("speaker", "cost"), [(OpenRouterSpeaker(), 0.0042), (XaiSpeaker(), 0.0002709), (GroqSpeaker(), None)]
)
async def test_price_that_a_vendor_states_is_heard(
    speaker: DialectSpeaker, cost: float | None, server: ScriptedServer
) -> None:
    events = await answered(speaker, server, speaker.text_stream(["x"]))

    assert [cost] == [event.cost_usd for event in events if isinstance(event, UsageReported)]


async def test_usage_that_comes_twice_is_told_once(server: ScriptedServer) -> None:
    speaker = KimiSpeaker()
    stream = speaker.text_stream(["x"])

    events = await answered(speaker, server, [*stream[:-1], *speaker.end()])

    assert 1 == sum(isinstance(event, UsageReported) for event in events)


@pytest.mark.parametrize("whole", [False, True], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1002, FailureKind.RATE_LIMITED),
        (1004, FailureKind.AUTHENTICATION),
        (1008, FailureKind.QUOTA_EXHAUSTED),
        (1000, FailureKind.SERVER_ERROR),
    ],
)
async def test_failure_that_minimax_hides_in_a_200_is_one(
    server: ScriptedServer, code: int, expected: FailureKind, *, whole: bool
) -> None:
    hidden = {"id": "1", "choices": None, "base_resp": {"status_code": code, "status_msg": "no"}}
    script: Script = json_answer(orjson.dumps(hidden)) if whole else [Head(), data(hidden)]

    async with bench_of(MiniMaxSpeaker(), server) as bench:
        error = await bench.failing_stream(script)

    assert (expected, 200) == (error.kind, error.http_status)


@pytest.mark.parametrize(
    ("speaker", "chunk", "expected"),
    [
        (
            MiniMaxSpeaker(),
            MiniMaxSpeaker().chunk({}, base_resp={"status_code": 1002, "status_msg": "rate limit"}),
            FailureKind.RATE_LIMITED,
        ),
        (
            OpenRouterSpeaker(),
            OpenRouterSpeaker().chunk({}, choices=[{"index": 0, "error": {"code": 502, "message": "upstream"}}]),
            FailureKind.SERVER_ERROR,
        ),
        (MistralSpeaker(), MistralSpeaker().chunk({"content": ""}, "error"), FailureKind.SERVER_ERROR),
    ],
    ids=["beside a choice", "in a choice", "as a finish reason"],
)
async def test_failure_that_comes_with_a_choice_is_one(
    server: ScriptedServer, speaker: DialectSpeaker, chunk: bytes, expected: FailureKind
) -> None:
    async with bench_of(speaker, server) as bench:
        error = await bench.failing_stream([Head(), *speaker.cut_before_end(["x"]), chunk])

    assert expected is error.kind
    assert "x" == text_of(bench.events)


async def test_answer_that_looks_like_the_beginning_of_a_tag_is_told_whole(server: ScriptedServer) -> None:
    speaker = LocalSpeaker()

    events = await answered(speaker, server, speaker.text_stream(["<", "thi"]))

    assert "<thi" == text_of(events)


async def test_answer_without_thinking_has_nothing_to_send_back(server: ScriptedServer) -> None:
    speaker = KimiSpeaker()

    events = await answered(speaker, server, speaker.text_stream(["x"]))

    assert not [event for event in events if isinstance(event, SignatureDelta)]


async def test_blocks_go_back_unchanged_where_thinking_stood_elsewhere_too(server: ScriptedServer) -> None:
    speaker = OpenRouterSpeaker()
    block = speaker.details(text="well.")
    chunks = [
        speaker.chunk({"reasoning": "Hm, "}),
        speaker.chunk({"reasoning": "well.", "reasoning_details": [block]}),
        speaker.chunk({}, "stop"),
    ]

    events = await answered(speaker, server, chunks)
    sent = body_of("openrouter", speaker.model, ChatInput(messages=(turn_of(events, "openrouter"),)))["messages"][0]

    assert "Hm, well." == thinking_of(events)
    assert [block] == sent["reasoning_details"]


async def test_thinking_of_mistral_may_be_one_text(server: ScriptedServer) -> None:
    speaker = MistralSpeaker()
    chunk = speaker.chunk({"content": [{"type": "thinking", "thinking": "Hm."}]})

    assert "Hm." == thinking_of(await answered(speaker, server, [chunk, *speaker.finish("stop")]))


async def test_word_null_is_no_id_of_a_tool_call(server: ScriptedServer) -> None:
    speaker = MistralSpeaker()
    calls = [{"id": "null", "function": {"name": name, "arguments": "{}"}} for name in ("weather", "time")]

    events = await answered(speaker, server, [speaker.chunk({"tool_calls": calls}), *speaker.finish("tool_calls")])

    told = [(event.name, event.id) for event in events if isinstance(event, ToolCallDelta)]
    assert ["weather", "time"] == [name for name, _ in told]
    assert 2 == len({call_id for _, call_id in told} - {"null"})


async def test_failure_in_the_last_chunk_of_groq_is_one(server: ScriptedServer) -> None:
    speaker = GroqSpeaker()
    last = speaker.chunk({}, x_groq={"id": "req_1", "error": "internal_server_error"})

    async with bench_of(speaker, server) as bench:
        error = await bench.failing_stream([Head(), *speaker.cut_before_end(["x"]), last])

    assert FailureKind.SERVER_ERROR is error.kind
    assert "x" == text_of(bench.events)


async def test_server_of_ones_own_is_called_without_a_key(server: ScriptedServer) -> None:
    speaker = LocalSpeaker()
    async with bench_of(speaker, server) as bench:
        bench.call = replace(bench.call, credential="")
        events = await bench.stream([Head(), *speaker.reasoning_stream(["Hm."], "Hello")])

    assert ("Hm.", "Hello") == (thinking_of(events), text_of(events))
    assert "authorization" not in server.requests[0].headers
    assert "/chat/completions" == server.requests[0].path
    assert {"model": speaker.model, "messages": [{"role": "user", "content": "Say hello."}], "stream": True} | {
        "stream_options": {"include_usage": True}
    } == orjson.loads(server.requests[0].body)


def test_cerebras_is_told_how_long_an_answer_may_become() -> None:
    spec = spec_of(LocalSpeaker(), "https://example.com")
    cerebras = replace(spec, target=Target("cerebras", "gpt-oss-120b"), context_window_tokens=10_000)

    assert 8192 == output_limit(cerebras, None, 100)
    assert 1000 == output_limit(cerebras, None, 9000)
    assert 5 == output_limit(cerebras, 5, 9000)
    assert output_limit(spec, None, 100) is None


@pytest.mark.parametrize(
    ("provider", "wire", "vendor"),
    [
        ("codestral", "openai", "mistral"),
        ("anything", "openai", ""),
        ("google", "openai", "google"),
        ("minimax", "anthropic", "minimax"),
        ("anthropic", "anthropic", "anthropic"),
        ("ollama", "openai", "ollama"),
    ],
)
def test_vendor_is_known_by_name_on_any_wire(provider: str, wire: str, vendor: str) -> None:
    dialect = dialect_of(provider, wire)

    assert vendor == dialect.vendor
    assert replace(dialect_of("anything", wire), vendor=vendor) == dialect or provider == "codestral"


def test_unknown_wire_has_no_dialect() -> None:
    with pytest.raises(KeyError):
        dialect_of("openai", "telegraph")


def test_signature_that_was_changed_is_refused_before_sending() -> None:
    part = Part(content=Reasoning(text="Hm."), signature="nonsense", origin_provider="openrouter")
    chat = ChatInput(messages=(Message(role=Role.ASSISTANT, parts=(part,)),))

    with pytest.raises(UpstreamError, match="unchanged"):
        body_of("openrouter", "anthropic/claude-sonnet-4.5", chat)


@pytest.mark.parametrize(
    ("reader", "goes_back"),
    [
        ("anthropic/claude-opus-4.6", True),
        ("~anthropic/claude-sonnet-latest", True),
        ("openai/gpt-5.1", False),
        ("google/gemini-3-pro", False),
        ("openrouter/auto", False),
    ],
)
async def test_reasoning_of_one_makers_model_goes_to_no_other_makers_at_the_same_vendor(
    server: ScriptedServer, reader: str, *, goes_back: bool
) -> None:
    speaker = OpenRouterSpeaker()
    events = await answered(speaker, server, speaker.reasoning_stream(["Hm, ", "well."], "Yes."))
    sent = body_of("openrouter", reader, ChatInput(messages=(turn_of(events, "openrouter"),)))["messages"][0]

    block = speaker.details(text="Hm, well.", signature="c2ln")
    assert sent == {"role": "assistant", "content": "Yes.", **({"reasoning_details": [block]} if goes_back else {})}


async def test_reasoning_of_a_model_that_the_vendor_chose_is_its_makers(server: ScriptedServer) -> None:
    speaker = OpenRouterSpeaker()
    speaker.model = "openrouter/auto"
    events = await answered(speaker, server, speaker.reasoning_stream(["Hm."], "Yes."))
    turns = ChatInput(messages=(turn_of(events, "openrouter"),))
    sent = [
        body_of("openrouter", reader, turns)["messages"][0]
        for reader in ("anthropic/claude-opus-4.6", "openai/gpt-5.1")
    ]

    assert [True, False] == ["reasoning_details" in turn for turn in sent]


def test_reasoning_that_does_not_tell_whose_it_is_goes_to_nobody() -> None:
    part = Part(content=Reasoning(text="Hm."), signature='[{"type":"reasoning.text"}]', origin_provider="openrouter")
    turn = Message(role=Role.ASSISTANT, parts=(part, Part(content=Text(text="Yes."))))
    sent = body_of("openrouter", "anthropic/claude-sonnet-4.5", ChatInput(messages=(turn,)))["messages"][0]

    assert {"role": "assistant", "content": "Yes."} == sent
