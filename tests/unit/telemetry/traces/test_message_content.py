"""Prompts and answers in spans: in the conventions' shapes and bounded where they are asked for, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from turnout_server.core.call import AttemptRecord
from turnout_server.core.chat import (
    ChatInput,
    Delta,
    JsonFormat,
    Media,
    MediaKind,
    Message,
    Part,
    PartContent,
    Reasoning,
    ReasoningDelta,
    Role,
    SignatureDelta,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import FailureKind, FinishReason, Target
from turnout_server.ports import UpstreamCall
from turnout_server.telemetry.otlp.otlp_encoding import SpanEncoder
from turnout_server.telemetry.traces.call_spans import CallSpan
from turnout_server.telemetry.traces.decision_contexts import DecisionContexts
from turnout_server.telemetry.traces.message_content import CHARACTERS, CUT, EVENT, VARIABLE, Content, Where, capturing
from turnout_server.telemetry.traces.span_building import Spans
from turnout_server.telemetry.traces.span_making import ReadableSpans
from turnout_server.telemetry.traces.tracer import CAPTURE_CONTENT

RESOURCE, SCOPE, LIMITS = Resource({"service.name": "turnout"}), InstrumentationScope("turnout"), SpanLimits()
TARGET = Target("alpha", "m")
SPEC = TargetSpec(target=TARGET, wire="openai", base_url="https://alpha.example/v1", name="alpha/m")


def message(role: Role, *contents: PartContent) -> Message:
    return Message(role=role, parts=tuple(Part(content=content) for content in contents))


CHAT = ChatInput(
    messages=(
        message(Role.SYSTEM, Text(text="Be brief.")),
        message(
            Role.USER,
            Text(text="Look:"),
            Media(kind=MediaKind.IMAGE, media_type="image/png", data=b"\x89PNG"),
            Media(kind=MediaKind.DOCUMENT, media_type="application/pdf", url="https://files.example/a.pdf?key=s3cret"),
        ),
        message(
            Role.ASSISTANT,
            Reasoning(text="Hm."),
            ToolCall(id="c-1", name="weather", arguments_json='{"city": "Köln"}'),
        ),
        message(Role.TOOL, ToolResult(tool_call_id="c-1", name="weather", content=(Part(content=Text(text="rain")),))),
    ),
    tools=(Tool(name="weather", description="Tells it.", parameters_json_schema='{"type": "object"}'),),
)
ANSWER: tuple[Delta, ...] = (
    ReasoningDelta(part_index=0, text="So", redacted_data=b"hidden"),
    SignatureDelta(part_index=0, signature="sig"),
    TextDelta(part_index=1, text="Take "),
    TextDelta(part_index=1, text="a coat."),
    ToolCallDelta(part_index=2, id="c-2", name="buy"),
    ToolCallDelta(part_index=2, arguments_fragment='{"what": '),
    ToolCallDelta(part_index=2, arguments_fragment='"coat"}'),
)


def said(content: Content, reason: FinishReason | None = FinishReason.TOOL_CALLS) -> dict[str, Any]:
    return {name: value if name == CUT else json.loads(value) for name, value in content.attributes(reason).items()}


def test_the_shapes_are_those_of_the_conventions() -> None:
    content = Content(CHAT, Where.SPAN_ONLY)
    for delta in ANSWER:
        content.came((delta,))

    assert said(content) == {
        "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
        "gen_ai.input.messages": [
            {
                "role": "user",
                "parts": [
                    {"type": "text", "content": "Look:"},
                    {"type": "blob", "modality": "image", "mime_type": "image/png", "content": None},
                    {
                        "type": "uri",
                        "modality": "document",
                        "mime_type": "application/pdf",
                        "uri": "https://files.example/a.pdf",
                    },
                ],
            },
            {
                "role": "assistant",
                "parts": [
                    {"type": "reasoning", "content": "Hm."},
                    {"type": "tool_call", "id": "c-1", "name": "weather", "arguments": {"city": "Köln"}},
                ],
            },
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c-1", "response": "rain"}]},
        ],
        "gen_ai.tool.definitions": [
            {"type": "function", "name": "weather", "description": "Tells it.", "parameters": {"type": "object"}}
        ],
        "gen_ai.output.messages": [
            {
                "role": "assistant",
                "parts": [
                    {"type": "reasoning", "content": "So"},
                    {"type": "text", "content": "Take a coat."},
                    {"type": "tool_call", "id": "c-2", "name": "buy", "arguments": {"what": "coat"}},
                ],
                "finish_reason": "tool_call",
            }
        ],
        # A picture's bytes are not there, nor what came behind a question mark.
        CUT: ["gen_ai.input.messages"],
    }


def test_an_answer_that_broke_has_no_reason_for_its_end() -> None:
    content = Content(ChatInput(messages=()), Where.SPAN_ONLY)
    content.came((TextDelta(part_index=0, text="Hel"),))

    assert said(content, None) == {
        "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "Hel"}]}]
    }


def test_nothing_is_said_of_nothing() -> None:
    assert Content(ChatInput(messages=()), Where.SPAN_ONLY).attributes(FinishReason.STOP) == {}


def test_of_a_long_conversation_the_newest_is_kept() -> None:
    turns = tuple(message(Role.USER, Text(text=f"{number:03}" + "x" * 997)) for number in range(100))
    found = said(Content(ChatInput(messages=turns), Where.SPAN_ONLY))

    kept = [one["parts"][0]["content"] for one in found["gen_ai.input.messages"]]
    assert found[CUT] == ["gen_ai.input.messages"]
    assert [text[:3] for text in kept] == [f"{number:03}" for number in range(100 - len(kept), 100)]
    assert CHARACTERS - 100 < sum(map(len, kept)) <= CHARACTERS


@pytest.mark.parametrize("pieces", [1, 7, 100_000])
def test_of_a_long_answer_the_beginning_is_kept(pieces: int) -> None:
    text = "".join(str(number % 10) for number in range(100_000))
    content = Content(ChatInput(messages=()), Where.SPAN_ONLY)
    step = len(text) // pieces
    for at in range(0, len(text), step):
        content.came((TextDelta(part_index=0, text=text[at : at + step]),))
    found = said(content)

    # The room is also for the frame of the part.
    assert found["gen_ai.output.messages"][0]["parts"][0]["content"] == text[: CHARACTERS - 1]
    assert found[CUT] == ["gen_ai.output.messages"]


def test_many_small_things_come_to_an_end_too() -> None:
    empty = tuple(message(Role.USER, *[Text(text="")] * 10) for _ in range(2_000))
    tools = tuple(Tool(name="") for _ in range(20_000))
    content = Content(ChatInput(messages=empty, tools=tools), Where.SPAN_ONLY)
    for number in range(10_000):
        content.came((TextDelta(part_index=number, text=""), ToolCallDelta(part_index=number)))
        content.came((SignatureDelta(part_index=number, signature="x" * 100),))
        content.came((ReasoningDelta(part_index=number, redacted_data=b"x" * 100),))

    attributes = content.attributes(FinishReason.STOP)
    assert sum(len(value) for name, value in attributes.items() if name != CUT) < 100 * CHARACTERS
    assert "gen_ai.output.messages" not in attributes


@pytest.mark.parametrize("arguments", ["", "not json", '{"a":', "[" * 5000 + "]" * 5000, '"' + "x" * 40_000 + '"'])
def test_any_arguments_will_do(arguments: str) -> None:
    chat = ChatInput(messages=(message(Role.ASSISTANT, ToolCall(id="c", name="f", arguments_json=arguments)),))
    found = said(Content(chat, Where.SPAN_ONLY))

    (kept,) = (
        one["parts"][0]["arguments"] for one in found.get("gen_ai.input.messages", [{"parts": [{"arguments": ""}]}])
    )
    assert kept == "" or arguments.startswith(kept)
    assert bool(found.get(CUT)) is (kept != arguments)


def test_what_looks_like_a_credential_is_not_kept_even_where_it_is_cut() -> None:
    key = "sk-ant-api03-" + "a1B2" * 20
    texts = (f"my key is {key}", "x" * (CHARACTERS - 40) + " " + key)
    for text in texts:
        found = Content(ChatInput(messages=(message(Role.USER, Text(text=text)),)), Where.SPAN_ONLY).attributes(None)

        assert key[:24] not in found["gen_ai.input.messages"]


class Log(list[dict[str, Any]]):
    def bound(self) -> Any:
        def keep(_logger: object, method: str, line: Any) -> str:
            self.append({**line, "level": method})
            return ""

        return structlog.wrap_logger(structlog.ReturnLogger(), processors=[keep])


@pytest.mark.parametrize("value", ["", "NO_CONTENT", "no_content", "  "])
def test_nothing_is_captured_unless_it_is_asked_for(value: str) -> None:
    log = Log()

    assert capturing({}, log.bound()) is None
    assert capturing({VARIABLE: value}, log.bound()) is None
    assert not log


@pytest.mark.parametrize("value", ["true", "1", "yes", "SPAN", "span-only", "ALL"])
def test_a_value_that_does_not_exist_captures_nothing_and_says_so(value: str) -> None:
    log = Log()

    assert capturing({VARIABLE: value}, log.bound()) is None
    (line,) = log
    assert (line["level"], line["given"], line["used"]) == ("warning", value, "NO_CONTENT")
    assert line["can_be"] == ["NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"]


@pytest.mark.parametrize(
    ("value", "in_span", "in_event"),
    [("SPAN_ONLY", True, False), ("event_only", False, True), ("SPAN_AND_EVENT", True, True)],
)
def test_content_is_where_it_is_asked_for(value: str, in_span: bool, in_event: bool) -> None:  # noqa: FBT001 - a case
    log = Log()
    capture = capturing({VARIABLE: value}, log.bound())
    assert capture is not None
    span, _ = spans_of(CHAT, ANSWER, capture)

    assert ("gen_ai.input.messages" in span.attributes) is in_span
    assert ("gen_ai.output.messages" in span.attributes) is in_span
    events = [event for event in span.events if event.name == EVENT]
    assert len(events) == in_event
    for event in events:
        assert event.attributes.items() >= {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}.items()
        assert "a coat" in event.attributes["gen_ai.output.messages"]
    # Whoever starts it is told that prompts leave the process.
    assert [line["used"] for line in log] == [value.upper()]


def test_both_names_of_the_variable_are_one() -> None:
    assert CAPTURE_CONTENT == VARIABLE


def spans_of(chat: ChatInput, answer: tuple[Delta, ...], capture: Any = None) -> tuple[Any, bytes]:
    """The attempt's span of a call, as the SDK has it, and the bytes that are sent of it."""
    ids = iter(range(2, 100))
    call = CallSpan(
        "Execute",
        trace_id=1,
        new_span_id=lambda: next(ids),
        parent=None,
        trace_state=None,
        attributes={},
        capture=capture,
        on_decided=lambda *_: None,
        on_finish=lambda _: None,
        on_late_attempt=lambda _: None,
    )
    attempt = call.attempt()
    attempt.asked(UpstreamCall(spec=SPEC, credential="planted-credential", chat=chat), streaming=True)
    listener = attempt.listener()
    if listener is not None:
        listener(answer)
    attempt.ended(
        AttemptRecord(target=TARGET, attempt_id="a-1", started_at_wall=1.0, failure=FailureKind.TRUNCATED), None
    )
    call.answered()
    call.finish()
    encoder = SpanEncoder(RESOURCE, SCOPE, LIMITS)
    encoded = encoder.message(list(Spans(encoder, DecisionContexts()).of_call(call)))
    whole = list(Spans(ReadableSpans(RESOURCE, SCOPE, LIMITS), DecisionContexts()).of_call(call))
    return next(span for span in whole if span.name.startswith("chat")), encoded


