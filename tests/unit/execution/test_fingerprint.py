"""Digests of requests: equal for equal ones, different for all others, and made in pieces that hold nobody up."""

from __future__ import annotations

import asyncio
import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from tests.virtual_time import in_virtual_time, run
from turnout_server.core.chat import (
    ChatInput,
    JsonFormat,
    Media,
    MediaKind,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from turnout_server.core.model import Capability, RequestProfile, RouteQuery
from turnout_server.execution.fingerprint import PAUSE_BYTES, asked, chat_digest, request_digest

WORDS = st.sampled_from(["", "a", "b", "ab", "1:a", "é", "\ud800", '"', "a" * 300])
DATA = st.one_of(st.none(), st.sampled_from([b"", b"a", b"ab"]))
INNER = st.one_of(
    st.builds(Text, text=WORDS),
    st.builds(Media, kind=st.sampled_from(MediaKind), media_type=st.sampled_from(["", "a/b"]), data=DATA),
    st.builds(Media, kind=st.sampled_from(MediaKind), url=st.sampled_from(["https://a", "https://b"])),
)
INNER_PARTS = st.lists(st.builds(Part, content=INNER), max_size=2).map(tuple)
CONTENT = st.one_of(
    INNER,
    st.builds(ToolCall, id=st.sampled_from(["", "1"]), name=st.sampled_from(["a", "b"]), arguments_json=WORDS),
    st.builds(ToolResult, tool_call_id=st.sampled_from(["", "1"]), content=INNER_PARTS, is_error=st.booleans()),
    st.builds(Reasoning, text=WORDS, redacted_data=DATA),
)
PARTS = st.lists(
    st.builds(
        Part,
        content=CONTENT,
        signature=WORDS,
        origin_provider=st.sampled_from(["", "a"]),
        cache_breakpoint=st.booleans(),
    ),
    max_size=3,
).map(tuple)
CHATS = st.builds(
    ChatInput,
    messages=st.lists(st.builds(Message, role=st.sampled_from(Role), parts=PARTS), max_size=3).map(tuple),
    tools=st.sampled_from([(), (Tool(name="a"),), (Tool(name="a", description="b"),)]),
    tool_choice=st.sampled_from([None, ToolChoice(), ToolChoice(name="a")]),
    parallel_tool_calls=st.sampled_from([None, True, False]),
    response_format=st.sampled_from([None, JsonFormat(), JsonFormat(strict=False)]),
    temperature=st.sampled_from([None, 0.0, 0.5]),
    top_p=st.sampled_from([None, 0.5]),
    stop=st.sampled_from([(), ("a",), ("a", "b")]),
    seed=st.sampled_from([None, 0, 1]),
    provider_options=st.sampled_from([{}, {"a": {"k": 1}}, {"a": {"k": 1.5}}, {"a": {"j": 1, "k": [1]}}]),
)


@given(one=CHATS, other=CHATS)
def test_two_requests_have_one_digest_only_where_they_are_equal(one: ChatInput, other: ChatInput) -> None:
    async def digests() -> tuple[bytes, bytes, bytes]:
        return await chat_digest(one), await chat_digest(other), await chat_digest(dataclasses.replace(one))

    first, second, again = run(digests())

    assert (first == second) == (one == other)
    assert first == again


@given(chat=CHATS, data=st.data())
def test_moving_what_is_said_from_one_part_to_the_next_makes_another_request(
    chat: ChatInput, data: st.DataObject
) -> None:
    text = data.draw(st.text(min_size=1, max_size=6))
    cut, other = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))

    def split(at: int) -> ChatInput:
        parts = tuple(Part(content=Text(text=piece)) for piece in (text[:at], text[at:]))
        return dataclasses.replace(chat, messages=(*chat.messages, Message(role=Role.USER, parts=parts)))

    async def digests() -> tuple[bytes, bytes]:
        return await chat_digest(split(cut)), await chat_digest(split(other))

    first, second = run(digests())

    assert (first == second) == (cut == other)


@in_virtual_time
async def test_others_have_their_turn_while_a_large_request_is_digested() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    image = Media(kind=MediaKind.IMAGE, media_type="image/png", data=b"x" * (4 * PAUSE_BYTES))
    parts = (Part(content=image), Part(content=Text(text="é" * (2 * PAUSE_BYTES))))
    before = turns
    await chat_digest(ChatInput(messages=(Message(role=Role.USER, parts=parts),)))
    counting.cancel()

    assert turns - before >= 7


def test_facts_beside_the_input_count_in_any_order_of_a_set() -> None:
    def digest(*needs: Capability) -> bytes:
        return request_digest(b"chat", *asked(RouteQuery(profile=RequestProfile(capabilities=frozenset(needs)))))

    assert digest(Capability.TOOLS, Capability.VISION) == digest(Capability.VISION, Capability.TOOLS)
    assert digest(Capability.TOOLS) != digest(Capability.VISION)
    assert request_digest(b"chat", 1, 2) != request_digest(b"chat", 2, 1)
    assert request_digest(b"chat", "x") != request_digest(b"other", "x")
