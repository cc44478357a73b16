"""Reads answers of the openai wire, streamed or whole."""

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
from turnout_server.core.model import FailureKind, FinishReason
from turnout_server.ports import UpstreamError
from turnout_server.providers.dialects import OPENAI_COMPATIBLE, Dialect
from turnout_server.providers.exact_json import exact
from turnout_server.providers.failures import failure, hidden_error, protocol_error
from turnout_server.providers.json_text import HalfCharacters, loads_tolerant, word
from turnout_server.providers.openai.reasoning import maker_of
from turnout_server.providers.openai.think_tags import Pieces
from turnout_server.providers.openai.thinking import Thinking
from turnout_server.providers.openai.tool_calls import ToolCalls
from turnout_server.providers.openai.usage import read_usage, stated_usage
from turnout_server.providers.wire import Events, finish

FINISH_REASONS: Mapping[str, FinishReason] = MappingProxyType(
    {
        "stop": FinishReason.STOP,
        "length": FinishReason.LENGTH,
        "model_length": FinishReason.LENGTH,  # Mistral: the window is full
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
        "_dialect",
        "_halves",
        "_model",
        "_parts",
        "_refused",
        "_started",
        "_streamed",
        "_thinking",
        "_usage",
        "_vendor",
        "ended",
        "finished",
    )

    def __init__(self, chat: ChatInput, dialect: Dialect = OPENAI_COMPATIBLE, model: str = "") -> None:
        self._chat = chat
        self._dialect = dialect
        self._model = model
        self._vendor = dialect.vendor
        self._started = False
        self._streamed = False
        self._parts: dict[int, int] = {}
        self._calls = ToolCalls()
        self._thinking = Thinking(dialect)
        self._refused = False
        self._halves: HalfCharacters | None = None
        self._usage: UsageReported | None = None
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
            if b'"arguments":{' in data:
                # Some servers send them as an object.
                chunk = exact(data, chunk)
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
        if not choices or _may_fail(chunk, choices[0]):
            error = hidden_error(chunk, self._vendor)
            if error is not None:
                raise failure(200, error, chat=self._chat, vendor=self._vendor, in_stream=True)
        if not self._started:
            if choices is None:
                raise ValueError
            self._started = True
            model = word(chunk.get("model"))
            # What was asked for may stand for whichever model the vendor thinks best.
            self._model = model if "/" in model else self._model
            out.append(ResponseStarted(model=model, response_id=word(chunk.get("id"))))
        if choices and not self.finished:
            self._choice(choices[0], out)
        usage = stated_usage(chunk, choices)
        if usage:
            self._report(read_usage(usage), out)

    def _choice(self, choice: Any, out: Events) -> None:
        if choice.get("index"):
            return
        delta = choice.get("delta")
        if delta:
            self._streamed = True
        elif not self._streamed:
            # A whole answer. MiniMax ends a stream with one, which holds what the stream brought already.
            delta = choice.get("message")
        if delta:
            self._delta(delta, out)
        reason = choice.get("finish_reason")
        if reason:
            self._finish(finish(FINISH_REASONS, reason), out)

    def _delta(self, delta: Any, out: Events) -> None:
        reasoning = self._thinking.read(delta)
        if reasoning:
            self._reason(reasoning, out)
        content = delta.get("content")
        if content:
            for chunk in content if type(content) is list else (content,):
                self._content(chunk, out)
        refusal = delta.get("refusal")
        if refusal:
            self._refused = True
            out.append(TextDelta(part_index=self._part(_TEXT), text=self._text(_TEXT, refusal)))
        calls = delta.get("tool_calls")
        if calls:
            for place, call in enumerate(calls):
                self._tool_call(call, place, out)

    def _content(self, chunk: Any, out: Events) -> None:
        """Reads the content, or one chunk of a content that is a list; citations and the like are left out."""
        if type(chunk) is dict:
            reasoning = self._thinking.read_chunk(chunk)
            if reasoning:
                self._reason(reasoning, out)
            chunk = chunk.get("text") if chunk.get("type") == "text" else None
            if not chunk:
                return
        text = self._text(_TEXT, chunk)
        if self._thinking.apart:
            out.append(TextDelta(part_index=self._part(_TEXT), text=text))
        else:
            self._tell(self._thinking.split(text), out)

    def _tell(self, pieces: Pieces, out: Events) -> None:
        for thinks, piece in pieces:
            if thinks:
                out.append(ReasoningDelta(part_index=self._part(_REASONING), text=piece))
            else:
                out.append(TextDelta(part_index=self._part(_TEXT), text=piece))

    def _reason(self, reasoning: Any, out: Events) -> None:
        out.append(ReasoningDelta(part_index=self._part(_REASONING), text=self._text(_REASONING, reasoning)))

    def _tool_call(self, call: Any, place: int, out: Events) -> None:
        piece = self._calls.read(call, place)
        if piece is not None:
            fragment = self._text(piece.key, piece.fragment)
            out.append(
                ToolCallDelta(
                    part_index=self._part(piece.key), id=piece.id, name=piece.name, arguments_fragment=fragment
                )
            )

    def _report(self, report: UsageReported | None, out: Events) -> None:
        if report is not None and report != self._usage:
            self._usage = report
            out.append(report)

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

    def _finish(self, reason: FinishReason, out: Events) -> None:
        self._tell(self._thinking.rest(), out)
        for key in self._calls.without_arguments:
            out.append(ToolCallDelta(part_index=self._part(key), arguments_fragment="{}"))
        if self._refused:
            reason = FinishReason.CONTENT_FILTER
        elif self._calls and reason in {FinishReason.STOP, FinishReason.OTHER}:
            reason = FinishReason.TOOL_CALLS
        if reason is FinishReason.CONTENT_FILTER and not self._parts:
            raise UpstreamError(
                FailureKind.CONTENT_FILTERED, "the provider's content filter stopped the answer", http_status=200
            )
        signature = self._thinking.signature(maker_of(self._model, self._dialect))
        if signature:
            out.append(SignatureDelta(part_index=self._part(_REASONING), signature=word(signature)))
        self.finished = True
        out.append(Finished(reason=reason))


def _may_fail(chunk: Any, choice: Any) -> bool:
    """Whether a chunk may be an error in spite of its choice: nearly none is, and each token comes in one."""
    return (
        "error" in chunk
        or "base_resp" in chunk
        or "x_groq" in chunk
        or "error" in choice
        or choice.get("finish_reason") == "error"
    )
