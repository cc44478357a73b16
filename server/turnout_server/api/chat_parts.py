"""The turns of a chat request and their parts to the core's, with a field path for whatever no provider could take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from turnout_server.api import enums
from turnout_server.api.faults import MAX_NAME_LENGTH, Faults
from turnout_server.core.chat import (
    Media,
    MediaKind,
    Message,
    Part,
    PartContent,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

if TYPE_CHECKING:
    from turnout.v1 import router_pb2 as pb

MAX_MESSAGE_COUNT = 10_000
MAX_PART_COUNT = 20_000
"""Of the whole request, parts of tool results included: reading them takes time that other calls wait for."""
PARTS_AT_ONCE = 256
"""Read without a pause: about 2 ms."""
MAX_URL_LENGTH = 8192
MAX_TOOL_CALL_ID_LENGTH = 1024
"""Ids come from vendors and gateways, and some put state into theirs."""

_MEDIA: Mapping[str, MediaKind] = MappingProxyType(
    {"image": MediaKind.IMAGE, "audio": MediaKind.AUDIO, "document": MediaKind.DOCUMENT}
)
_ASSISTANT_ONLY = frozenset({"tool_call", "reasoning"})
_TOOL_RESULT_CONTENT = frozenset({"text", "image", "audio", "document"})
_MAY_SAY_NOTHING = frozenset({Role.ASSISTANT})
"""Models answer with nothing now and then, and that stands in the conversation from then on."""
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}(?:;[ -~]{0,128})?")
_HTTPS = re.compile(r"https://[^/?#@\s\x00-\x20\x7f]+(?:[/?#][^\s\x00-\x20\x7f]*)?")
"""An https URL with a host and without user and password."""


def messages(values: Iterable[pb.Message], path: str, faults: Faults) -> tuple[Message, ...]:
    """Reads the turns. Too many of them are told without reading any."""
    read: list[Message] = []
    for _ in reading(values, path, faults, read):
        pass
    return tuple(read)


def reading(values: Iterable[pb.Message], path: str, faults: Faults, into: list[Message]) -> Iterator[None]:
    """Reads the turns into a list, as `messages` does, and yields after every few of them, for others to have their
    turn: 20,000 parts take 150 ms.
    """
    turns = tuple(values)
    if not turns:
        faults.add(path, "is empty; give at least one message")
    if not faults.count(turns, path, MAX_MESSAGE_COUNT):
        return
    parts = sum(len(turn.parts) for turn in turns)
    if parts <= MAX_PART_COUNT:
        parts += sum(len(part.tool_result.content) for turn in turns for part in turn.parts)
    if parts > MAX_PART_COUNT:
        faults.add(path, f"has {parts} parts; at most {MAX_PART_COUNT} are taken")
        return
    since = 0
    for i, turn in enumerate(turns):
        into.append(_message(turn, f"{path}[{i}]", faults))
        since += len(turn.parts)
        if since >= PARTS_AT_ONCE:
            since = 0
            yield


def _message(message: pb.Message, path: str, faults: Faults) -> Message:
    role = faults.choice(enums.ROLE.to_core, message.role, f"{path}.role")
    if not message.role:
        faults.add(f"{path}.role", "is missing; say who speaks")
    if not message.parts:
        faults.add(f"{path}.parts", "is empty; give at least one part")
    role = role or Role.USER
    parts = tuple(_part(part, f"{path}.parts[{i}]", faults) for i, part in enumerate(message.parts))
    kinds = [part.WhichOneof("content") for part in message.parts]
    for i, kind in enumerate(kinds):
        if kind in _ASSISTANT_ONLY and role is not Role.ASSISTANT:
            faults.add(f"{path}.parts[{i}].{kind}", f"stands in a {role} message; only ASSISTANT messages have it")
        if kind == "tool_result" and role not in (Role.TOOL, Role.USER):
            faults.add(f"{path}.parts[{i}].{kind}", f"stands in a {role} message; use role TOOL")
    if parts and role not in _MAY_SAY_NOTHING and all(map(_is_empty, kinds, parts)):
        faults.add(f"{path}.parts", "holds nothing but empty text; say something, or leave the message out")
    return Message(role=role, parts=parts)


def _is_empty(kind: str | None, part: Part) -> bool:
    # Not asked of the message: each look at its text would be another copy of it.
    return kind == "text" and isinstance(part.content, Text) and not part.content.text


def _part(message: pb.Part, path: str, faults: Faults) -> Part:
    return Part(
        content=_content(message, path, faults),
        signature=message.signature,
        origin_provider=faults.text(message.origin_provider, f"{path}.origin_provider", MAX_NAME_LENGTH),
        cache_breakpoint=message.cache_breakpoint,
    )


def _content(message: pb.Part, path: str, faults: Faults) -> PartContent:
    kind = message.WhichOneof("content")
    match kind:
        case "text":
            return Text(text=message.text)
        case "image" | "audio" | "document":
            return _media(getattr(message, kind), _MEDIA[kind], f"{path}.{kind}", faults)
        case "tool_call":
            return _tool_call(message.tool_call, f"{path}.tool_call", faults)
        case "tool_result":
            return _tool_result(message.tool_result, f"{path}.tool_result", faults)
        case "reasoning":
            return Reasoning(text=message.reasoning.text, redacted_data=message.reasoning.redacted_data or None)
        case _:
            faults.add(path, "has no content; give text, an image or another kind")
            return Text(text="")


def _media(message: pb.Image | pb.Audio | pb.Document, kind: MediaKind, path: str, faults: Faults) -> Media:
    media_type = message.media_type
    if media_type and not _MEDIA_TYPE.fullmatch(media_type):
        faults.add(f"{path}.media_type", 'is no media type; give one such as "image/png"')
    match message.WhichOneof("source"):
        case "data":
            # Each look at it is a copy.
            data = message.data
            if not data:
                faults.add(f"{path}.data", "is empty; give the bytes or a URL")
            if not media_type:
                faults.add(f"{path}.media_type", 'is missing; bytes need one, such as "image/png"')
            return Media(kind=kind, media_type=media_type, data=data)
        case "url":
            # Not quoted: it may hold a signature that gives access.
            if not _HTTPS.fullmatch(faults.text(message.url, f"{path}.url", MAX_URL_LENGTH)):
                faults.add(f"{path}.url", "is not an https URL without user and password; give one, or the bytes")
            return Media(kind=kind, media_type=media_type, url=message.url)
        case _:
            faults.add(path, "has no source; give data or url")
            return Media(kind=kind, media_type=media_type)


def _tool_call(message: pb.ToolCall, path: str, faults: Faults) -> ToolCall:
    for field, longest in (("id", MAX_TOOL_CALL_ID_LENGTH), ("name", MAX_NAME_LENGTH)):
        if not faults.text(getattr(message, field), f"{path}.{field}", longest):
            faults.add(f"{path}.{field}", "is missing")
    return ToolCall(id=message.id, name=message.name, arguments_json=message.arguments_json)


def _tool_result(message: pb.ToolResult, path: str, faults: Faults) -> ToolResult:
    if not faults.text(message.tool_call_id, f"{path}.tool_call_id", MAX_TOOL_CALL_ID_LENGTH):
        faults.add(f"{path}.tool_call_id", "is missing; name the call that it answers")
    content = []
    for i, part in enumerate(message.content):
        kind = part.WhichOneof("content")
        # Checked before reading on: results within results could nest without end.
        if kind in _TOOL_RESULT_CONTENT:
            content.append(_part(part, f"{path}.content[{i}]", faults))
        else:
            faults.add(f"{path}.content[{i}]", "is neither text nor an image, a sound or a document")
    return ToolResult(
        tool_call_id=message.tool_call_id,
        name=faults.text(message.name, f"{path}.name", MAX_NAME_LENGTH),
        content=tuple(content),
        is_error=message.is_error,
    )
