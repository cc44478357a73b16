"""Puts the turns of a conversation on the gemini wire, with the opaque state that the vendor wants back."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from turnout_server.core.chat import (
    ChatInput,
    Media,
    MediaKind,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from turnout_server.providers.base64_text import Base64Text
from turnout_server.providers.failures import invalid_request
from turnout_server.providers.gemini.models import ModelFacts
from turnout_server.providers.json_text import tool_arguments, tool_call_id
from turnout_server.providers.media import DEFAULT_MEDIA_TYPE
from turnout_server.providers.wire import JsonObject

UNSIGNED = "skip_thought_signature_validator"
"""The vendor's own word for a tool call that another vendor's model made (its thought-signatures page, under FAQs)."""

_USER, _MODEL = "user", "model"
_AUDIO_TYPES = {"audio/x-wav": "audio/wav", "audio/wave": "audio/wav"}
"""Names that the wire does not know, and those that it does."""
_TYPES_BY_SUFFIX = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "heic": "image/heic",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "html": "text/html",
    "csv": "text/csv",
}


class Contents:
    """Builds `systemInstruction` and `contents`: system turns go to the top, turns of one role that follow each other
    become one, and results of tools stand before what else the user says.
    """

    def __init__(self, chat: ChatInput, provider: str, facts: ModelFacts) -> None:
        self.system: list[JsonObject] = []
        self.turns: list[JsonObject] = []
        self._provider = provider
        self._facts = facts
        self._names: dict[str, str] = {}
        self._media_of_tools: list[JsonObject] = []
        for message in chat.messages:
            self._add(message)
        self._flush_media_of_tools()
        if facts.signs_calls:
            self._sign_calls()

    def _add(self, message: Message) -> None:
        if message.role is Role.SYSTEM:
            self.system.extend(self._parts(message.parts))
            return
        if message.role is Role.ASSISTANT:
            self._flush_media_of_tools()
            self._extend(_MODEL, self._parts(message.parts))
            return
        self._extend(
            _USER, [self._result(part.content) for part in message.parts if isinstance(part.content, ToolResult)]
        )
        others = self._parts(part for part in message.parts if not isinstance(part.content, ToolResult))
        if others:
            self._flush_media_of_tools()
            self._extend(_USER, others)

    def _extend(self, role: str, parts: list[JsonObject]) -> None:
        """Adds to the last turn, or begins one where that is another's. Results go before everything else."""
        if not parts:
            return
        turn = self.turns[-1]["parts"] if self.turns and self.turns[-1]["role"] == role else None
        if not isinstance(turn, list):
            self.turns.append({"role": role, "parts": parts})
            return
        place = len(turn)
        if "functionResponse" in parts[0]:
            place = next((i for i, part in enumerate(turn) if "functionResponse" not in part), place)
        turn[place:place] = parts

    def _parts(self, parts: Iterable[Part]) -> list[JsonObject]:
        made = (self._part(part) for part in parts)
        return [part for part in made if part is not None]

    def _part(self, part: Part) -> JsonObject | None:
        content = part.content
        signature = part.signature if part.origin_provider == self._provider else ""
        wire: JsonObject
        match content:
            case Text():
                if not content.text and not signature:
                    return None
                wire = {"text": content.text}
            case Media():
                wire = _media(content)
            case ToolCall():
                wire = {"functionCall": self._call(content)}
            case Reasoning():
                # Summaries of thoughts mean nothing to the vendor; what it wants back is its signature.
                if not signature:
                    return None
                wire = {"text": content.text, "thought": True} if content.text else {"text": ""}
            case ToolResult():
                raise invalid_request("a ToolResult part cannot stand in this message")
        if signature:
            wire["thoughtSignature"] = signature
        return wire

    def _call(self, call: ToolCall) -> JsonObject:
        self._names[call.id] = call.name
        return {"id": tool_call_id(call.id), "name": call.name, "args": tool_arguments(call.arguments_json)}

    def _result(self, result: ToolResult) -> JsonObject:
        name = result.name or self._names.get(result.tool_call_id) or result.tool_call_id
        text = "\n".join(part.content.text for part in result.content if isinstance(part.content, Text))
        response: JsonObject = {
            "id": tool_call_id(result.tool_call_id),
            "name": name,
            "response": {"error" if result.is_error else "output": text},
        }
        media = [_media(part.content) for part in result.content if isinstance(part.content, Media)]
        if media and self._facts.media_in_results:
            response["parts"] = media
        elif media:
            self._media_of_tools += [{"text": f"Returned by the tool {name}:"}, *media]
        return {"functionResponse": response}

    def _flush_media_of_tools(self) -> None:
        # In a turn of their own: a turn of results must hold one for each call, and nothing else.
        if self._media_of_tools:
            self.turns.append({"role": _USER, "parts": self._media_of_tools})
            self._media_of_tools = []

    def _sign_calls(self) -> None:
        # Of calls that belong together the vendor signs the first, and asks for no more.
        for turn in self.turns:
            parts = turn["parts"]
            assert isinstance(parts, list)
            first = next((part for part in parts if "functionCall" in part), None)
            if first is not None:
                first.setdefault("thoughtSignature", UNSIGNED)


def _media(media: Media) -> JsonObject:
    if media.url is not None:
        if media.kind is MediaKind.AUDIO:
            raise invalid_request("the gemini wire takes audio parts as bytes only, not by URL")
        file: JsonObject = {"fileUri": media.url}
        media_type = media.media_type or _TYPES_BY_SUFFIX.get(urlsplit(media.url).path.rpartition(".")[2].lower(), "")
        if media_type:
            file["mimeType"] = media_type
        return {"fileData": file}
    if media.data is None:
        raise invalid_request(f"a {media.kind.value.lower()} part has neither data nor url")
    media_type = media.media_type or DEFAULT_MEDIA_TYPE[media.kind]
    data = Base64Text(media.data)
    return {"inlineData": {"mimeType": _AUDIO_TYPES.get(media_type, media_type), "data": data}}
