"""Puts a chat request on the anthropic wire."""

from __future__ import annotations

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
from turnout_server.ports import UpstreamCall
from turnout_server.providers.anthropic.models import ModelFacts, facts_of
from turnout_server.providers.anthropic.structured import add_json_format
from turnout_server.providers.anthropic.thinking import add_thinking
from turnout_server.providers.base64_text import Base64Text
from turnout_server.providers.failures import invalid_request
from turnout_server.providers.json_text import caller_schema, tool_arguments, tool_call_id
from turnout_server.providers.media import DEFAULT_MEDIA_TYPE
from turnout_server.providers.options import add_provider_options
from turnout_server.providers.wire import JsonObject

DEFAULT_MAX_TOKENS = 4096
"""The wire demands a limit; this one where neither the caller nor the catalog has any."""
MAX_CACHE_BREAKPOINTS = 4

_TOOL_CHOICES = {ToolChoiceMode.AUTO: "auto", ToolChoiceMode.NONE: "none", ToolChoiceMode.REQUIRED: "any"}


def request_body(call: UpstreamCall, *, stream: bool) -> JsonObject:
    """Returns the request as the wire wants it; UpstreamError INVALID_REQUEST for what it cannot carry."""
    chat, spec = call.chat, call.spec
    facts = facts_of(spec.target.model)
    max_tokens = next(
        (n for n in (call.max_output_tokens, chat.max_output_tokens, spec.max_output_tokens) if n is not None),
        DEFAULT_MAX_TOKENS,
    )
    conversation = _Conversation(chat, spec.target.provider)
    body: JsonObject = {"model": spec.target.model, "max_tokens": max_tokens, "messages": conversation.messages}
    if stream:
        body["stream"] = True
    if chat.tools:
        body["tools"] = [_tool(tool, i) for i, tool in enumerate(chat.tools)]
        choice = _tool_choice(chat)
        if choice is not None:
            body["tool_choice"] = choice
    elif conversation.tool_names:
        # The wire wants to know tools that the conversation speaks of, though none may be called now.
        body["tools"] = [
            {"name": name, "input_schema": {"type": "object", "properties": {}}} for name in conversation.tool_names
        ]
        body["tool_choice"] = {"type": "none"}
    thinks = add_thinking(body, call, facts, max_tokens)
    _add_sampling(body, chat, facts, thinks=thinks)
    instruction = add_json_format(body, chat, facts)
    if instruction:
        conversation.system.append({"type": "text", "text": instruction})
    if conversation.system:
        body["system"] = conversation.system
    add_provider_options(body, chat, spec.target.provider)
    return body


def _add_sampling(body: JsonObject, chat: ChatInput, facts: ModelFacts, *, thinks: bool) -> None:
    if chat.stop:
        body["stop_sequences"] = list(chat.stop)
    if not facts.sampling or thinks:
        # Refused with a 400; the caller cannot know which target is chosen.
        return
    if chat.temperature is not None:
        # This wire's scale ends at 1, others' at 2.
        body["temperature"] = min(chat.temperature, 1.0)
    if chat.top_p is not None and not (facts.one_sampler and chat.temperature is not None):
        body["top_p"] = chat.top_p


