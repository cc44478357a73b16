"""Puts a chat request on the openai wire."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable

from turnout_server.core.chat import (
    ChatInput,
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
    ToolChoiceMode,
    ToolResult,
)
from turnout_server.core.model import Capability, ReasoningEffort
from turnout_server.ports import UpstreamCall
from turnout_server.providers.dialects import Dialect
from turnout_server.providers.failures import invalid_request
from turnout_server.providers.json_text import caller_schema, tool_call_id
from turnout_server.providers.media import DEFAULT_MEDIA_TYPE
from turnout_server.providers.openai.models import ModelFacts, facts_of
from turnout_server.providers.options import add_provider_options
from turnout_server.providers.wire import JsonObject

MAX_CACHE_BREAKPOINTS = 4

_ROLES = {Role.SYSTEM: "system", Role.USER: "user", Role.ASSISTANT: "assistant"}
_TOOL_CHOICES = {ToolChoiceMode.AUTO: "auto", ToolChoiceMode.NONE: "none", ToolChoiceMode.REQUIRED: "required"}
_AUDIO_FORMATS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}
_FILE_NAMES = {"application/pdf": "document.pdf", "text/plain": "document.txt"}


def request_body(call: UpstreamCall, dialect: Dialect, *, stream: bool) -> JsonObject:
    """Returns the request as the wire wants it; UpstreamError INVALID_REQUEST for what it cannot carry."""
    chat, spec = call.chat, call.spec
    facts = facts_of(spec.target.model) if dialect.vendor_rules else ModelFacts()
    body: JsonObject = {
        "model": spec.target.model,
        "messages": _Messages(chat, breakpoints=facts.cache_breakpoints).wire,
    }
    if stream:
        body["stream"] = True
        if dialect.stream_usage:
            body["stream_options"] = {"include_usage": True}
    limit = call.max_output_tokens if call.max_output_tokens is not None else chat.max_output_tokens
    if limit is not None:
        body[dialect.max_tokens_field] = limit
    _add_sampling(body, chat, facts)
    if chat.reasoning_effort is not None:
        _add_effort(body, chat.reasoning_effort, call, dialect, facts)
    if chat.tools:
        body["tools"] = [_tool(tool, i) for i, tool in enumerate(chat.tools)]
        if chat.tool_choice is not None:
            body["tool_choice"] = _tool_choice(chat.tool_choice)
        if chat.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = chat.parallel_tool_calls
    if chat.response_format is not None:
        body["response_format"] = _response_format(chat)
    add_provider_options(body, chat, spec.target.provider)
    return body


def _add_sampling(body: JsonObject, chat: ChatInput, facts: ModelFacts) -> None:
    if chat.seed is not None:
        body["seed"] = chat.seed
    if facts.reasons:
        # Refused with a 400 by models that reason; the caller cannot know which target is chosen.
        return
    if chat.temperature is not None:
        body["temperature"] = chat.temperature
    if chat.top_p is not None:
        body["top_p"] = chat.top_p
    if chat.stop:
        body["stop"] = list(chat.stop)


def _add_effort(
    body: JsonObject, effort: ReasoningEffort, call: UpstreamCall, dialect: Dialect, facts: ModelFacts
) -> None:
    if dialect.vendor_rules:
        if facts.reasons:
            body["reasoning_effort"] = facts.effort(effort)
    elif Capability.THINKING in call.spec.capabilities:
        body["reasoning_effort"] = effort.value.lower()


def _tool(tool: Tool, index: int) -> JsonObject:
    function: JsonObject = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = caller_schema(tool.parameters_json_schema, f"tools[{index}].parameters_json_schema")
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> object:
    if choice.mode is ToolChoiceMode.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return _TOOL_CHOICES[choice.mode]


def _response_format(chat: ChatInput) -> JsonObject:
    wanted = chat.response_format
    if wanted is None or not wanted.schema_json:
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "json_schema": {
            "name": wanted.name or "answer",
            "schema": caller_schema(wanted.schema_json, "response_format.schema_json"),
            "strict": wanted.strict,
        },
    }


class _Messages:
    """Builds `messages`: one entry per turn, but one per tool result, and their media in a user turn after them."""

    def __init__(self, chat: ChatInput, *, breakpoints: bool) -> None:
        self.wire: list[JsonObject] = []
        marks = [id(part) for m in chat.messages for part in m.parts if part.cache_breakpoint] if breakpoints else []
        self._marked = frozenset(marks[-MAX_CACHE_BREAKPOINTS:])
        self._media_of_tools: list[JsonObject] = []
        for message in chat.messages:
            self._add(message)
        self._flush_media_of_tools()

    def _add(self, message: Message) -> None:
        for part in message.parts:
            if isinstance(part.content, ToolResult):
                self._add_tool_result(part.content)
        if message.role is Role.TOOL:
            return
        self._flush_media_of_tools()
        if message.role is Role.ASSISTANT:
            self._add_assistant(message)
            return
        content = self._content(part for part in message.parts if not isinstance(part.content, ToolResult))
        if content:
            self.wire.append({"role": _ROLES[message.role], "content": content})

    def _add_assistant(self, message: Message) -> None:
        calls = [
            {
                "id": tool_call_id(part.content.id),
                "type": "function",
                "function": {"name": part.content.name, "arguments": part.content.arguments_json or "{}"},
            }
            for part in message.parts
            if isinstance(part.content, ToolCall)
        ]
        # One string, however many parts: compatible servers know nothing else in a turn of the assistant.
        content = "".join(part.content.text for part in message.parts if isinstance(part.content, Text))
        entry: JsonObject = {"role": "assistant"}
        if content or not calls:
            entry["content"] = content
        if calls:
            entry["tool_calls"] = calls
        self.wire.append(entry)

    def _add_tool_result(self, result: ToolResult) -> None:
        texts = [part.content.text for part in result.content if isinstance(part.content, Text)]
        media = [part for part in result.content if isinstance(part.content, Media)]
        self.wire.append(
            {"role": "tool", "tool_call_id": tool_call_id(result.tool_call_id), "content": "\n".join(texts)}
        )
        if media:
            name = result.name or result.tool_call_id
            self._media_of_tools.append({"type": "text", "text": f"Returned by the tool {name}:"})
            self._media_of_tools.extend(self._block(part) for part in media)

    def _flush_media_of_tools(self) -> None:
        # A tool message holds text only, and nothing may stand between the results of one turn.
        if self._media_of_tools:
            self.wire.append({"role": "user", "content": self._media_of_tools})
            self._media_of_tools = []

    def _content(self, parts: Iterable[Part]) -> object:
        kept = [part for part in parts if not isinstance(part.content, Reasoning)]
        if len(kept) == 1 and isinstance(kept[0].content, Text) and id(kept[0]) not in self._marked:
            return kept[0].content.text
        return [self._block(part) for part in kept] or ""

    def _block(self, part: Part) -> JsonObject:
        content = part.content
        if isinstance(content, Text):
            block: JsonObject = {"type": "text", "text": content.text}
        elif isinstance(content, Media):
            block = _media(content)
        else:
            raise invalid_request(f"a {type(content).__name__} part cannot stand in this message")
        if id(part) in self._marked:
            block["prompt_cache_breakpoint"] = {"mode": "explicit"}
        return block


def _media(media: Media) -> JsonObject:
    media_type = media.media_type or DEFAULT_MEDIA_TYPE[media.kind]
    if media.kind is MediaKind.IMAGE:
        return {"type": "image_url", "image_url": {"url": media.url or _data_url(media, media_type)}}
    if media.data is None:
        raise invalid_request(f"the openai wire takes {media.kind.value.lower()} parts as bytes only, not by URL")
    if media.kind is MediaKind.AUDIO:
        audio_format = _AUDIO_FORMATS.get(media_type)
        if audio_format is None:
            raise invalid_request(f"the openai wire takes wav and mp3 audio, not {media_type}")
        data = b64encode(media.data).decode("ascii")
        return {"type": "input_audio", "input_audio": {"data": data, "format": audio_format}}
    file_name = _FILE_NAMES.get(media_type, "document")
    return {"type": "file", "file": {"filename": file_name, "file_data": _data_url(media, media_type)}}


def _data_url(media: Media, media_type: str) -> str:
    if media.data is None:
        raise invalid_request(f"a {media.kind.value.lower()} part has neither data nor url")
    return f"data:{media_type};base64,{b64encode(media.data).decode('ascii')}"
