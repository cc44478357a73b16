"""What is particular to the ollama wire: its window, its thoughts, its tools without ids, its errors in words."""

from typing import Any

import orjson
import pytest

from tests.wire.speakers import as_read, hello, user
from turnout_server.core.chat import (
    ChatInput,
    Finished,
    JsonFormat,
    Media,
    MediaKind,
    Message,
    Part,
    Reasoning,
    Role,
    StreamEvent,
    Text,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
    UsageReported,
)
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import Capability, FailureKind, FinishReason, ReasoningEffort, Target, Usage
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.dialects import OLLAMA
from turnout_server.providers.ollama import OllamaWire, api_url
from turnout_server.providers.ollama.answer import OllamaDecoder

PNG = b"\x89PNG-not-really"
WEATHER = Tool(name="weather", parameters_json_schema='{"type":"object"}')
CLOCK = Tool(name="clock")


def call_of(
    chat: ChatInput, model: str = "qwen3", *, window: int | None = 32_768, limit: int | None = None
) -> UpstreamCall:
    spec = TargetSpec(
        target=Target("ollama", model),
        wire="ollama",
        base_url="http://localhost:11434",
        context_window_tokens=window,
        capabilities=frozenset(Capability),
    )
    return UpstreamCall(spec=spec, credential="", chat=chat, max_output_tokens=limit)


def body_of(chat: ChatInput, model: str = "qwen3", **facts: Any) -> dict[str, Any]:
    return as_read(OllamaWire().body(call_of(chat, model, **facts), OLLAMA, stream=True))


def read(*lines: dict[str, Any]) -> list[StreamEvent]:
    decoder = OllamaDecoder(hello(), "ollama")
    out: list[StreamEvent] = []
    for line in lines:
        decoder.feed(orjson.dumps(line), out)
    return out


@pytest.mark.parametrize(
    "base", ["http://h:1", "http://h:1/", "http://h:1/api", "http://h:1/api/", "http://h:1/api/chat"]
)
def test_base_url_may_end_in_part_of_the_path(base: str) -> None:
    assert "http://h:1/api/chat" == api_url(base, "chat")
    assert "http://h:1/api/tags" == api_url(base, "tags")


@pytest.mark.parametrize(
    ("prompt_bytes", "limit", "window", "asked"),
    [
        (30, None, 131_072, 8192),
        (30_000, None, 131_072, 16_384),
        (90_000, 4000, 131_072, 65_536),
        (900_000, None, 131_072, 131_072),
        (30, None, 2048, 2048),
        (30, None, None, None),
        (60_000, None, None, 32_768),
    ],
)
def test_window_is_the_smallest_step_that_holds_the_request(
    prompt_bytes: int, limit: int | None, window: int | None, asked: int | None
) -> None:
    body = body_of(ChatInput(messages=(user("x" * prompt_bytes),)), window=window, limit=limit)

    assert asked == body.get("options", {}).get("num_ctx")


def test_window_asked_for_by_the_caller_wins_and_the_limit_of_the_answer_is_not_the_callers_to_set_there() -> None:
    chat = ChatInput(messages=(user("Hi"),), provider_options={"ollama": {"options": {"num_ctx": 1234, "mirostat": 1}}})
    wrong = ChatInput(messages=(user("Hi"),), provider_options={"ollama": {"options": {"num_predict": 9}}})

    assert {"num_ctx": 1234, "mirostat": 1} == body_of(chat)["options"]
    with pytest.raises(UpstreamError, match=r"options\.num_predict"):
        body_of(wrong)


@pytest.mark.parametrize(
    ("model", "effort", "think"),
    [
        ("qwen3", ReasoningEffort.NONE, False),
        ("qwen3", ReasoningEffort.HIGH, True),
        ("gpt-oss:20b", ReasoningEffort.NONE, "low"),
        ("gpt-oss:20b", ReasoningEffort.HIGH, "high"),
    ],
)
def test_effort_is_a_switch_but_for_models_that_have_levels(model: str, effort: ReasoningEffort, think: object) -> None:
    body = body_of(ChatInput(messages=(user("Hi"),), reasoning_effort=effort), model)

    assert think == body["think"]


