"""One executed call as one line of JSON: who asked, what was tried, what it cost; what was said only where asked for.

Texts of content are cut, media is told by its size, and whatever has the shape of a credential, or is one of the
sidecar's own, is taken out of every text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from turnout_server.core.chat import ChatInput, Media, Part, Reasoning, Text, ToolCall, ToolResult
from turnout_server.core.model import NANO_USD
from turnout_server.telemetry.logs.logs import REDACTED, is_secret, redact_text

if TYPE_CHECKING:
    from turnout_server.core.call import AttemptRecord, CallResult
    from turnout_server.core.model import RouteQuery, Usage

TEXT_CHARACTERS = 32 * 1024
"""Of each text so much is written."""
CONTENT_CHARACTERS = 128 * 1024
"""Of all texts of a call together; what is beyond is counted."""
LINE_BYTES = 384 * 1024
"""A line that is longer is written without its content: characters may take several bytes, and parts be many."""
SECRET_CHARACTERS = 8
"""Shorter secrets of our own are words that stand anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """What is known of a call that ended. `result` is OK, CANCELLED, or the reason of its error.

    `query` is None where the request could not be read, `ended` where there is no complete answer. Attempts, usage and
    cost are of the call, whatever came of it. Without `chat` no content is written, of the answer neither.
    """

    method: str
    began_at_wall: float
    latency_seconds: float
    result: str
    error: str = ""
    query: RouteQuery | None = None
    decision_id: str = ""
    policy: str = ""
    strategy: str = ""
    attempts: tuple[AttemptRecord, ...] = ()
    usage: Usage | None = None
    cost_nano_usd: int | None = None
    ended: CallResult | None = None
    trace_id: str = ""
    chat: ChatInput | None = None
    content_dropped: bool = False

    def without_content(self) -> RequestRecord:
        """Returns what is left where there is no room for prompt and answer."""
        return replace(self, chat=None, content_dropped=True)


def request_line(record: RequestRecord, secrets: Iterable[str] = ()) -> bytes:
    """Returns the line, its end included. `secrets` are credentials of our own; none of them is written."""
    redact = _redacting(secrets)
    line = {name: value for name, value in _facts(record).items() if value not in (None, "", {}, [])}
    budget = _Budget(CONTENT_CHARACTERS)
    if record.chat is not None:
        line["input"] = _input(record.chat, budget)
        if record.ended is not None:
            line["output"] = [_part(part, budget) for part in record.ended.output.parts]
    if budget.cut:
        line["cut_characters"] = budget.cut
    written = _written(line, redact)
    if len(written) > LINE_BYTES:
        for name in ("input", "output"):
            line.pop(name, None)
        written = _written({**line, "cut_bytes": len(written)}, redact)
    return written


def dropped_line(count: int, at_wall: float) -> bytes:
    """Returns the line that stands for `count` lines that are missing."""
    return orjson.dumps({"time": _time(at_wall), "dropped_lines": count}, option=orjson.OPT_APPEND_NEWLINE)


def _written(line: Mapping[str, Any], redact: Callable[[str], str]) -> bytes:
    return orjson.dumps(_clean(line, redact), option=orjson.OPT_APPEND_NEWLINE, default=str)


class _Budget:
    """How many characters of content may still be written."""

    def __init__(self, characters: int) -> None:
        self._left = characters
        self.cut = 0

    def text(self, text: str) -> str:
        kept = text[: min(TEXT_CHARACTERS, self._left)]
        self._left -= len(kept)
        self.cut += len(text) - len(kept)
        return kept


def _facts(record: RequestRecord) -> dict[str, Any]:
    query = record.query
    asked = {} if query is None else _asked(query)
    ended = {} if record.ended is None else _ended(record.ended)
    return {
        "time": _time(record.began_at_wall),
        "method": record.method,
        "result": record.result,
        "error": record.error,
        **asked,
        "decision_id": record.decision_id,
        "trace_id": record.trace_id,
        "policy": record.policy,
        "strategy": record.strategy,
        **ended,
        "latency_seconds": _seconds(record.latency_seconds),
        "usage": _usage(record.usage),
        "cost_usd": _usd(record.cost_nano_usd),
        "attempts": [_attempt(attempt) for attempt in record.attempts],
        "content_dropped": record.content_dropped or None,
    }


