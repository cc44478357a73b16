"""Everything that changes about one target, in one place: read by decisions, written by `state.FleetState` alone."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING

from turnout_server.core.baseline import Baseline
from turnout_server.core.breaker import Breaker
from turnout_server.core.concurrency import ConcurrencyLimit
from turnout_server.core.endpoint import EndpointBreaker
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.health import Availability, Slowness, health_score, health_state
from turnout_server.core.latency import LatencyEstimate
from turnout_server.core.model import BreakerState, HealthState
from turnout_server.core.settings import FailoverSettings
from turnout_server.core.statistics import TargetStatistics
from turnout_server.core.suspect import SuspectWatch
from turnout_server.core.throttle import Throttle

if TYPE_CHECKING:
    from turnout_server.core.kept import KeptName, Since, TargetLine

UNPROVEN_COUNT = 5
UNPROVEN_SECONDS = 10.0
"""At most 5 outcomes without a known decision count for a target's health in 10 s: nobody can talk it dead."""

MOMENT_SECONDS = 0.25
"""For so long decisions may read that a target is not pressed."""

GONE = -1
"""The place of a target that is in the fleet no more; calls that began before may still use it."""

_OPEN = BreakerState.OPEN


class TargetState:
    """One target. `endpoint` is shared by all models of its (provider, endpoint)."""

    __slots__ = (
        "_threshold",
        "_unproven",
        "availability",
        "baseline",
        "breaker",
        "concurrency",
        "drained",
        "endpoint",
        "in_flight",
        "index",
        "latency",
        "slowness",
        "spec",
        "statistics",
        "suspects",
        "throttle",
    )

    def __init__(
        self, spec: TargetSpec, index: int, settings: FailoverSettings, endpoint: EndpointBreaker, rng: random.Random
    ) -> None:
        self.spec = spec
        self.index = index
        self.breaker = Breaker(settings.breaker, rng)
        self.endpoint = endpoint
        self.availability = Availability(settings.health)
        self.latency = LatencyEstimate(spec.latency_prior_seconds, spec.seconds_per_output_token_prior)
        self.slowness = Slowness()
        self.baseline = Baseline()
        self.suspects = SuspectWatch(settings.health)
        self.statistics = TargetStatistics()
        self.throttle = Throttle(settings.pressure)
        self.concurrency = ConcurrencyLimit(settings.pressure)
        self.in_flight = 0
        self.drained = False
        """Whether it gets no new calls: of `Drains`, as is told by `FleetState`."""
        self._threshold = settings.breaker.consecutive_failures
        self._unproven: deque[float] = deque(maxlen=UNPROVEN_COUNT)

    def carry_over(self, spec: TargetSpec, index: int, settings: FailoverSettings, endpoint: EndpointBreaker) -> None:
        """Takes its place in another fleet: other facts and settings, the same health, and the calls in flight."""
        if not self.latency.sample_count:
            self.latency = LatencyEstimate(spec.latency_prior_seconds, spec.seconds_per_output_token_prior)
        self.spec = spec
        self.index = index
        self.endpoint = endpoint
        self.breaker.follow(settings.breaker)
        self.availability.follow(settings.health)
        self.suspects.follow(settings.health)
        self.throttle.follow(settings.pressure)
        self.concurrency.follow(settings.pressure)
        self._threshold = settings.breaker.consecutive_failures

    def keep(self, name: KeptName, now: float) -> TargetLine:
        """Returns what is kept of it, its breaker and its statistics apart; calls in flight are over by then."""
        from turnout_server.core.kept import TargetLine  # noqa: PLC0415 - needed only where state outlives the process

        limit, cut_age = self.concurrency.keep(now)
        return TargetLine(
            name=name,
            availability=self.availability.keep(now),
            latency=self.latency.keep(now),
            slowness=self.slowness.keep(now),
            throttle=self.throttle.keep(now),
            concurrency_limit=limit,
            concurrency_age=cut_age,
            usual=self.baseline.keep_usual(now),
            failing=self.baseline.keep_failing(now),
            uneven=self.baseline.keep_uneven(),
        )

    def resume(self, kept: TargetLine, since: Since) -> None:
        """Takes what was kept."""
        self.availability.resume(kept.availability, since)
        if kept.latency is not None:
            self.latency.resume(kept.latency, since)
        if kept.slowness is not None:
            self.slowness.resume(kept.slowness, since)
        self.throttle.resume(kept.throttle, since)
        self.concurrency.resume(kept.concurrency_limit, kept.concurrency_age, since)
        self.baseline.resume(kept.usual, kept.failing, since, kept.uneven)

    def health(self, now: float) -> HealthState:
        """Its health in one word; an open endpoint is an open breaker to it."""
        return health_state(self.availability.value(now), self._breaker_state(now))

    def score(self, now: float) -> float:
        """Its health as a number, 0 to 100; see `health.health_score`."""
        return health_score(
            availability=self.availability.value(now),
            latency_factor=self.slowness.factor,
            consecutive_failures=self.breaker.consecutive_failures,
            failure_threshold=self._threshold,
            utilisation=self.utilisation,
            breaker=self._breaker_state(now),
        )

    @property
    def utilisation(self) -> float | None:
        """Calls in flight as a share of the most allowed, 0 to 1; None without a limit."""
        limit = self.spec.max_concurrency
        return None if not limit else min(1.0, self.in_flight / limit)

    def suspect(self, now: float) -> bool:
        """Whether its calls wait suspiciously long for a first token, or its endpoint is in doubt."""
        if self.endpoint.doubted and self.endpoint.in_doubt(now):
            return True
        suspects = self.suspects
        return suspects.may_be and suspects.suspect(self.latency.p95_time_to_first_token, now)

    @property
    def restless(self) -> bool:
        """Whether time alone can change its state."""
        endpoint = self.endpoint
        return not (self.breaker.closed and endpoint.closed) or endpoint.doubted or self.suspects.may_be

    def has_room(self) -> bool:
        """Whether one more call of ours may run."""
        limit = self.spec.max_concurrency
        return limit is None or self.in_flight < limit

    def begin_anew(self) -> None:
        """Forgets what was before its breaker closed: it says nothing about after."""
        self.availability.reset()
        self.throttle.reset()
        self.concurrency.reset()
        self.baseline.forget_drift()

    def pressed(self, now: float) -> bool:
        """Whether it may have to be spared calls now; most have refused nothing, and cost two look-ups."""
        throttle = self.throttle
        # Forgetting alone can raise it, so that what is kept of this for a moment looks a moment ahead.
        if throttle.troubled and (throttle.pressure(now) > 0.0 or throttle.pressure(now + MOMENT_SECONDS) > 0.0):
            return True
        return self.concurrency.in_force and self.crowded(now) is not None

    def throttled(self, now: float) -> float:
        """With which probability it is spared a call that comes now."""
        return self.throttle.share(now)

    def crowded(self, now: float) -> int | None:
        """How many calls at once it copes with, where it has as many in flight; None elsewhere."""
        limit = self.concurrency.limit(now)
        return limit if limit is not None and self.in_flight >= limit else None

    def drift(self, now: float) -> float:
        """What its score is multiplied by since it is worse than its own past; see `baseline`."""
        return self.baseline.factor(now) if self.baseline.drifting else 1.0

    def concurrency_limit(self, now: float) -> int | None:
        """The calls that may be in flight: as configured, or as learned where that is less; None without either."""
        limits = (self.spec.max_concurrency, self.concurrency.limit(now))
        return min((limit for limit in limits if limit is not None), default=None)

    def take_unproven(self, now: float) -> bool:
        """Tells whether an outcome that no decision of ours vouches for may count for health now."""
        times = self._unproven
        if len(times) == UNPROVEN_COUNT and now - times[0] < UNPROVEN_SECONDS:
            return False
        times.append(now)
        return True

    def _breaker_state(self, now: float) -> BreakerState:
        state = self.breaker.state(now)
        if self.endpoint.closed or state is _OPEN:
            return state
        of_endpoint = self.endpoint.state(now)
        return of_endpoint if of_endpoint is _OPEN or self.breaker.closed else state
