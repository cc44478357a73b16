"""Reads answers of the anthropic wire, streamed or whole."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from turnout_server.core.chat import (
    ChatInput,
    Finished,
    ReasoningDelta,
    ResponseStarted,
    SignatureDelta,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from turnout_server.core.model import FailureKind, FinishReason, Usage
from turnout_server.ports import UpstreamError
from turnout_server.providers.anthropic.structured import ANSWER_TOOL
from turnout_server.providers.counts import token_count
from turnout_server.providers.exact_json import arguments_text
from turnout_server.providers.failures import failure, protocol_error, read_error
from turnout_server.providers.json_text import HalfCharacters, loads_tolerant, word
from turnout_server.providers.wire import Events, finish

FINISH_REASONS: Mapping[str, FinishReason] = MappingProxyType(
    {
        "end_turn": FinishReason.STOP,
        "stop_sequence": FinishReason.STOP,
        "max_tokens": FinishReason.LENGTH,
        "model_context_window_exceeded": FinishReason.LENGTH,
        "tool_use": FinishReason.TOOL_CALLS,
        "refusal": FinishReason.CONTENT_FILTER,
    }
)
"""`pause_turn` and whatever comes new are OTHER."""

_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)


class AnthropicDecoder:
    """Reads the events of one answer. `by_tool`: the answer is the input of `ANSWER_TOOL`, given out as text."""

    __slots__ = (
        "_answer_blocks",
        "_by_tool",
        "_calls_without_input",
        "_chat",
        "_halves",
        "_parts",
        "_reason",
        "_started",
        "_stop_details",
        "_usage",
        "_vendor",
        "ended",
        "finished",
    )

    def __init__(self, chat: ChatInput, *, by_tool: bool = False, vendor: str = "") -> None:
        self._chat = chat
        self._vendor = vendor
        self._by_tool = by_tool
        self._started = False
        self._parts: dict[int, int] = {}
        self._answer_blocks: set[int] = set()
        self._calls_without_input: set[int] = set()
        self._usage: dict[str, Any] = {}
        self._reason: object = None
        self._stop_details: object = None
        self._halves: HalfCharacters | None = None
        self.finished = False
        self.ended = False

    def feed(self, data: bytes, out: Events) -> None:
        """Reads the data of one event, and appends what it means."""
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            event = loads_tolerant(data)
            self._halves = self._halves or HalfCharacters()
        try:
            self._read(event, out)
        except _MALFORMED:
            raise protocol_error("an event of the answer does not have the shape of a message event") from None

    def end(self, out: Events) -> None:  # noqa: ARG002 - part of the protocol
        """The connection ended: only `message_stop` makes an answer complete."""
        if not self.finished:
            raise UpstreamError(FailureKind.TRUNCATED, "the stream ended without message_stop", http_status=200)

    def _read(self, event: Any, out: Events) -> None:
        kind = event.get("type")
        if kind == "content_block_delta":
            self._delta(event["index"], event["delta"], out)
        elif kind == "content_block_start":
            self.start_block(event["index"], event["content_block"], out)
        elif kind == "content_block_stop":
            self._stop_block(event["index"], out)
        elif kind == "message_start":
            message = event["message"]
            self._start(message, out)
        elif kind == "message_delta":
            self._reason = event["delta"].get("stop_reason") or self._reason
            self._stop_details = event["delta"].get("stop_details") or self._stop_details
            self._report(event.get("usage"), out)
        elif kind == "message_stop":
            if not self._started:
                raise ValueError
            self._finish(out)
        elif kind == "error" or (kind is None and "error" in event):
            raise failure(200, read_error(event), chat=self._chat, vendor=self._vendor, in_stream=True)

    def read_whole(self, message: Any, out: Events) -> None:
        """Reads a whole message: each block as one delta."""
        try:
            if message.get("type") == "error" or "error" in message:
                raise failure(200, read_error(message), chat=self._chat, vendor=self._vendor, in_stream=True)
            self._start({key: value for key, value in message.items() if key != "usage"}, out)
            for index, block in enumerate(message["content"]):
                self.start_block(index, block, out)
                self._stop_block(index, out)
            self._report(message.get("usage"), out)
            self._reason, self._stop_details = message["stop_reason"], message.get("stop_details")
            if self._reason is None:
                raise ValueError
            self._finish(out)
        except _MALFORMED:
            raise protocol_error("the answer does not have the shape of a message") from None

    def _start(self, message: Any, out: Events) -> None:
        self._started = True
        out.append(ResponseStarted(model=word(message.get("model")), response_id=word(message.get("id"))))
        self._report(message.get("usage"), out)

    def start_block(self, index: int, block: Any, out: Events) -> None:
        """Reads a content block: its beginning in a stream, or all of it."""
        kind = block["type"]
        if kind == "text":
            if block.get("text"):
                out.append(TextDelta(part_index=self._part(index), text=self._text(index, block["text"])))
        elif kind == "thinking":
            if block.get("thinking"):
                out.append(ReasoningDelta(part_index=self._part(index), text=self._text(index, block["thinking"])))
            if block.get("signature"):
                out.append(SignatureDelta(part_index=self._part(index), signature=word(block["signature"])))
        elif kind == "redacted_thinking":
            out.append(ReasoningDelta(part_index=self._part(index), redacted_data=block["data"].encode()))
        elif kind == "tool_use":
            self._start_tool_use(index, block, out)

    def _start_tool_use(self, index: int, block: Any, out: Events) -> None:
        given = block.get("input")
        arguments = arguments_text(given) if given else ""
        if self._by_tool and block["name"] == ANSWER_TOOL:
            self._answer_blocks.add(index)
            if arguments:
                out.append(TextDelta(part_index=self._part(index), text=arguments))
            return
        if not arguments:
            self._calls_without_input.add(index)
        out.append(
            ToolCallDelta(
                part_index=self._part(index),
                id=word(block["id"]),
                name=word(block["name"]),
                arguments_fragment=arguments,
            )
        )

    def _delta(self, index: int, delta: Any, out: Events) -> None:
        kind = delta["type"]
        if kind == "text_delta":
            text = delta["text"]
            if text:
                out.append(TextDelta(part_index=self._part(index), text=self._text(index, text)))
        elif kind == "input_json_delta":
            fragment = delta["partial_json"]
            if not fragment:
                return
            if index in self._answer_blocks:
                out.append(TextDelta(part_index=self._part(index), text=self._text(index, fragment)))
                return
            self._calls_without_input.discard(index)
            if index in self._parts:  # a server tool's input is the vendor's own business
                out.append(ToolCallDelta(part_index=self._parts[index], arguments_fragment=self._text(index, fragment)))
        elif kind == "thinking_delta":
            if delta["thinking"]:
                out.append(ReasoningDelta(part_index=self._part(index), text=self._text(index, delta["thinking"])))
        elif kind == "signature_delta":
            out.append(SignatureDelta(part_index=self._part(index), signature=word(delta["signature"])))

    def _stop_block(self, index: int, out: Events) -> None:
        if index in self._calls_without_input:
            self._calls_without_input.discard(index)
            out.append(ToolCallDelta(part_index=self._part(index), arguments_fragment="{}"))

    def _finish(self, out: Events) -> None:
        reason = finish(FINISH_REASONS, self._reason)
        if self._answer_blocks and reason is FinishReason.TOOL_CALLS:
            reason = FinishReason.STOP
        if reason is FinishReason.CONTENT_FILTER and not self._parts:
            details = self._stop_details
            category = details.get("category") if isinstance(details, dict) else None
            raise UpstreamError(
                FailureKind.CONTENT_FILTERED,
                f"the provider refused the content ({category})" if category else "the provider refused the content",
                http_status=200,
            )
        self.finished = self.ended = True
        out.append(Finished(reason=reason))

    def _report(self, usage: Any, out: Events) -> None:
        if not usage:
            return
        known = self._usage
        known.update({key: value for key, value in usage.items() if value is not None})
        cached, written = (
            token_count(known.get("cache_read_input_tokens")),
            token_count(known.get("cache_creation_input_tokens")),
        )
        plain = token_count(known.get("input_tokens"))
        by_lifetime, details = known.get("cache_creation") or {}, known.get("output_tokens_details") or {}
        out.append(
            UsageReported(
                usage=Usage(
                    # The vendor leaves cached tokens out of its input; here input is everything.
                    input_tokens=None if plain is None else plain + (cached or 0) + (written or 0),
                    output_tokens=token_count(known.get("output_tokens")),
                    cached_input_tokens=cached,
                    cache_write_tokens=written,
                    cache_write_1h_tokens=token_count(by_lifetime.get("ephemeral_1h_input_tokens")),
                    reasoning_tokens=token_count(details.get("thinking_tokens")),
                )
            )
        )

    def _part(self, index: int) -> int:
        parts = self._parts
        part = parts.get(index)
        if part is None:
            part = parts[index] = len(parts)
        return part

    def _text(self, index: int, text: Any) -> str:
        if type(text) is not str:
            raise TypeError
        return text if self._halves is None else self._halves.join(index, text)


def whole_answer(message: object, chat: ChatInput, *, by_tool: bool, vendor: str = "") -> Events:
    """Reads a parsed answer that came in one piece."""
    out: Events = []
    AnthropicDecoder(chat, by_tool=by_tool, vendor=vendor).read_whole(message, out)
    return out
