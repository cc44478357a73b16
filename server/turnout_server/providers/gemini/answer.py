"""Reads answers of the gemini wire: a stream is a row of whole responses, each with what is new."""

from __future__ import annotations

import re
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
    SignatureDelta,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from turnout_server.core.model import FailureKind, FinishReason, Usage
from turnout_server.ports import UpstreamError
from turnout_server.providers.counts import token_count
from turnout_server.providers.exact_json import arguments_text, exact
from turnout_server.providers.failures import failure, hidden_error, protocol_error
from turnout_server.providers.json_text import HalfCharacters, loads_tolerant, tool_call_id, word
from turnout_server.providers.wire import Events, finish

FINISH_REASONS: Mapping[str, FinishReason] = MappingProxyType(
    {
        "STOP": FinishReason.STOP,
        "MAX_TOKENS": FinishReason.LENGTH,
        "CONTINUATION": FinishReason.LENGTH,
        "SAFETY": FinishReason.CONTENT_FILTER,
        "RECITATION": FinishReason.CONTENT_FILTER,
        "BLOCKLIST": FinishReason.CONTENT_FILTER,
        "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
        "SPII": FinishReason.CONTENT_FILTER,
        "ESCALATION": FinishReason.CONTENT_FILTER,
        "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
        "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
        "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
        "IMAGE_RECITATION": FinishReason.CONTENT_FILTER,
    }
)
"""What comes new is OTHER."""

FAILED_REASONS: Mapping[str, tuple[FailureKind, str]] = MappingProxyType(
    {
        "MALFORMED_FUNCTION_CALL": (FailureKind.PROTOCOL, "the model made a tool call that cannot be read"),
        "UNEXPECTED_TOOL_CALL": (FailureKind.PROTOCOL, "the model called a tool that it was not offered"),
        "TOO_MANY_TOOL_CALLS": (FailureKind.PROTOCOL, "the model called tools without an end"),
        "MALFORMED_RESPONSE": (FailureKind.PROTOCOL, "the model made an answer that cannot be read"),
        "MISSING_THOUGHT_SIGNATURE": (
            FailureKind.INVALID_REQUEST,
            "a tool call of the conversation lacks its signature",
        ),
        "PUP_LIMITED_DISABLED": (FailureKind.PERMISSION_DENIED, "the provider has limited the account for its use"),
    }
)
"""Reasons that are failures where there is no answer but thoughts; with an answer they are OTHER."""

UNSPECIFIED = "FINISH_REASON_UNSPECIFIED"
"""The same as none: the answer goes on."""

_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)
_WORD = re.compile(r"[A-Z_]{1,40}")
_OF_A_RESPONSE = frozenset({"candidates", "promptFeedback", "usageMetadata", "responseId"})