def test_tool_choice_is_made_by_what_is_offered() -> None:
    def offered(choice: ToolChoice) -> list[str]:
        chat = ChatInput(messages=(user("Hi"),), tools=(WEATHER, CLOCK), tool_choice=choice)
        return [tool["function"]["name"] for tool in body_of(chat).get("tools", ())]

    assert [] == offered(ToolChoice(mode=ToolChoiceMode.NONE))
    assert ["weather", "clock"] == offered(ToolChoice(mode=ToolChoiceMode.REQUIRED))
    assert ["clock"] == offered(ToolChoice(mode=ToolChoiceMode.NAMED, name="clock"))


@pytest.mark.parametrize(("schema", "sent"), [("", "json"), ('{"type":"object"}', {"type": "object"})])
def test_json_is_asked_for_by_word_or_schema(schema: str, sent: object) -> None:
    chat = ChatInput(messages=(user("Hi"),), response_format=JsonFormat(schema_json=schema))

    assert sent == body_of(chat)["format"]


def test_turns_of_a_tool_loop_keep_their_order_and_thoughts_go_back_to_their_origin_only() -> None:
    def thought(origin: str) -> Part:
        return Part(content=Reasoning(text=f"by {origin}"), origin_provider=origin)

    called = Part(content=ToolCall(id="call_1", name="weather", arguments_json='{"city":"Rome"}'))
    result = ToolResult(tool_call_id="call_1", name="weather", content=(Part(content=Text(text="rain")),))
    chat = ChatInput(
        messages=(
            user("Weather?"),
            Message(role=Role.ASSISTANT, parts=(thought("ollama"), thought("anthropic"), called)),
            Message(role=Role.TOOL, parts=(Part(content=result),)),
        )
    )

    assert [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "",
            "thinking": "by ollama",
            "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Rome"}}}],
        },
        {"role": "tool", "content": "rain", "tool_name": "weather"},
    ] == body_of(chat)["messages"]


def test_images_go_as_bytes_and_nothing_else_does() -> None:
    def asked(media: Media) -> Any:
        parts = (Part(content=Text(text="What?")), Part(content=media))
        return body_of(ChatInput(messages=(Message(role=Role.USER, parts=parts),)))["messages"]

    image = Media(kind=MediaKind.IMAGE, media_type="image/png", data=PNG)
    assert [{"role": "user", "content": "What?", "images": ["iVBORy1ub3QtcmVhbGx5"]}] == asked(image)
    for other in (Media(kind=MediaKind.IMAGE, url="https://x.example/a.png"), Media(kind=MediaKind.AUDIO, data=b"x")):
        with pytest.raises(UpstreamError) as caught:
            asked(other)
        assert FailureKind.INVALID_REQUEST is caught.value.kind


def test_tool_calls_get_ids_of_their_own_and_end_the_turn() -> None:
    def line(name: str, arguments: object) -> dict[str, Any]:
        return {"message": {"role": "assistant", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}}

    events = read(
        line("weather", {"city": "Rome"}), line("weather", '{"city":"Oslo"}'), {"done": True, "done_reason": "stop"}
    )
    calls = [event for event in events if isinstance(event, ToolCallDelta)]

    assert ['{"city":"Rome"}', '{"city":"Oslo"}'] == [call.arguments_fragment for call in calls]
    assert [0, 1] == [call.part_index for call in calls]
    assert 2 == len({call.id for call in calls})
    assert Finished(reason=FinishReason.TOOL_CALLS) == events[-1]


def test_counts_that_a_server_leaves_out_are_unknown_not_zero() -> None:
    events = read({"message": {"content": "x"}, "done": True, "done_reason": "length", "eval_count": 3})

    assert [Usage(output_tokens=3)] == [event.usage for event in events if isinstance(event, UsageReported)]
    assert Finished(reason=FinishReason.LENGTH) == events[-1]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("server busy, please try again.  maximum pending requests exceeded", FailureKind.OVERLOADED),
        ("llama runner process has terminated: exit status 2", FailureKind.SERVER_ERROR),
    ],
)
def test_error_line_inside_a_running_stream_is_a_failure_of_its_kind(words: str, kind: FailureKind) -> None:
    with pytest.raises(UpstreamError) as caught:
        read({"message": {"content": "half"}, "done": False}, {"error": words})

    assert kind is caught.value.kind


@pytest.mark.parametrize("line", [{}, {"message": 3}, {"message": {"tool_calls": [{}]}}, {"message": {"content": 7}}])
def test_line_of_another_shape_is_a_protocol_error(line: dict[str, Any]) -> None:
    with pytest.raises(UpstreamError) as caught:
        read(line)

    assert FailureKind.PROTOCOL is caught.value.kind
