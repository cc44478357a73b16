"""Ollama's side of the ollama wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson

from tests.wire.speakers import CountedUsage, Sse


class OllamaSpeaker(Sse):
    wire = "ollama"
    model = "qwen3"
    content_type = "application/x-ndjson"
    # It tells of neither caches nor thoughts.
    counted: CountedUsage = (110, 20, None, None, None)
    own_tool_call_ids = False
    argument_fragments = False
    error_codes = False
    comments = False
    names_answers = False
    filters = False
    reasons: ClassVar = {"stop": "stop", "length": "length"}

    def framed(self, raw: bytes) -> bytes:
        return raw + b"\n"

    def line(self, message: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "model": "qwen3",
            "created_at": "2026-11-21T08:00:00.123456Z",
            "message": {"role": "assistant", "content": "", **message},
            "done": False,
            **more,
        }

    def done(self, reason: str = "stop") -> dict[str, Any]:
        counts = {"prompt_eval_count": 110, "eval_count": 20, "total_duration": 5, "eval_duration": 3}
        return {"done": True, "done_reason": reason, **counts}

    def sent(self, value: object) -> bytes:
        return self.framed(orjson.dumps(value))

    def end(self, reason: str = "stop") -> list[bytes]:
        return [self.sent(self.line({}, **self.done(reason)))]

    def text_stream(self, pieces: Sequence[str], *, reason: str = "stop") -> list[bytes]:
        return [*self.cut_before_end(pieces), *self.end(self.reasons[reason])]

    def cut_before_end(self, pieces: Sequence[str]) -> list[bytes]:
        return [self.sent(self.line({"content": piece})) for piece in pieces]

    def call(self, name: str, arguments: str) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": orjson.loads(arguments)}}

    def tool_stream(self, calls: Sequence[tuple[str, str, Sequence[str]]]) -> list[bytes]:
        made = [self.sent(self.line({"tool_calls": [self.call(name, "".join(pieces))]})) for _, name, pieces in calls]
        return [*made, *self.end()]

    def reasoning_stream(self, thoughts: Sequence[str], answer: str) -> list[bytes]:
        return [
            *(self.sent(self.line({"thinking": thought})) for thought in thoughts),
            self.sent(self.line({"content": answer})),
            *self.end(),
        ]

    def error_event(self, kind: str) -> bytes:
        return self.sent({"error": kind})

    def ping(self) -> bytes:
        """The vendor has none; what stands between may send empty lines."""
        return b"\n"

    def refusal_stream(self) -> list[bytes]:
        raise NotImplementedError("a local server has no content filter")

    def whole_text(self, text: str) -> bytes:
        return orjson.dumps(self.line({"content": text}, **self.done()))

    def whole_tools(self, calls: Sequence[tuple[str, str, str]]) -> bytes:
        made = [self.call(name, arguments) for _, name, arguments in calls]
        return orjson.dumps(self.line({"tool_calls": made}, **self.done()))

    def error_body(self, kind: str, message: str) -> bytes:
        return orjson.dumps({"error": f"{kind}: {message}" if kind else message})
