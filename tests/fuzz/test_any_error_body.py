"""Whatever a provider answers instead of an answer: one failure of a known kind, bounded, and nothing that leaks."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.every_speaker import SPEAKERS
from tests.wire.speakers import user
from turnout_server.core.chat import ChatInput
from turnout_server.core.model import FailureKind
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.failures import failure, hidden_error, parse_error
from turnout_server.providers.ratelimit_headers import rate_limit_headers, reading, retry_after, wait_seconds

EACH = max(1, settings().max_examples // 4)
"""There are a dozen vendors."""
NOW_WALL = 1_700_000_000.0
LONGEST_SECONDS = 3600.0
SECRET = "sk-planted-0123456789abcdef"
PROMPT = "my grandmother keeps her savings under the third floorboard from the window"
VENDORS = sorted({dialect_of(name, SPEAKERS[name]().wire).vendor for name in SPEAKERS})

KEYS = st.sampled_from(
    [
        "error",
        "message",
        "type",
        "code",
        "param",
        "status",
        "details",
        "detail",
        "metadata",
        "raw",
        "headers",
        "base_resp",
        "status_code",
        "status_msg",
        "@type",
        "violations",
        "quotaId",
        "retryDelay",
        "choices",
        "object",
    ]
)
WORDS = st.text(max_size=20) | st.sampled_from(
    [
        "rate_limit_exceeded",
        "insufficient_quota",
        "overloaded_error",
        "authentication_error",
        "RESOURCE_EXHAUSTED",
        "type.googleapis.com/google.rpc.RetryInfo",
        "55s",
        "-1s",
        "99999999999999999999h",
        "try again in 9m38.016s",
        "prompt is too long: 9 tokens > 8 maximum",
        f"Incorrect API key provided: {SECRET}",
        f"you said {PROMPT}",
        "\ud7ff\x00\x1b[31m",
    ]
)
SCALARS = WORDS | st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
BODIES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=15
)
STATUSES = st.sampled_from([200, 204, 301, 400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 451]) | st.integers(
    100, 599
)


@pytest.mark.parametrize("vendor", VENDORS)
@settings(max_examples=EACH)
@given(status=STATUSES, body=BODIES, should_retry=st.booleans(), in_stream=st.booleans())
def test_any_body_is_one_failure_that_tells_neither_key_nor_prompt(
    vendor: str,
    status: int,
    body: Any,
    should_retry: bool,  # noqa: FBT001 - drawn
    in_stream: bool,  # noqa: FBT001 - drawn
) -> None:
    error = failure(
        status,
        parse_error(orjson.dumps(body)),
        chat=ChatInput(messages=(user(PROMPT),)),
        vendor=vendor,
        secret=SECRET,
        should_retry=should_retry,
        in_stream=in_stream,
    )

    assert isinstance(error.kind, FailureKind)
    assert error.retry_after_seconds is None or 0 <= error.retry_after_seconds <= LONGEST_SECONDS
    assert len(error.detail) < 1000
    assert not any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in error.detail)
    assert SECRET not in error.detail
    assert "floorboard" not in error.detail
    error.detail.encode()


@given(body=st.binary(max_size=60))
def test_any_bytes_are_a_body_that_has_something_to_say_or_nothing(body: bytes) -> None:
    error = parse_error(body)

    assert error.wait_seconds is None or 0 <= error.wait_seconds <= LONGEST_SECONDS


@pytest.mark.parametrize("vendor", VENDORS)
@settings(max_examples=EACH)
@given(body=BODIES)
def test_any_answer_hides_an_error_or_does_not(vendor: str, body: Any) -> None:
    error = hidden_error(orjson.loads(orjson.dumps(body)), vendor)

    assert error is None or error.wait_seconds is None or 0 <= error.wait_seconds <= LONGEST_SECONDS


NAMES = st.sampled_from(
    [
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
        "x-ratelimit-remaining-requests-day",
        "x-ratelimit-reset-tokens-minute",
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
        "X-RateLimit-Limit",
        "X-RateLimit-Remaining",
        "X-RateLimit-Reset",
        "content-type",
    ]
)
VALUES = st.binary(max_size=20) | st.sampled_from(
    [
        b"",
        *b"0 -1 1e308 1e20 nan inf -inf 1e999 0x10 1_000 1s 6m0s 12ms 1700000010 1700000010000".split(),
        b"9" * 400,
        b"9" * 400 + b"h",
        b"Wed, 21 Oct 2015 07:28:00 GMT",
        b"Mon, 99 Foo 99999 99:99:99 +9999",
        b"9999-12-31T23:59:59Z",
        b"0001-01-01T00:00:00+23:59",
        b"\xd9\xa1",
    ]
)


@given(raw=st.lists(st.tuples(NAMES.map(str.encode), VALUES), max_size=8))
def test_any_headers_are_a_bounded_reading_or_none(raw: list[tuple[bytes, bytes]]) -> None:
    headers = rate_limit_headers(raw)
    asked = retry_after(headers, NOW_WALL)
    read = reading(headers, NOW_WALL)

    assert asked is None or 0 <= asked <= LONGEST_SECONDS
    for bucket in () if read is None else (read.requests, read.tokens):
        if bucket is None:
            continue
        assert bucket.limit is None or 0 <= bucket.limit < 2**63
        assert bucket.remaining is None or 0 <= bucket.remaining < 2**63
        assert bucket.reset_seconds is None or 0 <= bucket.reset_seconds <= LONGEST_SECONDS


@given(value=st.text(max_size=30))
def test_any_word_is_a_bounded_wait_or_none(value: str) -> None:
    waited = wait_seconds(value, NOW_WALL)

    assert waited is None or (math.isfinite(waited) and 0 <= waited <= LONGEST_SECONDS)
