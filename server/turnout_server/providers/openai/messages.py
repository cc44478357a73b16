"""Puts the turns of a conversation on the openai wire."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from turnout_server.core.chat import ChatInput, Media, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult
from turnout_server.providers.dialects import Dialect, ReasoningBack, ToolCallIds
from turnout_server.providers.failures import invalid_request
from turnout_server.providers.json_text import result_text, tool_call_id
from turnout_server.providers.openai.media import media_block
from turnout_server.providers.openai.models import ModelFacts
from turnout_server.providers.openai.reasoning import PLACEHOLDER, put_back
from turnout_server.providers.wire import JsonObject

MAX_CACHE_BREAKPOINTS = 4
NINE = 9
ACKNOWLEDGED = "OK."
"""What the assistant is made to say where a vendor wants it to say something."""

_ROLES = {Role.SYSTEM: "system", Role.USER: "user", Role.ASSISTANT: "assistant"}
_BASE_62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Addressee(NamedTuple):
    """Who reads the messages."""

    provider: str
    dialect: Dialect
    facts: ModelFacts
    maker: str = ""
    """Who made the model, where the vendor has those of many makers."""


def fitting_id(value: str, ids: ToolCallIds) -> str:
    """Returns the id of a tool call as the vendor takes it: its own ids stay, others become the same each time."""
    if ids is ToolCallIds.USUAL:
        return tool_call_id(value)
    if len(value) == NINE and value.isascii() and value.isalnum():
        return value
    number = int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest())
    digits: list[str] = []
    for _ in range(NINE):
        number, digit = divmod(number, len(_BASE_62))
        digits.append(_BASE_62[digit])
    return "".join(digits)


class Messages:
    """Builds `messages`: one entry per turn, but one per tool result, and their media in a user turn after them."""

    def __init__(self, chat: ChatInput, addressee: Addressee) -> None:
        self.wire: list[JsonObject] = []
        self._to = addressee
        marks = [id(part) for m in chat.messages for part in m.parts if part.cache_breakpoint]
        self._marked = frozenset(marks[-MAX_CACHE_BREAKPOINTS:] if addressee.facts.cache_breakpoints else ())
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
            self._append(_ROLES[message.role], content)

    def _add_assistant(self, message: Message) -> None:
        calls = [
            {
                "id": self._id(part.content.id),
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
        if self._to.facts.reasons:
            self._add_reasoning(entry, message)
        self.wire.append(entry)

    def _add_reasoning(self, entry: JsonObject, message: Message) -> None:
        own = [part for part in message.parts if part.signature and part.origin_provider == self._to.provider]
        put_back(entry, own, self._to.dialect.reasoning_back, self._to.maker)
        if self._to.facts.wants_reasoning_back and "tool_calls" in entry:
            name = ReasoningBack.CONTENT_FIELD.value
            entry[name] = entry.get(name) or PLACEHOLDER

    def _add_tool_result(self, result: ToolResult) -> None:
        texts = [part.content.text for part in result.content if isinstance(part.content, Text)]
        media = [part for part in result.content if isinstance(part.content, Media)]
        self.wire.append(
            {
                "role": "tool",
                "tool_call_id": self._id(result.tool_call_id),
                "content": result_text("\n".join(texts), is_error=result.is_error),
            }
        )
        if media:
            name = result.name or result.tool_call_id
            self._media_of_tools.append({"type": "text", "text": f"Returned by the tool {name}:"})
            self._media_of_tools.extend(self._block(part) for part in media)

    def _flush_media_of_tools(self) -> None:
        # A tool message holds text only, and nothing may stand between the results of one turn.
        if self._media_of_tools:
            self._append("user", self._media_of_tools)
            self._media_of_tools = []

    def _append(self, role: str, content: object) -> None:
        after_tools = bool(self.wire) and self.wire[-1]["role"] == "tool"
        if after_tools and role == "user" and self._to.dialect.answers_after_tools:
            self.wire.append({"role": "assistant", "content": ACKNOWLEDGED})
        self.wire.append({"role": role, "content": content})

    def _id(self, value: str) -> str:
        return fitting_id(value, self._to.dialect.tool_call_ids)

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
            block = media_block(content, self._to.dialect.media_form)
        else:
            raise invalid_request(f"a {type(content).__name__} part cannot stand in this message")
        if id(part) in self._marked:
            block["prompt_cache_breakpoint"] = {"mode": "explicit"}
        return block
