"""Reads error bodies of every shape and makes the one error the rest of the sidecar knows, safe to show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from turnout_server.core.chat import ChatInput
from turnout_server.core.model import FailureKind, RateLimitReading
from turnout_server.ports import UpstreamError
from turnout_server.providers.classify import BY_CODE, can_be_billed, classify
from turnout_server.providers.redaction import safe_message

_IDENTIFIER = re.compile(r"[A-Za-z][\w.\-\[\]]{0,63}")
_QUOTES_KEYS = frozenset({FailureKind.AUTHENTICATION})
"""Kinds whose messages are about a key, and may hold part of one: they are not shown."""
_MEANT_IN_STREAM = 500
"""The status of an error event that names none."""


class ErrorBody(NamedTuple):
    """What an error body says: its codes, most telling first, its words, and the field it complains of."""

    codes: tuple[str, ...]
    message: str
    field: str = ""
    status: int | None = None
    """An HTTP status that some servers put into the body, of use for errors inside a 200."""


def read_error(value: object) -> ErrorBody:
    """Reads a parsed error body: `{"error": {…}}`, Anthropic's, flat ones, and those of plain strings."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return ErrorBody((), value if isinstance(value, str) else "")
    inner = value.get("error")
    body = inner if isinstance(inner, dict) else value
    message = body.get("message") or (inner if isinstance(inner, str) else "") or body.get("detail") or ""
    field = body.get("param")
    number = body.get("code")
    return ErrorBody(
        tuple(_codes(body)),
        message if isinstance(message, str) else "",
        field if isinstance(field, str) and _IDENTIFIER.fullmatch(field) else "",
        number if isinstance(number, int) and 400 <= number <= 599 else None,  # noqa: PLR2004 - error statuses
    )


def parse_error(body: bytes) -> ErrorBody:
    """Reads an error body as it came; what is not JSON has nothing to say."""
    try:
        return read_error(orjson.loads(body))
    except orjson.JSONDecodeError:
        return ErrorBody((), "")


def failure(
    status: int,
    error: ErrorBody,
    *,
    chat: ChatInput | None,
    vendor: str = "",
    secret: str = "",
    should_retry: bool = False,
    retry_after_seconds: float | None = None,
    rate_limit: RateLimitReading | None = None,
    in_stream: bool = False,
) -> UpstreamError:
    """Makes the error of a failed answer of `vendor`; `in_stream` for an error event inside one that had begun well."""
    meant = (error.status or _MEANT_IN_STREAM) if in_stream else status
    kind = classify(meant, error.codes, error.message, vendor=vendor, should_retry=should_retry)
    said = "" if kind in _QUOTES_KEYS else safe_message(error.message, chat=chat, secret=secret)
    code = next((c for c in error.codes if c.lower() in BY_CODE), error.codes[0] if error.codes else "")
    code, field = (word if safe_message(word, chat=None, secret=secret) == word else "" for word in (code, error.field))
    where = f"error event inside HTTP {status}" if in_stream else f"HTTP {status}"
    if 300 <= status <= 399:  # noqa: PLR2004 - the status class of redirects
        said = "a redirect, which is never followed: check the base URL"
    detail = " ".join(piece for piece in (where, f"({code})" if code else "", f"at {field}" if field else "") if piece)
    return UpstreamError(
        kind,
        f"{detail}: {said}" if said else detail,
        http_status=status,
        retry_after_seconds=retry_after_seconds,
        rate_limit=rate_limit,
        possibly_billed=in_stream or can_be_billed(status, kind),
    )


def protocol_error(what: str, *, http_status: int = 200) -> UpstreamError:
    """Makes the error of an answer that cannot be understood; `what` never holds any of it."""
    return UpstreamError(FailureKind.PROTOCOL, what, http_status=http_status)


def invalid_request(what: str) -> UpstreamError:
    """Makes the error of a request that cannot be put on this wire; nothing was sent."""
    return UpstreamError(FailureKind.INVALID_REQUEST, what, possibly_billed=False)


def _codes(body: dict[str, object]) -> Iterator[str]:
    details = body.get("details")
    inner = body.get("innererror")
    candidates = (
        details.get("error_code") if isinstance(details, dict) else None,
        body.get("code"),
        body.get("type"),
        inner.get("code") if isinstance(inner, dict) else None,
    )
    for candidate in candidates:
        if isinstance(candidate, str) and _IDENTIFIER.fullmatch(candidate):
            yield candidate
