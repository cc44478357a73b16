"""Sidecars of a simulated world: the real router and the real attempt loop, watched from outside while they work."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

import structlog

from tests.simulation.providers import ATTEMPT, ProviderOf, Providers
from tests.simulation.watch import EXACT, Watch
from tests.virtual_time import virtual_loop
from turnout_server.core.call import AttemptRecord
from turnout_server.core.cost_cap import CostCap
from turnout_server.core.decision import Decision
from turnout_server.core.fleet import Fleet, TargetSpec
from turnout_server.core.gate import Gate
from turnout_server.core.in_force import InForce
from turnout_server.core.model import (
    CALLER_FAILURES,
    CREDENTIAL_FAILURES,
    FailureKind,
    Feedback,
    Outcome,
    RouteQuery,
    Target,
)
from turnout_server.core.permits import Permit
from turnout_server.core.settings import Settings
from turnout_server.core.state import TargetState
from turnout_server.execution.executor import Executor
from turnout_server.router import ReportResults, Router
from turnout_server.shadow_turns import ShadowTurns

__all__ = ["Sidecar", "WatchedRouter", "sidecar"]

EXPIRE_EVERY_SECONDS = 0.25
"""As the composition root does."""
LATE_FACTOR = 3.0
"""A cancelled call that waited longer than so many times the p95 counts as a timeout."""


class WatchedRouter(Router):
    """The router, with everything that it permits, plans and records shown to the watch.

    Made by `sidecar`. `expire` is called four times a second as in the real process, but only when it would find
    something: an hour in which nothing happens costs nothing.
    """

    watch: Watch
    caller_label: str
    _tick: asyncio.TimerHandle | None = None

    def begin(
        self,
        spec: TargetSpec,
        decision: Decision,
        query: RouteQuery,
        *,
        call_id: str,
        lease_seconds: float,
        tried_credentials: frozenset[str] = frozenset(),
        cap: CostCap | None = None,
        under: InForce | None = None,
    ) -> Permit | None:
        permit = super().begin(
            spec,
            decision,
            query,
            call_id=call_id,
            lease_seconds=lease_seconds,
            tried_credentials=tried_credentials,
            cap=cap,
            under=under,
        )
        return self._begun(permit, lease_seconds)

    def begin_probe(
        self, target: Target, *, lease_seconds: float, tenant: str = "", trial_only: bool = True
    ) -> Permit | None:
        permit = super().begin_probe(target, lease_seconds=lease_seconds, tenant=tenant, trial_only=trial_only)
        return self._begun(permit, lease_seconds)

    def finish(self, permit: Permit, outcome: Outcome, record: AttemptRecord) -> None:
        self.watch.ends(permit.attempt_id, outcome)
        before = self._untouched(outcome)
        super().finish(permit, outcome, record)
        self._check_untouched(outcome, before)
        self._wake()

    def route(self, query: RouteQuery) -> Decision:
        decision = super().route(query)
        for candidate in decision.candidates:
            closed = self.watch.checks(candidate.target, self.caller_label, reported=True)
            if candidate.probe is not None:
                self.watch.leases(candidate.target, candidate.probe.probe_id, candidate.probe.expires_at)
            elif not closed:
                self.watch.breaks("a plan names no target whose breaker is not closed", candidate.target)
        self._wake()
        return decision

    def report(self, outcomes: Sequence[Outcome], feedback: Sequence[Feedback]) -> ReportResults:
        for outcome in outcomes:
            self.watch.hears(outcome, reported=True)
        before = [self._untouched(outcome) for outcome in outcomes]
        results = super().report(outcomes, feedback)
        for outcome, untouched in zip(outcomes, before, strict=True):
            self._check_untouched(outcome, untouched)
        self._wake()
        return results

    def _begun(self, permit: Permit | None, lease_seconds: float) -> Permit | None:
        if permit is not None:
            self.watch.begins(
                permit.spec.target,
                attempt_id=permit.attempt_id,
                call_id=permit.call_id,
                credential=permit.credential,
                lease_seconds=lease_seconds,
            )
            # The provider's books name the attempt; whoever calls it runs in this context, or in a copy of it.
            ATTEMPT.set(permit.attempt_id)
            self._wake()
        return permit

    # What is nobody's fault changes nothing.

    def _untouched(self, outcome: Outcome) -> tuple[object, ...] | None:
        """Returns what an outcome must leave as it is, None where it may change health."""
        failure, index = outcome.failure, self.fleet.index(outcome.target)
        if index is None or failure is None or failure not in CALLER_FAILURES | CREDENTIAL_FAILURES:
            return None
        target = self._state.targets[index]
        if failure is FailureKind.CANCELLED and _is_late(outcome, target):
            return None
        now = virtual_loop().time()
        health = (
            target.availability.value(now),
            target.breaker.consecutive_failures,
            target.breaker.closed,
            target.endpoint.closed,
            target.breaker.reopen_at,
            target.endpoint.reopen_at,
        )
        # A response's headers tell of the rate limit, whatever becomes of the call; a caller's key may be a new one.
        if failure in CREDENTIAL_FAILURES or outcome.rate_limit is not None or outcome.reported:
            return health
        return (*health, self._state.credentials.verdict(target.spec, tenant="", executing=True, now=now))

    def _check_untouched(self, outcome: Outcome, before: tuple[object, ...] | None) -> None:
        if before is not None and before != (after := self._untouched(outcome)):
            self.watch.breaks("what is not the target's fault changes no health", outcome.failure, before, after)

    # Time.

    def _wake(self) -> None:
        """Sees to it that `expire` is called when it next has something to do."""
        at = self._next_expiry()
        loop = virtual_loop()
        if at == inf:
            return
        at = max(ceil(at / EXPIRE_EVERY_SECONDS), int(loop.time() / EXPIRE_EVERY_SECONDS) + 1) * EXPIRE_EVERY_SECONDS
        if self._tick is not None:
            if self._tick.when() <= at:
                return
            self._tick.cancel()
        self._tick = loop.call_at(at, self._ticked)

    def _ticked(self) -> None:
        self._tick = None
        self.expire()
        self.watch.lapse()
        self._wake()

    def _next_expiry(self) -> float:
        soonest = inf
        for index in self._state._restless:
            target = self._state.targets[index]
            if target.suspects.may_be:
                return 0.0
            soonest = min(soonest, _due_at(target.breaker), _due_at(target.endpoint))
        return soonest


def _due_at(gate: Gate) -> float:
    """Returns when something passes by itself at a gate."""
    if gate.closed:
        return inf
    if gate._lease is not None:
        return gate._lease.expires_at
    return inf if gate._told_half_open else gate.reopen_at


def _is_late(outcome: Outcome, target: TargetState) -> bool:
    usual = target.latency.p95_time_to_first_token if outcome.streamed else target.latency.p95_latency
    return outcome.before_first_byte and (outcome.latency_seconds or 0.0) > LATE_FACTOR * usual - EXACT


@dataclass(slots=True)
class Sidecar:
    """One sidecar. `rng` is its own chance; what its callers draw is theirs."""

    router: WatchedRouter
    executor: Executor
    watch: Watch
    rng: random.Random

    @property
    def name(self) -> str:
        """The pod's name."""
        return self.watch.name


def sidecar(
    name: str, fleet: Fleet, settings: Settings, providers: Providers, rng: random.Random, *, deep: bool = False
) -> Sidecar:
    """Makes one sidecar in the running loop."""
    loop = virtual_loop()
    watch = Watch(name, deep=deep)
    new_id = _Ids(name)
    router = WatchedRouter(
        fleet,
        settings,
        clock=loop.clock,
        wall=loop.wall,
        rng=rng,
        new_id=new_id,
        on_event=lambda event: watch.event(event, router.state),
        instruments=watch,
    )
    router.watch = watch
    router.caller_label = f"app-of-{name}"
    if router.shadowing is not None:
        ShadowTurns(router, clock=time.perf_counter, log=structlog.get_logger("turnout"))
    upstream = ProviderOf(providers, name)
    executor = Executor(
        router,
        dict.fromkeys(fleet.providers, upstream),
        clock=loop.clock,
        wall=loop.wall,
        rng=rng,
        new_id=new_id,
    )
    return Sidecar(router, executor, watch, rng)


class _Ids:
    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers = itertools.count()

    def __call__(self) -> str:
        return f"{self._name}-{next(self._numbers)}"
