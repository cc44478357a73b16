"""Google's side of the gemini wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson

from tests.wire.speakers import CountedUsage, Sse, data, hello
from turnout_server.core.chat import Delta, ReasoningDelta, SignatureDelta, StreamEvent, TextDelta, ToolCallDelta
from turnout_server.providers.gemini.answer import GeminiDecoder


class GeminiSpeaker(Sse):
    wire = "gemini"
    model = "gemini-2.5-flash"
    # The vendor caches by itself, and charges nothing for writing.
    counted: CountedUsage = (110, 20, 80, None, 5)
    argument_fragments = False
    reasons: ClassVar = {"stop": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY"}

    @property
    def provider(self) -> str:
        return "google"

    def usage(self) -> dict[str, Any]:
        return {
            "promptTokenCount": 100,
            "toolUsePromptTokenCount": 10,
            "candidatesTokenCount": 15,
            "thoughtsTokenCount": 5,
            "totalTokenCount": 130,
            "cachedContentTokenCount": 80,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}],
        }

    def response(
        self, parts: Sequence[dict[str, Any]], reason: str | None = None, usage: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        candidate: dict[str, Any] = {"index": 0}
        if parts:
            candidate["content"] = {"parts": list(parts), "role": "model"}
        if reason is not None:
            candidate["finishReason"] = reason
        return {
            "candidates": [candidate],
            "usageMetadata": usage or {"promptTokenCount": 100, "totalTokenCount": 100},
            "modelVersion": "gemini-2.5-flash-001",
            "responseId": "r1",
        }

    def chunk(self, *parts: dict[str, Any], reason: str | None = None) -> bytes:
        return data(self.response(parts, reason))

    def end(self, reason: str = "STOP") -> list[bytes]:
        return [data(self.response([{"text": ""}], reason, self.usage()))]

    def text_stream(self, pieces: Sequence[str], *, reason: str = "stop") -> list[bytes]:
        return [*self.cut_before_end(pieces), *self.end(self.reasons[reason])]

    def cut_before_end(self, pieces: Sequence[str]) -> list[bytes]:
        return [self.chunk({"text": piece}) for piece in pieces]

    def call(self, call_id: str, name: str, arguments: str) -> dict[str, Any]:
        return {"functionCall": {"id": call_id, "name": name, "args": orjson.loads(arguments)}}

    def tool_stream(self, calls: Sequence[tuple[str, str, Sequence[str]]]) -> list[bytes]:
        return [*(self.chunk(self.call(i, name, "".join(pieces))) for i, name, pieces in calls), *self.end()]

    def reasoning_stream(self, thoughts: Sequence[str], answer: str) -> list[bytes]:
        return [
            *(self.chunk({"text": t, "thought": True}) for t in thoughts),
            self.chunk({"text": answer}),
            *self.end(),
        ]

    def error_event(self, kind: str) -> bytes:
        return data(orjson.loads(self.error_body(kind, "went wrong")))

    def ping(self) -> bytes:
        """The vendor has none; what stands between may send comments."""
        return b": ping\n\n"

    def refusal_stream(self) -> list[bytes]:
        return [data({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": self.usage()})]

    def whole_text(self, text: str) -> bytes:
        return orjson.dumps(self.response([{"text": text}], "STOP", self.usage()))

    def whole_tools(self, calls: Sequence[tuple[str, str, str]]) -> bytes:
        return orjson.dumps(self.response([self.call(*call) for call in calls], "STOP", self.usage()))

    def error_body(self, kind: str, message: str) -> bytes:
        details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": kind, "domain": "googleapis.com"}]
        return orjson.dumps({"error": {"code": 500, "message": message, "status": "UNKNOWN", "details": details}})


def decoded(*responses: dict[str, Any]) -> list[StreamEvent]:
    decoder = GeminiDecoder(hello(), "google")
    events: list[StreamEvent] = []
    for response in responses:
        decoder.feed(orjson.dumps(response), events)
    return events


def content_of(events: Sequence[StreamEvent]) -> list[Delta]:
    return [e for e in events if isinstance(e, (TextDelta, ReasoningDelta, SignatureDelta, ToolCallDelta))]
