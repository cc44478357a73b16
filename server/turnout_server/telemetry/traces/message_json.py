"""Messages, parts and tools in the JSON of the GenAI conventions, cut to a bound while they are made.

Source: opentelemetry.io/docs/specs/semconv/gen-ai, gen-ai-input-messages.json and its siblings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from turnout_server.core.chat import ChatInput, Media, Part, Reasoning, Role, Text, Tool, ToolCall, ToolResult
from turnout_server.telemetry.logs.logs import redact_text

CREDENTIAL_CHARACTERS = 256
"""Looked at beyond the cut, since half a credential would not be known for one."""


class Room:
    """What may still be kept of an attribute."""

    __slots__ = ("cut", "left")

    def __init__(self, characters: int) -> None:
        self.left = characters
        self.cut = False

    def text(self, text: str) -> str:
        """Returns as much of a text as there is room for, without what has the shape of a credential."""
        if len(text) > self.left:
            self.cut = True
        kept = redact_text(text[: self.left + CREDENTIAL_CHARACTERS])[: self.left]
        self.left -= len(kept)
        return kept

    def parsed(self, text: str) -> Any:
        """Returns what a JSON text says; itself where it is none, or is cut."""
        kept = self.text(text)
        if kept == text:
            try:
                return json.loads(text)
            except ValueError:
                pass
        return kept

    @property
    def full(self) -> bool:
        """Whether nothing more goes in."""
        return self.left <= 0


def messages_json(chat: ChatInput, room: Room) -> list[Any]:
    """Returns the newest messages that there is room for: what was just asked says more than what began it."""
    made: list[Any] = []
    for message in reversed(chat.messages):
        if message.role is Role.SYSTEM:
            continue
        if room.full:
            room.cut = True
            break
        # Its frame takes some room too, so that many empty messages come to an end.
        room.left -= 1
        made.append({"role": message.role.value.lower(), "parts": parts_json(message.parts, room)})
    made.reverse()
    return made


def parts_json(parts: Iterable[Part], room: Room) -> list[Any]:
    """Returns the first parts that there is room for."""
    made: list[Any] = []
    for part in parts:
        if room.full:
            room.cut = True
            break
        room.left -= 1
        made.append(_part(part, room))
    return made


def _part(part: Part, room: Room) -> dict[str, Any]:
    match part.content:
        case Text(text=text):
            return {"type": "text", "content": room.text(text)}
        case Reasoning(text=text):
            return {"type": "reasoning", "content": room.text(text)}
        case ToolCall() as call:
            # Whatever comes with a name was chosen by a model, or by a caller.
            return {
                "type": "tool_call",
                "id": room.text(call.id),
                "name": room.text(call.name),
                "arguments": room.parsed(call.arguments_json),
            }
        case ToolResult() as result:
            return {
                "type": "tool_call_response",
                "id": room.text(result.tool_call_id),
                "response": _response(result.content, room),
            }
        case media:
            return _media(media, room)


def _response(content: tuple[Part, ...], room: Room) -> Any:
    if all(isinstance(part.content, Text) for part in content):
        return room.text("".join(part.content.text for part in content if isinstance(part.content, Text)))
    return parts_json(content, room)


def _media(media: Media, room: Room) -> dict[str, Any]:
    said = {"modality": media.kind.value.lower(), **({"mime_type": media.media_type} if media.media_type else {})}
    if media.url is None:
        # A picture's bytes would fill the span, and say nothing to whoever reads it.
        room.cut = True
        return {"type": "blob", **said, "content": None}
    # What follows a question mark is often a key to what the address is of.
    bare = urlsplit(media.url)._replace(query="", fragment="").geturl()
    room.cut = room.cut or bare != media.url
    return {"type": "uri", **said, "uri": room.text(bare)}


def tools_json(tools: Iterable[Tool], room: Room) -> Iterator[dict[str, Any]]:
    """Yields the first tools that there is room for."""
    for tool in tools:
        if room.full:
            room.cut = True
            return
        room.left -= 1
        made: dict[str, Any] = {"type": "function", "name": room.text(tool.name)}
        if tool.description:
            made["description"] = room.text(tool.description)
        if tool.parameters_json_schema:
            made["parameters"] = room.parsed(tool.parameters_json_schema)
        yield made
