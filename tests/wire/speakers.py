"""The vendors' side of the wires: writes answers as the vendors write them, so that one suite can test all of them.

`every_speaker` lists the speakers that the contract suite runs for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import orjson

from turnout_server.core.chat import ChatInput, Message, Part, Role, Text
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import Capability, Target
from turnout_server.providers.base64_text import written

EVERYTHING = frozenset(Capability)


CountedUsage = tuple[int | None, int | None, int | None, int | None, int | None]
"""Input, output, cached, cache-write and reasoning tokens."""


class Speaker(Protocol):
    """One vendor. `Sse` has what is the same for most."""

    wire: str
    model: str

    @property
    def provider(self) -> str:
        """What the provider is called in configuration: it decides the dialect."""

    content_type: str
    """Of a streamed answer."""
    counted: CountedUsage
    """What each of its answers says was used."""
    own_tool_call_ids: bool
    """Its tool calls have ids; for others the wire makes them."""
    argument_fragments: bool
    """Its tool calls come in pieces."""
    error_codes: bool
    """Its errors have codes or types, not only words."""
    comments: bool
    """Its framing has comments, which mean nothing."""
    names_answers: bool
    """Its answers have ids."""
    filters: bool
    """It may refuse to answer for what the prompt or the answer says."""

    def framed(self, raw: bytes) -> bytes: ...
    def text_stream(self, pieces: Sequence[str], *, reason: str = "stop") -> list[bytes]: ...
    def tool_stream(self, calls: Sequence[tuple[str, str, Sequence[str]]]) -> list[bytes]: ...
    def reasoning_stream(self, thoughts: Sequence[str], answer: str) -> list[bytes]: ...
    def cut_before_end(self, pieces: Sequence[str]) -> list[bytes]: ...
    def error_event(self, kind: str) -> bytes: ...
    def ping(self) -> bytes: ...
    def whole_text(self, text: str) -> bytes: ...
    def whole_tools(self, calls: Sequence[tuple[str, str, str]]) -> bytes: ...
    def error_body(self, kind: str, message: str) -> bytes: ...
    def refusal_stream(self) -> list[bytes]: ...


class Sse:
    """What most vendors have in common; a speaker inherits it and says where it differs."""

    wire: str = ""
    content_type: str = "text/event-stream"
    counted: CountedUsage = (110, 20, 80, 10, 5)
    own_tool_call_ids: bool = True
    argument_fragments: bool = True
    error_codes: bool = True
    comments: bool = True
    names_answers: bool = True
    filters: bool = True

    @property
    def provider(self) -> str:
        return self.wire

    def framed(self, raw: bytes) -> bytes:
        """One event with these bytes as its data, whatever they are."""
        return b"data: " + raw + b"\n\n"


def data(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


class OpenAISpeaker(Sse):
    wire = "openai"
    model = "gpt-4o"
    served_model = "gpt-4o-2024-08-06"
    reasons: ClassVar = {"stop": "stop", "length": "length", "filter": "content_filter"}

    def chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        return data(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": self.served_model,
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}],
                "usage": None,
                **more,
            }
        )

    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": 110,
            "completion_tokens": 20,
            "total_tokens": 130,
            "prompt_tokens_details": {"cached_tokens": 80, "cache_write_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 5},
        }

    def end(self) -> list[bytes]:
        usage = {"id": "chatcmpl-1", "model": self.served_model, "choices": [], "usage": self.usage()}
        return [data(usage), b"data: [DONE]\n\n"]

    def text_stream(self, pieces: Sequence[str], *, reason: str = "stop") -> list[bytes]:
        return [*self.cut_before_end(pieces), self.chunk({}, self.reasons[reason]), *self.end()]

    def cut_before_end(self, pieces: Sequence[str]) -> list[bytes]:
        return [
            self.chunk({"role": "assistant", "content": "", "refusal": None}),
            *(self.chunk({"content": p}) for p in pieces),
        ]

    def tool_stream(self, calls: Sequence[tuple[str, str, Sequence[str]]]) -> list[bytes]:
        out = [self.chunk({"role": "assistant", "content": None})]
        for index, (call_id, name, fragments) in enumerate(calls):
            head = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
            out.append(self.chunk({"tool_calls": [head]}))
            out += [
                self.chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}) for piece in fragments
            ]
        return [*out, self.chunk({}, "tool_calls"), *self.end()]

    def reasoning_stream(self, thoughts: Sequence[str], answer: str) -> list[bytes]:
        return [
            self.chunk({"role": "assistant", "content": ""}),
            *(self.chunk({"reasoning_content": thought}) for thought in thoughts),
            self.chunk({"content": answer}),
            self.chunk({}, "stop"),
            *self.end(),
        ]

    def error_event(self, kind: str) -> bytes:
        return data({"error": {"message": "went wrong", "type": kind, "code": kind}})

    def ping(self) -> bytes:
        return b": keep-alive\n\n"

    def refusal_stream(self) -> list[bytes]:
        return [self.chunk({"role": "assistant", "content": ""}), self.chunk({}, "content_filter"), *self.end()]

    def whole_text(self, text: str) -> bytes:
        return self._whole({"role": "assistant", "content": text, "refusal": None}, "stop")

    def whole_tools(self, calls: Sequence[tuple[str, str, str]]) -> bytes:
        tool_calls = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in calls
        ]
        return self._whole({"role": "assistant", "content": None, "tool_calls": tool_calls}, "tool_calls")

    def _whole(self, message: dict[str, Any], reason: str) -> bytes:
        return orjson.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": self.served_model,
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                "usage": self.usage(),
            }
        )

    def error_body(self, kind: str, message: str) -> bytes:
        return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": kind}})


class AnthropicSpeaker(Sse):
    wire = "anthropic"
    model = "claude-sonnet-4-5"
    reasons: ClassVar = {"stop": "end_turn", "length": "max_tokens", "filter": "refusal"}

    def event(self, kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\n".encode() + data({"type": kind, **fields})

    def start(self) -> bytes:
        usage = {
            "input_tokens": 20,
            "cache_read_input_tokens": 80,
            "cache_creation_input_tokens": 10,
            "cache_creation": {"ephemeral_5m_input_tokens": 6, "ephemeral_1h_input_tokens": 4},
            "output_tokens": 1,
        }
        message: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": [],
            "stop_reason": None,
            "usage": usage,
        }
        return self.event("message_start", message=message)

    def block(self, index: int, block: dict[str, Any], deltas: Sequence[dict[str, Any]]) -> list[bytes]:
        return [
            self.event("content_block_start", index=index, content_block=block),
            *(self.event("content_block_delta", index=index, delta=delta) for delta in deltas),
            self.event("content_block_stop", index=index),
        ]

    def end(self, reason: str) -> list[bytes]:
        usage = {"output_tokens": 20, "output_tokens_details": {"thinking_tokens": 5}}
        return [
            self.event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage),
            self.event("message_stop"),
        ]

    def text_stream(self, pieces: Sequence[str], *, reason: str = "stop") -> list[bytes]:
        return [
            *self.cut_before_end(pieces),
            self.event("content_block_stop", index=0),
            *self.end(self.reasons[reason]),
        ]

    def cut_before_end(self, pieces: Sequence[str]) -> list[bytes]:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
        return [self.start(), self.event("ping"), *self.block(0, {"type": "text", "text": ""}, deltas)[:-1]]

    def tool_stream(self, calls: Sequence[tuple[str, str, Sequence[str]]]) -> list[bytes]:
        out = [self.start()]
        for index, (call_id, name, fragments) in enumerate(calls):
            block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *fragments)]
            out += self.block(index, block, deltas)
        return [*out, *self.end("tool_use")]

    def reasoning_stream(self, thoughts: Sequence[str], answer: str) -> list[bytes]:
        deltas = [{"type": "thinking_delta", "thinking": thought} for thought in thoughts]
        return [
            self.start(),
            *self.block(0, {"type": "thinking", "thinking": "", "signature": ""}, deltas),
            *self.block(1, {"type": "text", "text": ""}, [{"type": "text_delta", "text": answer}]),
            *self.end("end_turn"),
        ]

    def error_event(self, kind: str) -> bytes:
        return self.event("error", error={"type": kind, "message": "went wrong"})

    def ping(self) -> bytes:
        return self.event("ping")

    def refusal_stream(self) -> list[bytes]:
        return [self.start(), *self.end("refusal")]

    def whole_text(self, text: str) -> bytes:
        return self._whole([{"type": "text", "text": text}], "end_turn")

    def whole_tools(self, calls: Sequence[tuple[str, str, str]]) -> bytes:
        blocks = [
            {"type": "tool_use", "id": call_id, "name": name, "input": orjson.loads(arguments)}
            for call_id, name, arguments in calls
        ]
        return self._whole(blocks, "tool_use")

    def _whole(self, content: list[dict[str, Any]], reason: str) -> bytes:
        usage = {
            "input_tokens": 20,
            "cache_read_input_tokens": 80,
            "cache_creation_input_tokens": 10,
            "cache_creation": {"ephemeral_1h_input_tokens": 4},
            "output_tokens": 20,
            "output_tokens_details": {"thinking_tokens": 5},
        }
        return orjson.dumps(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "claude-sonnet-4-5-20250929",
                "content": content,
                "stop_reason": reason,
                "stop_sequence": None,
                "usage": usage,
            }
        )

    def error_body(self, kind: str, message: str) -> bytes:
        return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})


def spec_of(speaker: Speaker, base_url: str, *, provider: str = "") -> TargetSpec:
    return TargetSpec(
        target=Target(provider or speaker.provider, speaker.model),
        wire=speaker.wire,
        base_url=base_url,
        capabilities=EVERYTHING,
        max_output_tokens=8192,
    )


def user(text: str) -> Message:
    return Message(role=Role.USER, parts=(Part(content=Text(text=text)),))


def hello() -> ChatInput:
    return ChatInput(messages=(user("Say hello."),))


def as_read(body: object) -> dict[str, Any]:
    """Returns a request as its provider reads it: written as JSON, and parsed."""
    parsed: dict[str, Any] = orjson.loads(orjson.dumps(body, default=written))
    return parsed
