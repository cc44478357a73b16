"""Reads answers of the ollama wire: a stream is a row of lines, each a whole answer with what is new."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import orjson

from turnout_server.core.chat import (
    ChatInput,
    Finished,
    Lifecycle,
    ReasoningDelta,
    ResponseStarted,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from turnout_server.core.model import FailureKind, FinishReason, Usage
from turnout_server.ports import UpstreamError
from turnout_server.providers.counts import token_count
from turnout_server.providers.exact_json import arguments_text, exact
from turnout_server.providers.failures import failure, hidden_error, protocol_error
from turnout_server.providers.json_text import HalfCharacters, loads_tolerant, word
from turnout_server.providers.wire import Events, finish

FINISH_REASONS: Mapping[str, FinishReason] = MappingProxyType(
    {"stop": FinishReason.STOP, "length": FinishReason.LENGTH, "tool_calls": FinishReason.TOOL_CALLS}
)
"""What else there is (a model was loaded or unloaded) is OTHER."""

_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)


class OllamaDecoder:
    """Reads the lines of one answer. Text after a tool call or after thoughts is a part of its own."""

    __slots__ = ("_calls", "_chat", "_halves", "_open", "_parts", "_started", "_vendor", "ended", "finished")

    def __init__(self, chat: ChatInput, vendor: str) -> None:
        self._chat = chat
        self._vendor = vendor
        self._started = False
        self._parts = 0
        self._open: type[TextDelta | ReasoningDelta] | None = None
        self._calls = False
        self._halves: HalfCharacters | None = None
        self.finished = False
        self.ended = False

    def feed(self, data: bytes, out: Events) -> None:
        """Reads one line, and appends what it means."""
        try:
            line = orjson.loads(data)
            if b'"tool_calls"' in data:
                line = exact(data, line)
        except orjson.JSONDecodeError:
            line = loads_tolerant(data)
            self._halves = self._halves or HalfCharacters()
        self.read(line, out)

    def end(self, out: Events) -> None:  # noqa: ARG002 - part of the protocol
        """The connection ended: only a line that is marked as done makes an answer complete."""
        if not self.finished:
            raise UpstreamError(
                FailureKind.TRUNCATED, "the stream ended without a line that is marked as done", http_status=200
            )

    def read(self, line: Any, out: Events) -> None:
        """Reads one parsed line, or a whole answer, which is the same."""
        try:
            self._read(line, out)
        except _MALFORMED:
            raise protocol_error("a line of the answer does not have the shape of an Ollama answer") from None

    def _read(self, line: Any, out: Events) -> None:
        error = hidden_error(line, self._vendor)
        if error is not None:
            raise failure(200, error, chat=self._chat, vendor=self._vendor, in_stream=True)
        message, done = line.get("message"), line.get("done")
        if message is None and done is None:
            raise ValueError
        if not self._started:
            self._started = True
            out.append(ResponseStarted(model=word(line.get("model"))))
        if message is not None:
            self._message(message, out)
        if done:
            self._finish(line, out)
        elif not out:
            out.append(Lifecycle())

    def _message(self, message: Any, out: Events) -> None:
        self._text(message.get("thinking"), ReasoningDelta, out)
        self._text(message.get("content"), TextDelta, out)
        for call in message.get("tool_calls") or ():
            self._call(call, out)

    def _text(self, text: Any, kind: type[TextDelta | ReasoningDelta], out: Events) -> None:
        if not text:
            return
        if type(text) is not str:
            raise TypeError
        if self._open is not kind:
            self._open = kind
            self._parts += 1
        index = self._parts - 1
        if self._halves is not None:
            text = self._halves.join(index, text)
        if text:
            out.append(kind(part_index=index, text=text))

    def _call(self, call: Any, out: Events) -> None:
        function = call["function"]
        name, arguments = function["name"], function.get("arguments")
        if type(name) is not str or not name:
            raise ValueError
        self._open = None
        self._parts += 1
        self._calls = True
        out.append(
            ToolCallDelta(
                part_index=self._parts - 1,
                id=word(call.get("id")) or f"call_{uuid4().hex}",
                name=word(name),
                # An object by the vendor's documentation; some servers send it as text.
                arguments_fragment=arguments if isinstance(arguments, str) else arguments_text(arguments or {}),
            )
        )

    def _finish(self, line: Any, out: Events) -> None:
        usage = Usage(
            input_tokens=token_count(line.get("prompt_eval_count")), output_tokens=token_count(line.get("eval_count"))
        )
        if usage != Usage():
            out.append(UsageReported(usage=usage))
        reason = finish(FINISH_REASONS, line.get("done_reason") or "stop")
        if self._calls and reason in {FinishReason.STOP, FinishReason.OTHER}:
            reason = FinishReason.TOOL_CALLS
        self.finished = self.ended = True
        out.append(Finished(reason=reason))
