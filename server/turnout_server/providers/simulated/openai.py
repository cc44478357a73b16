"""The openai wire, spoken by the simulated side: chat completions, server-sent events ending with `[DONE]`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from turnout_server.providers.simulated.ratelimit import BucketReading
from turnout_server.providers.simulated.wire import Limits, Piece, Stage, fragments, models_list, word_groups

_CREATED = 1_790_000_000
_FINGERPRINT = "fp_simulated"
_END = b"data: [DONE]\n\n"
_FINISH = {Finish.STOP: "stop", Finish.LENGTH: "length", Finish.TOOL_CALLS: "tool_calls"}

# problem -> status, type, code, param, usual message
_ERRORS: Mapping[Problem, tuple[int, str, str | None, str | None, str]] = {
    Problem.AUTHENTICATION: (401, "invalid_request_error", "invalid_api_key", None, "Incorrect API key provided."),
    Problem.PERMISSION: (
        403,
        "invalid_request_error",
        "model_not_allowed",
        None,
        "You are not allowed to use this model.",
    ),
    Problem.MODEL_NOT_FOUND: (
        404,
        "invalid_request_error",
        "model_not_found",
        None,
        "The model does not exist or you do not have access to it.",
    ),
    Problem.INVALID_REQUEST: (400, "invalid_request_error", None, None, "The request is malformed."),
    Problem.CONTEXT_LENGTH: (
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "messages",
        "Your messages exceed this model's maximum context length. Please reduce the length of the messages.",
    ),
    Problem.CONTENT_FILTERED: (
        400,
        "invalid_request_error",
        "content_policy_violation",
        None,
        "Your request was rejected as a result of our safety system.",
    ),
    Problem.RATE_LIMITED: (429, "requests", "rate_limit_exceeded", None, "Rate limit reached. Please try again later."),
    Problem.QUOTA: (
        429,
        "insufficient_quota",
        "insufficient_quota",
        None,
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    Problem.OVERLOADED: (
        503,
        "service_unavailable_error",
        "server_is_overloaded",
        None,
        "Our servers are currently overloaded. Please try again later.",
    ),
    Problem.SERVER_ERROR: (
        500,
        "server_error",
        None,
        None,
        "The server had an error while processing your request. Sorry about that!",
    ),
}


class OpenAIWire:
    """Chat completions as OpenAI and its many followers speak them."""

    path = "/chat/completions"
    versions: tuple[str, ...] = ("/v1", "")
    models_path = "/models"
    stream_type = "text/event-stream"
    ping = b": ping\n\n"

    def credential(self, headers: Mapping[str, str]) -> str:
        """Returns the bearer token."""
        return headers.get("Authorization", "").removeprefix("Bearer ").strip()

    def models(self, names: Sequence[str]) -> dict[str, Any]:
        """Returns the list of models."""
        return models_list(names)

    def read(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
        """Returns what is asked."""
        del headers
        model, messages = body.get("model"), body.get("messages")
        if not isinstance(model, str) or not model:
            raise Refusal(Problem.INVALID_REQUEST, "you must provide a model parameter")
        if not isinstance(messages, list) or not messages:
            raise Refusal(Problem.INVALID_REQUEST, "Missing required parameter: 'messages'.")
        if any(not isinstance(message, dict) or "role" not in message for message in messages):
            raise Refusal(Problem.INVALID_REQUEST, "Invalid type for 'messages': every message needs a role.")
        demand, name = _tool_demand(body)
        tools = [_tool(tool) for tool in body.get("tools") or ()]
        form = body.get("response_format") or {}
        prefix = orjson.dumps([model, body.get("tools"), messages[:-1]])
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        return Asked(
            model=model,
            streamed=bool(body.get("stream")),
            prefix=prefix,
            input_tokens=token_count(prefix) + token_count(orjson.dumps(messages[-1])),
            last_text=_last_text(messages[-1]),
            max_output_tokens=limit if isinstance(limit, int) else None,
            tools=tools,
            tool_demand=demand if tools else ToolDemand.NONE,
            tool_name=name,
            parallel_tools=body.get("parallel_tool_calls", True) is not False,
            json_wanted=form.get("type") in {"json_object", "json_schema"},
            json_schema=(form.get("json_schema") or {}).get("schema"),
            reasoning_wanted=body.get("reasoning_effort") not in {None, "none"},
            usage_wanted=bool((body.get("stream_options") or {}).get("include_usage")),
        )

    def whole(self, answer: Answer, *, finished: bool) -> bytes:
        """Returns a chat completion."""
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
        if answer.tool_calls:
            message["tool_calls"] = [
                {"id": f"call_{call.id}", "type": "function", "function": _function(call.name, call.arguments_json)}
                for call in answer.tool_calls
            ]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": _FINISH[answer.finish] if finished else None,
        }
        return orjson.dumps(_frame(answer, "chat.completion") | {"choices": [choice], "usage": _usage(answer.tokens)})

    def pieces(self, answer: Answer, asked: Asked) -> Iterator[Piece]:
        """Yields chunks: the role, contents, the finish reason with the usage if it was asked for, and `[DONE]`."""

        def chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            frame = _frame(answer, "chat.completion.chunk") | {"choices": [choice]}
            return _event(frame | {"usage": None} if asked.usage_wanted else frame)

        yield Piece(Stage.OPENING, chunk({"role": "assistant", "content": "", "refusal": None}))
        reasoning = answer.tokens.reasoning_count
        if answer.text:
            for text, count in word_groups(answer.text):
                # Thinking is silent on this wire: it delays the first content and shows in the usage alone.
                yield Piece(Stage.CONTENT, chunk({"content": text}), count + reasoning)
                reasoning = 0
        for index, call in enumerate(answer.tool_calls):
            head = {"index": index, "id": f"call_{call.id}", "type": "function", "function": _function(call.name, "")}
            yield Piece(Stage.CONTENT, chunk({"tool_calls": [head]}), token_count(call.name) + reasoning)
            reasoning = 0
            for text in fragments(call.arguments_json):
                part = {"index": index, "function": {"arguments": text}}
                yield Piece(Stage.CONTENT, chunk({"tool_calls": [part]}), token_count(text))
        yield Piece(Stage.FINISH, chunk({}, _FINISH[answer.finish]))
        usage = b""
        if asked.usage_wanted:
            frame = _frame(answer, "chat.completion.chunk")
            usage = _event(frame | {"choices": [], "usage": _usage(answer.tokens)})
        yield Piece(Stage.END_MARKER, usage + _END)

    def error(self, refusal: Refusal, request_id: str) -> tuple[int, bytes]:
        """Returns status and `{"error": {message, type, param, code}}`."""
        del request_id
        status, kind, code, param, usual = _ERRORS[refusal.problem]
        error = {"message": refusal.message or usual, "type": kind, "param": param, "code": code}
        return refusal.status or status, orjson.dumps({"error": error})

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Returns the same body as a chunk."""
        return b"data: " + self.error(refusal, request_id)[1] + b"\n\n"

    def headers(self, request_id: str, limits: Limits, *, wall: float) -> dict[str, str]:
        """Returns `x-request-id` and `x-ratelimit-…`, resets as Go durations."""
        del wall
        found = {"x-request-id": f"req_{request_id}", "openai-version": "2020-10-01"}
        for name, bucket in (("requests", limits.requests), ("tokens", limits.tokens)):
            found |= _limit_headers(name, bucket)
        return found

    def retry_headers(self, seconds: float) -> dict[str, str]:
        """Returns `retry-after` in whole seconds and `retry-after-ms` exactly."""
        return {"retry-after": str(max(1, round(seconds))), "retry-after-ms": str(round(seconds * 1000))}


