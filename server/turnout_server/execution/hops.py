"""Where one call has been and where it goes next: carries out the first step of the rules that can be carried out."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from turnout_server.core.backoff import backoff_seconds, quick_retry_seconds
from turnout_server.core.deadlines import first_token_limit_seconds, streams_unary, whole_answer_limit_seconds
from turnout_server.core.decide import Hop
from turnout_server.core.decision import Candidate, Decision, Rejection
from turnout_server.core.failover import RULES, Situation, Step, next_steps
from turnout_server.core.hedging import HedgeResult, Patience
from turnout_server.core.model import (
    HEALTH_FAILURES,
    Capability,
    FailureKind,
    RejectionReason,
    Target,
    is_silence,
)
from turnout_server.execution.facts import CallFacts, Chosen
from turnout_server.router import Router

UNKNOWN_SECONDS = 1.0
"""Taken as the time after which a target that failed, and that nothing holds back, may do better."""
NO_KEYS: frozenset[str] = frozenset()
NO_REGIONS: frozenset[str] = frozenset()
WAIT_MARGIN_SECONDS = 0.001
"""Added to a wait for a cool-down's end, so that clocks of different grain agree that it is over."""


class Hops:
    """The way of one call. `waiting` holds the targets that some call of this process waits for; all calls share it."""

    def __init__(
        self,
        facts: CallFacts,
        router: Router,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        waiting: set[Target],
        trace_hop: Callable[[str], Callable[[Decision], None] | None],
    ) -> None:
        self._facts = facts
        self._router = router
        self._clock = clock
        self._rng = rng
        self._waiting = waiting
        self._trace_hop = trace_hop
        self._tried: set[Target] = set()
        self._barred: set[Target] = set()
        self._quick_retried: set[Target] = set()
        self._credentials: dict[Target, frozenset[str]] = {}
        self._refused_keys: dict[str, frozenset[str]] = {}
        self._failed_providers: set[str] = set()
        self._failed_in: dict[str, set[str]] = {}
        self._trial_failed = False
        self._hedged = False
        self._minimum_context: int | None = None
        self._again_count = 0
        self._attempt_count = 0
        self.rejections: Sequence[Rejection] = facts.decision.rejections
        self.paused_seconds = 0.0

    def first(self) -> Chosen:
        """Takes the best candidate that can be called.

        Raises AllTargetsUnavailableError, BudgetExhaustedError or NoEligibleTargetError where none can after all: since
        the decision was made, others may have taken the last places, or what was left of a budget.
        """
        chosen = self._take(self._facts.decision, "")
        if chosen is not None:
            return chosen
        again = self._ahead(self._tried, "the candidates were taken by other calls")
        chosen = self._take(again, "")
        if chosen is not None:
            return chosen
        taken = tuple(
            Rejection(candidate.target, (RejectionReason.CONCURRENCY,), "was taken by other calls meanwhile")
            for candidate in again.candidates
        )
        left = dataclasses.replace(again, candidates=(), rejections=(*again.rejections, *taken))
        raise self._router.deciding.unavailable(left, self._facts.query, call_id=self._facts.call_id)

    async def next(self, failed: Chosen, failure: FailureKind, *, delivered: bool) -> Chosen | None:
        """Goes on after a failure; may pause. None: there is nowhere to go, or nothing more is allowed.

        `delivered` says that the caller has seen content of the failed attempt.
        """
        self.note(failed, failure)
        ahead = self._ahead(self._tried, f"{failed.permit.spec.target} failed: {failure}")
        for step in next_steps(
            self._situation(failed, failure, delivered=delivered, others_remain=bool(ahead.candidates))
        ):
            chosen = await self._carry_out(step, failed, ahead, f"{step} after {failure}")
            if chosen is not None:
                if chosen.permit.spec.target != failed.permit.spec.target:
                    self._router.further_attempts.failed_over(
                        failed.permit.spec.target,
                        chosen.permit.spec.target,
                        failure,
                        decision_id=self._facts.decision.decision_id,
                    )
                return chosen
        return None

    def free_in_seconds(self, asked: Mapping[Target, float]) -> float | None:
        """Returns when the first target can be asked again, of those tried and those that could not be; None: unknown.

        `asked` is for how long targets asked to be left alone, where nothing here holds them back.
        """
        now = self._clock()
        waits = [rejection.retry_at - now for rejection in self.rejections if rejection.retry_at is not None]
        for target in self._tried:
            free_at = self._router.targets.free_at(target, self._facts.query, self._facts.under)
            waits.append(asked.get(target, UNKNOWN_SECONDS) if free_at is None else free_at - now)
        return min(waits, default=None)

    @property
    def failover_on_refusal(self) -> bool:
        """Whether others may be asked for what one has refused."""
        return self._facts.policy.failover_on_refusal

    def patience(self, chosen: Chosen) -> Patience | None:
        """Returns for how long to wait for an attempt alone before another is begun beside it; None: it is not."""
        if self._hedged:
            return None
        candidate = chosen.candidate
        return self._router.further_attempts.patience(
            chosen.permit,
            self._facts.query,
            input_tokens=self._facts.decision.input_tokens or 0,
            predicted_seconds=candidate.expected_time_to_first_token_seconds
            if chosen.streaming
            else candidate.expected_latency_seconds,
            streaming=chosen.streaming,
            under=self._facts.under,
        )

    def hedge(self, first: Chosen, waited: Patience) -> Chosen | None:
        """Takes the best target that may be asked beside a first that is late, once in a call; None: there is none."""
        target = first.permit.spec.target
        if not self._router.further_attempts.may_hedge() or self._attempt_count >= self._facts.settings.max_attempts:
            self._router.further_attempts.hedge_ended(target, HedgeResult.NOT_ALLOWED)
            return None
        reason = f"hedge: {target} had no content within {waited.seconds:.3g} s, {waited.measure}"
        before = self.rejections
        ahead = self._ahead(self._tried | {target}, reason, self._failed_providers | {target.provider})
        # Whatever is in the way of a hedge is no reason for how the call ends.
        self.rejections = before
        under = self._facts.under
        for candidate in ahead.candidates:
            if candidate.half_open or not self._router.targets.may_be_second(candidate.target, under):
                continue
            chosen = self._permitted(candidate, ahead, reason)
            if chosen is not None:
                self._hedged = True
                self._router.further_attempts.hedged(first.permit, chosen.permit, waited)
                return dataclasses.replace(chosen, hedge=True)
        self._router.further_attempts.hedge_ended(target, HedgeResult.NOBODY)
        return None

    def lost(self, first: Chosen, waited_seconds: float) -> None:
        """Takes note of a first attempt that the second was quicker than.

        Should the second fail after all, others are asked before it is again; if it was silent, it is not.
        """
        target = first.permit.spec.target
        self._failed_providers.add(target.provider)
        if self._router.targets.was_silent(target, waited_seconds, streaming=first.streaming, under=self._facts.under):
            self._tried.add(target)
            self._barred.add(target)

    def note(self, failed: Chosen, failure: FailureKind) -> None:
        """Takes note of a failure, for whatever comes after it."""
        if failure is FailureKind.CONTEXT_LENGTH:
            window = failed.candidate.spec.context_window_tokens or self._facts.decision.input_tokens or 0
            self._minimum_context = max(self._minimum_context or 0, window + 1)
        target = failed.permit.spec.target
        self._tried.add(target)
        self._failed_providers.add(target.provider)
        region = failed.permit.spec.region
        if region and failure in HEALTH_FAILURES:
            # Vendors share clouds: what failed for its own sake may have failed for its region's.
            self._failed_in.setdefault(region, set()).add(target.provider)
        self._trial_failed = self._trial_failed or bool(failed.permit.probe_id)
        self._credentials[target] = self._credentials.get(target, NO_KEYS) | {failed.permit.credential}
        if failure is FailureKind.AUTHENTICATION:
            # A wrong key is wrong for the provider's other models too; whether it is out for all calls takes longer.
            refused = self._refused_keys.get(target.provider, NO_KEYS)
            self._refused_keys[target.provider] = refused | {failed.permit.credential}
        if Step.SAME_AGAIN not in RULES[self._as_ruled(failed, failure)]:
            self._barred.add(target)

    def _as_ruled(self, failed: Chosen, failure: FailureKind) -> FailureKind:
        """Returns the kind whose rule holds: where nobody answered for long, asking the same target again helps no more
        than after a timeout, whatever it was that did not come.
        """
        silent = is_silence(failure, self._clock() - failed.permit.started_at)
        return FailureKind.TIMEOUT if silent and failure is FailureKind.CONNECTION else failure

    def _situation(self, failed: Chosen, failure: FailureKind, *, delivered: bool, others_remain: bool) -> Situation:
        facts = self._facts
        spec = failed.permit.spec
        now = self._clock()
        cool_down_ends = (
            self._router.targets.cool_down_ends(spec, facts.query) if failure is FailureKind.RATE_LIMITED else None
        )
        return Situation(
            failure=self._as_ruled(failed, failure),
            attempts_left=facts.settings.max_attempts - self._attempt_count,
            others_remain=others_remain,
            quick_retry_used=spec.target in self._quick_retried,
            delivered=delivered,
            failover_allowed=facts.query.options.allow_fallback is not False,
            failover_on_refusal=facts.policy.failover_on_refusal,
            priority=facts.query.options.priority,
            wait_for_preferred_seconds=facts.policy.wait_for_preferred_seconds,
            cool_down_seconds=None if cool_down_ends is None else max(0.0, cool_down_ends - now) + WAIT_MARGIN_SECONDS,
            waitable_seconds=facts.times.ends_at - now - failed.candidate.expected_time_to_first_token_seconds,
            another_waits=spec.target in self._waiting,
        )

    async def _carry_out(self, step: Step, failed: Chosen, ahead: Decision, reason: str) -> Chosen | None:
        match step:
            case Step.NEXT_TARGET | Step.LARGER_WINDOW:
                return self._take(ahead, reason)
            case Step.NEXT_CREDENTIAL:
                tried = self._credentials[failed.permit.spec.target]
                return self._permitted(failed.candidate, ahead, reason, tried_credentials=tried)
            case _ if not self._affords(step, failed):
                # Nothing to wait for: the call's cap leaves too little for another attempt.
                return None
            case Step.QUICK_RETRY:
                pausing = self._quick_retry(failed.permit.spec.target)
            case Step.SAME_AGAIN:
                pausing = self._back_off()
            case _:
                pausing = self._cool_down(failed)
        if not await pausing:
            return None
        if step is Step.SAME_AGAIN and self._may_leave:
            return self._take(self._ahead(self._barred, reason), reason)
        return self._permitted(failed.candidate, ahead, reason)

    @property
    def _may_leave(self) -> bool:
        return self._facts.query.options.allow_fallback is not False

    def _affords(self, step: Step, failed: Chosen) -> bool:
        """Whether the call's cap leaves enough for what a step would lead to."""
        facts = self._facts
        if facts.cap is None:
            return True
        anybody = step is Step.SAME_AGAIN and self._may_leave
        again = self._tried - self._barred if anybody else {failed.permit.spec.target}
        return any(self._router.attempts.affords(target, facts.query, facts.cap, facts.under) for target in again)

    async def _quick_retry(self, target: Target) -> bool:
        self._quick_retried.add(target)
        if not self._router.targets.may_retry(target, self._facts.under):
            # Others have found out as much: a pause would only keep the call from moving on.
            return False
        return await self._pause(quick_retry_seconds(self._facts.settings, self._rng))

    async def _back_off(self) -> bool:
        seconds = backoff_seconds(self._facts.settings.backoff, self._again_count, self._rng)
        self._again_count += 1
        return await self._pause(seconds)

    async def _cool_down(self, failed: Chosen) -> bool:
        spec = failed.permit.spec
        ends_at = self._router.targets.cool_down_ends(spec, self._facts.query)
        if ends_at is None:
            return False
        self._waiting.add(spec.target)
        try:
            return await self._pause(ends_at - self._clock() + WAIT_MARGIN_SECONDS)
        finally:
            self._waiting.discard(spec.target)

    async def _pause(self, pause_seconds: float) -> bool:
        """Pauses before the same target is used again, if the budget has a retry and the call has the time."""
        if pause_seconds >= self._facts.times.ends_at - self._clock() or not self._router.further_attempts.try_retry():
            return False
        began_at = self._clock()
        try:
            await asyncio.sleep(max(0.0, pause_seconds))
        finally:
            self.paused_seconds += self._clock() - began_at
        return True

    def _ahead(self, tried: set[Target], cause: str, failed_providers: set[str] | None = None) -> Decision:
        facts, traced = self._facts, self._trace_hop(cause)
        query = dataclasses.replace(facts.query, deadline_seconds=max(0.0, facts.times.ends_at - self._clock()))
        decision = self._router.deciding.for_hop(
            query,
            facts.decision,
            Hop(
                tried=frozenset(tried),
                asked=frozenset(self._tried | tried),
                failed_providers=frozenset(failed_providers or self._failed_providers),
                failed_regions=self._doubted_regions(),
                minimum_context=self._minimum_context,
                cost_left_nano_usd=None if facts.cap is None else facts.cap.left_nano_usd,
            ),
            call_id=facts.call_id,
            under=facts.under,
        )
        self.rejections = decision.rejections
        if traced is not None:
            traced(decision)
        return decision

    def _doubted_regions(self) -> frozenset[str]:
        """Returns the regions that others go before: each where somebody failed.

        Where an order of regions is asked for, one vendor's failure is its own while the call has another attempt to
        spare; two of them are the region's.
        """
        if not self._failed_in:
            return NO_REGIONS
        ordered = len(self._facts.decision.regions) > 1
        patient = ordered and self._facts.settings.max_attempts - self._attempt_count > 1
        return frozenset(region for region, failed in self._failed_in.items() if len(failed) > 1 or not patient)

    def _take(self, decision: Decision, reason: str) -> Chosen | None:
        """Takes the best candidate of a decision that can be called.

        One trial is enough for a call: after it has failed, the others are left to other calls while a closed target
        can be asked. With several providers on trial none of its attempts would be left for the one that is well.
        """
        candidates: Iterable[Candidate] = decision.candidates
        if self._trial_failed:
            candidates = sorted(candidates, key=_is_trial)
        for candidate in candidates:
            chosen = self._permitted(candidate, decision, reason)
            if chosen is not None:
                return chosen
        return None

    def _permitted(
        self,
        candidate: Candidate,
        decision: Decision,
        reason: str,
        *,
        tried_credentials: frozenset[str] = NO_KEYS,
    ) -> Chosen | None:
        facts = self._facts
        spec = candidate.spec
        effort = facts.query.profile.reasoning_effort
        streaming = facts.streaming or (
            Capability.STREAMING in spec.capabilities
            # Only a stream shows when the first content is late.
            and (facts.hedging or streams_unary(facts.decision.expected_output_tokens, effort, facts.settings))
        )
        first_token_seconds = candidate.expected_time_to_first_token_seconds
        limit = first_token_limit_seconds(spec, first_token_seconds, facts.settings, effort=effort)
        if not streaming:
            limit = whole_answer_limit_seconds(
                spec,
                candidate.expected_latency_seconds,
                facts.settings,
                predicted_first_token_seconds=first_token_seconds,
                effort=effort,
            )
        permit = self._router.attempts.begin(
            spec,
            facts.decision,
            facts.query,
            call_id=facts.call_id,
            # Long enough for the answer of a target that is well; a longer one gives the trial to somebody else.
            lease_seconds=limit + facts.settings.first_token_factor * candidate.expected_latency_seconds,
            tried_credentials=tried_credentials | self._refused_keys.get(spec.target.provider, NO_KEYS),
            cap=facts.cap,
            under=facts.under,
        )
        if permit is None:
            return None
        self._attempt_count += 1
        # Time is left only for those who could still use it.
        left_seconds = (1.0 - facts.settings.attempt_share) * (facts.times.ends_at - self._clock())
        others = any(
            other.spec is not spec and other.expected_time_to_first_token_seconds <= left_seconds
            for other in decision.candidates
        )
        return Chosen(
            permit=permit,
            candidate=candidate,
            streaming=streaming,
            answer_limit_seconds=limit,
            others_remain=others
            and facts.query.options.allow_fallback is not False
            and self._attempt_count < facts.settings.max_attempts,
            reason=reason,
        )


def _is_trial(candidate: Candidate) -> bool:
    return candidate.half_open
