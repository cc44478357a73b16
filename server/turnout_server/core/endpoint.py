"""When a whole endpoint is left alone: its models fail together, or nothing there can be connected to.

Without it each of eight dark models would have to burn its own failures before all were known to be dark.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.gate import Change, Gate
from turnout_server.core.model import FailureKind
from turnout_server.core.recent import RecentCounts
from turnout_server.core.settings import BreakerSettings, HealthSettings

if TYPE_CHECKING:
    from turnout_server.core.kept import EndpointLine, KeptName, Since

FAILURES_REMEMBERED = 64
DOUBT_SECONDS = 5.0
"""For how long a failure to connect puts an endpoint behind the others, where nothing answers or fails meanwhile: as
long as a balanced breaker's first open time (docs/decisions/0015)."""


class EndpointFailure(NamedTuple):
    """One failed attempt at some model of the endpoint."""

    at: float
    model: str
    kind: FailureKind


class EndpointBreaker(Gate):
    """The breaker that all models of one (provider, endpoint) share; above their own, with the same open times.

    Opens on 3 health failures across at least 2 models, or on 3 CONNECTION failures, with no success between. Every
    failed attempt counts, not one per call. Failures expire like those of a target's streak. After one CONNECTION
    failure it is in doubt until something connects that began later: a stream from before goes on where nobody new
    gets in.
    """

    __slots__ = ("_count", "_doubt_until", "_failures", "_models", "_recent", "unreachable")

    def __init__(self, settings: BreakerSettings, health: HealthSettings, rng: random.Random) -> None:
        super().__init__(settings, rng)
        self._count = health.endpoint_failures
        self._models = health.endpoint_models
        self._failures: deque[EndpointFailure] = deque(maxlen=FAILURES_REMEMBERED)
        self._recent = RecentCounts(settings.ratio_window_seconds)
        self._doubt_until = 0.0
        self.unreachable = ""
        """Why the last look, which no call had to pay for, could not connect; "" where it could, or none was taken.
        For people: it opens nothing.
        """

    def follow(self, settings: BreakerSettings, health: HealthSettings) -> None:
        """Takes other settings; what was counted stays."""
        self.follow_breaker(settings)
        self._count = health.endpoint_failures
        self._models = health.endpoint_models
        self._recent.follow(settings.ratio_window_seconds)

    def keep(self, name: KeptName, now: float) -> EndpointLine:
        """Returns what is kept of it; doubt is over sooner than a restart."""
        from turnout_server.core.kept import EndpointLine, KeptFailure  # noqa: PLC0415 - needed only where state outlives the process

        failures = tuple(KeptFailure(now - failed.at, failed.kind, failed.model) for failed in self._failures)
        return EndpointLine(name, self.keep_gate(now), failures, self._recent.keep(now))

    def resume(self, kept: EndpointLine, since: Since) -> None:
        """Takes what was kept."""
        self.resume_gate(kept.gate, since)
        self._doubt_until = 0.0
        self._keep(EndpointFailure(since.past(each.age), each.model, each.kind) for each in kept.failures)
        self._recent.resume(kept.recent, since)

    @property
    def doubted(self) -> bool:
        """Whether it is in doubt, or was until a moment ago."""
        return self._doubt_until > 0.0

    def in_doubt(self, now: float) -> bool:
        """Whether the last attempt to connect failed a moment ago: others should be asked before it."""
        if self._doubt_until > 0.0 and now >= self._doubt_until:
            self._doubt_until = 0.0
        return self._doubt_until > 0.0

    @property
    def connection_failures(self) -> int:
        """How many attempts to connect have failed since one that succeeded began."""
        return sum(failure.kind is FailureKind.CONNECTION for failure in self._failures)

    def connected(self, began_at: float) -> None:
        """Takes a sign of life of an attempt that began then: it has connected since."""
        self.unreachable = ""
        if self._failures:
            self._keep(f for f in self._failures if f.kind is not FailureKind.CONNECTION or f.at > began_at)

    def record_success(self, now: float, *, probe_id: str = "", began_at: float | None = None) -> Change:
        """Takes a complete answer of any of its models; `began_at` is when it was asked for, None where unknown."""
        self._recent.add(now, None)
        self.unreachable = ""
        if self._opened_at is None:
            if self._failures:
                since = now if began_at is None else began_at
                self._keep(f for f in self._failures if f.kind is FailureKind.CONNECTION and f.at > since)
            return Change.NONE
        change = self._trial_succeeded(probe_id, now)
        if change is Change.CLOSED:
            self._failures.clear()
        return change

    def record_failure(
        self, kind: FailureKind, model: str, now: float, *, probe_id: str = "", seconds: float = 0.0
    ) -> Change:
        """Takes a failure of one of its models that hurts health; `seconds` is what the attempt took."""
        self._recent.add(now, kind)
        if self._opened_at is not None:
            return self._trial_failed(probe_id, kind, now, seconds)
        expiry = now - self._settings.consecutive_expiry_seconds
        while self._failures and self._failures[0].at <= expiry:
            self._failures.popleft()
        self._failures.append(EndpointFailure(now, model, kind))
        if kind is FailureKind.CONNECTION:
            self._doubt_until = now + DOUBT_SECONDS
        if not self._trips():
            return Change.NONE
        self._doubt_until = 0.0
        self._open(kind, now, seconds, busy=self._recent.per_second(now) >= self._settings.ramp_minimum_rate)
        return Change.OPENED

    def forgive_connections(self, since: float) -> Change:
        """Forgets CONNECTION failures from `since` on: it was our own network. Closes again what only they opened."""
        self._keep(f for f in self._failures if f.kind is not FailureKind.CONNECTION or f.at < since)
        return self._undo_opening(since, trips=self._trips())

    def reset(self) -> Change:
        """Forgets every failure, doubt and look, and closes where it is not closed."""
        self._failures.clear()
        self._recent.clear()
        self._doubt_until = 0.0
        self.unreachable = ""
        return self._reset_gate()

    def _keep(self, failures: Iterable[EndpointFailure]) -> None:
        self._failures = deque(failures, maxlen=FAILURES_REMEMBERED)
        if not self.connection_failures:
            self._doubt_until = 0.0

    def _trips(self) -> bool:
        if len(self._failures) < self._count:
            return False
        if self.connection_failures >= self._count:
            return True
        return len({f.model for f in self._failures}) >= self._models
