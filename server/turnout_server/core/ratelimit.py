"""How much the provider still lets us ask for: what its headers last said, less what was asked since.

This is headroom, read before any refusal; a refusal (429) is a cool-down and the business of `credentials`.
"""

from __future__ import annotations

from math import inf, isfinite

from turnout_server.core.model import RateLimitBucket, RateLimitReading

RESET_UNKNOWN_SECONDS = 60.0
"""Taken where a bucket states no reset: the usual limits are per minute."""
RESET_MAXIMUM_SECONDS = 3600.0


class Bucket:
    """One bucket: what remains until it is filled again. After that nothing is known of it."""

    __slots__ = ("limit", "remaining", "reset_at")

    def __init__(self) -> None:
        self.limit: int | None = None
        self.remaining: int | None = None
        self.reset_at = 0.0

    def read(self, stated: RateLimitBucket, now: float) -> None:
        """Takes what a response said; a bucket without a count of what remains says nothing."""
        if stated.remaining is None:
            return
        self.limit = stated.limit if stated.limit is not None and stated.limit > 0 else None
        self.remaining = max(0, stated.remaining)
        reset = stated.reset_seconds
        known = reset is not None and isfinite(reset)
        seconds = max(0.0, reset) if known and reset is not None else RESET_UNKNOWN_SECONDS
        self.reset_at = now + min(seconds, RESET_MAXIMUM_SECONDS)

    def left(self, now: float) -> int | None:
        """Returns what remains, None where that is not known (any more)."""
        return self.remaining if now < self.reset_at else None

    def share(self, now: float) -> float | None:
        """Returns what remains as a share of the limit, 0 to 1, None where that is not known."""
        left = self.left(now)
        return None if left is None or self.limit is None else min(1.0, left / self.limit)

    def stated(self, now: float) -> RateLimitBucket | None:
        """Returns the bucket as the provider would state it now, None where it is out of date."""
        if self.left(now) is None:
            return None
        return RateLimitBucket(limit=self.limit, remaining=self.remaining, reset_seconds=self.reset_at - now)


class Headroom:
    """The buckets of one credential and model."""

    __slots__ = ("_requests", "_tokens")

    def __init__(self) -> None:
        self._requests = Bucket()
        self._tokens = Bucket()

    def read(self, reading: RateLimitReading, now: float) -> None:
        """Takes what a response said."""
        if reading.requests is not None:
            self._requests.read(reading.requests, now)
        if reading.tokens is not None:
            self._tokens.read(reading.tokens, now)

    def take_request(self) -> None:
        """Counts a request that is sent now, so that the next does not wait for its answer to know."""
        if self._requests.remaining:
            self._requests.remaining -= 1

    def exhausted_until(self, needed_tokens: int, now: float) -> float | None:
        """Returns when the buckets that have too little are filled again; None where all have enough.

        A bucket whose limit is below `needed_tokens` has enough when it is full: the provider, not we, refuses that.
        """
        until: float | None = None
        left = self._requests.left(now)
        if left is not None and left < 1:
            until = self._requests.reset_at
        left = self._tokens.left(now)
        if left is not None:
            limit = self._tokens.limit
            needed = max(1, needed_tokens if limit is None else min(needed_tokens, limit))
            if left < needed and (until is None or self._tokens.reset_at > until):
                until = self._tokens.reset_at
        return until

    def tokens(self, now: float) -> float:
        """Returns the longest prompt that there is room for: -1 for none at all, infinity where that is not known."""
        left = self._requests.left(now)
        if left is not None and left < 1:
            return -1
        left = self._tokens.left(now)
        return inf if left is None else left

    def reading(self, now: float) -> RateLimitReading | None:
        """Returns what is known, None where that is nothing."""
        requests, tokens = self._requests.stated(now), self._tokens.stated(now)
        return None if requests is None and tokens is None else RateLimitReading(requests=requests, tokens=tokens)

    def share(self, now: float) -> float | None:
        """Returns the smallest remaining share of its buckets, 0 to 1, None where none is known."""
        shares = [s for s in (self._requests.share(now), self._tokens.share(now)) if s is not None]
        return min(shares, default=None)


def refused_seconds(retry_after_seconds: float | None, reading: RateLimitReading | None) -> float:
    """Returns how long a refusal asks to wait at least, 0 where it does not say.

    The larger of what it states and the resets of those buckets whose remaining is 0: another bucket's reset is not
    what the refusal is about.
    """
    waits = [retry_after_seconds]
    if reading is not None:
        buckets = (reading.requests, reading.tokens)
        waits += [b.reset_seconds for b in buckets if b is not None and b.remaining is not None and b.remaining <= 0]
    return max((wait for wait in waits if wait is not None and isfinite(wait)), default=0.0)
