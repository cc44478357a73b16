"""Tells the failure kind of an exception that an application got from a provider, without importing anybody's SDK.

What is looked at: status codes by duck typing, the provider's error codes, Python's own exceptions, and for the common
HTTP packages, whose exceptions inherit from none of those, their class names. Everything else is UNKNOWN.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import email.utils
import socket
import ssl
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from turnout.v1 import router_pb2 as pb

MAX_CAUSES = 32
"""How many exceptions of one are looked at, causes and members of groups: SDKs wrap two or three deep."""

MAX_RETRY_AFTER_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a call failed. `retry_after_seconds` is what the provider asked for, 0 to 3,600."""

    kind: pb.FailureKind.ValueType
    http_status: int | None = None
    retry_after_seconds: float | None = None


KINDS_BY_STATUS: Mapping[int, pb.FailureKind.ValueType] = MappingProxyType(
    {
        400: pb.FAILURE_KIND_INVALID_REQUEST,
        401: pb.FAILURE_KIND_AUTHENTICATION,
        402: pb.FAILURE_KIND_QUOTA_EXHAUSTED,
        403: pb.FAILURE_KIND_PERMISSION_DENIED,
        404: pb.FAILURE_KIND_MODEL_NOT_FOUND,
        407: pb.FAILURE_KIND_CONNECTION,
        408: pb.FAILURE_KIND_TIMEOUT,
        410: pb.FAILURE_KIND_MODEL_NOT_FOUND,
        411: pb.FAILURE_KIND_INVALID_REQUEST,
        413: pb.FAILURE_KIND_CONTEXT_LENGTH,
        414: pb.FAILURE_KIND_INVALID_REQUEST,
        415: pb.FAILURE_KIND_INVALID_REQUEST,
        422: pb.FAILURE_KIND_INVALID_REQUEST,
        429: pb.FAILURE_KIND_RATE_LIMITED,
        431: pb.FAILURE_KIND_INVALID_REQUEST,
        498: pb.FAILURE_KIND_OVERLOADED,
        503: pb.FAILURE_KIND_OVERLOADED,
        529: pb.FAILURE_KIND_OVERLOADED,
    }
)
"""What the sidecar takes a status for; other 5xx are SERVER_ERROR, other 4xx UNKNOWN. A test holds the two together."""

KINDS_BY_CODE: Mapping[str, pb.FailureKind.ValueType] = MappingProxyType(
    {
        "authentication_error": pb.FAILURE_KIND_AUTHENTICATION,
        "billing_error": pb.FAILURE_KIND_QUOTA_EXHAUSTED,
        "billing_hard_limit_reached": pb.FAILURE_KIND_QUOTA_EXHAUSTED,
        "billing_not_active": pb.FAILURE_KIND_QUOTA_EXHAUSTED,
        "capacity_exceeded": pb.FAILURE_KIND_OVERLOADED,
        "content_filter": pb.FAILURE_KIND_CONTENT_FILTERED,
        "content_policy_violation": pb.FAILURE_KIND_CONTENT_FILTERED,
        "context_length_exceeded": pb.FAILURE_KIND_CONTEXT_LENGTH,
        "credit_balance_exhausted": pb.FAILURE_KIND_QUOTA_EXHAUSTED,
        "enforced_spend_limit_reached": pb.FAILURE_KIND_QUOTA_EXHAUSTED,
        "engine_overloaded_error": pb.FAILURE_KIND_OVERLOADED,
        "exceeded_current_quota_error": pb.FAILURE_KIND_QUOTA_EXHAUSTED,
        "insufficient_quota": pb.FAILURE_KIND_QUOTA_EXHAUSTED,
        "invalid_api_key": pb.FAILURE_KIND_AUTHENTICATION,
        "model_not_found": pb.FAILURE_KIND_MODEL_NOT_FOUND,
        "overloaded_error": pb.FAILURE_KIND_OVERLOADED,
        "rate_limit_error": pb.FAILURE_KIND_RATE_LIMITED,
        "rate_limit_exceeded": pb.FAILURE_KIND_RATE_LIMITED,
        "request_too_large": pb.FAILURE_KIND_CONTEXT_LENGTH,
        "server_is_overloaded": pb.FAILURE_KIND_OVERLOADED,
        "slow_down": pb.FAILURE_KIND_OVERLOADED,
    }
)
"""The providers' own error codes and types, where they say more than the status."""

KINDS_BY_PHRASE: Mapping[str, pb.FailureKind.ValueType] = MappingProxyType(
    {
        # anthropic, 400: "prompt is too long: 210000 tokens > 200000 maximum"
        "prompt is too long": pb.FAILURE_KIND_CONTEXT_LENGTH,
        # anthropic, 400: "Your credit balance is too low to access the Anthropic API."
        "credit balance is too low": pb.FAILURE_KIND_QUOTA_EXHAUSTED,
    }
)
"""For a 400 whose code says nothing more: all that the provider gives is its message."""

