"""Sidecars of a simulated world: the real router and the real attempt loop, watched from outside while they work."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from tests.simulation.providers import Providers
from tests.virtual_time import virtual_loop
from turnout_server.core.call import AttemptRecord
from turnout_server.core.decision import Decision
from turnout_server.core.events import Event, EventName
from turnout_server.core.fleet import Fleet, TargetSpec
from turnout_server.core.model import BreakerState, FailureKind, Outcome, RouteQuery, Target
from turnout_server.core.permits import Permit
from turnout_server.core.settings import Settings
from turnout_server.execution.executor import Executor
from turnout_server.ports import UpstreamCall, UpstreamEvent
from turnout_server.router import Router

COOLS_WITHOUT_WORD_SECONDS = 5.0
"""The least time that a limiting target is left alone when it did not say for how long."""
EXACT = 1e-6


@dataclass(frozen=True, slots=True)
class Begun:
    """One attempt as it began: when, whose, where, and whether the target's breakers were closed."""

    at: float
    call_id: str
    target: str
    closed: bool
    after: FailureKind | None
    """How this call's last attempt at the same target ended, None where this is its first."""


@dataclass(slots=True)
class Watch:
    """What happened, and every rule that was broken, in words."""

    name: str
    broken: list[str] = field(default_factory=list)
    begun: list[Begun] = field(default_factory=list)
    trace: list[tuple[float, str, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    attempts: list[AttemptRecord] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def breaks(self, rule: str, *facts: object) -> None:
        """Takes note of a broken rule."""
        self.broken.append(f"{self.name} at {virtual_loop().time():.3f} s: {rule}: {' '.join(map(str, facts))}")

    # The instruments of the router.

    def decision(self, decision: Decision) -> None:
        first = str(decision.candidates[0].target) if decision.candidates else "nobody"
        self.trace.append((decision.decided_at, "decided", first))

    def attempt(self, record: AttemptRecord) -> None:
        self.attempts.append(record)

    def failover(self, from_target: Target, to_target: Target, failure: FailureKind) -> None:
        self.trace.append((virtual_loop().time(), f"{from_target} {failure}", str(to_target)))

    def outcome(self, result: str) -> None:
        self.outcomes[result] += 1

    def overhead(self, seconds: float) -> None:
        if seconds < -EXACT:
            self.breaks("overhead is not negative", seconds)

    def event(self, event: Event) -> None:
        self.events.append(event)
        self.trace.append((event.at, event.name.value, f"{event.target or event.provider}"))

    def times(self, name: EventName, target: str) -> list[float]:
        """Returns when an event happened to a target."""
        return [event.at for event in self.events if event.name is name and str(event.target) == target]


class WatchedRouter(Router):
    """The router, with every permit checked against what the provider said and what the breakers are."""

    watch: Watch

    def __post_init__(self) -> None:
        self._told: dict[tuple[str, str, str], float] = {}
        self._out: dict[str, tuple[Permit, float]] = {}
        self._last: dict[tuple[str, str], FailureKind] = {}

    def begin(
        self,
        spec: TargetSpec,
        decision: Decision,
        query: RouteQuery,
        *,
        call_id: str,
        lease_seconds: float,
        tried_credentials: frozenset[str] = frozenset(),
    ) -> Permit | None:
        before = self._states(spec.target)
        permit = super().begin(
            spec,
            decision,
            query,
            call_id=call_id,
            lease_seconds=lease_seconds,
            tried_credentials=tried_credentials,
        )
        if permit is not None:
            self._begun(permit, before, lease_seconds)
        return permit

    def begin_probe(self, target: Target, *, lease_seconds: float, tenant: str = "") -> Permit | None:
        before = self._states(target)
        permit = super().begin_probe(target, lease_seconds=lease_seconds, tenant=tenant)
        if permit is not None:
            self._begun(permit, before, lease_seconds)
        return permit

    def finish(self, permit: Permit, outcome: Outcome, record: AttemptRecord) -> None:
        if self._out.pop(permit.attempt_id, None) is None:
            self.watch.breaks("an attempt ends once", permit.attempt_id)
        now = virtual_loop().time()
        target = permit.spec.target
        if outcome.failure is not None:
            self._last[permit.call_id, str(target)] = outcome.failure
        model = "" if outcome.failure is FailureKind.QUOTA_EXHAUSTED else target.model
        if outcome.failure in {FailureKind.RATE_LIMITED, FailureKind.QUOTA_EXHAUSTED}:
            wait = outcome.retry_after_seconds
            until = now + (COOLS_WITHOUT_WORD_SECONDS if wait is None else wait)
            key = (target.provider, permit.credential, model)
            self._told[key] = max(self._told.get(key, 0.0), until)
        super().finish(permit, outcome, record)

    @property
    def unfinished(self) -> int:
        """Attempts that began and did not end."""
        return len(self._out)

    def _states(self, target: Target) -> tuple[BreakerState, BreakerState]:
        state = self._known(target)
        now = virtual_loop().time()
        return state.breaker.state(now), state.endpoint.state(now)

    def _begun(self, permit: Permit, before: tuple[BreakerState, BreakerState], lease_seconds: float) -> None:
        now = virtual_loop().time()
        target = permit.spec.target
        closed = before == (BreakerState.CLOSED, BreakerState.CLOSED)
        if BreakerState.OPEN in before:
            self.watch.breaks("nothing is sent to an open target", target)
        # A trial that began to answer may go on for longer than its lease; the next may begin then.
        leases = [until for other, until in self._out.values() if other.spec.target == target]
        if not closed and any(now < until - EXACT for until in leases):
            self.watch.breaks("a half-open target gets one trial at a time", target)
        for model in (target.model, ""):
            until = self._told.get((target.provider, permit.credential, model), 0.0)
            if now < until - EXACT:
                self.watch.breaks("a cooling target is left alone", target, f"until {until:.3f}")
        self._out[permit.attempt_id] = (permit, 0.0 if closed else now + lease_seconds)
        after = self._last.get((permit.call_id, str(target)))
        self.watch.begun.append(Begun(now, permit.call_id, str(target), closed, after))


@dataclass(slots=True)
class Sidecar:
    """One sidecar."""

    router: WatchedRouter
    executor: Executor
    watch: Watch
    rng: random.Random


class ProviderOf:
    """The providers as one sidecar's upstream."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers

    def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[UpstreamEvent]]:
        return self._providers.stream(call)

    async def complete(self, call: UpstreamCall) -> Sequence[UpstreamEvent]:
        return await self._providers.complete(call)

    async def aclose(self) -> None:
        pass


def sidecar(name: str, fleet: Fleet, settings: Settings, providers: Providers, seed: str) -> Sidecar:
    """Makes one sidecar in the running loop."""
    loop = virtual_loop()
    watch = Watch(name)
    ids = itertools.count()
    rng = random.Random(f"{seed}/{name}")

    def new_id() -> str:
        return f"{name}-{next(ids)}"

    router = WatchedRouter(
        fleet,
        settings,
        clock=loop.clock,
        wall=loop.wall,
        rng=rng,
        new_id=new_id,
        on_event=watch.event,
        instruments=watch,
    )
    router.__post_init__()
    router.watch = watch
    upstream = ProviderOf(providers)
    executor = Executor(
        router,
        dict.fromkeys(fleet.providers, upstream),
        clock=loop.clock,
        wall=loop.wall,
        rng=rng,
        new_id=new_id,
    )
    return Sidecar(router, executor, watch, rng)
