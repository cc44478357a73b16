"""Sidecars of a simulated world: the real router and the real attempt loop, watched from outside while they work."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, inf
from typing import Any, cast

import structlog

from tests.simulation.providers import ATTEMPT, ProviderOf, Providers
from tests.simulation.watch import EXACT, Watch
from tests.virtual_time import virtual_loop
from turnout_server.core.call import AttemptRecord
from turnout_server.core.decision import Decision
from turnout_server.core.fleet import Fleet
from turnout_server.core.gate import Gate
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
from turnout_server.router import Router
from turnout_server.shadow_turns import ShadowTurns
from turnout_server.use_cases.attempts import Attempts
from turnout_server.use_cases.deciding import Deciding
from turnout_server.use_cases.reports import ReportResults, Reports

__all__ = ["Sidecar", "WatchedAttempts", "sidecar"]

EXPIRE_EVERY_SECONDS = 0.25
"""As the composition root does."""
LATE_FACTOR = 3.0
"""A cancelled call that waited longer than so many times the p95 counts as a timeout."""


class WatchedDeciding:
    """A router's decisions, with every plan shown to the watch."""

    def __init__(self, deciding: Deciding, seen: Seen) -> None:
        self._deciding = deciding
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._deciding, name)

    def route(self, query: RouteQuery) -> Decision:
        decision = self._deciding.route(query)
        self._seen.planned(decision)
        return decision


class WatchedAttempts:
    """A router's attempts, with every permit and every end shown to the watch."""

    def __init__(self, attempts: Attempts, seen: Seen) -> None:
        self._attempts = attempts
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._attempts, name)

    def begin(self, *given: Any, lease_seconds: float, **named: Any) -> Permit | None:
        permit = self._attempts.begin(*given, lease_seconds=lease_seconds, **named)
        return self._seen.begun(permit, lease_seconds)

    def begin_probe(self, target: Target, *, lease_seconds: float, **named: Any) -> Permit | None:
        permit = self._attempts.begin_probe(target, lease_seconds=lease_seconds, **named)
        return self._seen.begun(permit, lease_seconds)

    def finish(self, permit: Permit, outcome: Outcome, record: AttemptRecord) -> None:
        with self._seen.ended(permit, outcome):
            self._attempts.finish(permit, outcome, record)


class WatchedReports:
    """What callers report to a router, shown to the watch."""

    def __init__(self, reports: Reports, seen: Seen) -> None:
        self._reports = reports
        self._seen = seen

    def take(self, outcomes: Sequence[Outcome], feedback: Sequence[Feedback]) -> ReportResults:
        with self._seen.reported(outcomes):
            return self._reports.take(outcomes, feedback)


class Seen:
    """What the watch is shown of one router, from whose parts it takes it: everything permitted, planned and recorded.

    The router's time passes here: `expire` is called four times a second as in the real process, but only when it would
    find something: an hour in which nothing happens costs nothing.
    """

    def __init__(self, router: Router, watch: Watch, caller_label: str) -> None:
        self._router = router
        self._state = router.state
        self._watch = watch
        self._caller_label = caller_label
        self._tick: asyncio.TimerHandle | None = None
        # They have the methods of the parts that they stand for.
        router.deciding = cast("Deciding", WatchedDeciding(router.deciding, self))
        router.attempts = cast("Attempts", WatchedAttempts(router.attempts, self))
        router.reports = cast("Reports", WatchedReports(router.reports, self))

    def planned(self, decision: Decision) -> None:
        for candidate in decision.candidates:
            closed = self._watch.checks(candidate.target, self._caller_label, reported=True)
            if candidate.probe is not None:
                self._watch.leases(candidate.target, candidate.probe.probe_id, candidate.probe.expires_at)
            elif not closed:
                self._watch.breaks("a plan names no target whose breaker is not closed", candidate.target)
        self._wake()

    def begun(self, permit: Permit | None, lease_seconds: float) -> Permit | None:
        if permit is not None:
            self._watch.begins(
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

    @contextmanager
    def ended(self, permit: Permit, outcome: Outcome) -> Iterator[None]:
        self._watch.ends(permit.attempt_id, outcome)
        before = self._untouched(outcome)
        yield
        self._check_untouched(outcome, before)
        self._wake()

    @contextmanager
    def reported(self, outcomes: Sequence[Outcome]) -> Iterator[None]:
        for outcome in outcomes:
            self._watch.hears(outcome, reported=True)
        before = [self._untouched(outcome) for outcome in outcomes]
        yield
        for outcome, untouched in zip(outcomes, before, strict=True):
            self._check_untouched(outcome, untouched)
        self._wake()

    # What is nobody's fault changes nothing.

    def _untouched(self, outcome: Outcome) -> tuple[object, ...] | None:
        """Returns what an outcome must leave as it is, None where it may change health."""
        failure, index = outcome.failure, self._state.fleet.index(outcome.target)
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
            self._watch.breaks("what is not the target's fault changes no health", outcome.failure, before, after)

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
        self._router.passing_time.expire()
        self._watch.lapse()
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
    reopens_at = inf if gate._told_half_open else gate.reopen_at
    return reopens_at if gate._lease is None else min(reopens_at, gate._lease.expires_at)


def _is_late(outcome: Outcome, target: TargetState) -> bool:
    usual = target.latency.p95_time_to_first_token if outcome.streamed else target.latency.p95_latency
    return outcome.before_first_byte and (outcome.latency_seconds or 0.0) > LATE_FACTOR * usual - EXACT


@dataclass(slots=True)
class Sidecar:
    """One sidecar. `rng` is its own chance; what its callers draw is theirs."""

    router: Router
    executor: Executor
    watch: Watch
    rng: random.Random

    @property
    def name(self) -> str:
        """The pod's name."""
        return self.watch.name

    @property
    def caller_label(self) -> str:
        """The credential that its application's own calls are known by."""
        return f"app-of-{self.name}"


def sidecar(
    name: str, fleet: Fleet, settings: Settings, providers: Providers, rng: random.Random, *, deep: bool = False
) -> Sidecar:
    """Makes one sidecar in the running loop."""
    loop = virtual_loop()
    watch = Watch(name, deep=deep)
    new_id = _Ids(name)
    router = Router(
        fleet,
        settings,
        clock=loop.clock,
        wall=loop.wall,
        rng=rng,
        new_id=new_id,
        on_event=lambda event: watch.event(event, router.state),
        instruments=watch,
    )
    if router.shadows.shadowing is not None:
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
    made = Sidecar(router, executor, watch, rng)
    Seen(router, watch, made.caller_label)
    return made


class _Ids:
    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers = itertools.count()

    def __call__(self) -> str:
        return f"{self._name}-{next(self._numbers)}"