class GeminiDecoder:
    """Reads the responses of one answer. A part goes on in the next response unless it was signed or is a tool call."""

    __slots__ = (
        "_answered",
        "_calls",
        "_chat",
        "_halves",
        "_open",
        "_parts",
        "_started",
        "_usage",
        "_vendor",
        "ended",
        "finished",
    )

    def __init__(self, chat: ChatInput, vendor: str) -> None:
        self._chat = chat
        self._vendor = vendor
        self._started = False
        self._parts = 0
        self._open: type[TextDelta | ReasoningDelta] | None = None
        """What the last part is made of, if more of it may come."""
        self._answered = False
        self._calls = False
        self._usage: Any = None
        self._halves: HalfCharacters | None = None
        self.finished = False
        self.ended = False

    def feed(self, data: bytes, out: Events) -> None:
        """Reads the data of one event, and appends what it means."""
        try:
            response = orjson.loads(data)
            if b'"functionCall"' in data:
                response = exact(data, response)
        except orjson.JSONDecodeError:
            response = loads_tolerant(data)
            self._halves = self._halves or HalfCharacters()
        self.read(response, out)

    def end(self, out: Events) -> None:  # noqa: ARG002 - part of the protocol
        """The connection ended: only a finish reason makes an answer complete."""
        if not self.finished:
            raise UpstreamError(FailureKind.TRUNCATED, "the stream ended without a finish reason", http_status=200)

    def read(self, response: Any, out: Events) -> None:
        """Reads one parsed response."""
        try:
            self._read(response, out)
        except _MALFORMED:
            raise protocol_error("an event of the answer does not have the shape of a Gemini response") from None

    def _read(self, response: Any, out: Events) -> None:
        candidates = response.get("candidates")
        if not candidates:
            error = hidden_error(response, self._vendor)
            if error is not None:
                raise failure(200, error, chat=self._chat, vendor=self._vendor, in_stream=True)
        if not self._started:
            if _OF_A_RESPONSE.isdisjoint(response):
                raise ValueError
            self._started = True
            out.append(
                ResponseStarted(model=word(response.get("modelVersion")), response_id=word(response.get("responseId")))
            )
        usage = response.get("usageMetadata")
        if usage and usage != self._usage:
            # Every response repeats the counts.
            self._usage = usage
            out.append(UsageReported(usage=_usage(usage)))
        if candidates and not self.finished:
            self._candidate(candidates[0], out)
        blocked = (response.get("promptFeedback") or {}).get("blockReason")
        if blocked and not self.finished:
            self._finish(FinishReason.CONTENT_FILTER, blocked, out)
        # The counts at the finish are final: there is nothing left to wait for.
        self.ended = self.finished and bool(usage)

    def _candidate(self, candidate: Any, out: Events) -> None:
        if candidate.get("index"):
            return
        content = candidate.get("content")
        if content:
            for part in content.get("parts") or ():
                self._part(part, out)
        reason = candidate.get("finishReason")
        if reason and reason != UNSPECIFIED:
            self._finish(finish(FINISH_REASONS, reason), reason, out)

    def _part(self, part: Any, out: Events) -> None:
        text, signature, call = part.get("text"), part.get("thoughtSignature"), part.get("functionCall")
        if text or (signature and text is not None):
            self._text(text, ReasoningDelta if part.get("thought") else TextDelta, out)
        if call is not None:
            self._call(call, out)
        if signature and not (text is None and call is None):
            # That of something that is not passed on, such as code that the vendor ran, goes with it.
            out.append(SignatureDelta(part_index=self._parts - 1, signature=word(signature)))
            self._open = None

    def _text(self, text: Any, kind: type[TextDelta | ReasoningDelta], out: Events) -> None:
        if type(text) is not str:
            raise TypeError
        if self._open is not kind:
            self._begin(kind)
        index = self._parts - 1
        if self._halves is not None:
            text = self._halves.join(index, text)
        if text:
            self._answered = self._answered or kind is TextDelta
            out.append(kind(part_index=index, text=text))

    def _call(self, call: Any, out: Events) -> None:
        name = call["name"]
        if type(name) is not str or not name:
            raise ValueError
        arguments = call.get("args") or {}
        if not isinstance(arguments, dict):
            raise TypeError
        self._begin(None)
        self._answered = self._calls = True
        out.append(
            ToolCallDelta(
                part_index=self._parts - 1,
                id=tool_call_id(str(call.get("id") or "")) or f"call_{uuid4().hex}",
                name=word(name),
                arguments_fragment=arguments_text(arguments),
            )
        )

    def _begin(self, kind: type[TextDelta | ReasoningDelta] | None) -> None:
        self._parts += 1
        self._open = kind

    def _finish(self, reason: FinishReason, said: Any, out: Events) -> None:
        told = f" ({said})" if _WORD.fullmatch(said) else ""
        if said in FAILED_REASONS and not self._answered:
            kind, words = FAILED_REASONS[said]
            raise UpstreamError(kind, words + told, http_status=200)
        if reason is FinishReason.CONTENT_FILTER and not self._parts:
            raise UpstreamError(
                FailureKind.CONTENT_FILTERED, f"the provider refused the content{told}", http_status=200
            )
        if self._calls and reason is FinishReason.STOP:
            reason = FinishReason.TOOL_CALLS
        self.finished = True
        out.append(Finished(reason=reason))


def whole_answer(answer: Any, chat: ChatInput, vendor: str) -> Events:
    """Reads a parsed answer that came in one piece."""
    out: Events = []
    decoder = GeminiDecoder(chat, vendor)
    if isinstance(answer, list):
        error = hidden_error(answer[0], vendor) if answer else None
        if error is not None:
            raise failure(200, error, chat=chat, vendor=vendor, in_stream=True)
        raise protocol_error("the answer is a list of responses: the server does not know alt=sse")
    decoder.read(answer, out)
    if not decoder.finished:
        raise protocol_error("the answer has no finish reason")
    return out


def _usage(said: Any) -> Usage:
    asked, from_tools = token_count(said.get("promptTokenCount")), token_count(said.get("toolUsePromptTokenCount"))
    answered, thoughts = token_count(said.get("candidatesTokenCount")), token_count(said.get("thoughtsTokenCount"))
    total = token_count(said.get("totalTokenCount"))
    input_tokens = None if asked is None else asked + (from_tools or 0)
    output_tokens: int | None = None
    if answered is not None or thoughts is not None:
        output_tokens = (answered or 0) + (thoughts or 0)
    elif total is not None and input_tokens is not None:
        # Counts that are zero are left out.
        output_tokens = max(0, total - input_tokens)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=token_count(said.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        audio_input_tokens=_audio_tokens(said.get("promptTokensDetails")),
        cached_audio_input_tokens=_audio_tokens(said.get("cacheTokensDetails")),
    )


def _audio_tokens(by_modality: Any) -> int | None:
    """Returns how many tokens are sound; None where none are listed."""
    counts = [token_count(entry.get("tokenCount")) for entry in by_modality or () if entry.get("modality") == "AUDIO"]
    return sum(count or 0 for count in counts) if counts else None
