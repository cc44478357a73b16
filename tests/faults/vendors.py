"""What a vendor would have answered, as bytes: the same words on each of the four wires, as a stream and as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from types import MappingProxyType

import orjson

from tests.wire.gemini_speaker import GeminiSpeaker
from tests.wire.ollama_speaker import OllamaSpeaker
from tests.wire.speakers import AnthropicSpeaker, OpenAISpeaker, Speaker

PIECES = (
    "The line ahead ",
    "is clear, ",
    "the points are set ",
    "and locked, ",
    "and the signal ",
    "shows green: ",
    "proceed to ",
    "the next station.",
)
"""What every good answer says, piece by piece."""
ANSWER = "".join(PIECES)
HALF = "".join(PIECES[:4])
"""What has been said when an answer breaks in the middle."""

TOOL_CALL = ("call_1", "set_points", ('{"track": ', "2}"))
"""Id, name, and the pieces of its arguments."""

WIRES: Mapping[str, Speaker] = MappingProxyType(
    {
        "openai": OpenAISpeaker(),
        "anthropic": AnthropicSpeaker(),
        "gemini": GeminiSpeaker(),
        "ollama": OllamaSpeaker(),
    }
)

_ERROR_CODES = {"openai": "server_error", "anthropic": "overloaded_error", "gemini": "", "ollama": "model runner died"}


def wire_of(path: str) -> str:
    """Tells the wire of a request by the end of its path, "" for none of them."""
    path = path.partition("?")[0]
    if path.endswith("/chat/completions"):
        return "openai"
    if path.endswith("/messages"):
        return "anthropic"
    if path.endswith((":streamGenerateContent", ":generateContent")):
        return "gemini"
    return "ollama" if path.endswith("/api/chat") else ""


def base_url(url: str, wire: str, place: str) -> str:
    """Returns what a client of that wire takes as its base URL, for a place on the server."""
    return f"{url}/{place}{'/v1' if wire in {'openai', 'anthropic'} else ''}"


@cache
def events(wire: str) -> tuple[bytes, ...]:
    """Returns the framed events of a good stream."""
    return tuple(WIRES[wire].text_stream(PIECES))


@cache
def cut(wire: str, piece_count: int) -> tuple[bytes, ...]:
    """Returns the events of a stream that breaks off after so many pieces: no finish, no usage, no end."""
    return tuple(WIRES[wire].cut_before_end(PIECES[:piece_count]))


@cache
def cut_tool_call(wire: str) -> tuple[bytes, ...]:
    """Returns the events of a stream that breaks off when a tool has been called, or most of its arguments are there.

    No wire's stream of two calls has said after its first half that the answer is over.
    """
    stream = WIRES[wire].tool_stream((TOOL_CALL, TOOL_CALL))
    return tuple(stream[: len(stream) // 2])


@cache
def beginning(wire: str) -> bytes:
    """Returns what says that an answer begins, and holds nothing of it."""
    speaker = WIRES[wire]
    return b"".join(speaker.cut_before_end(())) or speaker.ping()


def delta(wire: str, text: str) -> bytes:
    """Returns the event that brings one more piece of text, after `beginning`."""
    return WIRES[wire].cut_before_end((text,))[-1]


@cache
def whole(wire: str) -> bytes:
    """Returns a good answer in one piece."""
    return WIRES[wire].whole_text(ANSWER)


def error_event(wire: str) -> bytes:
    """Returns an error as it comes inside a stream that began well."""
    return WIRES[wire].error_event(_ERROR_CODES[wire])


def error_body(wire: str, status: int = 500) -> bytes:
    """Returns the vendor's body of an error with that HTTP status."""
    said = "The server had a problem; try again."
    if wire == "gemini":
        name = {429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}.get(status, "INTERNAL")
        return orjson.dumps({"error": {"code": status, "message": said, "status": name}})
    limited = {"openai": "rate_limit_exceeded", "anthropic": "rate_limit_error", "ollama": "too many requests"}
    return WIRES[wire].error_body(limited[wire] if status == HTTPStatus.TOO_MANY_REQUESTS else _ERROR_CODES[wire], said)
