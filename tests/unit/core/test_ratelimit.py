"""Headroom: what the provider's headers leave us, less what was asked since."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.model import RateLimitBucket, RateLimitReading
from turnout_server.core.ratelimit import Headroom, refused_seconds

T = 1000.0


def bucket(remaining: int | None, *, limit: int | None = 100, reset_seconds: float | None = 30.0) -> RateLimitBucket:
    return RateLimitBucket(limit=limit, remaining=remaining, reset_seconds=reset_seconds)


def headroom(requests: RateLimitBucket | None = None, tokens: RateLimitBucket | None = None) -> Headroom:
    room = Headroom()
    room.read(RateLimitReading(requests=requests, tokens=tokens), T)
    return room


def test_nothing_is_exhausted_where_nothing_is_known() -> None:
    room = Headroom()

    assert room.exhausted_until(1_000_000, T) is None
    assert room.share(T) is None
    assert room.reading(T) is None


def test_used_up_requests_wait_for_their_reset() -> None:
    room = headroom(bucket(0))

    assert room.exhausted_until(0, T + 29.9) == T + 30.0
    assert room.exhausted_until(0, T + 30.0) is None


def test_requests_sent_since_are_counted() -> None:
    room = headroom(bucket(2))
    room.take_request()

    assert room.exhausted_until(0, T) is None

    room.take_request()
    room.take_request()

    assert room.exhausted_until(0, T) == T + 30.0


def test_tokens_must_be_enough_for_the_request() -> None:
    room = headroom(tokens=bucket(50))

    assert room.exhausted_until(50, T) is None
    assert room.exhausted_until(51, T) == T + 30.0


def test_request_larger_than_the_whole_bucket_waits_for_a_full_one_only() -> None:
    assert headroom(tokens=bucket(100)).exhausted_until(500, T) is None
    assert headroom(tokens=bucket(99)).exhausted_until(500, T) == T + 30.0


def test_used_up_tokens_block_even_a_request_of_unknown_size() -> None:
    assert headroom(tokens=bucket(0)).exhausted_until(0, T) == T + 30.0


def test_later_of_two_used_up_buckets_decides() -> None:
    room = headroom(bucket(0, reset_seconds=10.0), bucket(0, reset_seconds=20.0))

    assert room.exhausted_until(0, T) == T + 20.0


def test_bucket_without_reset_is_taken_to_be_per_minute() -> None:
    assert headroom(bucket(0, reset_seconds=None)).exhausted_until(0, T) == T + 60.0


@pytest.mark.parametrize("reset", [inf, nan, 1e12])
def test_absurd_reset_does_not_block_for_ever(reset: float) -> None:
    assert headroom(bucket(0, reset_seconds=reset)).exhausted_until(0, T + 3600.0) is None


def test_reset_in_the_past_blocks_nothing() -> None:
    assert headroom(bucket(0, reset_seconds=-5.0)).exhausted_until(0, T) is None


def test_bucket_that_states_no_remaining_says_nothing() -> None:
    assert headroom(bucket(None)).exhausted_until(1000, T) is None


def test_share_is_the_smallest_of_the_buckets() -> None:
    assert headroom(bucket(50), bucket(20)).share(T) == 0.2
    assert headroom(bucket(50, limit=None)).share(T) is None
    assert headroom(bucket(50, limit=0)).share(T) is None


def test_reading_tells_what_is_left_until_it_is_out_of_date() -> None:
    room = headroom(bucket(50))
    room.take_request()
    expected = RateLimitReading(requests=RateLimitBucket(limit=100, remaining=49, reset_seconds=20.0))

    assert room.reading(T + 10.0) == expected
    assert room.reading(T + 30.0) is None


def test_refusal_waits_for_what_it_asks() -> None:
    assert refused_seconds(7.0, None) == 7.0
    assert refused_seconds(None, None) == 0.0


def test_refusal_waits_for_the_reset_of_used_up_buckets_only() -> None:
    reading = RateLimitReading(requests=bucket(0, reset_seconds=12.0), tokens=bucket(5, reset_seconds=500.0))

    assert refused_seconds(7.0, reading) == 12.0
    assert refused_seconds(20.0, reading) == 20.0


@given(
    st.none() | st.floats(),
    st.none() | st.integers(-5, 1000),
    st.none() | st.floats(),
    st.none() | st.integers(-5, 1000),
    st.floats(0.0, 1e6),
    st.integers(0, 2_000_000),
)
def test_headroom_is_bounded_whatever_the_headers_say(  # noqa: PLR0917  # drawn, not called
    retry_after: float | None,
    remaining: int | None,
    reset: float | None,
    limit: int | None,
    passed: float,
    needed: int,
) -> None:
    stated = bucket(remaining, limit=limit, reset_seconds=reset)
    reading = RateLimitReading(requests=stated, tokens=stated)
    room = headroom(stated, stated)
    room.take_request()
    until = room.exhausted_until(needed, T + passed)
    share = room.share(T + passed)

    assert until is None or T + passed < until <= T + 3600.0
    assert share is None or 0.0 <= share <= 1.0
    assert refused_seconds(retry_after, reading) < inf