def _asked(query: RouteQuery) -> dict[str, Any]:
    return {
        "request_id": query.request_id,
        "session_id": query.session_id,
        "caller": _caller(query),
        "priority": query.options.priority,
        "task": query.profile.task,
    }


def _ended(result: CallResult) -> dict[str, Any]:
    trimming = None if result.notices is None else result.notices.trimming
    return {
        "target": str(result.target),
        "model": result.output.model,
        "response_id": result.output.response_id,
        "finish_reason": result.output.finish_reason,
        "cached": result.cached or None,
        "joined": result.joined or None,
        "trimming": None if trimming is None else trimming._asdict(),
    }


def _caller(query: RouteQuery) -> dict[str, Any]:
    caller = query.caller
    facts = {"tenant": caller.tenant, "user": caller.user, "tier": caller.tier, "labels": dict(caller.labels)}
    return {name: value for name, value in facts.items() if value}


def _attempt(attempt: AttemptRecord) -> dict[str, Any]:
    facts = {
        "target": str(attempt.target),
        "region": attempt.region,
        "attempt_id": attempt.attempt_id,
        "credential": attempt.credential,
        "failure": attempt.failure,
        "http_status": attempt.http_status,
        "detail": attempt.detail,
        "latency_seconds": _seconds(attempt.latency_seconds),
        "time_to_first_token_seconds": _seconds(attempt.time_to_first_token_seconds),
        "usage": _usage(attempt.usage),
        "cost_usd": _usd(attempt.cost_nano_usd),
        "hedge": attempt.hedge or None,
        "retry_reason": attempt.retry_reason,
    }
    return {name: value for name, value in facts.items() if value not in (None, "", {})}


def _usage(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        return {}
    facts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "source": usage.source,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _input(chat: ChatInput, budget: _Budget) -> dict[str, Any]:
    facts = {
        "messages": [
            {"role": message.role, "parts": [_part(part, budget) for part in message.parts]}
            for message in chat.messages
        ],
        "tools": [tool.name for tool in chat.tools],
        "temperature": chat.temperature,
        "top_p": chat.top_p,
        "max_output_tokens": chat.max_output_tokens,
        "reasoning_effort": chat.reasoning_effort,
        "seed": chat.seed,
        "stop": [budget.text(text) for text in chat.stop],
    }
    return {name: value for name, value in facts.items() if value not in (None, [])}


def _part(part: Part, budget: _Budget) -> dict[str, Any]:
    match part.content:
        case Text(text=text):
            return {"text": budget.text(text)}
        case Reasoning() as reasoning:
            return {"reasoning": budget.text(reasoning.text)}
        case ToolCall() as call:
            return {"tool_call": {"id": call.id, "name": call.name, "arguments": budget.text(call.arguments_json)}}
        case ToolResult() as result:
            content = [_part(inner, budget) for inner in result.content]
            return {"tool_result": {"id": result.tool_call_id, "content": content, "is_error": result.is_error}}
        case Media() as media:
            facts: dict[str, Any] = {"media_type": media.media_type}
            if media.data is not None:
                facts["bytes"] = len(media.data)
            # A URL may hold a signature that gives access: what stands before that says enough.
            if media.url is not None:
                facts["url"] = budget.text(media.url.partition("?")[0])
            return {media.kind.lower(): facts}


def _redacting(secrets: Iterable[str]) -> Callable[[str], str]:
    own = sorted((secret for secret in secrets if len(secret) >= SECRET_CHARACTERS), key=len, reverse=True)

    def redact(text: str) -> str:
        for secret in own:
            if secret in text:
                text = text.replace(secret, REDACTED)
        # Half a character, which JSON escapes can bring, is nothing that a file can hold.
        return redact_text(text.encode(errors="replace").decode())

    return redact


def _clean(value: Any, redact: Callable[[str], str]) -> Any:
    match value:
        case str():
            return redact(value)
        case Mapping():
            return {
                redact(str(name)): REDACTED if is_secret(str(name)) else _clean(inner, redact)
                for name, inner in value.items()
            }
        case list() | tuple():
            return [_clean(inner, redact) for inner in value]
        case _:
            return value


def _time(wall: float) -> str:
    return datetime.fromtimestamp(wall, tz=UTC).isoformat(timespec="milliseconds")


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _usd(nano_usd: int | None) -> float | None:
    return None if nano_usd is None else nano_usd / NANO_USD
