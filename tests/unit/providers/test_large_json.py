"""Large requests in pieces: the same bytes as in one go, never many of them at once."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.chat import ChatInput, Media, MediaKind, Message, Part, Role, Text, Tool, ToolResult
from turnout_server.providers.base64_text import Base64Text, written
from turnout_server.providers.large_json import LARGE_BYTES, PIECE_BYTES, LargeBody, large_body, payload_bytes

MIB = 1024 * 1024
LARGEST_PIECE = 6 * PIECE_BYTES
"""A character may become six: a slice of nothing but controls."""


async def pieces(body: LargeBody) -> list[bytes]:
    return [piece async for piece in body]


async def written_in_pieces(value: object) -> bytes:
    body = await large_body(value)
    data = b"".join(await pieces(body))
    assert len(data) == len(body)
    return data


texts = st.text(max_size=20) | st.builds(lambda text, count: text * count, st.text(max_size=9), st.integers(0, 30_000))
media = st.builds(Base64Text, st.binary(max_size=70_000), st.sampled_from(["", 'data:image/png;name="é\\";base64,']))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts | media,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=12,
)


@given(value=values)
def test_pieces_join_to_what_is_written_in_one_go(value: object) -> None:
    assert orjson.dumps(value, default=written) == asyncio.run(written_in_pieces(value))


class Others:
    """Counts the turns that others have."""

    def __init__(self) -> None:
        self.turns = 0

    async def beat(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


BIG: dict[str, Any] = {
    "one image": {"messages": [{"content": [{"image": Base64Text(bytes(8 * MIB))}]}]},
    "one prompt": {"messages": [{"role": "user", "content": "Où s'arrête le train 夜行 😀?\n" * 300_000}]},
    "controls": {"messages": [{"role": "user", "content": "\x01" * 2 * MIB}]},
    "many parts": {"messages": [{"content": [{"type": "text", "text": "words " * 60} for _ in range(20_000)]}]},
    "a long list": {"stop": [str(i) for i in range(300_000)]},
}


@pytest.mark.parametrize("name", BIG)
async def test_large_requests_are_written_in_small_pieces_while_others_have_their_turn(name: str) -> None:
    others = Others()
    beating = asyncio.create_task(others.beat())
    await asyncio.sleep(0)

    body = await large_body(BIG[name])
    while_counted = others.turns
    sizes, turns = [], []
    async for piece in body:
        sizes.append(len(piece))
        turns.append(others.turns)
    beating.cancel()

    assert len(body) == sum(sizes)
    assert len(body) > LARGE_BYTES
    assert max(sizes) <= LARGEST_PIECE
    # One for every piece that is counted. How long media become is known without writing them.
    counted = sum(len(piece) for piece in body.pieces if not isinstance(piece, Base64Text))
    assert while_counted >= counted / LARGEST_PIECE
    assert turns == list(range(turns[0], turns[0] + len(sizes)))


async def test_large_texts_and_media_are_not_copied_before_they_are_written() -> None:
    text, image = "x" * 4 * MIB, bytes(4 * MIB)

    body = await large_body({"a": text, "b": Base64Text(image)})

    assert text in body.pieces
    assert sum(len(piece) for piece in body.pieces if isinstance(piece, bytes)) < 100


def test_how_large_a_request_is_counts_everything_in_it() -> None:
    image = Media(kind=MediaKind.IMAGE, data=b"12345")
    result = ToolResult(tool_call_id="1", content=(Part(content=image), Part(content=Text(text="abc"))))
    parts = (Part(content=Text(text="1234567")), Part(content=result), Part(content=image))

    chat = ChatInput(
        messages=(Message(role=Role.USER, parts=parts),), tools=(Tool(name="t", parameters_json_schema="{}"),)
    )

    assert 7 + 5 + 3 + 5 + 2 == payload_bytes(chat)


def test_what_cannot_be_written_is_refused_as_in_one_go() -> None:
    with pytest.raises(TypeError):
        asyncio.run(written_in_pieces({"text": "\ud800" * MIB}))
    with pytest.raises(TypeError):
        asyncio.run(written_in_pieces({"what": object()}))
