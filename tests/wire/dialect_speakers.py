"""OpenAI-compatible vendors as they really answer: each speaker is OpenAI's, but for what its vendor does otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson

from tests.wire.speakers import CountedUsage, OpenAISpeaker, data

NO_WRITES: CountedUsage = (110, 20, 80, None, 5)


class DialectSpeaker(OpenAISpeaker):
    name: ClassVar[str]
    counted: CountedUsage = NO_WRITES

    @property
    def provider(self) -> str:
        return self.name

    def usage(self) -> dict[str, Any]:
        usage = super().usage()
        del usage["prompt_tokens_details"]["cache_write_tokens"]
        return usage

    def last_chunk(self, reason: str, **more: Any) -> bytes:
        return self.chunk({"content": ""}, reason, **more)


class MistralSpeaker(DialectSpeaker):
    """The usage comes with the finish reason; content is a list where the model thinks."""

    name = "mistral"
    model = "mistral-medium-3-5"
    served_model = "mistral-medium-3-5"
    counted: CountedUsage = (110, 20, 80, None, None)

    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": 110,
            "total_tokens": 130,
            "completion_tokens": 20,
            "num_cached_tokens": 80,
            "prompt_tokens_details": {"cached_tokens": 80},
        }

    def text_stream(self, pieces: Sequence[str], *, reason: str = "stop") -> list[bytes]:
        return [*self.cut_before_end(pieces), *self.finish(self.reasons[reason])]

    def finish(self, reason: str) -> list[bytes]:
        return [self.last_chunk(reason, usage=self.usage()), b"data: [DONE]\n\n"]

    def tool_stream(self, calls: Sequence[tuple[str, str, Sequence[str]]]) -> list[bytes]:
        """Its server sends each call whole; its smaller ones in pieces, which are told apart by their index."""
        entries = [
            {"id": call_id, "function": {"name": name, "arguments": pieces[0]}, "index": index}
            for index, (call_id, name, pieces) in enumerate(calls)
        ]
        rest = [
            {"id": "null", "function": {"name": "", "arguments": piece}, "index": index}
            for index, (_, _, pieces) in enumerate(calls)
            for piece in pieces[1:]
        ]
        more = [self.chunk({"content": "", "tool_calls": [entry]}) for entry in rest]
        return [self.chunk({"content": "", "tool_calls": entries}), *more, *self.finish("tool_calls")]

    def reasoning_stream(self, thoughts: Sequence[str], answer: str) -> list[bytes]:
        return [
            self.chunk({"role": "assistant", "content": ""}),
            *(self.chunk({"content": [self.thinking(thought)]}) for thought in thoughts),
            self.chunk({"content": answer}),
            *self.finish("stop"),
        ]

    def thinking(self, thought: str) -> dict[str, Any]:
        return {"type": "thinking", "thinking": [{"type": "text", "text": thought}]}

    def refusal_stream(self) -> list[bytes]:
        return [self.chunk({"role": "assistant", "content": ""}), *self.finish("content_filter")]

    def error_body(self, kind: str, message: str) -> bytes:
        return orjson.dumps({"object": "error", "message": message, "type": kind, "param": None, "code": kind})


class GroqSpeaker(DialectSpeaker):
    """The usage comes with the finish reason, in a field of its own."""

    name = "groq"
    model = "openai/gpt-oss-120b"
    served_model = "openai/gpt-oss-120b"

    def text_stream(self, pieces: Sequence[str], *, reason: str = "stop") -> list[bytes]:
        return [*self.cut_before_end(pieces), self.chunk({}, self.reasons[reason], **self.own()), b"data: [DONE]\n\n"]

    def own(self) -> dict[str, Any]:
        return {"x_groq": {"id": "req_1", "usage": {"queue_time": 0.01, **self.usage(), "total_time": 0.2}}}

    def cut_before_end(self, pieces: Sequence[str]) -> list[bytes]:
        first = self.chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_1", "seed": 1})
        return [first, *(self.chunk({"content": piece}) for piece in pieces)]

    def reasoning_stream(self, thoughts: Sequence[str], answer: str) -> list[bytes]:
        return [
            self.chunk({"role": "assistant", "content": ""}),
            *(self.chunk({"reasoning": thought, "channel": "analysis"}) for thought in thoughts),
            self.chunk({"content": answer, "channel": "final"}),
            self.chunk({}, "stop", **self.own()),
            b"data: [DONE]\n\n",
        ]

    def error_event(self, kind: str) -> bytes:
        return b"event: error\n" + data({"error": {"message": "went wrong", "type": kind, "code": kind}})


class CerebrasSpeaker(DialectSpeaker):
    """Usage and times come with the finish reason."""

    name = "cerebras"
    model = "gpt-oss-120b"
    served_model = "gpt-oss-120b"

    def chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        calls = [{"type": "function", **call} for call in delta.get("tool_calls", ())]
        told = {**delta, "tool_calls": calls} if calls else delta
        return super().chunk(told, finish, **{"system_fingerprint": "fp_1", **more})

    def text_stream(self, pieces: Sequence[str], *, reason: str = "stop") -> list[bytes]:
        last = self.chunk({}, self.reasons[reason], usage=self.usage(), time_info={"queue_time": 0.001})
        return [*self.cut_before_end(pieces), last, b"data: [DONE]\n\n"]

    def reasoning_stream(self, thoughts: Sequence[str], answer: str) -> list[bytes]:
        return [
            self.chunk({"role": "assistant"}),
            *(self.chunk({"reasoning": thought}) for thought in thoughts),
            self.chunk({"content": answer}),
            self.chunk({}, "stop", usage=self.usage()),
            b"data: [DONE]\n\n",
        ]


class XaiSpeaker(DialectSpeaker):
    """Counts the reasoning apart, and states its price."""

    name = "xai"
    model = "grok-4.3"
    served_model = "grok-4.3"

    def usage(self) -> dict[str, Any]:
        usage = super().usage() | {"completion_tokens": 15, "num_sources_used": 0, "cost_in_usd_ticks": 2_709_000}
        usage["prompt_tokens_details"]["text_tokens"] = 110
        return usage

    def error_body(self, kind: str, message: str) -> bytes:
        return orjson.dumps({"code": kind, "error": message})


class KimiSpeaker(DialectSpeaker):
    """The usage of a stream stands in the choice, unless it was asked for: then at the end too."""

    name = "kimi"
    model = "kimi-k2.6"
    served_model = "kimi-k2.6"
    counted: CountedUsage = (110, 20, 80, None, None)

    def usage(self) -> dict[str, Any]:
        return {"prompt_tokens": 110, "completion_tokens": 20, "total_tokens": 130, "cached_tokens": 80}

    def text_stream(self, pieces: Sequence[str], *, reason: str = "stop") -> list[bytes]:
        choice = {"index": 0, "delta": {}, "finish_reason": self.reasons[reason], "usage": self.usage()}
        return [*self.cut_before_end(pieces), self.chunk({}, choices=[choice]), b"data: [DONE]\n\n"]


class MiniMaxSpeaker(DialectSpeaker):
    """Tells in each chunk how it goes, and ends a stream with the whole answer once more."""

    name = "minimax"
    model = "MiniMax-M2.7"
    served_model = "MiniMax-M2.7"
    well: ClassVar[dict[str, Any]] = {"base_resp": {"status_code": 0, "status_msg": ""}, "input_sensitive": False}

    def chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        counted_so_far = {"total_tokens": 0, "total_characters": 0}
        return super().chunk({"role": "", **delta}, finish, **{"usage": counted_so_far, **self.well, **more})

    def end_with(self, text: str, reason: str) -> list[bytes]:
        message = {"role": "assistant", "content": text, "name": "MiniMax AI"}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        last = self.chunk({}, object="chat.completion", choices=[choice], usage=self.usage())
        return [last, b"data: [DONE]\n\n"]

    def text_stream(self, pieces: Sequence[str], *, reason: str = "stop") -> list[bytes]:
        return [*self.cut_before_end(pieces), *self.end_with("".join(pieces), self.reasons[reason])]

    def reasoning_stream(self, thoughts: Sequence[str], answer: str) -> list[bytes]:
        pieces = ["<th", "ink>\n", *thoughts, "</thi", f"nk>\n\n{answer}"]
        return [
            self.chunk({"role": "assistant"}),
            *(self.chunk({"content": piece}) for piece in pieces),
            *self.end_with("".join(pieces), "stop"),
        ]


class OpenRouterSpeaker(DialectSpeaker):
    """Says that it is working in comments, gives reasoning twice, and states its price."""

    name = "openrouter"
    model = "anthropic/claude-sonnet-4.5"
    served_model = "anthropic/claude-sonnet-4.5"
    counted: CountedUsage = (110, 20, 80, 10, 5)

    def usage(self) -> dict[str, Any]:
        usage = super().usage() | {"cost": 0.0042, "is_byok": False, "cost_details": {"upstream_inference_cost": None}}
        usage["prompt_tokens_details"]["cache_write_tokens"] = 10
        return usage

    def ping(self) -> bytes:
        return b": OPENROUTER PROCESSING\n\n"

    def details(self, **fields: Any) -> dict[str, Any]:
        return {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, **fields}

    def reasoning_stream(self, thoughts: Sequence[str], answer: str) -> list[bytes]:
        return [
            self.ping(),
            *(
                self.chunk({"content": "", "reasoning": thought, "reasoning_details": [self.details(text=thought)]})
                for thought in thoughts
            ),
            self.chunk({"content": "", "reasoning": None, "reasoning_details": [self.details(signature="c2ln")]}),
            self.chunk({"content": answer}),
            self.chunk({"content": ""}, "stop", native_finish_reason="end_turn"),
            *self.end(),
        ]

    def error_event(self, kind: str) -> bytes:
        return self.chunk({"content": ""}, "error", error={"code": kind, "message": "went wrong"})

    def error_body(self, kind: str, message: str) -> bytes:
        return orjson.dumps({"error": {"code": kind, "message": message, "metadata": {"provider_name": "x"}}})


class LocalSpeaker(DialectSpeaker):
    """A server on the machine itself, as they are written around ONNX models: no key, no usage details, bare errors."""

    name = "onnx"
    model = "phi-4-mini-onnx"
    served_model = "phi-4-mini-onnx"
    counted: CountedUsage = (110, 20, None, None, None)

    def usage(self) -> dict[str, Any]:
        return {"prompt_tokens": 110, "completion_tokens": 20, "total_tokens": 130}

    def reasoning_stream(self, thoughts: Sequence[str], answer: str) -> list[bytes]:
        pieces = ["<think>", *thoughts, "</think>", answer]
        return [*(self.chunk({"content": piece}) for piece in pieces), self.chunk({}, "stop"), *self.end()]
