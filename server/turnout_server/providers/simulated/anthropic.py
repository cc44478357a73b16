"""The anthropic wire, spoken by the simulated side: Messages, named events ending with `message_stop`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from turnout_server.providers.simulated.answers import (
    Answer,
    Asked,
    Finish,
    OfferedTool,
    TokenCount,
    ToolDemand,
    token_count,
)
from turnout_server.providers.simulated.faults import Problem, Refusal
from turnout_server.providers.simulated.wire import Limits, Piece, Stage, fragments, models_list, word_groups

_FINISH = {Finish.STOP: "end_turn", Finish.LENGTH: "max_tokens", Finish.TOOL_CALLS: "tool_use"}
_SIGNATURE = "U2ltdWxhdGVkU2lnbmF0dXJl"

# problem -> status, type, usual message
_ERRORS: Mapping[Problem, tuple[int, str, str]] = {
    Problem.AUTHENTICATION: (401, "authentication_error", "invalid x-api-key"),
    Problem.PERMISSION: (403, "permission_error", "Your API key does not have permission to use this model."),
    Problem.MODEL_NOT_FOUND: (404, "not_found_error", "model: not found"),
    Problem.INVALID_REQUEST: (400, "invalid_request_error", "The request is malformed."),
    Problem.CONTEXT_LENGTH: (400, "invalid_request_error", "prompt is too long: 250000 tokens > 200000 maximum"),
    Problem.CONTENT_FILTERED: (400, "invalid_request_error", "Output blocked by content filtering policy"),
    Problem.RATE_LIMITED: (429, "rate_limit_error", "This request would exceed your organization's rate limit."),
    Problem.QUOTA: (402, "billing_error", "Your credit balance is too low to access the Anthropic API."),
    Problem.OVERLOADED: (529, "overloaded_error", "Overloaded"),
    Problem.SERVER_ERROR: (500, "api_error", "Internal server error"),
}


class AnthropicWire:
    """Messages as Anthropic speaks them."""

    path = "/messages"
    versions: tuple[str, ...] = ("/v1", "")
    models_path = "/models"
    stream_type = "text/event-stream"
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'

    def credential(self, headers: Mapping[str, str]) -> str:
        """Returns `x-api-key`."""
        return headers.get("x-api-key", "")

    def models(self, names: Sequence[str]) -> dict[str, Any]:
        """Returns the list of models."""
        return models_list(names)

    def read(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
        """Returns what is asked."""
        model, messages, limit = body.get("model"), body.get("messages"), body.get("max_tokens")
        if "anthropic-version" not in headers:
            raise Refusal(Problem.INVALID_REQUEST, "anthropic-version: header is required")
        if not isinstance(model, str) or not model:
            raise Refusal(Problem.INVALID_REQUEST, "model: Field required")
        if not isinstance(limit, int) or limit < 1:
            raise Refusal(Problem.INVALID_REQUEST, "max_tokens: Field required")
        if not isinstance(messages, list) or not messages:
            raise Refusal(Problem.INVALID_REQUEST, "messages: at least one message is required")
        if any(not isinstance(m, dict) or m.get("role") not in {"user", "assistant"} for m in messages):
            raise Refusal(Problem.INVALID_REQUEST, "messages.0.role: Input should be 'user' or 'assistant'")
        choice = body.get("tool_choice") or {"type": "auto"}
        tools = [_tool(tool) for tool in body.get("tools") or ()]
        prefix = orjson.dumps([model, body.get("tools"), body.get("system"), messages[:-1]])
        output = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
        return Asked(
            model=model,
            streamed=bool(body.get("stream")),
            prefix=prefix,
            input_tokens=token_count(prefix) + token_count(orjson.dumps(messages[-1])),
            last_text=_last_text(messages[-1]),
            max_output_tokens=limit,
            tools=tools,
            tool_demand=_demand(choice) if tools else ToolDemand.NONE,
            tool_name=str(choice.get("name", "")),
            parallel_tools=not choice.get("disable_parallel_tool_use", False),
            json_schema=output.get("schema"),
            reasoning_wanted=(body.get("thinking") or {}).get("type") in {"enabled", "adaptive"},
            cache_asked=b'"cache_control"' in orjson.dumps(body),
        )

    def whole(self, answer: Answer, *, finished: bool) -> bytes:
        """Returns a message."""
        content: list[dict[str, Any]] = []
        if answer.reasoning:
            content.append({"type": "thinking", "thinking": answer.reasoning, "signature": _SIGNATURE})
        if answer.text:
            content.append({"type": "text", "text": answer.text})
        content += [_tool_use(call.id, call.name, orjson.loads(call.arguments_json)) for call in answer.tool_calls]
        message = _message(answer) | {"content": content, "usage": _usage(answer.tokens, answer.tokens.output_count)}
        return orjson.dumps(message | {"stop_reason": _FINISH[answer.finish] if finished else None})

    def pieces(self, answer: Answer, asked: Asked) -> Iterator[Piece]:
        """Yields the named events, blocks with their starts and stops, and `message_stop`."""
        del asked
        start = _message(answer) | {"content": [], "usage": _usage(answer.tokens, 1)}
        yield Piece(Stage.OPENING, _event("message_start", message=start) + self.ping)
        index = 0
        if answer.reasoning:
            deltas = [({"type": "thinking_delta", "thinking": text}, n) for text, n in word_groups(answer.reasoning)]
            deltas.append(({"type": "signature_delta", "signature": _SIGNATURE}, 0))
            yield from _block(index, {"type": "thinking", "thinking": "", "signature": ""}, deltas)
            index += 1
        if answer.text:
            deltas = [({"type": "text_delta", "text": text}, count) for text, count in word_groups(answer.text)]
            yield from _block(index, {"type": "text", "text": ""}, deltas)
            index += 1
        for call in answer.tool_calls:
            # The vendor opens with an empty fragment; readers must not take it for an end.
            texts = ["", *fragments(call.arguments_json)]
            deltas = [({"type": "input_json_delta", "partial_json": text}, token_count(text)) for text in texts]
            yield from _block(index, _tool_use(call.id, call.name, {}), deltas)
            index += 1
        delta = {"stop_reason": _FINISH[answer.finish], "stop_sequence": None}
        usage = {"output_tokens": answer.tokens.output_count}
        yield Piece(Stage.FINISH, _event("message_delta", delta=delta, usage=usage))
        yield Piece(Stage.END_MARKER, _event("message_stop"))

    def error(self, refusal: Refusal, request_id: str) -> tuple[int, bytes]:
        """Returns status and `{"type": "error", "error": {type, message}, "request_id"}`."""
        status, kind, usual = _ERRORS[refusal.problem]
        error = {"type": kind, "message": refusal.message or usual}
        body = {"type": "error", "error": error, "request_id": f"req_{request_id}"}
        return refusal.status or status, orjson.dumps(body)

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Returns the same body as an `error` event."""
        return b"event: error\ndata: " + self.error(refusal, request_id)[1] + b"\n\n"

    def headers(self, request_id: str, limits: Limits, *, wall: float) -> dict[str, str]:
        """Returns `request-id` and `anthropic-ratelimit-…`, resets as RFC 3339 times."""
        found = {"request-id": f"req_{request_id}"}
        buckets = (("requests", limits.requests), ("tokens", limits.tokens), ("input-tokens", limits.tokens))
        for name, bucket in buckets:
            reset = datetime.fromtimestamp(wall + bucket.reset_seconds, UTC).replace(microsecond=0)
            found[f"anthropic-ratelimit-{name}-limit"] = str(bucket.limit)
            found[f"anthropic-ratelimit-{name}-remaining"] = str(bucket.remaining)
            found[f"anthropic-ratelimit-{name}-reset"] = reset.isoformat().replace("+00:00", "Z")
        return found

    def retry_headers(self, seconds: float) -> dict[str, str]:
        """Returns `retry-after` in whole seconds."""
        return {"retry-after": str(max(1, round(seconds)))}


