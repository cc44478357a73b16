"""When a whole endpoint is left alone: its models fail together, or nothing there can be connected to.

Without it each of eight dark models would have to burn its own failures before all were known to be dark.
"""

from __future__ import annotations

import random
from collections import deque
from typing import NamedTuple

from turnout_server.core.gate import Change, Gate
from turnout_server.core.model import FailureKind
from turnout_server.core.recent import RecentCounts
from turnout_server.core.settings import BreakerSettings, HealthSettings

FAILURES_REMEMBERED = 64


class EndpointFailure(NamedTuple):
    """One failed attempt at some model of the endpoint."""

    at: float
    model: str
    kind: FailureKind


class EndpointBreaker(Gate):
    """The breaker that all models of one (provider, endpoint) share; above their own, with the same open times.

    Opens on 3 health failures across at least 2 models, or on 3 CONNECTION failures, with no success between. Every
    failed attempt counts, not one per call. Failures expire like those of a target's streak.
    """

    __slots__ = ("_count", "_failures", "_models", "_recent")

    def __init__(self, settings: BreakerSettings, health: HealthSettings, rng: random.Random) -> None:
        super().__init__(settings, rng)
        self._count = health.endpoint_failures
        self._models = health.endpoint_models
        self._failures: deque[EndpointFailure] = deque(maxlen=FAILURES_REMEMBERED)
        self._recent = RecentCounts(settings.ratio_window_seconds)

    def follow(self, settings: BreakerSettings, health: HealthSettings) -> None:
        """Takes other settings; what was counted stays."""
        self.follow_breaker(settings)
        self._count = health.endpoint_failures
        self._models = health.endpoint_models
        self._recent.follow(settings.ratio_window_seconds)

    def record_success(self, now: float, *, probe_id: str = "") -> Change:
        """Takes a complete answer of any of its models."""
        self._recent.add(now, None)
        if self._opened_at is None:
            self._failures.clear()
            return Change.NONE
        change = self._trial_succeeded(probe_id, now)
        if change is Change.CLOSED:
            self._failures.clear()
        return change

    def record_failure(self, kind: FailureKind, model: str, now: float, *, probe_id: str = "") -> Change:
        """Takes a failure of one of its models that hurts health."""
        self._recent.add(now, kind)
        if self._opened_at is not None:
            return self._trial_failed(probe_id, kind, now)
        expiry = now - self._settings.consecutive_expiry_seconds
        while self._failures and self._failures[0].at <= expiry:
            self._failures.popleft()
        self._failures.append(EndpointFailure(now, model, kind))
        if not self._trips():
            return Change.NONE
        self._open(kind, now, busy=self._recent.per_second(now) >= self._settings.ramp_minimum_rate)
        return Change.OPENED

    def forgive_connections(self, since: float) -> Change:
        """Forgets CONNECTION failures from `since` on: it was our own network. Closes again what only they opened."""
        kept = [f for f in self._failures if f.kind is not FailureKind.CONNECTION or f.at < since]
        self._failures = deque(kept, maxlen=FAILURES_REMEMBERED)
        return self._undo_opening(since, trips=self._trips())

    def _trips(self) -> bool:
        if len(self._failures) < self._count:
            return False
        if sum(f.kind is FailureKind.CONNECTION for f in self._failures) >= self._count:
            return True
        return len({f.model for f in self._failures}) >= self._models
