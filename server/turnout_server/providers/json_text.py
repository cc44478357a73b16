"""Parses the JSON of providers and callers, tolerant where vendors are sloppy and callers cannot help it."""

from __future__ import annotations

import json
import re

import orjson

from turnout_server.providers.failures import invalid_request, protocol_error

_UNSAFE_ID = re.compile(r"[^A-Za-z0-9_-]")
MAX_TOOL_CALL_ID_CHARACTERS = 40
"""OpenAI refuses longer ones; every other vendor's fit."""


class HalfCharacters:
    """Joins characters outside the basic plane whose two escaped halves came in different events.

    Strict parsers refuse half a pair, so this is used only after one did. One object per answer; halves are kept per
    part.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[int, str] = {}

    def join(self, part_index: int, text: str) -> str:
        """Returns the text with an earlier first half before it, and without a first half at its end."""
        text = self._kept.pop(part_index, "") + text
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._kept[part_index] = text[-1]
            text = text[:-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def loads_tolerant(data: bytes) -> object:
    """Parses what the strict parser refused for half a character; UpstreamError PROTOCOL if that was not the reason."""
    if b"\\u" in data:
        try:
            value: object = json.loads(data)
        except ValueError:
            pass
        else:
            return value
    raise protocol_error("an event of the answer is not valid JSON")


def caller_json(text: str, what: str) -> object:
    """Parses JSON text of the caller's; UpstreamError INVALID_REQUEST, naming `what`, where it is none."""
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise invalid_request(f"{what} is not valid JSON: {error.msg} at character {error.pos}") from None
    return value


def caller_schema(text: str, what: str) -> dict[str, object]:
    """Parses a JSON schema of the caller's; "" is a schema of no parameters."""
    if not text:
        return {"type": "object", "properties": {}}
    value = caller_json(text, what)
    if not isinstance(value, dict):
        raise invalid_request(f"{what} is not a JSON object")
    return value


def tool_arguments(text: str) -> dict[str, object]:
    """Returns tool arguments as the object that some wires demand, also where a model wrote something else."""
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        value = None
    return value if isinstance(value, dict) else {"arguments": text}


def word(value: object) -> str:
    """Returns an id, a name or a signature as text that can be told on: no halves of characters, "" for nothing."""
    text = value if isinstance(value, str) else str(value or "")
    return text if text.isascii() else text.encode(errors="replace").decode()


def tool_call_id(value: str) -> str:
    """Returns an id that every vendor accepts: ids travel with a conversation from one vendor to the next."""
    return _UNSAFE_ID.sub("_", value)[-MAX_TOOL_CALL_ID_CHARACTERS:]


def whole_numbers(value: object) -> object:
    """Returns the value with whole doubles as integers: a protobuf Struct knows only doubles, vendors want integers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: whole_numbers(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [whole_numbers(inner) for inner in value]
    return value