KINDS_BY_CLASS: Mapping[tuple[str, str], pb.FailureKind.ValueType] = MappingProxyType(
    {
        ("httpx", "TimeoutException"): pb.FAILURE_KIND_TIMEOUT,
        ("httpx", "TransportError"): pb.FAILURE_KIND_CONNECTION,
        ("httpx2", "TimeoutException"): pb.FAILURE_KIND_TIMEOUT,
        ("httpx2", "TransportError"): pb.FAILURE_KIND_CONNECTION,
        ("aiohttp", "ClientPayloadError"): pb.FAILURE_KIND_TRUNCATED,
        ("aiohttp", "ClientConnectionError"): pb.FAILURE_KIND_CONNECTION,
        ("requests", "Timeout"): pb.FAILURE_KIND_TIMEOUT,
        ("requests", "ConnectionError"): pb.FAILURE_KIND_CONNECTION,
        ("requests", "ChunkedEncodingError"): pb.FAILURE_KIND_TRUNCATED,
        ("http", "IncompleteRead"): pb.FAILURE_KIND_TRUNCATED,
        ("openai", "APITimeoutError"): pb.FAILURE_KIND_TIMEOUT,
        ("openai", "APIConnectionError"): pb.FAILURE_KIND_CONNECTION,
        ("anthropic", "APITimeoutError"): pb.FAILURE_KIND_TIMEOUT,
        ("anthropic", "APIConnectionError"): pb.FAILURE_KIND_CONNECTION,
    }
)
"""Top-level package and class name, looked up along the exception's base classes, nearest first."""

CALLER_STOPPED = (
    asyncio.CancelledError,
    concurrent.futures.CancelledError,
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
)


def classify(error: BaseException, *, now_wall: float) -> Failure:
    """Returns the failure that an exception or one of its causes tells of.

    `now_wall` is seconds since the epoch, for `Retry-After` dates.
    """
    for cause in _causes(error):
        if isinstance(cause, CALLER_STOPPED):
            return Failure(kind=pb.FAILURE_KIND_CANCELLED)
        status = _http_status(cause)
        if status is not None:
            return Failure(
                kind=_kind_of_status(status, cause),
                http_status=status,
                retry_after_seconds=_retry_after(_headers(cause), now_wall),
            )
        kind = _kind_of_code(cause)
        if kind is None:
            kind = _kind_of_class(cause)
        if kind is not None:
            return Failure(kind=kind)
    return Failure(kind=pb.FAILURE_KIND_UNKNOWN)


def _causes(error: BaseException) -> Iterator[BaseException]:
    queue = deque([error])
    for _ in range(MAX_CAUSES):
        if not queue:
            return
        current = queue.popleft()
        yield current
        if isinstance(current, BaseExceptionGroup):
            queue.extend(current.exceptions)
        cause = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        if cause is not None:
            queue.append(cause)


def _kind_of_status(status: int, error: BaseException) -> pb.FailureKind.ValueType:
    kind = _kind_of_code(error)
    if kind is not None:
        return kind
    if status == 400:  # noqa: PLR2004 - the status that providers put everything into
        text = str(error)
        for phrase, phrase_kind in KINDS_BY_PHRASE.items():
            if phrase in text:
                return phrase_kind
    if status in KINDS_BY_STATUS:
        return KINDS_BY_STATUS[status]
    return pb.FAILURE_KIND_SERVER_ERROR if status >= 500 else pb.FAILURE_KIND_UNKNOWN  # noqa: PLR2004 - HTTP


def _kind_of_code(error: BaseException) -> pb.FailureKind.ValueType | None:
    """Looks at `.code` and `.type`, and at the same of `.body` and `.body["error"]`, as the SDKs carry them."""
    body = getattr(error, "body", None)
    inner = body.get("error") if isinstance(body, Mapping) else None
    values = [getattr(error, name, None) for name in ("code", "type")]
    values += [source.get(name) for source in (body, inner) if isinstance(source, Mapping) for name in ("code", "type")]
    return next((KINDS_BY_CODE[v] for v in values if isinstance(v, str) and v in KINDS_BY_CODE), None)


def _kind_of_class(error: BaseException) -> pb.FailureKind.ValueType | None:
    if isinstance(error, TimeoutError):
        return pb.FAILURE_KIND_TIMEOUT
    if isinstance(error, ConnectionError | socket.gaierror | ssl.SSLError):
        return pb.FAILURE_KIND_CONNECTION
    for base in type(error).__mro__:
        kind = KINDS_BY_CLASS.get((base.__module__.partition(".")[0], base.__name__))
        if kind is not None:
            return kind
    return None


def _http_status(error: BaseException) -> int | None:
    """Returns an HTTP error status: of the exception (openai, anthropic; aiohttp: `status`) or its response (httpx).

    Google's have it in `code`, and in `status` a word.
    """
    response = getattr(error, "response", None)
    for value in (
        getattr(error, "status_code", None),
        getattr(response, "status_code", None),
        getattr(error, "status", None),
        getattr(error, "code", None),
    ):
        if isinstance(value, int) and 400 <= value <= 599:  # noqa: PLR2004 - HTTP's error statuses
            return int(value)
    return None


def _headers(error: BaseException) -> Mapping[str, object]:
    for source in (getattr(error, "response", None), error):
        headers = getattr(source, "headers", None)
        if isinstance(headers, Mapping):
            return headers
    return {}


def _retry_after(headers: Mapping[str, object], now_wall: float) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, MAX_RETRY_AFTER_SECONDS)
    value = headers.get("retry-after") or headers.get("Retry-After")
    seconds = _number(value)
    if seconds is None and isinstance(value, str):
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now_wall
        except ValueError:
            return None
    return None if seconds is None or seconds < 0 else min(seconds, MAX_RETRY_AFTER_SECONDS)


def _number(value: object) -> float | None:
    """Returns a plain non-negative decimal; None for everything else, "nan" and "inf" included."""
    if not isinstance(value, str) or not value.isascii() or not value.replace(".", "", 1).isdigit():
        return None
    return float(value)
