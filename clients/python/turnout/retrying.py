"""Decides whether and when a failed call is made again: pure, so that sync and asyncio clients share one rule.

The contract allows an unasked-for retry only where nothing can have been sent, or where the call changes nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from turnout.errors import (
    AllAttemptsRefusedError,
    AllTargetsUnavailableError,
    DrainingError,
    SidecarOverloadedError,
    TurnoutError,
    UnauthenticatedError,
    UnreachableError,
)

BASE_SECONDS = 0.1
MAX_SECONDS = 2.0
JITTER = 0.2


class RetryClass(Enum):
    """Which errors of an RPC may be followed by another try."""

    IDEMPOTENT = (UnreachableError, SidecarOverloadedError, DrainingError)
    """Route, ProviderStatus, ReportOutcome: once too often is harmless. "No target now" is an answer, not a failure."""

    EXECUTE = (AllTargetsUnavailableError, AllAttemptsRefusedError, SidecarOverloadedError, DrainingError)
    """Execute, ExecuteStream: only what was surely not billed; a lost connection does not say that nothing was sent."""

    NEVER = ()
    """Watching streams: the caller decides where to resume."""


def backoff_seconds(made_count: int, rng: random.Random) -> float:
    """Returns a wait after so many tries where nobody named one: full jitter below 0.1 s · 2ⁿ, at most 2 s."""
    return rng.uniform(0, min(MAX_SECONDS, BASE_SECONDS * 2 ** min(made_count, 16)))


@dataclass(slots=True, kw_only=True)
class Tries:
    """The tries of one call, which share one deadline.

    `deadline` is on the clock that `now` is read from, in seconds, infinity for none; `max_retry_count` bounds the
    tries after the first. `renewed` tells whether there is another token than the one that was refused; a call is made
    again once for it, and that one is not counted, since the sidecar has not looked at the request.
    """

    retry_class: RetryClass
    deadline: float
    max_retry_count: int
    rng: random.Random
    renewed: Callable[[], bool] = lambda: False
    made_count: int = 0
    renewed_count: int = 0

    def remaining_seconds(self, now: float) -> float | None:
        """Returns what is left for the next try, never below a millisecond; None for no deadline."""
        return None if math.isinf(self.deadline) else max(0.001, self.deadline - now)

    def wait_after(self, error: TurnoutError, now: float) -> float | None:
        """Returns how many seconds to wait before the next try, None where there must not be one.

        What the sidecar asked for is the least; up to 20 % is added so that callers who were told the same do not come
        back together. Without a word of the sidecar: full jitter below 0.1 s · 2ⁿ, at most 2 s. A wait that would use
        up the deadline is not begun.
        """
        if isinstance(error, UnauthenticatedError) and not self.renewed_count and self.renewed():
            self.renewed_count += 1
            return 0.0
        if error.details.retry_forbidden or not isinstance(error, self.retry_class.value):
            return None
        if self.made_count >= self.max_retry_count:
            return None
        asked = error.retry_after_seconds
        wait = backoff_seconds(self.made_count, self.rng) if asked is None else asked * self.rng.uniform(1, 1 + JITTER)
        if now + wait >= self.deadline:
            return None
        self.made_count += 1
        return wait
