from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.model import RateLimitBucket
from turnout_server.providers.ratelimit_headers import (
    duration_seconds,
    rate_limit_headers,
    reading,
    retry_after,
    wait_seconds,
)

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("12ms", 0.012),
        ("1h2m3.5s", 3600.0),
        ("2m59.56s", 179.56),
        ("88µs", 0.000088),
        ("59.7", 59.7),
        ("0", 0.0),
        ("7200", 3600.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("soon", None),
        ("2026-09-21T14:13:50Z", 30.0),
        ("2026-09-21T16:13:50+02:00", 30.0),
        ("2026-09-21T14:00:00Z", 0.0),
        ("2027-09-21T14:00:00Z", 3600.0),
        ("Mon, 21 Sep 2026 14:13:25 GMT", 5.0),
        ("1790000012", 12.0),
        ("1790000012000", 12.0),
    ],
)
def test_every_dialect_of_waiting_becomes_seconds(value: str, expected: float | None) -> None:
    seconds = wait_seconds(value, NOW)

    assert expected == (seconds if seconds is None else pytest.approx(seconds, abs=1e-6))


@given(st.text(max_size=40) | st.floats().map(str) | st.integers().map(str))
def test_waiting_is_never_negative_nor_longer_than_an_hour(value: str) -> None:
    seconds = wait_seconds(value, NOW)

    assert seconds is None or 0 <= seconds <= 3600


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "3", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "3", "retry-after-ms": "x"}, 3.0),
        ({"retry-after-ms": "-1"}, None),
        ({"retry-after": "Mon, 21 Sep 2026 14:13:25 GMT"}, 5.0),
    ],
)
def test_wait_asked_for_is_read_from_the_finer_header_first(headers: dict[str, str], expected: float | None) -> None:
    assert expected == retry_after(headers, NOW)


@pytest.mark.parametrize(
    ("names", "reset"),
    [
        ("x-ratelimit-{}-requests", "1s"),
        ("anthropic-ratelimit-requests-{}", "2026-09-21T14:13:21Z"),
        ("x-ratelimit-{}-req-minute", "1"),
        ("x-ratelimit-{}-requests-minute", "1.0"),
        ("x-ratelimit-{}-requests-hour", "1.0"),
        ("x-ratelimit-{}-requests-day", "1.0"),
        ("ratelimit-{}", "1"),
        ("x-ratelimit-{}", "1790000001"),
    ],
)
def test_requests_bucket_is_found_under_every_vendors_names(names: str, reset: str) -> None:
    headers = {names.format("limit"): "10", names.format("remaining"): "4", names.format("reset"): reset}
    found = reading(headers, NOW)

    assert found is not None
    assert RateLimitBucket(limit=10, remaining=4, reset_seconds=1.0) == found.requests


def test_nothing_said_is_no_reading() -> None:
    assert reading({"x-ratelimit-reset-requests": "1s"}, NOW) is None


@pytest.mark.parametrize("value", ["-1", "many", "inf"])
def test_counts_that_make_no_sense_are_unknown(value: str) -> None:
    assert reading({"x-ratelimit-remaining-tokens": value}, NOW) is None


def test_header_names_are_picked_in_any_case() -> None:
    raw = [(b"X-RateLimit-Limit-Tokens", b"5"), (b"Retry-After", b"1"), (b"Content-Type", b"x")]

    assert {"x-ratelimit-limit-tokens": "5", "retry-after": "1"} == rate_limit_headers(raw)


def test_of_several_empty_buckets_the_one_that_takes_longest_to_fill_counts() -> None:
    headers = {
        "anthropic-ratelimit-tokens-limit": "1000",
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": "2026-09-21T14:13:25Z",
        "anthropic-ratelimit-output-tokens-limit": "200",
        "anthropic-ratelimit-output-tokens-remaining": "0",
        "anthropic-ratelimit-output-tokens-reset": "2026-09-21T14:14:00Z",
    }
    found = reading(headers, NOW)

    assert found is not None
    assert found.tokens == RateLimitBucket(limit=200, remaining=0, reset_seconds=40.0)


@pytest.mark.parametrize(("period", "seconds"), [("minute", None), ("day", 3600.0), ("month", 3600.0)])
def test_long_period_used_up_without_a_reset_lasts_the_hour(period: str, seconds: float | None) -> None:
    names = {f"x-ratelimit-limit-tokens-{period}": "9", f"x-ratelimit-remaining-tokens-{period}": "0"}
    found = reading(names, NOW)

    assert found is not None
    assert RateLimitBucket(limit=9, remaining=0, reset_seconds=seconds) == found.tokens


@pytest.mark.parametrize("value", ["55s", "0.5s", "1m2s"])
def test_durations_are_read_without_a_clock(value: str) -> None:
    assert duration_seconds(value) == wait_seconds(value, NOW)


@pytest.mark.parametrize("value", ["", "55", "2026-09-21T14:13:50Z", "-3s", "s"])
def test_what_is_no_duration_is_none(value: str) -> None:
    assert duration_seconds(value) is None
