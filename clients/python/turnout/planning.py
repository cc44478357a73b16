"""Decides where a plan comes from: one that is kept, the sidecar, or what is left while the sidecar is away.

Pure but for a lock, as clients are used from many threads: nothing here waits, speaks to the network or reads a clock.
Whoever gets an `Asking` asks the sidecar, tells how that went, and ends it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from turnout import forking
from turnout.answer import target_name
from turnout.errors import (
    DeadlineError,
    DrainCutError,
    DrainingError,
    SidecarOverloadedError,
    TurnoutError,
    UnreachableError,
)
from turnout.fallback import StaticOrder
from turnout.last_plans import LastPlans
from turnout.plan_cache import MAX_PLAN_COUNT, PlanCache, Tokens, plan_key, tokens_of
from turnout.seen_failures import SeenFailures, speaks_against
from turnout.v1 import router_pb2 as pb

FALLING_BACK_SECONDS = 1.0
"""How long a Route may take that has something to fall back on."""

PAUSE_SECONDS = 1.0
"""How long nobody asks after the sidecar was found to be away."""

AWAY = (UnreachableError, DeadlineError, DrainingError, DrainCutError, SidecarOverloadedError)


def is_away(error: TurnoutError) -> bool:
    """Tells whether an error means that the sidecar cannot answer now; every other refusal is an answer."""
    if isinstance(error, UnreachableError):
        # A reason that this version does not know is a word of the sidecar's all the same.
        return not error.reason
    return isinstance(error, AWAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to call, in this order. `reused`: nobody was asked; `stale_reason`: why nobody answered, else ""."""

    request: pb.RouteRequest
    decision: pb.Decision
    candidates: tuple[pb.Candidate, ...]
    reused: bool = False
    stale_reason: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class Asking:
    """A question to the sidecar. `falls_back`: without an answer there is something else to go by."""

    request: pb.RouteRequest
    key: bytes
    tokens: Tokens
    failure_count: int
    falls_back: bool
    alone: bool
    sent_at: float = 0.0
    uninformed: bool = field(default=False)
    """Whether the sidecar may not know of a failure yet: then its answer serves once only."""

    def timeout_seconds(self, asked: float) -> float:
        """Returns how long the question may take: less where there is something to fall back on."""
        return min(asked, FALLING_BACK_SECONDS) if self.falls_back else asked

    def retry_count(self, most: int) -> int:
        """Returns how often the question may be put again."""
        return 0 if self.falls_back else most


class Planner:
    """The plans of one client. `caching` False: each plan is asked for, and none is kept for a sidecar that is away."""

    def __init__(
        self,
        *,
        caching: bool,
        fallback: StaticOrder,
        rng: random.Random,
        max_count: int = MAX_PLAN_COUNT,
    ) -> None:
        self._caching = caching
        self._fallback = fallback
        self._cache = PlanCache(rng, max_count)
        self._last = LastPlans(max_count)
        self._failures = SeenFailures()
        self._away: str | None = None
        """Why; its words alone, since an exception holds on to the frames that it went through."""
        self._ask_again_at = 0.0
        self.begin_anew()
        forking.remember(self)

    def begin_anew(self) -> None:
        """Begins with nobody asking; the plans stay good in a forked child."""
        self._lock = threading.Lock()
        self._asked_alone = False

    def start(self, request: pb.RouteRequest, now: float) -> Choice | Asking:
        """Returns a plan that needs no question, or the question."""
        key, tokens = plan_key(request), tokens_of(request)
        with self._lock:
            found = self._cache.find(key, tokens, now)
            if found is not None:
                decision, candidates = found
                return Choice(request=request, decision=decision, candidates=candidates, reused=True)
            stale = self._stale(key, request, now)
            alone = self._away is not None and stale is not None
            if alone:
                if self._asked_alone or now < self._ask_again_at:
                    assert stale is not None
                    return stale
                self._asked_alone = True
            return Asking(
                request=request,
                key=key,
                tokens=tokens,
                failure_count=self._failures.count,
                falls_back=stale is not None,
                alone=alone,
            )

    def answered(self, asking: Asking, decision: pb.Decision, now: float) -> Choice:
        """Takes the sidecar's answer, and keeps it as far as it may be used again."""
        with self._lock:
            self._away = None
            if self._caching:
                self._last.keep(asking.key, asking.request, decision, now)
                if not asking.uninformed and not self._failed_since(asking, decision):
                    self._cache.keep(asking.key, asking.tokens, decision, asking.sent_at)
        return Choice(request=asking.request, decision=decision, candidates=tuple(decision.candidates))

    def failed(self, asking: Asking, error: TurnoutError, now: float) -> Choice | None:
        """Takes an error; returns what to go by instead of an answer, None where the error is to come out."""
        with self._lock:
            if not is_away(error):
                self._away = None
                return None
            self._away = str(error)
            self._ask_again_at = now + PAUSE_SECONDS
            return self._stale(asking.key, asking.request, now)

    def end(self, asking: Asking) -> None:
        """Ends a question, however it went: to be called once for each."""
        if asking.alone:
            with self._lock:
                self._asked_alone = False

    def noted(self, outcomes: Iterable[pb.Outcome], now: float) -> None:
        """Takes how calls ended: a target that failed is used by no kept plan before the sidecar was asked anew."""
        for outcome in outcomes:
            if speaks_against(outcome):
                name = target_name(outcome.target)
                with self._lock:
                    self._failures.add(name, now)
                    self._cache.drop(name)

    def _failed_since(self, asking: Asking, decision: pb.Decision) -> bool:
        return asking.failure_count != self._failures.count and any(
            self._failures.since(asking.failure_count, target_name(candidate.target))
            for candidate in decision.candidates
        )

    def _stale(self, key: bytes, request: pb.RouteRequest, now: float) -> Choice | None:
        why = self._away or "the sidecar is away"
        last = self._last.find(key, request)
        if last is not None:
            whose = "this request" if last.same else f"another request of task {last.task!r}"
            return Choice(
                request=request,
                decision=last.decision,
                candidates=self._failed_last(last.candidates, now),
                stale_reason=f"{why}; this is the last plan for {whose}, {now - last.made_at:.1f} s old",
            )
        candidates = self._fallback.candidates(request)
        if not candidates:
            return None
        return Choice(
            request=request,
            decision=pb.Decision(candidates=candidates, task=request.profile.task, reason="the client's fallback"),
            candidates=self._failed_last(candidates, now),
            stale_reason=f"{why}; this is the client's fallback",
        )

    def _failed_last(self, candidates: tuple[pb.Candidate, ...], now: float) -> tuple[pb.Candidate, ...]:
        return tuple(sorted(candidates, key=lambda each: self._failures.lately(target_name(each.target), now)))
