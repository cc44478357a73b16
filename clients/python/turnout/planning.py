"""Decides where a plan comes from: one that is kept, the sidecar, or what is left while the sidecar is away.

Pure but for a lock, as clients are used from many threads: nothing here waits, speaks to the network or reads a clock.
Whoever gets an `Asking` asks the sidecar, or waits for the question it names and starts `again`; tells how that went,
and ends it.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from turnout import forking
from turnout.answer import target_name
from turnout.asking import Asking, Questions
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
        self._questions = Questions()

    def start(self, request: pb.RouteRequest, now: float, seconds: float = math.inf) -> Choice | Asking:
        """Returns a plan that needs no question, or the question; `seconds` is the time that the caller has."""
        key, tokens = plan_key(request), tokens_of(request)
        with self._lock:
            kept = self._kept(request, key, tokens, now)
            if kept is not None:
                return kept
            return self._asking(Asking(request=request, key=key, tokens=tokens, ends_at=now + seconds), now)

    def again(self, asking: Asking, now: float) -> Choice | Asking:
        """Returns what there is after a wait for another question: a plan, or the question, to be asked or to wait."""
        with self._lock:
            kept = self._kept(asking.request, asking.key, asking.tokens, now)
            return self._asking(asking, now) if kept is None else kept

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
            asking.refused = True
            if not is_away(error):
                self._away = None
                return None
            kept = self._kept(asking.request, asking.key, asking.tokens, now)
            if kept is not None:
                # Another had an answer meanwhile: this one came too late, and the sidecar is not away.
                return kept
            self._away = str(error)
            self._ask_again_at = now + PAUSE_SECONDS
            return self._stale(asking.key, asking.request, now)

    def end(self, asking: Asking) -> None:
        """Ends a question, however it went, so that nobody waits for it: to be called once for each."""
        with self._lock:
            self._questions.end(asking)
            if asking.alone:
                self._asked_alone = False
        asking.ended.set_result(None)

    def noted(self, outcomes: Iterable[pb.Outcome], now: float) -> None:
        """Takes how calls ended: a target that failed is used by no kept plan before the sidecar was asked anew."""
        for outcome in outcomes:
            if speaks_against(outcome):
                name = target_name(outcome.target)
                with self._lock:
                    self._failures.add(name, now)
                    self._cache.drop(name)

    def _kept(self, request: pb.RouteRequest, key: bytes, tokens: Tokens, now: float) -> Choice | None:
        found = self._cache.find(key, tokens, now)
        if found is None:
            return None
        decision, candidates = found
        return Choice(request=request, decision=decision, candidates=candidates, reused=True)

    def _asking(self, asking: Asking, now: float) -> Choice | Asking:
        stale = self._stale(asking.key, asking.request, now)
        if stale is not None:
            if self._away is not None:
                if self._asked_alone or now < self._ask_again_at:
                    return stale
                self._asked_alone = asking.alone = True
            asking.ends_at = min(asking.ends_at, now + FALLING_BACK_SECONDS)
        asking.falls_back = stale is not None
        asking.failure_count = self._failures.count
        # To wait for an answer that will serve its asker alone would only cost time.
        if self._caching and not asking.alone and not self._last.served_once(asking.key):
            self._questions.join(asking, now)
        else:
            self._questions.ask(asking)
        return asking

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
