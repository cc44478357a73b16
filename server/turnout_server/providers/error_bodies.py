"""Reads error bodies of every shape: what their codes, words, fields and waits are, and where one hides in HTTP 200."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import orjson

from turnout_server.providers.ratelimit_headers import Headers, duration_seconds, is_rate_limit_header

IDENTIFIER = re.compile(r"[A-Za-z][\w.\-\[\]]{0,63}|\d{1,6}")
MAX_LISTED = 16
"""So many details of one error are read; vendors send up to five."""
MAX_MESSAGE_CHARACTERS = 4096
"""So much of a message is looked at."""
MAX_RAW_CHARACTERS = 8192
NO_HEADERS: Headers = MappingProxyType({})

_ENDED_BY_ERROR = "the provider ended the answer with an error and did not say which"
_HTTP_STATUS = re.compile(r"[45]\d\d")
_WAIT_IN_WORDS = re.compile(
    r"(?:try again|retry) (?:in|after) (?:((?:\d+(?:\.\d+)?(?:ms|h|m|s))+)\b|(\d+) seconds?)",
    re.IGNORECASE,
)
"""As OpenAI, Groq, Google (`20.04s`, `9m38.016s`) and Kimi (`1 seconds`) say it where no header does."""
_NUMBER_AT_END = re.compile(r"\((\d{4})\)\s*$")
"""MiniMax: `insufficient balance (1008)`."""


class ErrorBody(NamedTuple):
    """What an error body says: its codes, most telling first, its words, and the field it complains of."""

    codes: tuple[str, ...]
    message: str
    field: str = ""
    status: int | None = None
    """An HTTP status that some servers put into the body, of use for errors inside a 200."""
    wait_seconds: float | None = None
    """How long it asks to wait, 0 to 3,600."""
    headers: Headers = NO_HEADERS
    """Rate-limit headers of the server behind, where a gateway passes them on in the body."""


def read_error(value: object) -> ErrorBody:
    """Reads a parsed error body: `{"error": {…}}`, Anthropic's, google.rpc's, flat ones, and those of plain strings."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return ErrorBody((), value[:MAX_MESSAGE_CHARACTERS] if isinstance(value, str) else "")
    inner = value.get("error")
    body = inner if isinstance(inner, dict) else value
    metadata = _mapping(body.get("metadata"))
    message, field = _words(body, inner)
    codes = (*dict.fromkeys(_codes(body, metadata)), *_NUMBER_AT_END.findall(message))
    behind = _behind(metadata)
    if behind is not None:
        codes, message = (*codes, *behind.codes), f"{message}: {behind.message}" if behind.message else message
    return ErrorBody(codes, message, field, _status(body), _wait_seconds(body, message), _headers(metadata))


def parse_error(body: bytes) -> ErrorBody:
    """Reads an error body as it came; what is not JSON has nothing to say."""
    try:
        return read_error(orjson.loads(body))
    except orjson.JSONDecodeError:
        return ErrorBody((), "")


def hidden_error(value: object, vendor: str = "") -> ErrorBody | None:
    """Returns the error that a whole answer or an event inside HTTP 200 is or carries; None where there is none.

    `vendor` is the dialect's. The rest of what carries an error is no answer: whoever asks raises
    `failure(200, error, vendor=vendor, in_stream=True, …)`.
    """
    if not isinstance(value, dict):
        return None
    choices = value.get("choices")
    if value.get("error") or (not choices and _is_flat_error(value, vendor)):
        return read_error(value)
    hidden = _base_resp(value["base_resp"]) if "base_resp" in value else None
    if hidden is None and choices and isinstance(choices, list):
        hidden = _of_choice(choices[0])
    if hidden is None and value.get("x_groq"):
        groq = _mapping(value["x_groq"])
        hidden = read_error(groq) if groq.get("error") else None
    return hidden


def _is_flat_error(value: Mapping[str, object], vendor: str) -> bool:
    """An error without a wrapper: `{"object": "error", …}` of Mistral and vLLM, `{"detail": …}` of FastAPI."""
    if value.get("object") == "error" or value.get("type") == "error":
        return True
    return vendor != "ollama" and "choices" not in value and bool(value.get("detail"))


