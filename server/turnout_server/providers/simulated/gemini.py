"""The gemini wire, spoken by the simulated side: generateContent, a stream of whole responses without an end marker."""

from __future__ import annotations

import re
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
from turnout_server.providers.simulated.wire import Limits, Piece, Stage, word_groups

_FINISH = {Finish.STOP: "STOP", Finish.LENGTH: "MAX_TOKENS", Finish.TOOL_CALLS: "STOP"}
_STREAM = "streamGenerateContent"
_SIGNATURE = "U2ltdWxhdGVkU2lnbmF0dXJl"
_CAPITAL = re.compile("[A-Z]")
_WANTS_SIGNATURES = re.compile(r"gemini-[3-9]")

# problem -> code, status, usual message
_ERRORS: Mapping[Problem, tuple[int, str, str]] = {
    Problem.AUTHENTICATION: (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    Problem.PERMISSION: (403, "PERMISSION_DENIED", "The caller does not have permission"),
    Problem.MODEL_NOT_FOUND: (
        404,
        "NOT_FOUND",
        "The model is not found for API version v1beta, or is not supported for generateContent.",
    ),
    Problem.INVALID_REQUEST: (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    Problem.CONTEXT_LENGTH: (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1250000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    Problem.RATE_LIMITED: (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota. Please retry later."),
    Problem.QUOTA: (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    Problem.OVERLOADED: (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    Problem.SERVER_ERROR: (500, "INTERNAL", "An internal error has occurred. Please retry."),
}
_QUOTA_IDS = {
    Problem.RATE_LIMITED: "GenerateRequestsPerMinutePerProjectPerModel",
    Problem.QUOTA: "GenerateRequestsPerDayPerProjectPerModel",
}
_BLOCKED = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 8}}


class GeminiWire:
    """generateContent as Google speaks it; model and method come from the path."""

    path = "/models/{model:[^:]+}:{method:generateContent|streamGenerateContent}"
    versions: tuple[str, ...] = ("/v1beta", "/v1", "")
    models_path = "/models"
    stream_type = "text/event-stream"
    # The vendor sends nothing while it thinks.
    ping = b""

    def credential(self, headers: Mapping[str, str]) -> str:
        """Returns `x-goog-api-key`."""
        return headers.get("x-goog-api-key", "")

    def models(self, names: Sequence[str]) -> dict[str, Any]:
        """Returns the list of models."""
        methods = ["generateContent", "countTokens"]
        return {
            "models": [
                {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods} for name in names
            ]
        }

    def read(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
        """Returns what is asked."""
        del headers
        model, contents = str(body["model"]), body.get("contents")
        streamed = body.get("method") == _STREAM
        if streamed and body.get("alt") != "sse":
            raise Refusal(Problem.INVALID_REQUEST, "Simulated streams are server-sent events: ask with alt=sse.")
        if not isinstance(contents, list) or not contents:
            raise Refusal(Problem.INVALID_REQUEST, "* GenerateContentRequest.contents: contents is not specified")
        if any(not isinstance(c, dict) or c.get("role", "user") not in {"user", "model"} for c in contents):
            raise Refusal(Problem.INVALID_REQUEST, "Please use a valid role: user, model.")
        if any(not isinstance(c.get("parts"), list) or not c["parts"] for c in contents):
            raise Refusal(Problem.INVALID_REQUEST, "contents.parts must not be empty.")
        if _WANTS_SIGNATURES.search(model):
            _check_signatures(contents)
        config = _field(body, "generationConfig") or {}
        declarations = [_field(tool, "functionDeclarations") or () for tool in body.get("tools") or ()]
        tools = [_tool(declaration) for several in declarations for declaration in several]
        calling = _field(_field(body, "toolConfig"), "functionCallingConfig") or {}
        allowed = _field(calling, "allowedFunctionNames") or []
        prefix = orjson.dumps([model, body.get("tools"), _field(body, "systemInstruction"), contents[:-1]])
        limit = _field(config, "maxOutputTokens")
        return Asked(
            model=model,
            streamed=streamed,
            prefix=prefix,
            input_tokens=token_count(prefix) + token_count(orjson.dumps(contents[-1])),
            last_text=_last_text(contents[-1]),
            max_output_tokens=limit if isinstance(limit, int) else None,
            tools=tools,
            tool_demand=_demand(calling) if tools else ToolDemand.NONE,
            tool_name=str(allowed[0]) if len(allowed) == 1 else "",
            json_wanted=_field(config, "responseMimeType") == "application/json",
            json_schema=_field(config, "responseJsonSchema") or _field(config, "responseSchema"),
            reasoning_wanted=bool(_field(_field(config, "thinkingConfig"), "includeThoughts")),
        )

    def whole(self, answer: Answer, *, finished: bool) -> bytes:
        """Returns one response."""
        parts = [{"text": answer.reasoning, "thought": True}] if answer.reasoning else []
        if answer.text:
            parts.append({"text": answer.text})
        parts += _calls(answer)
        return orjson.dumps(
            _response(answer, parts, answer.tokens, _FINISH[answer.finish] if finished else None),
        )

    def pieces(self, answer: Answer, asked: Asked) -> Iterator[Piece]:
        """Yields responses: thoughts, words, whole tool calls, and one with the finish reason and the final counts."""
        del asked
        partial = TokenCount(input_count=answer.tokens.input_count, output_count=0)
        for text, count in word_groups(answer.reasoning) if answer.reasoning else ():
            yield Piece(
                Stage.CONTENT, _event(_response(answer, [{"text": text, "thought": True}], partial, None)), count
            )
        for text, count in word_groups(answer.text) if answer.text else ():
            yield Piece(Stage.CONTENT, _event(_response(answer, [{"text": text}], partial, None)), count)
        for call in _calls(answer):
            yield Piece(
                Stage.CONTENT, _event(_response(answer, [call], partial, None)), token_count(orjson.dumps(call))
            )
        last = [{"text": ""}] if answer.tool_calls else [{"text": "", "thoughtSignature": _SIGNATURE}]
        yield Piece(Stage.FINISH, _event(_response(answer, last, answer.tokens, _FINISH[answer.finish])))

    def error(self, refusal: Refusal, request_id: str) -> tuple[int, bytes]:
        """Returns status and `{"error": {code, message, status, details}}`; a blocked prompt is an answer."""
        if refusal.problem is Problem.CONTENT_FILTERED and refusal.status is None:
            return 200, orjson.dumps(_BLOCKED | {"responseId": request_id})
        usual = _ERRORS.get(refusal.problem, _ERRORS[Problem.INVALID_REQUEST])
        code = refusal.status or usual[0]
        error = {"code": code, "message": refusal.message or usual[2], "status": usual[1]}
        details = _details(refusal)
        return code, orjson.dumps({"error": error | {"details": details} if details else error})

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Returns the same body as a response of the stream."""
        return b"data: " + self.error(refusal, request_id)[1] + b"\r\n\r\n"

    def headers(self, request_id: str, limits: Limits, *, wall: float) -> dict[str, str]:
        """Returns nothing that tells of the rate limit: the vendor does not."""
        del request_id, limits, wall
        return {"server-timing": "gfet4t7; dur=12"}

    def retry_headers(self, seconds: float) -> dict[str, str]:
        """Returns nothing: the wait stands in the body."""
        del seconds
        return {}


def _event(response: Mapping[str, Any]) -> bytes:
    # The vendor ends lines with both.
    return b"data: " + orjson.dumps(response) + b"\r\n\r\n"


def _response(answer: Answer, parts: list[Any], tokens: TokenCount, finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": _usage(tokens),
        "modelVersion": answer.model,
        "responseId": answer.id,
    }


def _usage(tokens: TokenCount) -> dict[str, Any]:
    # Thoughts are counted beside the answer; counts of zero are left out.
    counts = {
        "promptTokenCount": tokens.input_count,
        "candidatesTokenCount": tokens.output_count - tokens.reasoning_count,
        "totalTokenCount": tokens.input_count + tokens.output_count,
        "cachedContentTokenCount": tokens.cached_count,
        "thoughtsTokenCount": tokens.reasoning_count,
    }
    return {name: count for name, count in counts.items() if count}


def _calls(answer: Answer) -> list[Any]:
    parts: list[Any] = [
        {"functionCall": {"id": call.id[:8], "name": call.name, "args": orjson.loads(call.arguments_json)}}
        for call in answer.tool_calls
    ]
    if parts:
        # Of calls that belong together the first is signed.
        parts[0]["thoughtSignature"] = _SIGNATURE
    return parts


def _details(refusal: Refusal) -> list[dict[str, Any]]:
    kind = "type.googleapis.com/google.rpc."
    details: list[dict[str, Any]] = []
    if refusal.problem is Problem.AUTHENTICATION:
        details.append(
            {"@type": f"{kind}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"},
        )
    if refusal.problem in _QUOTA_IDS:
        details.append(
            {"@type": f"{kind}QuotaFailure", "violations": [{"quotaId": _QUOTA_IDS[refusal.problem]}]},
        )
    if refusal.retry_after_seconds is not None:
        details.append({"@type": f"{kind}RetryInfo", "retryDelay": f"{refusal.retry_after_seconds:g}s"})
    return details


def _field(message: Any, name: str) -> Any:
    """Returns a field by its name in JSON or its name in the API's definition: the vendor takes both."""
    if not isinstance(message, dict):
        return None
    return message.get(name, message.get(_CAPITAL.sub(lambda found: f"_{found[0].lower()}", name)))


def _check_signatures(contents: list[Any]) -> None:
    """Refuses a first tool call without its signature in the turns since the user last said something."""
    since = next(
        (i for i in range(len(contents) - 1, -1, -1) if contents[i].get("role") != "model" and _last_text(contents[i])),
        0,
    )
    for content in contents[since:]:
        first = next((part for part in content["parts"] if _field(part, "functionCall")), None)
        if first is not None and not _field(first, "thoughtSignature"):
            raise Refusal(
                Problem.INVALID_REQUEST, "Function call is missing a thought_signature in functionCall parts."
            )


def _tool(declaration: Any) -> OfferedTool:
    if not isinstance(declaration, dict) or not isinstance(declaration.get("name"), str):
        raise Refusal(Problem.INVALID_REQUEST, "tools[0].function_declarations[0].name: must be specified")
    return OfferedTool(
        name=declaration["name"],
        parameters=_field(declaration, "parametersJsonSchema") or declaration.get("parameters") or {"type": "object"},
    )


def _demand(calling: Mapping[str, Any]) -> ToolDemand:
    demands = {"NONE": ToolDemand.NONE, "ANY": ToolDemand.ANY}
    return demands.get(str(calling.get("mode")), ToolDemand.AUTO)


def _last_text(content: Mapping[str, Any]) -> str:
    if content.get("role") == "model":
        return ""
    return " ".join(str(part["text"]) for part in content["parts"] if isinstance(part, dict) and "text" in part)
