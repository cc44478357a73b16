"""A target's health from its outcomes: availability for scoring, one word and one number for people."""

from __future__ import annotations

from math import exp, exp2, isfinite
from typing import TYPE_CHECKING

from turnout_server.core.model import BreakerState, HealthState
from turnout_server.core.settings import HealthSettings

if TYPE_CHECKING:
    from turnout_server.core.kept import KeptAverage, Since

PRIOR_SUCCESSES = 24.9
PRIOR_OUTCOMES = 25.0
"""A target starts as if 24.9 of 25 calls had succeeded: one failure does not condemn."""
UNKNOWN_AVAILABILITY = PRIOR_SUCCESSES / PRIOR_OUTCOMES
"""Of a target that nothing is known of, or nothing of late."""

HEALTHY_FROM = 0.99
DEGRADED_FROM = 0.95
OFFLINE_BELOW = 0.5

LATENCY_PART = 0.3
STREAK_PART = 0.5
UTILISATION_PART = 0.2
SHORT_HALF_LIFE_SECONDS = 60.0
LONG_HALF_LIFE_SECONDS = 3600.0
RATIO_MINIMUM, RATIO_MAXIMUM = 0.01, 100.0
"""Beyond these a ratio is not about the target's speed, and one would drown all others."""


class Availability:
    """(successes + 24.9) / (outcomes + 25), both decayed over about 100 outcomes and 5 minutes."""

    __slots__ = ("_asked_at", "_at", "_keep", "_successes", "_total", "_value", "_window")

    def __init__(self, settings: HealthSettings) -> None:
        self.follow(settings)
        self._successes = 0.0
        self._total = 0.0
        self._at = 0.0
        # One decision asks several times at the same moment.
        self._asked_at: float | None = None
        self._value = 0.0

    def follow(self, settings: HealthSettings) -> None:
        """Takes other settings; what was counted stays."""
        self._keep = 1.0 - 1.0 / settings.window_outcomes
        self._window = settings.window_seconds

    def value(self, now: float) -> float:
        """The share of calls that succeed, strictly between 0 and 1."""
        if self._total == 0.0:
            return UNKNOWN_AVAILABILITY
        if now != self._asked_at:
            decay = exp(-max(0.0, now - self._at) / self._window)
            self._value = (self._successes * decay + PRIOR_SUCCESSES) / (self._total * decay + PRIOR_OUTCOMES)
            self._asked_at = now
        return self._value

    def record(self, now: float, *, ok: bool) -> None:
        """Takes one outcome."""
        decay = exp(-max(0.0, now - self._at) / self._window) * self._keep
        self._successes = self._successes * decay + ok
        self._total = self._total * decay + 1.0
        self._at = max(self._at, now)
        self._asked_at = None

    def keep(self, now: float) -> KeptAverage:
        """Returns what is kept of it."""
        from turnout_server.core.kept import KeptAverage  # noqa: PLC0415 - needed only where state outlives the process

        return KeptAverage(self._successes, self._total, now - self._at)

    def resume(self, kept: KeptAverage, since: Since) -> None:
        """Takes what was kept; it has faded meanwhile."""
        self._total = max(0.0, kept.weight)
        self._successes = min(self._total, max(0.0, kept.value))
        self._at = since.past(kept.age)
        self._asked_at = None

    def forgive_one(self) -> None:
        """Takes a failure of a moment ago back, as far as it can be told from the others."""
        self._total = max(self._successes, self._total - 1.0)
        self._asked_at = None

    def reset(self) -> None:
        """Starts anew: what was before a breaker closed says nothing about after."""
        self._successes = self._total = 0.0
        self._asked_at = None


class Slowness:
    """How slow a target is against its own past: the last minute's ratio to the prior by the last hour's."""

    __slots__ = ("_at", "_long", "_short")

    def __init__(self) -> None:
        self._short: float | None = None
        self._long = 0.0
        self._at = 0.0

    def observe(self, ratio: float, now: float) -> None:
        """Takes the ratio of a measured latency to the prior for the same tokens; what makes no sense is ignored."""
        if not isfinite(ratio) or ratio <= 0.0:
            return
        ratio = min(RATIO_MAXIMUM, max(RATIO_MINIMUM, ratio))
        if self._short is None:
            self._short = self._long = ratio
        else:
            passed = max(0.0, now - self._at)
            # At least a tenth of each sample is taken in, or a burst of samples within one instant would teach nothing.
            self._short += (ratio - self._short) * max(0.1, 1.0 - exp2(-passed / SHORT_HALF_LIFE_SECONDS))
            self._long += (ratio - self._long) * max(0.005, 1.0 - exp2(-passed / LONG_HALF_LIFE_SECONDS))
        self._at = max(self._at, now)

    def keep(self, now: float) -> KeptAverage | None:
        """Returns what is kept of it: the last minute's ratio and the last hour's."""
        from turnout_server.core.kept import KeptAverage  # noqa: PLC0415 - needed only where state outlives the process

        return None if self._short is None else KeptAverage(self._short, self._long, now - self._at)

    def resume(self, kept: KeptAverage, since: Since) -> None:
        """Takes what was kept."""
        self._short = min(RATIO_MAXIMUM, max(RATIO_MINIMUM, kept.value))
        self._long = min(RATIO_MAXIMUM, max(RATIO_MINIMUM, kept.weight))
        self._at = since.past(kept.age)

    @property
    def factor(self) -> float:
        """Own baseline / present latency, from 0.0001 to 1; 1 where nothing is known."""
        return 1.0 if self._short is None else min(1.0, self._long / self._short)


def health_state(availability: float, breaker: BreakerState) -> HealthState:
    """Returns health in one word: HEALTHY from 99 %, DEGRADED from 95 %, OFFLINE below 50 % or with an open breaker."""
    if breaker is BreakerState.OPEN or availability < OFFLINE_BELOW:
        return HealthState.OFFLINE
    if availability >= HEALTHY_FROM:
        return HealthState.HEALTHY
    return HealthState.DEGRADED if availability >= DEGRADED_FROM else HealthState.UNHEALTHY


def health_score(
    *,
    availability: float,
    latency_factor: float,
    consecutive_failures: int,
    failure_threshold: int,
    utilisation: float | None,
    breaker: BreakerState,
) -> float:
    """Returns a target's health as a number for people, 0 to 100; 0 while its breaker is open.

    100 x availability x (0.7 + 0.3 x latency) x (1 - 0.5 x streak) x (1 - 0.2 x utilisation), where latency is the own
    baseline by the present latency (at most 1), streak the failures in a row by the breaker's threshold (at most 1),
    and utilisation the calls in flight by the most allowed (0 without a limit). The weights are ours: a streak halves,
    for it is one failure from an open breaker; slowness costs a third, a full target a fifth.
    """
    if breaker is BreakerState.OPEN:
        return 0.0
    streak = min(1.0, consecutive_failures / max(1, failure_threshold))
    busy = 0.0 if utilisation is None else min(1.0, max(0.0, utilisation))
    latency = 1.0 - LATENCY_PART + LATENCY_PART * min(1.0, max(0.0, latency_factor))
    return 100.0 * availability * latency * (1.0 - STREAK_PART * streak) * (1.0 - UTILISATION_PART * busy)
