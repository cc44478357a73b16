"""Reads answers of the openai wire, streamed or whole."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import orjson

from turnout_server.core.chat import (
    ChatInput,
    Finished,
    ReasoningDelta,
    ResponseStarted,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from turnout_server.core.model import FailureKind, FinishReason, Usage
from turnout_server.ports import UpstreamError
from turnout_server.providers.failures import failure, protocol_error, read_error
from turnout_server.providers.json_text import HalfCharacters, loads_tolerant
from turnout_server.providers.wire import Events, finish

FINISH_REASONS: Mapping[str, FinishReason] = MappingProxyType(
    {
        "stop": FinishReason.STOP,
        "length": FinishReason.LENGTH,
        "tool_calls": FinishReason.TOOL_CALLS,
        "function_call": FinishReason.TOOL_CALLS,
        "content_filter": FinishReason.CONTENT_FILTER,
    }
)

_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)
_TEXT = -1
_REASONING = -2


class OpenAIDecoder:
    """Reads the chunks of one answer. Each part gets its index when it first appears."""

    __slots__ = (
        "_calls",
        "_chat",
        "_halves",
        "_last_call",
        "_parts",
        "_refused",
        "_renumbered",
        "_started",
        "_usage",
        "ended",
        "finished",
    )

    def __init__(self, chat: ChatInput) -> None:
        self._chat = chat
        self._started = False
        self._parts: dict[int, int] = {}
        self._calls: dict[int, str] = {}
        self._last_call = 0
        self._renumbered: dict[int, int] = {}
        self._refused = False
        self._halves: HalfCharacters | None = None
        self._usage: Usage | None = None
        self.finished = False
        self.ended = False

    def feed(self, data: bytes, out: Events) -> None:
        """Reads the data of one event, and appends what it means."""
        if data == b"[DONE]":
            self.ended = True
            self.end(out)
            return
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            chunk = loads_tolerant(data)
            self._halves = self._halves or HalfCharacters()
        self.read(chunk, out)

    def end(self, out: Events) -> None:
        """`[DONE]` came, or the connection ended: complete with that or a finish reason, and after some answer."""
        if self.finished:
            return
        if not self.ended:
            raise UpstreamError(
                FailureKind.TRUNCATED, "the stream ended without finish reason and without [DONE]", http_status=200
            )
        if not self._started:
            raise protocol_error("the stream ended before it brought anything")
        self._finish(FinishReason.OTHER, out)

    def read(self, chunk: Any, out: Events) -> None:
        """Reads one parsed chunk, or a whole answer, which is a chunk whose delta is called message."""
        try:
            self._read(chunk, out)
        except _MALFORMED:
            raise protocol_error("an event of the answer does not have the shape of a chat completion") from None

    def _read(self, chunk: Any, out: Events) -> None:
        choices = chunk.get("choices")
        if not choices and chunk.get("error") is not None:
            raise failure(200, read_error(chunk), chat=self._chat, in_stream=True)
        if not self._started:
            if choices is None:
                raise ValueError
            self._started = True
            out.append(ResponseStarted(model=str(chunk.get("model") or ""), response_id=str(chunk.get("id") or "")))
        if choices and not self.finished:
            self._choice(chunk, choices[0], out)
        usage = chunk.get("usage") or (chunk["x_groq"].get("usage") if "x_groq" in chunk else None)
        if usage:
            self._report(usage, out)

    def _choice(self, chunk: Any, choice: Any, out: Events) -> None:
        if choice.get("index"):
            return
        delta = choice.get("delta") or choice.get("message")
        if delta:
            self._delta(delta, out)
        reason = choice.get("finish_reason")
        if reason:
            if chunk.get("error") is not None:
                raise failure(200, read_error(chunk), chat=self._chat, in_stream=True)
            self._finish(finish(FINISH_REASONS, reason), out)

    def _delta(self, delta: Any, out: Events) -> None:
        text = delta.get("content")
        if text:
            out.append(TextDelta(part_index=self._part(_TEXT), text=self._text(_TEXT, text)))
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning:
            out.append(ReasoningDelta(part_index=self._part(_REASONING), text=self._text(_REASONING, reasoning)))
        refusal = delta.get("refusal")
        if refusal:
            self._refused = True
            out.append(TextDelta(part_index=self._part(_TEXT), text=self._text(_TEXT, refusal)))
        calls = delta.get("tool_calls")
        if calls:
            for place, call in enumerate(calls):
                self._tool_call(call, place, out)

    def _tool_call(self, call: Any, place: int, out: Events) -> None:
        function = call.get("function") or {}
        name, call_id, fragment = function.get("name") or "", call.get("id") or "", function.get("arguments") or ""
        if not isinstance(fragment, str):
            # Some servers send the arguments as an object.
            fragment = orjson.dumps(fragment).decode()
        index = call.get("index")
        if index is None:
            key = self._key_without_index(call_id, name, place)
        else:
            key = self._renumbered.get(index, index)
            if call_id and name and self._calls.get(key, call_id) != call_id:
                # Some servers give every call of a turn the index 0.
                key = self._renumbered[index] = max(self._calls) + 1
        self._last_call = key
        if key in self._calls:
            if fragment:
                out.append(ToolCallDelta(part_index=self._part(key), arguments_fragment=self._text(key, fragment)))
            return
        if not name:
            raise ValueError
        self._calls[key] = call_id
        out.append(
            ToolCallDelta(
                part_index=self._part(key),
                id=call_id or f"call_{uuid4().hex}",
                name=str(name),
                arguments_fragment=self._text(key, fragment),
            )
        )

    def _key_without_index(self, call_id: str, name: str, place: int) -> int:
        for key, known in self._calls.items():
            if call_id and known == call_id:
                return key
        if call_id or name:
            return max(self._calls, default=-1) + 1
        return self._last_call if self._calls else place

    def _finish(self, reason: FinishReason, out: Events) -> None:
        if self._refused:
            reason = FinishReason.CONTENT_FILTER
        elif self._calls and reason in {FinishReason.STOP, FinishReason.OTHER}:
            reason = FinishReason.TOOL_CALLS
        if reason is FinishReason.CONTENT_FILTER and not self._parts:
            raise UpstreamError(
                FailureKind.CONTENT_FILTERED, "the provider's content filter stopped the answer", http_status=200
            )
        self.finished = True
        out.append(Finished(reason=reason))

    def _report(self, usage: Any, out: Events) -> None:
        prompt = usage.get("prompt_tokens_details") or {}
        completion = usage.get("completion_tokens_details") or {}
        cached = prompt.get("cached_tokens")
        report = Usage(
            input_tokens=_count(usage.get("prompt_tokens")),
            output_tokens=_count(usage.get("completion_tokens")),
            cached_input_tokens=_count(usage.get("cached_tokens") if cached is None else cached),
            cache_write_tokens=_count(prompt.get("cache_write_tokens")),
            reasoning_tokens=_count(completion.get("reasoning_tokens")),
        )
        if report == self._usage:
            return
        self._usage = report
        cost = usage.get("cost")
        out.append(UsageReported(usage=report, cost_usd=float(cost) if isinstance(cost, (int, float)) else None))

    def _part(self, key: int) -> int:
        parts = self._parts
        index = parts.get(key)
        if index is None:
            index = parts[key] = len(parts)
        return index

    def _text(self, key: int, text: Any) -> str:
        if type(text) is not str:
            raise TypeError
        return text if self._halves is None else self._halves.join(key, text)


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
