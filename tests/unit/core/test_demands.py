"""What a chat request needs of a target, read from the request itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.chat import (
    ChatInput,
    JsonFormat,
    Media,
    MediaKind,
    Message,
    Part,
    PartContent,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from turnout_server.core.demands import agreed_input, demanded_profile
from turnout_server.core.errors import InvalidRequestError
from turnout_server.core.model import Capability, ReasoningEffort, RequestProfile

NOTHING = RequestProfile()
TOOL = Tool(name="look", description="looks", parameters_json_schema="{}")


def chat(*contents: PartContent, **facts: object) -> ChatInput:
    parts = tuple(Part(content=content) for content in contents)
    return ChatInput(messages=(Message(role=Role.USER, parts=parts),), **facts)  # type: ignore[arg-type]  # tests name fields


def image(**source: object) -> Media:
    return Media(kind=MediaKind.IMAGE, media_type="image/png", **source)  # type: ignore[arg-type]  # data or url


@pytest.mark.parametrize(
    ("request_", "capabilities"),
    [
        (chat(Text(text="hi")), set()),
        (chat(image(data=b"x")), {Capability.VISION}),
        (chat(Media(kind=MediaKind.AUDIO, data=b"x")), {Capability.AUDIO}),
        (chat(Media(kind=MediaKind.DOCUMENT, data=b"x")), {Capability.DOCUMENTS}),
        (chat(tools=(TOOL,)), {Capability.TOOLS}),
        (chat(tools=(TOOL,), parallel_tool_calls=True), {Capability.TOOLS, Capability.PARALLEL_TOOLS}),
        (chat(tools=(TOOL,), parallel_tool_calls=False), {Capability.TOOLS}),
        (chat(ToolCall(id="1", name="look", arguments_json="{}")), {Capability.TOOLS}),
        (chat(ToolResult(tool_call_id="1")), {Capability.TOOLS}),
        (chat(response_format=JsonFormat(schema_json="{}")), {Capability.JSON_SCHEMA}),
        (chat(response_format=JsonFormat()), set()),
        (chat(reasoning_effort=ReasoningEffort.LOW), {Capability.THINKING}),
        (chat(reasoning_effort=ReasoningEffort.NONE), set()),
    ],
)
def test_input_says_which_capabilities_are_needed(request_: ChatInput, capabilities: set[Capability]) -> None:
    assert capabilities == demanded_profile(NOTHING, request_, streaming=False).capabilities


def test_stream_needs_a_target_that_can_stream() -> None:
    assert demanded_profile(NOTHING, chat(), streaming=True).capabilities == {Capability.STREAMING}


def test_callers_further_needs_are_added() -> None:
    given_profile = RequestProfile(task="chat", capabilities=frozenset({Capability.CODE}))
    profile = demanded_profile(given_profile, chat(tools=(TOOL,)), streaming=False)

    assert profile.capabilities == {Capability.CODE, Capability.TOOLS}
    assert profile.task == "chat"


def test_media_by_url_need_a_wire_that_takes_urls() -> None:
    by_url = demanded_profile(NOTHING, chat(image(url="https://example.com/a.png")), streaming=False)
    by_bytes = demanded_profile(NOTHING, chat(image(data=b"x")), streaming=False)

    assert by_url.url_capabilities == {Capability.VISION}
    assert by_bytes.url_capabilities == frozenset()


def test_media_inside_a_tool_result_count_too() -> None:
    result = ToolResult(tool_call_id="1", content=(Part(content=image(url="https://example.com/a.png")),))

    assert demanded_profile(NOTHING, chat(result), streaming=False).url_capabilities == {Capability.VISION}


def test_prompt_is_measured_in_bytes_of_all_its_text() -> None:
    request_ = chat(
        Text(text="éé"),  # 4
        ToolCall(id="1", name="look", arguments_json="{}"),  # 6
        ToolResult(tool_call_id="1", content=(Part(content=Text(text="abc")),)),  # 3
        Reasoning(text="hm", redacted_data=b"xyz"),  # 5
        tools=(TOOL,),  # 4 + 5 + 2
        response_format=JsonFormat(schema_json="{}"),  # 2
    )

    assert demanded_profile(NOTHING, request_, streaming=False).input_bytes == 4 + 6 + 3 + 5 + 11 + 2


@pytest.mark.parametrize(
    ("media", "tokens"),
    [
        (image(data=b"x"), 1000),
        (image(url="https://example.com/a.png"), 1000),
        (Media(kind=MediaKind.AUDIO, data=b"x" * 5_000), 11),
        (Media(kind=MediaKind.DOCUMENT, media_type="application/pdf", data=b"x" * 60_000), 1501),
        (Media(kind=MediaKind.DOCUMENT, media_type="text/plain", data=b"x" * 4_000), 1001),
        (Media(kind=MediaKind.DOCUMENT, url="https://example.com/a.pdf"), 1500),
    ],
)
def test_media_are_estimated_apart_from_text(media: Media, tokens: int) -> None:
    profile = demanded_profile(NOTHING, chat(media), streaming=False)

    assert (profile.input_bytes, profile.extra_input_tokens) == (0, tokens)


def test_input_wins_over_the_callers_token_count_and_hint() -> None:
    given_profile = RequestProfile(input_tokens=5, text_hint="something else")
    profile = demanded_profile(given_profile, chat(Text(text="hello")), streaming=False)

    assert (profile.input_tokens, profile.input_bytes, profile.text_hint) == (None, 5, "hello")


def test_limit_and_effort_come_from_the_input_and_from_the_profile_only_where_the_input_is_silent() -> None:
    given_profile = RequestProfile(max_output_tokens=10, reasoning_effort=ReasoningEffort.LOW)
    silent = demanded_profile(given_profile, chat(), streaming=False)
    spoken = demanded_profile(
        NOTHING, chat(max_output_tokens=20, reasoning_effort=ReasoningEffort.HIGH), streaming=False
    )

    assert (silent.max_output_tokens, silent.reasoning_effort) == (10, ReasoningEffort.LOW)
    assert (spoken.max_output_tokens, spoken.reasoning_effort) == (20, ReasoningEffort.HIGH)


def test_contradictions_are_refused_with_the_paths_of_all_of_them() -> None:
    given_profile = RequestProfile(max_output_tokens=10, reasoning_effort=ReasoningEffort.LOW)
    with pytest.raises(InvalidRequestError) as caught:
        demanded_profile(
            given_profile, chat(max_output_tokens=20, reasoning_effort=ReasoningEffort.HIGH), streaming=False
        )

    assert [v.field for v in caught.value.violations] == ["profile.max_output_tokens", "profile.reasoning_effort"]


def test_same_value_twice_is_no_contradiction() -> None:
    given_profile = RequestProfile(max_output_tokens=20, reasoning_effort=ReasoningEffort.HIGH)
    profile = demanded_profile(
        given_profile, chat(max_output_tokens=20, reasoning_effort=ReasoningEffort.HIGH), streaming=False
    )

    assert profile.max_output_tokens == 20


def test_hint_is_the_beginning_of_the_last_user_turn() -> None:
    def turn(role: Role, words: str) -> Message:
        return Message(role=role, parts=(Part(content=Text(text=words)),))

    request_ = ChatInput(
        messages=(turn(Role.USER, "first"), turn(Role.USER, "x" * 10_000), turn(Role.ASSISTANT, "answer"))
    )

    assert demanded_profile(NOTHING, request_, streaming=False).text_hint == "x" * 8192


@given(st.text())
def test_bytes_are_those_of_utf8_whatever_the_text(words: str) -> None:
    profile = demanded_profile(NOTHING, chat(Text(text=words)), streaming=False)

    assert profile.input_bytes == len(words.encode(errors="surrogatepass"))


def test_what_only_the_profile_says_of_the_answer_is_sent_too() -> None:
    given = RequestProfile(max_output_tokens=50, reasoning_effort=ReasoningEffort.LOW)
    bare = ChatInput(messages=(Message(role=Role.USER, parts=(Part(content=Text(text="hello")),)),))
    sent = agreed_input(bare, demanded_profile(given, bare, streaming=False))

    assert (sent.max_output_tokens, sent.reasoning_effort) == (50, ReasoningEffort.LOW)
    assert agreed_input(sent, demanded_profile(given, sent, streaming=False)) is sent


USER, ASSISTANT, SYSTEM, TOOL_ROLE = Role.USER, Role.ASSISTANT, Role.SYSTEM, Role.TOOL


@pytest.mark.parametrize(
    ("roles", "prefilled"),
    [
        ((), False),
        ((USER,), False),
        ((USER, ASSISTANT), True),
        ((USER, ASSISTANT, USER), False),
        ((USER, ASSISTANT, TOOL_ROLE), False),
        ((USER, ASSISTANT, SYSTEM), True),
        ((SYSTEM,), False),
    ],
)
def test_conversation_ends_with_the_assistant_where_its_last_turn_does(
    roles: tuple[Role, ...], *, prefilled: bool
) -> None:
    turns = tuple(Message(role=role, parts=(Part(content=Text(text="so")),)) for role in roles)

    assert prefilled is demanded_profile(NOTHING, ChatInput(messages=turns), streaming=False).prefilled