PLANTED = st.text(alphabet="abcdefghij", min_size=4, max_size=8).map(lambda text: f"planted-{text}")
CONTENTS = st.one_of(
    st.builds(Text, text=PLANTED),
    st.builds(Reasoning, text=PLANTED, redacted_data=PLANTED.map(str.encode)),
    st.builds(ToolCall, id=PLANTED, name=PLANTED, arguments_json=PLANTED),
    st.builds(
        ToolResult,
        tool_call_id=PLANTED,
        name=PLANTED,
        content=st.tuples(st.builds(Part, content=st.builds(Text, text=PLANTED))),
    ),
    st.builds(Media, kind=st.sampled_from(MediaKind), media_type=PLANTED, data=PLANTED.map(str.encode)),
    st.builds(Media, kind=st.sampled_from(MediaKind), media_type=PLANTED, url=PLANTED.map("https://{}".format)),
)
CHATS = st.builds(
    ChatInput,
    messages=st.lists(
        st.builds(
            Message,
            role=st.sampled_from(Role),
            parts=st.lists(st.builds(Part, content=CONTENTS, signature=PLANTED), max_size=3).map(tuple),
        ),
        max_size=4,
    ).map(tuple),
    tools=st.lists(st.builds(Tool, name=PLANTED, description=PLANTED, parameters_json_schema=PLANTED), max_size=2).map(
        tuple
    ),
    response_format=st.none() | st.builds(JsonFormat, name=PLANTED, schema_json=PLANTED),
    stop=st.lists(PLANTED, max_size=2).map(tuple),
    provider_options=st.dictionaries(PLANTED, st.dictionaries(PLANTED, PLANTED, max_size=2), max_size=2),
)
DELTAS = st.lists(
    st.one_of(
        st.builds(TextDelta, part_index=st.integers(0, 3), text=PLANTED),
        st.builds(ReasoningDelta, part_index=st.integers(0, 3), text=PLANTED),
        st.builds(ToolCallDelta, part_index=st.integers(0, 3), id=PLANTED, name=PLANTED, arguments_fragment=PLANTED),
        st.builds(SignatureDelta, part_index=st.integers(0, 3), signature=PLANTED),
    ),
    max_size=6,
).map(tuple)


@settings(max_examples=60, deadline=None)
@given(chat=CHATS, answer=DELTAS)
def test_without_being_asked_for_no_content_is_in_any_span(chat: ChatInput, answer: tuple[Delta, ...]) -> None:
    capture = capturing({VARIABLE: "NO_CONTENT"}, structlog.get_logger())
    span, sent = spans_of(chat, answer, capture)

    assert "planted" not in span.to_json()
    assert b"planted" not in sent


@settings(max_examples=60, deadline=None)
@given(chat=CHATS, answer=DELTAS)
def test_whatever_is_captured_is_json_and_no_credential(chat: ChatInput, answer: tuple[Delta, ...]) -> None:
    span, sent = spans_of(chat, answer, lambda chat: Content(chat, Where.SPAN_AND_EVENT))

    for name in ("system_instructions", "input.messages", "output.messages", "tool.definitions"):
        kept = span.attributes.get(f"gen_ai.{name}")
        assert kept is None or json.loads(kept)
    assert b"planted-credential" not in sent