def _behind(metadata: Mapping[str, object]) -> ErrorBody | None:
    """What the provider behind a gateway said: OpenRouter passes it on as text, which may be an error body itself."""
    raw = metadata.get("raw")
    if not isinstance(raw, str) or not raw or len(raw) > MAX_RAW_CHARACTERS:
        return None
    error = parse_error(raw.encode()) if raw[0] in "{[" else ErrorBody((), raw)
    return error._replace(codes=error.codes[:MAX_LISTED])


def _base_resp(stated: object) -> ErrorBody | None:
    """MiniMax: every answer says how it went, and 0 is well."""
    if not isinstance(stated, dict):
        return None
    number, words = stated.get("status_code"), stated.get("status_msg")
    if not isinstance(number, int) or number == 0:
        return None
    return ErrorBody((str(abs(number)),), words if isinstance(words, str) else "")


def _of_choice(choice: object) -> ErrorBody | None:
    """OpenRouter puts the error into the choice; Mistral and OpenRouter end one with the reason `error`."""
    if not isinstance(choice, dict):
        return None
    if choice.get("error"):
        return read_error(choice)
    return ErrorBody((), _ENDED_BY_ERROR) if choice.get("finish_reason") == "error" else None


def _words(body: Mapping[str, object], inner: object) -> tuple[str, str]:
    """The message and the field it is about; FastAPI servers list both in `detail`, Mistral inside `message`."""
    message = body.get("message") or (inner if isinstance(inner, str) else "") or body.get("detail") or ""
    if isinstance(message, dict):
        message = message.get("detail") or ""
    field = body.get("param")
    if isinstance(message, list):
        first = _mapping(message[0] if message else None)
        place = first.get("loc")
        if isinstance(place, list):
            field = ".".join(str(step) for step in place if step != "body")
        message = first.get("msg")
    return (
        message[:MAX_MESSAGE_CHARACTERS] if isinstance(message, str) else "",
        field if isinstance(field, str) and IDENTIFIER.fullmatch(field) else "",
    )


def _codes(body: Mapping[str, object], metadata: Mapping[str, object]) -> Iterator[str]:
    details, inner = body.get("details"), _mapping(body.get("innererror"))
    if isinstance(details, list):
        yield from _google_codes(details)
    candidates = (
        _mapping(details).get("error_code"),
        metadata.get("limit_source"),
        metadata.get("error_type"),
        body.get("code"),
        body.get("type"),
        inner.get("code"),
        body.get("status"),
    )
    for candidate in candidates:
        if isinstance(candidate, str) and IDENTIFIER.fullmatch(candidate):
            yield candidate
    if "flagged_input" in metadata:
        # OpenRouter's moderation: a 403 that says nothing else.
        yield "flagged_input"


def _google_codes(details: list[object]) -> Iterator[str]:
    """google.rpc: the reason of ErrorInfo, and `quota_per_day` where a violated quota is one of the day."""
    for detail in details[:MAX_LISTED]:
        stated = _mapping(detail)
        violations = stated.get("violations")
        if isinstance(violations, list):
            quotas = [str(_mapping(violation).get("quotaId")) for violation in violations[:MAX_LISTED]]
            if any("perday" in quota.lower() for quota in quotas):
                yield "quota_per_day"
        reason = stated.get("reason")
        if isinstance(reason, str) and IDENTIFIER.fullmatch(reason):
            yield reason


def _status(body: Mapping[str, object]) -> int | None:
    for name in ("code", "http_code", "status_code"):
        number = body.get(name)
        if type(number) in {int, str} and _HTTP_STATUS.fullmatch(str(number)):
            return int(str(number))
    return None


def _wait_seconds(body: Mapping[str, object], message: str) -> float | None:
    """google.rpc.RetryInfo, else what the words say."""
    details = body.get("details")
    if isinstance(details, list):
        for detail in details[:MAX_LISTED]:
            delay = _mapping(detail).get("retryDelay")
            if isinstance(delay, str):
                return duration_seconds(delay)
    said = _WAIT_IN_WORDS.search(message)
    return None if said is None else duration_seconds((said[1] or f"{said[2]}s").lower())


def _headers(metadata: Mapping[str, object]) -> Headers:
    stated = metadata.get("headers")
    if not isinstance(stated, dict):
        return NO_HEADERS
    named = ((str(name).lower(), value) for name, value in list(stated.items())[:MAX_LISTED])
    return {name: str(value) for name, value in named if is_rate_limit_header(name) and isinstance(value, (str, int))}


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
