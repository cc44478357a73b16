"""Keeps retries from feeding a fire: using a struggling target again is allowed for a share of the traffic only.

Failing over to another, healthy target is not a retry in this sense and takes nothing from here: a thousand calls
caught by one silent provider may all move on.
"""

from __future__ import annotations

from turnout_server.core.settings import FailoverSettings

_BUCKET_COUNT = 20
TIMEOUT_COST = 2


class ShareBudget:
    """So much as a share of the requests of a sliding window, with a floor for quiet times.

    The window is cut into 20 buckets, so it takes constant memory and forgets in steps of a twentieth.
    """

    __slots__ = (
        "_bucket_seconds",
        "_floor",
        "_oldest",
        "_ratio",
        "_requests",
        "_requests_total",
        "_spent",
        "_spent_total",
    )

    def __init__(self, *, ratio: float, floor: int, window_seconds: float) -> None:
        self._ratio = ratio
        self._floor = floor
        self._bucket_seconds = window_seconds / _BUCKET_COUNT
        self._requests = [0] * _BUCKET_COUNT
        self._spent = [0] * _BUCKET_COUNT
        self._requests_total = 0
        self._spent_total = 0
        self._oldest: int | None = None

    def request(self, now: float) -> None:
        """Counts one call, however many attempts it will take."""
        self._requests[self._slot(now)] += 1
        self._requests_total += 1

    def take(self, now: float, cost: int = 1) -> bool:
        """Takes `cost` from the budget and tells whether so much was there; else nothing is taken."""
        slot = self._slot(now)
        if self._spent_total + cost > self._allowance():
            return False
        self._spent[slot] += cost
        self._spent_total += cost
        return True

    def remaining(self, now: float) -> float:
        """Returns how much may be taken now, never negative."""
        self._slot(now)
        return max(0.0, self._allowance() - self._spent_total)

    def _allowance(self) -> float:
        return max(float(self._floor), self._ratio * self._requests_total)

    def _slot(self, now: float) -> int:
        """Forgets the buckets that have left the window and returns the place of the present one."""
        bucket = int(now // self._bucket_seconds)
        oldest = bucket - _BUCKET_COUNT + 1
        if self._oldest is None:
            self._oldest = oldest
        for gone in range(self._oldest, min(oldest, self._oldest + _BUCKET_COUNT)):
            place = gone % _BUCKET_COUNT
            self._requests_total -= self._requests[place]
            self._spent_total -= self._spent[place]
            self._requests[place] = self._spent[place] = 0
        self._oldest = max(self._oldest, oldest)
        return bucket % _BUCKET_COUNT


class RetryBudget(ShareBudget):
    """Same-target retries and hedges, as a share of all requests; see `settings`.

    A retry after a timeout costs two, since it holds its resources longest (the weighting of the AWS SDKs' retry token
    bucket).
    """

    __slots__ = ()

    def __init__(self, settings: FailoverSettings) -> None:
        super().__init__(
            ratio=settings.retry_budget_ratio,
            floor=settings.retry_budget_floor,
            window_seconds=settings.retry_budget_seconds,
        )

    def following(self, settings: FailoverSettings) -> RetryBudget:
        """Returns the budget under other settings: what was spent stays spent, unless the window is another one."""
        new = RetryBudget(settings)
        if new._bucket_seconds != self._bucket_seconds:
            return new
        self._ratio, self._floor = new._ratio, new._floor
        return self

    def try_spend(self, now: float, *, after_timeout: bool = False) -> bool:
        """Takes one retry (two after a timeout) from the budget and tells whether there was one to take."""
        return self.take(now, TIMEOUT_COST if after_timeout else 1)
