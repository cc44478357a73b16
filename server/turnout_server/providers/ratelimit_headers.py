"""Reads what a provider's headers say of its rate limit, in all the dialects there are, as data.

Seconds come as integers or floats, as Go durations (`6m0s`, `12ms`), as RFC 3339 or HTTP dates, and as Unix times;
everything becomes seconds from now, clamped to 0 to 3,600. What is negative or makes no sense is left out:
unknown is not zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

from turnout_server.core.model import RateLimitBucket, RateLimitReading

MAX_WAIT_SECONDS = 3600.0

Headers = Mapping[str, str]
"""Header values by lower-case name."""

Names = tuple[str, str, str]
"""The names of a bucket's limit, remaining and reset."""


def _names(pattern: str) -> Names:
    return pattern.format("limit"), pattern.format("remaining"), pattern.format("reset")


REQUEST_BUCKETS = (
    _names("x-ratelimit-{}-requests"),  # OpenAI, xAI; with Groq these are the day's
    _names("anthropic-ratelimit-requests-{}"),
    _names("x-ratelimit-{}-req-minute"),  # Mistral
    _names("x-ratelimit-{}-requests-minute"),  # Cerebras, as are hour and day
    _names("x-ratelimit-{}-requests-hour"),
    _names("x-ratelimit-{}-requests-day"),
    _names("x-ratelimit-{}"),  # Kimi, OpenRouter
    _names("ratelimit-{}"),  # the IETF's draft, gateways
)
"""Where the requests bucket stands; of several, the one with the least share left is the reading."""

TOKEN_BUCKETS = (
    _names("x-ratelimit-{}-tokens"),  # OpenAI, Groq, xAI
    _names("anthropic-ratelimit-tokens-{}"),
    _names("anthropic-ratelimit-input-tokens-{}"),
    _names("anthropic-ratelimit-output-tokens-{}"),
    _names("x-ratelimit-{}-tokens-minute"),  # Cerebras, Mistral
    _names("x-ratelimit-{}-tokens-hour"),
    _names("x-ratelimit-{}-tokens-day"),
    _names("x-ratelimit-{}-tokens-month"),  # Mistral
)
"""The same for tokens."""

_LONG_PERIODS = ("-day", "-month")

_GO_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|h|m|s))+")
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|h|m|s)")
_GO_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
MAX_COUNT = 1e15
"""More than any limit; what is beyond is nonsense, and would not fit into the fields of the contract."""
_UNIX_SECONDS_FROM = 1e9
_UNIX_MILLISECONDS_FROM = 1e12


def wait_seconds(value: str, now_wall: float) -> float | None:
    """Returns the seconds from now that a header value stands for, 0 to 3,600; None if it stands for nothing.

    A moment that has passed is 0; a negative duration is nothing. `now_wall` is Unix time.
    """
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        return _clamped_duration(text, now_wall)
    if not isfinite(seconds) or seconds < 0:
        return None
    if seconds >= _UNIX_MILLISECONDS_FROM:
        seconds = max(0.0, seconds / 1000 - now_wall)
    elif seconds >= _UNIX_SECONDS_FROM:
        seconds = max(0.0, seconds - now_wall)
    return min(seconds, MAX_WAIT_SECONDS)


def duration_seconds(value: str) -> float | None:
    """Returns the seconds of a Go or protobuf duration, 0 to 3,600; None for anything else."""
    text = value.strip()
    if not _GO_DURATION.fullmatch(text):
        return None
    return min(sum(float(number) * _GO_UNIT_SECONDS[unit] for number, unit in _GO_PART.findall(text)), MAX_WAIT_SECONDS)


def retry_after(headers: Headers, now_wall: float) -> float | None:
    """Returns how long the provider asks to wait, in seconds, 0 to 3,600; None if it does not say."""
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None:
        try:
            seconds = float(milliseconds) / 1000
        except ValueError:
            seconds = -1.0
        if isfinite(seconds) and seconds >= 0:
            return min(seconds, MAX_WAIT_SECONDS)
    value = headers.get("retry-after")
    return None if value is None else wait_seconds(value, now_wall)


def reading(headers: Headers, now_wall: float) -> RateLimitReading | None:
    """Returns what the headers say of requests and tokens, or None if they say nothing of either."""
    requests = _tightest(REQUEST_BUCKETS, headers, now_wall)
    tokens = _tightest(TOKEN_BUCKETS, headers, now_wall)
    return RateLimitReading(requests=requests, tokens=tokens) if requests or tokens else None


def is_rate_limit_header(name: str) -> bool:
    """Whether this module reads headers of that lower-case name."""
    return "ratelimit" in name or name.startswith("retry-after")


def rate_limit_headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Picks the headers this module reads out of raw ones, so that the many others cost nothing."""
    picked: dict[str, str] = {}
    for name, value in raw:
        key = name.lower()
        if b"ratelimit" in key or key.startswith(b"retry-after"):
            # The same test on bytes: most names are never decoded.
            picked[key.decode("latin-1")] = value.decode("latin-1")
    return picked


def _clamped_duration(text: str, now_wall: float) -> float | None:
    seconds = duration_seconds(text)
    if seconds is not None:
        return seconds
    moment = _moment(text)
    return None if moment is None else min(max(0.0, moment - now_wall), MAX_WAIT_SECONDS)


def _moment(text: str) -> float | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, TypeError, IndexError):
            continue
    return None


def _tightest(names: tuple[Names, ...], headers: Headers, now_wall: float) -> RateLimitBucket | None:
    """The bucket with the smallest share left; of those with nothing left, the one that takes longest to fill."""
    tightest: RateLimitBucket | None = None
    least = (2.0, 0.0)
    for limit_name, remaining_name, reset_name in names:
        if limit_name not in headers and remaining_name not in headers:
            continue
        remaining = _count(headers.get(remaining_name))
        reset = wait_seconds(headers[reset_name], now_wall) if reset_name in headers else None
        if reset is None and remaining == 0 and reset_name.endswith(_LONG_PERIODS):
            # Nothing left of a day or a month, and no word of its end: not within the hour.
            reset = MAX_WAIT_SECONDS
        bucket = RateLimitBucket(limit=_count(headers.get(limit_name)), remaining=remaining, reset_seconds=reset)
        if bucket.limit is None and bucket.remaining is None:
            continue
        rank = (_share_left(bucket), -(bucket.reset_seconds or 0.0))
        if rank < least:
            tightest, least = bucket, rank
    return tightest


def _share_left(bucket: RateLimitBucket) -> float:
    if bucket.remaining is None:
        return 1.5
    if not bucket.limit:
        return 0.0 if bucket.remaining == 0 else 1.0
    return bucket.remaining / bucket.limit


def _count(value: str | None) -> int | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if 0 <= number <= MAX_COUNT else None
