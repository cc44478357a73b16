"""A short name for a request's content, so that two requests can be told to be the same without keeping either.

Hashing holds the event loop as long as the content is long, so that it stops for others after each piece of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from hashlib import blake2b

import orjson

from turnout_server.core.chat import ChatInput, Media, Part, Reasoning, Text, ToolCall, ToolResult
from turnout_server.core.model import RouteQuery

DIGEST_BYTES = 32
"""Nobody can make two contents with one digest of this length, by chance or on purpose."""
PIECE_CHARACTERS = 256 * 1024
"""A text is encoded and hashed in pieces of this length: about a millisecond each."""
PAUSE_BYTES = 1024 * 1024
"""After so many bytes others get a turn."""


async def chat_digest(chat: ChatInput) -> bytes:
    """Returns the digest of everything that a chat request says.

    Left out are `max_output_tokens` and `reasoning_effort`, which the profile may say as well: see `request_digest`.
    """
    digest = blake2b(digest_size=DIGEST_BYTES)
    since = 0
    for piece in _chat_pieces(chat):
        digest.update(piece)
        since += len(piece)
        if since >= PAUSE_BYTES:
            since = 0
            await asyncio.sleep(0)
    return digest.digest()


def request_digest(chat: bytes, *facts: object) -> bytes:
    """Returns the digest of a chat request, by its `chat_digest`, together with small facts that JSON can write."""
    written = orjson.dumps(facts, option=orjson.OPT_SORT_KEYS, default=_plain)
    return blake2b(chat + written, digest_size=DIGEST_BYTES).digest()


def asked(query: RouteQuery) -> tuple[object, ...]:
    """Returns what a query asks beside its input: all but the id it goes by and the time that is left for it."""
    return (query.profile, query.options, query.caller, query.session_id, query.executing)


def _chat_pieces(chat: ChatInput) -> Iterator[bytes]:
    for message in chat.messages:
        yield _mark(message.role, len(message.parts))
        for part in message.parts:
            yield from _part_pieces(part)
    facts = (
        chat.tools,
        chat.tool_choice,
        chat.parallel_tool_calls,
        chat.response_format,
        chat.temperature,
        chat.top_p,
        chat.stop,
        chat.seed,
        chat.provider_options,
    )
    yield orjson.dumps(facts, option=orjson.OPT_SORT_KEYS, default=_plain)


def _part_pieces(part: Part) -> Iterator[bytes]:
    content = part.content
    yield _mark(type(content).__name__, part.cache_breakpoint)
    for text in (part.signature, part.origin_provider):
        yield from _text_pieces(text)
    match content:
        case Text(text=text):
            yield from _text_pieces(text)
        case Media():
            yield _mark(content.kind, content.media_type, content.url)
            yield from _data_pieces(content.data)
        case ToolCall():
            yield _mark(content.id, content.name)
            yield from _text_pieces(content.arguments_json)
        case ToolResult():
            yield _mark(content.tool_call_id, content.name, content.is_error, len(content.content))
            for inner in content.content:
                yield from _part_pieces(inner)
        case Reasoning():
            yield from _text_pieces(content.text)
            yield from _data_pieces(content.redacted_data)


def _text_pieces(text: str) -> Iterator[bytes]:
    # The length comes first, so that no text can pass for the end of one and the beginning of another.
    yield b"%d:" % len(text)
    for start in range(0, len(text), PIECE_CHARACTERS):
        yield text[start : start + PIECE_CHARACTERS].encode(errors="surrogatepass")


def _data_pieces(data: bytes | None) -> Iterator[bytes]:
    if data is None:
        yield b"-"
        return
    yield b"%d:" % len(data)
    for start in range(0, len(data), PAUSE_BYTES):
        yield data[start : start + PAUSE_BYTES]


def _mark(*facts: object) -> bytes:
    return orjson.dumps(facts)


def _plain(value: object) -> object:
    match value:
        case Mapping():
            return dict(value)
        case frozenset():
            return sorted(value)
        case _:
            raise TypeError(f"{type(value).__name__} has no digest")
