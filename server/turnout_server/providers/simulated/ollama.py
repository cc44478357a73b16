"""The ollama wire, spoken by the simulated side: lines of JSON, the last of which is marked as done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from turnout_server.providers.simulated.answers import Answer, Asked, Finish, OfferedTool, ToolDemand, token_count
from turnout_server.providers.simulated.faults import Problem, Refusal
from turnout_server.providers.simulated.wire import Limits, Piece, Stage, word_groups

_DONE = {Finish.STOP: "stop", Finish.LENGTH: "length", Finish.TOOL_CALLS: "stop"}
_CREATED = "2026-11-21T08:00:00.000000Z"
_WINDOW_TOKENS = 32_768

# problem -> status, usual message; the vendor has no codes
_ERRORS: Mapping[Problem, tuple[int, str]] = {
    Problem.AUTHENTICATION: (401, "unauthorized"),
    Problem.PERMISSION: (403, "this model requires a subscription"),
    Problem.MODEL_NOT_FOUND: (404, "model not found, try pulling it first"),
    Problem.INVALID_REQUEST: (400, "invalid request"),
    Problem.CONTEXT_LENGTH: (400, "the input length exceeds the context length"),
    Problem.RATE_LIMITED: (429, "too many concurrent requests"),
    Problem.QUOTA: (402, "you have reached your usage limit"),
    Problem.OVERLOADED: (503, "server busy, please try again.  maximum pending requests exceeded"),
    Problem.SERVER_ERROR: (500, "llama runner process has terminated: exit status 2"),
}


class OllamaWire:
    """The chat API."""

    path = "/api/chat"
    versions: tuple[str, ...] = ("",)
    models_path = "/api/tags"
    stream_type = "application/x-ndjson"
    model_path = "/api/show"
    # The vendor sends nothing while it loads a model or reads a prompt.
    ping = b""

    def credential(self, headers: Mapping[str, str]) -> str:
        """Returns the bearer token."""
        return headers.get("authorization", "").removeprefix("Bearer ")

    def models(self, names: Sequence[str]) -> dict[str, Any]:
        """Returns the list of models."""
        return {"models": [{"name": f"{name}:latest", "model": f"{name}:latest", "size": 1} for name in names]}

    def model(self, name: str, context_window_tokens: int | None) -> dict[str, Any]:
        """Returns what is told of one model."""
        return {
            "capabilities": ["completion", "tools", "thinking"],
            "details": {"family": "simulated", "parameter_size": "1B"},
            "model_info": {
                "general.architecture": "simulated",
                "simulated.context_length": context_window_tokens or _WINDOW_TOKENS,
                "general.basename": name,
            },
        }

    def read(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
        """Returns what is asked."""
        del headers
        messages, model = body.get("messages"), body.get("model")
        if not isinstance(model, str) or not model:
            raise Refusal(Problem.INVALID_REQUEST, "model is required")
        if not isinstance(messages, list) or not messages:
            raise Refusal(Problem.INVALID_REQUEST, "messages are required")
        roles = {"system", "user", "assistant", "tool"}
        if any(not isinstance(m, dict) or m.get("role") not in roles for m in messages):
            raise Refusal(Problem.INVALID_REQUEST, "invalid role, must be one of [system, user, assistant, tool]")
        options = body.get("options") or {}
        limit = options.get("num_predict")
        wanted = body.get("format")
        prefix = orjson.dumps([body.get("tools"), messages[:-1]])
        return Asked(
            model=model.removesuffix(":latest"),
            streamed=body.get("stream", True) is not False,
            prefix=prefix,
            input_tokens=token_count(prefix) + token_count(orjson.dumps(messages[-1])),
            last_text=_last_text(messages[-1]),
            max_output_tokens=limit if isinstance(limit, int) and limit > 0 else None,
            tools=[_tool(tool) for tool in body.get("tools") or ()],
            tool_demand=ToolDemand.AUTO if body.get("tools") else ToolDemand.NONE,
            tool_name="",
            json_wanted=bool(wanted),
            json_schema=wanted if isinstance(wanted, dict) else None,
            reasoning_wanted=bool(body.get("think")),
        )

    def whole(self, answer: Answer, *, finished: bool) -> bytes:
        """Returns one object."""
        message: dict[str, Any] = {"role": "assistant", "content": answer.text}
        if answer.reasoning:
            message["thinking"] = answer.reasoning
        if answer.tool_calls:
            message["tool_calls"] = _calls(answer)
        return orjson.dumps(_line(answer, message) | (_end(answer) if finished else {}))

    def pieces(self, answer: Answer, asked: Asked) -> Iterator[Piece]:
        """Yields thoughts, words, the tool calls at once, and the line that is marked as done."""
        del asked
        for text, count in word_groups(answer.reasoning) if answer.reasoning else ():
            yield _content(answer, {"content": "", "thinking": text}, count)
        for text, count in word_groups(answer.text) if answer.text else ():
            yield _content(answer, {"content": text}, count)
        if answer.tool_calls:
            calls = _calls(answer)
            yield _content(answer, {"content": "", "tool_calls": calls}, token_count(orjson.dumps(calls)))
        last = _line(answer, {"role": "assistant", "content": ""}) | _end(answer)
        yield Piece(Stage.FINISH, orjson.dumps(last) + b"\n")

    def error(self, refusal: Refusal, request_id: str) -> tuple[int, bytes]:
        """Returns status and `{"error": words}`."""
        del request_id
        usual = _ERRORS.get(refusal.problem, _ERRORS[Problem.INVALID_REQUEST])
        return refusal.status or usual[0], orjson.dumps({"error": refusal.message or usual[1]})

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Returns the same body as a line of the stream."""
        return self.error(refusal, request_id)[1] + b"\n"

    def headers(self, request_id: str, limits: Limits, *, wall: float) -> dict[str, str]:
        """Returns nothing: the vendor tells nothing in headers."""
        del request_id, limits, wall
        return {}

    def retry_headers(self, seconds: float) -> dict[str, str]:
        """Returns `Retry-After`, as the vendor's cloud does."""
        return {"retry-after": f"{seconds:g}"}


def _content(answer: Answer, message: dict[str, Any], count: int) -> Piece:
    return Piece(Stage.CONTENT, orjson.dumps(_line(answer, {"role": "assistant", **message})) + b"\n", count)


def _line(answer: Answer, message: dict[str, Any]) -> dict[str, Any]:
    return {"model": answer.model, "created_at": _CREATED, "message": message, "done": False}


def _end(answer: Answer) -> dict[str, Any]:
    return {
        "done": True,
        "done_reason": _DONE[answer.finish],
        "total_duration": 1_000_000,
        "load_duration": 1000,
        "prompt_eval_count": answer.tokens.input_count,
        "prompt_eval_duration": 1000,
        "eval_count": answer.tokens.output_count,
        "eval_duration": 1000,
    }


def _calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {"function": {"name": call.name, "arguments": orjson.loads(call.arguments_json)}} for call in answer.tool_calls
    ]


def _tool(tool: Any) -> OfferedTool:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Refusal(Problem.INVALID_REQUEST, "tools: a function with a name is required")
    return OfferedTool(name=function["name"], parameters=function.get("parameters") or {"type": "object"})


def _last_text(message: Mapping[str, Any]) -> str:
    return str(message.get("content") or "") if message.get("role") in {"user", "tool"} else ""