def _event(name: str, **fields: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps({"type": name} | fields) + b"\n\n"


def _block(index: int, block: Mapping[str, Any], deltas: list[tuple[dict[str, str], int]]) -> Iterator[Piece]:
    opening = _event("content_block_start", index=index, content_block=block)
    for place, (delta, count) in enumerate(deltas):
        data = _event("content_block_delta", index=index, delta=delta)
        closing = _event("content_block_stop", index=index) if place == len(deltas) - 1 else b""
        yield Piece(Stage.CONTENT, (b"" if place else opening) + data + closing, count)


def _message(answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _tool_use(call_id: str, name: str, arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{call_id}", "name": name, "input": arguments}


def _usage(tokens: TokenCount, output_count: int) -> dict[str, Any]:
    # The vendor's input_tokens are those that were neither read from the cache nor written to it.
    return {
        "input_tokens": tokens.input_count - tokens.cached_count - tokens.cache_write_count,
        "cache_creation_input_tokens": tokens.cache_write_count,
        "cache_read_input_tokens": tokens.cached_count,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_count,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": output_count,
        "service_tier": "standard",
    }


def _tool(tool: Any) -> OfferedTool:
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        raise Refusal(Problem.INVALID_REQUEST, "tools.0.name: Field required")
    return OfferedTool(name=tool["name"], parameters=tool.get("input_schema") or {})


def _demand(choice: Mapping[str, Any]) -> ToolDemand:
    demands = {"none": ToolDemand.NONE, "any": ToolDemand.ANY, "tool": ToolDemand.ANY}
    return demands.get(str(choice.get("type")), ToolDemand.AUTO)


def _last_text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if message["role"] != "user":
        return ""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
