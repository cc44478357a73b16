"""A simulated provider's rate limit: two buckets that refill steadily, so that the headers tell the truth."""

from __future__ import annotations

from dataclasses import dataclass

_MINUTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketReading:
    """What the headers say of one bucket; `reset_seconds` is the time until it is full again."""

    limit: int
    remaining: int
    reset_seconds: float


class Bucket:
    """So many per minute, refilled continuously; `now` is monotonic seconds."""

    __slots__ = ("_level", "_limit", "_then")

    def __init__(self, per_minute: int, *, now: float) -> None:
        self._limit = per_minute
        self._level = float(per_minute)
        self._then = now

    def wait_seconds(self, amount: int, *, now: float) -> float:
        """Returns the seconds until `amount`, at most the limit, can be taken; 0 if it can be now."""
        self._refill(now)
        missing = min(amount, self._limit) - self._level
        return max(0.0, missing * _MINUTE_SECONDS / self._limit)

    def take(self, amount: int, *, now: float) -> None:
        """Takes `amount`; the level may go below zero where the real size was known only afterwards."""
        self._refill(now)
        self._level -= amount

    def reading(self, *, now: float) -> BucketReading:
        """Returns what the headers say now."""
        self._refill(now)
        missing = self._limit - self._level
        return BucketReading(
            limit=self._limit,
            remaining=max(0, int(self._level)),
            reset_seconds=max(0.0, missing * _MINUTE_SECONDS / self._limit),
        )

    def _refill(self, now: float) -> None:
        self._level = min(float(self._limit), self._level + (now - self._then) * self._limit / _MINUTE_SECONDS)
        self._then = now
