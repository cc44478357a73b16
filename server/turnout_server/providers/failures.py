"""Makes of a provider's error body the one error that the rest of the sidecar knows, safe to show."""

from __future__ import annotations

from turnout_server.core.chat import ChatInput
from turnout_server.core.model import CREDENTIAL_FAILURES, FailureKind, RateLimitReading
from turnout_server.ports import UpstreamError
from turnout_server.providers.classify import can_be_billed, classify, knows
from turnout_server.providers.error_bodies import ErrorBody, hidden_error, parse_error, read_error
from turnout_server.providers.redaction import safe_message

__all__ = ["ErrorBody", "failure", "hidden_error", "invalid_request", "parse_error", "protocol_error", "read_error"]

_QUOTES_KEYS = frozenset({FailureKind.AUTHENTICATION})
"""Kinds whose messages are about a key, and may hold part of one: they are not shown."""
_OF_THE_REQUEST = frozenset({400, 422, None})
"""Statuses that by themselves speak of the request, and none at all."""
_NOTHING_THERE = frozenset({404, 405})


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
    """Makes the error of a failed answer of `vendor`; `in_stream` for an error inside one that had begun well.

    What the headers ask to wait, `retry_after_seconds`, goes before what the body asks.
    """
    meant = error.status if in_stream else status
    kind = classify(meant, error.codes, error.message, vendor=vendor, should_retry=should_retry)
    if kind in CREDENTIAL_FAILURES and meant in _OF_THE_REQUEST:
        # The words decided that. They may be the caller's own, quoted, and must not cost us a credential then.
        unquoted = safe_message(error.message, chat=chat, secret=secret)
        kind = classify(meant, error.codes, unquoted, vendor=vendor, should_retry=should_retry)
    if kind is FailureKind.RATE_LIMITED and _no_allowance(rate_limit):
        kind = FailureKind.QUOTA_EXHAUSTED
    if retry_after_seconds is None and kind is not FailureKind.QUOTA_EXHAUSTED:
        # Google asks to wait seconds for a quota of the day: that is the wait for another limit.
        retry_after_seconds = error.wait_seconds
    said = "" if kind in _QUOTES_KEYS else safe_message(error.message, chat=chat, secret=secret)
    code = next((c for c in error.codes if knows(c, vendor)), error.codes[0] if error.codes else "")
    code, field = (word if safe_message(word, chat=None, secret=secret) == word else "" for word in (code, error.field))
    where = f"error event inside HTTP {status}" if in_stream else f"HTTP {status}"
    if 300 <= status <= 399:  # noqa: PLR2004 - the status class of redirects
        said = "a redirect, which is never followed: check the base URL"
    elif status in _NOTHING_THERE and not in_stream and not _of_a_model(error, vendor):
        # A server that does not know the path: it has not even looked for the model.
        said = f"{said}; " if said else ""
        said += "nothing is said of a model: the base URL may be wrong"
    detail = " ".join(piece for piece in (where, f"({code})" if code else "", f"at {field}" if field else "") if piece)
    return UpstreamError(
        kind,
        f"{detail}: {said}" if said else detail,
        http_status=status,
        retry_after_seconds=retry_after_seconds,
        rate_limit=rate_limit,
        possibly_billed=in_stream or can_be_billed(status, kind),
    )


def _of_a_model(error: ErrorBody, vendor: str) -> bool:
    """Whether an answer of status 404 comes from where models are known: by a code of the vendor's, or by its words."""
    return "model" in error.message.lower() or any(knows(code, vendor) for code in error.codes)


def _no_allowance(rate_limit: RateLimitReading | None) -> bool:
    """Whether a limit is 0: Mistral refuses a key without a plan so, and no waiting helps."""
    if rate_limit is None:
        return False
    return any(bucket is not None and bucket.limit == 0 for bucket in (rate_limit.requests, rate_limit.tokens))


def protocol_error(what: str, *, http_status: int = 200) -> UpstreamError:
    """Makes the error of an answer that cannot be understood; `what` never holds any of it."""
    return UpstreamError(FailureKind.PROTOCOL, what, http_status=http_status)


def invalid_request(what: str) -> UpstreamError:
    """Makes the error of a request that cannot be put on this wire; nothing was sent."""
    return UpstreamError(FailureKind.INVALID_REQUEST, what, possibly_billed=False)