def go_duration(seconds: float) -> str:
    """Writes a duration as Go prints it: 12ms, 1s, 1.5s, 6m0s."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:  # noqa: PLR2004 - a second
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    tail = f"{rest / 1000:g}s"
    return f"{minutes}m{tail}" if minutes else tail


def _limit_headers(name: str, bucket: BucketReading) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{name}": str(bucket.limit),
        f"x-ratelimit-remaining-{name}": str(bucket.remaining),
        f"x-ratelimit-reset-{name}": go_duration(bucket.reset_seconds),
    }


def _event(frame: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(frame) + b"\n\n"


def _frame(answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{answer.id}",
        "object": kind,
        "created": _CREATED,
        "model": answer.model,
        "system_fingerprint": _FINGERPRINT,
    }


def _function(name: str, arguments: str) -> dict[str, str]:
    return {"name": name, "arguments": arguments}


def _usage(tokens: TokenCount) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens.input_count,
        "completion_tokens": tokens.output_count,
        "total_tokens": tokens.input_count + tokens.output_count,
        "prompt_tokens_details": {"cached_tokens": tokens.cached_count, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning_count,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _tool(tool: Any) -> OfferedTool:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Refusal(Problem.INVALID_REQUEST, "Missing required parameter: 'tools[0].function.name'.")
    return OfferedTool(name=function["name"], parameters=function.get("parameters") or {})


def _tool_demand(body: Mapping[str, Any]) -> tuple[ToolDemand, str]:
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        return ToolDemand.ANY, str((choice.get("function") or {}).get("name", ""))
    demands = {"none": ToolDemand.NONE, "required": ToolDemand.ANY}
    return demands.get(choice, ToolDemand.AUTO), ""


def _last_text(message: Mapping[str, Any]) -> str:
    if message["role"] != "user":
        return ""
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