def _tool(tool: Tool, index: int) -> JsonObject:
    wire: JsonObject = {"name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    wire["input_schema"] = caller_schema(tool.parameters_json_schema, f"tools[{index}].parameters_json_schema")
    return wire


def _tool_choice(chat: ChatInput) -> JsonObject | None:
    choice = chat.tool_choice or (ToolChoice() if chat.parallel_tool_calls is not None else None)
    if choice is None:
        return None
    if choice.mode is ToolChoiceMode.NAMED:
        wire: JsonObject = {"type": "tool", "name": choice.name}
    else:
        wire = {"type": _TOOL_CHOICES[choice.mode]}
    if chat.parallel_tool_calls is not None and choice.mode is not ToolChoiceMode.NONE:
        wire["disable_parallel_tool_use"] = not chat.parallel_tool_calls
    return wire


class _Conversation:
    """Builds `system` and `messages`: system turns go to the top, tool results before what else the user says, turns of
    the same role that follow each other become one.
    """

    def __init__(self, chat: ChatInput, provider: str) -> None:
        self.system: list[JsonObject] = []
        self.messages: list[JsonObject] = []
        self.tool_names: dict[str, None] = {}
        self._provider = provider
        marks = [id(part) for message in chat.messages for part in message.parts if part.cache_breakpoint]
        self._marked = frozenset(marks[-MAX_CACHE_BREAKPOINTS:])
        for message in chat.messages:
            self._add(message)
        self._end_assistant_turn()

    def _add(self, message: Message) -> None:
        if message.role is Role.SYSTEM:
            self.system.extend(self._blocks(message.parts))
            return
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = self._blocks(message.parts)
        if not blocks:
            return
        last = self.messages[-1] if self.messages else None
        if last is None or last["role"] != role:
            self.messages.append({"role": role, "content": blocks})
            return
        content = last["content"]
        assert isinstance(content, list)
        results = [block for block in blocks if block["type"] == "tool_result"]
        place = next((i for i, block in enumerate(content) if block["type"] != "tool_result"), len(content))
        content[place:place] = results
        content.extend(block for block in blocks if block["type"] != "tool_result")

    def _blocks(self, parts: Iterable[Part]) -> list[JsonObject]:
        blocks: list[JsonObject] = []
        for part in parts:
            block = self._block(part)
            if block is None:
                continue
            if id(part) in self._marked and block["type"] not in {"thinking", "redacted_thinking"}:
                block["cache_control"] = {"type": "ephemeral"}
            blocks.append(block)
        return blocks

    def _block(self, part: Part) -> JsonObject | None:
        content = part.content
        if isinstance(content, Text):
            # The wire refuses empty text.
            return {"type": "text", "text": content.text} if content.text else None
        if isinstance(content, Media):
            return _media(content)
        if isinstance(content, ToolCall):
            self.tool_names.setdefault(content.name)
            return {
                "type": "tool_use",
                "id": tool_call_id(content.id),
                "name": content.name,
                "input": tool_arguments(content.arguments_json),
            }
        if isinstance(content, ToolResult):
            return self._tool_result(content)
        return self._reasoning(part, content)

    def _tool_result(self, result: ToolResult) -> JsonObject:
        block: JsonObject = {"type": "tool_result", "tool_use_id": tool_call_id(result.tool_call_id)}
        content = self._blocks(result.content)
        if content:
            block["content"] = content
        if result.is_error:
            block["is_error"] = True
        return block

    def _reasoning(self, part: Part, reasoning: Reasoning) -> JsonObject | None:
        if part.origin_provider != self._provider:
            return None
        if reasoning.redacted_data is not None:
            return {"type": "redacted_thinking", "data": reasoning.redacted_data.decode("utf-8", "replace")}
        if not part.signature:
            return None
        return {"type": "thinking", "thinking": reasoning.text, "signature": part.signature}

    def _end_assistant_turn(self) -> None:
        # The wire refuses white space at the end of an answer that it is to continue.
        last = self.messages[-1] if self.messages else None
        if last is None or last["role"] != "assistant" or not isinstance(last["content"], list):
            return
        content = last["content"]
        while content and content[-1]["type"] == "text":
            content[-1]["text"] = content[-1]["text"].rstrip()
            if content[-1]["text"]:
                return
            # It was white space alone, and the wire refuses empty text too.
            content.pop()
        if not content:
            self.messages.pop()


def _media(media: Media) -> JsonObject:
    if media.kind is MediaKind.AUDIO:
        raise invalid_request("the anthropic wire takes no audio")
    kind = "image" if media.kind is MediaKind.IMAGE else "document"
    if media.url is not None:
        return {"type": kind, "source": {"type": "url", "url": media.url}}
    if media.data is None:
        raise invalid_request(f"a {kind} part has neither data nor url")
    media_type = media.media_type or DEFAULT_MEDIA_TYPE[media.kind]
    if kind == "document" and media_type.startswith("text/"):
        text = media.data.decode("utf-8", "replace")
        return {"type": kind, "source": {"type": "text", "media_type": "text/plain", "data": text}}
    data = Base64Text(media.data)
    return {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}}
