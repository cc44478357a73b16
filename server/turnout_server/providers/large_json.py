"""Writes a large request as JSON in pieces, so that no other call waits for it and it never stands in memory whole.

The JSON and base64 encoders hold the interpreter, in a thread too: 20 MB of image cost 40 ms in one go, and every call
of the process waits for them. Written in pieces with a turn of the event loop between them, nobody waits for more than
one piece. The length is needed before the first byte (providers do not all take chunked requests), so texts are gone
over twice: once to count, once to write.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TypeGuard

import orjson

from turnout_server.core.chat import ChatInput, Media, Part, Reasoning, Text, ToolCall, ToolResult
from turnout_server.providers.base64_text import Base64Text, written

LARGE_BYTES = 1024 * 1024
"""From here on a request is written in pieces: up to it, it takes about a millisecond in one go."""
PIECE_BYTES = 64 * 1024
SLICE_CHARACTERS = 64 * 1024
"""Longer texts are not copied, but encoded slice by slice when they are written."""

_OTHER_CHARACTERS = 8
"""What a number or a word such as true is taken for."""

Piece = bytes | str | Base64Text


class LargeBody:
    """The pieces of one body. Iterating yields bytes, one turn of the event loop after the other; `len` is exact."""

    __slots__ = ("_length", "pieces")

    def __init__(self, pieces: list[Piece], length: int) -> None:
        self.pieces = pieces
        self._length = length

    def __len__(self) -> int:
        return self._length

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
                await asyncio.sleep(0)
                continue
            for data in piece.pieces() if isinstance(piece, Base64Text) else _escaped(piece):
                yield data
                await asyncio.sleep(0)


def payload_bytes(chat: ChatInput) -> int:
    """Returns about how many bytes a request is long: its media, and its texts by their characters."""
    return sum(_part_bytes(part) for message in chat.messages for part in message.parts) + sum(
        len(tool.parameters_json_schema) for tool in chat.tools
    )


def _part_bytes(part: Part) -> int:
    match part.content:
        case Text(text=text) | Reasoning(text=text) | ToolCall(arguments_json=text):
            return len(text)
        case Media(data=data):
            return len(data) if data is not None else 0
        case ToolResult(content=content):
            return sum(map(_part_bytes, content))


async def large_body(body: object) -> LargeBody:
    """Returns the body in pieces, the same bytes that orjson makes of it; raises what orjson does for what it cannot
    write.
    """
    pieces: list[Piece] = []
    small = bytearray()
    length = 0
    for piece in _walk(body):
        if isinstance(piece, bytes):
            small += piece
            if len(small) < PIECE_BYTES:
                continue
        if small:
            pieces.append(bytes(small))
            length += len(small)
            small = bytearray()
            await asyncio.sleep(0)
        if isinstance(piece, bytes):
            continue
        pieces.append(piece)
        if isinstance(piece, Base64Text):
            length += len(piece)
        else:
            for data in _escaped(piece):
                length += len(data)
                await asyncio.sleep(0)
    if small:
        pieces.append(bytes(small))
        length += len(small)
    return LargeBody(pieces, length)


def _walk(value: object) -> Iterator[Piece]:
    """Yields JSON: bytes, and texts that are still to be written where the bytes would be many."""
    if _is_large(value):
        yield b'"'
        yield value
        yield b'"'
    elif isinstance(value, dict) and not _is_plain(value.values()):
        for index, (name, inner) in enumerate(value.items()):
            yield (b"," if index else b"{") + orjson.dumps(name) + b":"
            yield from _walk(inner)
        yield b"}"
    elif isinstance(value, list) and not _is_plain(value):
        for index, inner in enumerate(value):
            yield b"," if index else b"["
            yield from _walk(inner)
        yield b"]"
    else:
        yield orjson.dumps(value, default=written)


def _is_large(value: object) -> TypeGuard[str | Base64Text]:
    return isinstance(value, str | Base64Text) and len(value) > SLICE_CHARACTERS


def _is_plain(values: Iterable[object]) -> bool:
    """Whether values are short together and hold no others, so that they are written in one go."""
    left = SLICE_CHARACTERS
    for value in values:
        if isinstance(value, dict | list):
            return False
        left -= len(value) if isinstance(value, str | Base64Text) else _OTHER_CHARACTERS
        if left < 0:
            return False
    return True


def _escaped(text: str) -> Iterator[bytes]:
    """Yields a text as it stands between the quotes, slice by slice."""
    for start in range(0, len(text), SLICE_CHARACTERS):
        yield orjson.dumps(text[start : start + SLICE_CHARACTERS])[1:-1]
