"""The one maker of decisions: asks every target, scores those that pass, ranks them, and says why in one sentence.

Arrow line: query -> policy, strategy -> shape, expectation -> those that pass -> scores -> line -> Decision. All
targets are dealt with at once, as columns of numbers; a decision is put into words where somebody reads it.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from turnout_server.core.affinity import affinity_key
from turnout_server.core.asking import Demand, Hop, check_query
from turnout_server.core.budget_downgrade import EXACT, cheapest, downgrades, without_preferences
from turnout_server.core.candidates import Candidates
from turnout_server.core.complexity import infer_complexity
from turnout_server.core.decision import Decision, Rejection
from turnout_server.core.errors import (
    AllTargetsUnavailableError,
    BudgetExhaustedError,
    NoEligibleTargetError,
    try_again,
)
from turnout_server.core.expectation import Expectation
from turnout_server.core.explain import decision_reason, rejected_counts
from turnout_server.core.filters import Standing, usd
from turnout_server.core.model import Priority, RejectionReason
from turnout_server.core.passing import Sieve
from turnout_server.core.preferences import (
    quality_floor,
    selected,
    tier_cap_nano_usd,
    with_limits,
)
from turnout_server.core.regions import elsewhere
from turnout_server.core.reuse import is_reusable, valid_for_seconds
from turnout_server.core.scoring import Scoring
from turnout_server.core.settings import FailoverSettings, RoutingSettings
from turnout_server.core.sparing import sparing
from turnout_server.core.strategies import Lineup, confidence, line_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from turnout_server.core.affinity import Kept
    from turnout_server.core.budget_ledger import Reserved, Room
    from turnout_server.core.model import RouteQuery, Target
    from turnout_server.core.readings import FleetReading
    from turnout_server.core.settings import Policy
    from turnout_server.core.strategies import Line

__all__ = ["Hop", "decide", "unavailable"]

FIRST_CHOICE = Hop()
DEFAULT_FAILOVER = FailoverSettings()
RETRY_AFTER_SECONDS = 1.0
"""Where nothing says when a target will be free again."""
RETRY_AFTER_MINIMUM_SECONDS = 0.05
WAITING = (RejectionReason.BREAKER_OPEN,)
TOO_SLOW = (RejectionReason.DEADLINE,)
SHORT_OF_BUDGET = (RejectionReason.BUDGET,)
WAITS_FOR_TRIAL = "half-open: its one trial goes to a request that would choose it first"


def decide(
    query: RouteQuery,
    state: FleetReading,
    settings: RoutingSettings,
    *,
    now: float,
    now_wall: float,
    rng: Random,
    decision_id: str,
    turn: int = 0,
    hop: Hop | None = None,
    failover: FailoverSettings | None = None,
    room: Room | None = None,
    as_policy: str = "",
) -> Decision:
    """Returns the decision; one without candidates where no target can be used, never an error for that.

    `turn` counts ROUND_ROBIN's decisions; `hop` is what earlier attempts of the call have taught; `failover` is the
    global block, used for the time an attempt should get where the policy has none of its own; `room` is what budgets
    leave, None where none is in force; `as_policy` is the policy to decide by, "" for the one that the request gets.
    Raises UnknownPolicyError, UnknownTargetError, InvalidRequestError or NotYetError for what was asked.
    """
    check_query(query)
    hop = hop or FIRST_CHOICE
    profile, caller = query.profile, query.caller
    policy, rule = (settings.policies[as_policy], "") if as_policy else selected(query, settings)
    complexity = infer_complexity(profile)
    prepared, vitals = state.prepared, state.vitals(now)
    prepared.hold(settings)
    ranking = prepared.ranking(query, policy, complexity)
    query = with_limits(query, policy)
    cap_nano_usd = tier_cap_nano_usd(settings, caller.tier)
    facts = prepared.facts
    floor = quality_floor(policy, ranking.strategy, complexity)
    shape = prepared.shape(query, policy, floor=floor, credentials=state.credentials, hop=hop)
    kept = _kept(query, state, now)
    expectation = Expectation(profile, facts, prepared.outputs(profile.task, vitals, state.lengths), kept)
    demand = Demand(query, shape.needs, hop, cap_nano_usd, input_known=expectation.input_known, room=room)

    field = Sieve(shape, expectation, demand, facts=facts, state=state, now=now).field()
    downgraded = room is not None and downgrades(field, room)
    if room is not None and downgraded:
        field, ranking = without_preferences(field), cheapest(ranking, room)
    scoring = Scoring(field, ranking, expectation, facts, shape.wanted)
    lineup = Lineup(
        ranking=ranking,
        near_equal=EXACT if downgraded else settings.near_equal,
        preferred={} if downgraded else shape.preferred,
        shares=shape.shares,
        stable_key=_stable_key(query, policy),
        turn=turn,
        # Of the cheapest nothing is asked but the price.
        priority=Priority.LOW if downgraded else query.options.priority,
        executing=query.executing,
        hop=hop,
        deadline_seconds=demand.deadline_seconds,
        kept=None if kept is None or downgraded else kept.target_index,
        advantage=settings.affinity.advantage,
    )
    line = line_up(field, scoring, lineup, expectation, facts=facts, rng=rng)
    rejections = field.rejections
    if line.left_out or line.spared:
        rejections = rejections.with_added(_passed_over(line))
    silent = _silent(line)
    first = expectation.of(scoring.selection.indexes[line.order[0]]) if line.order else None
    answering = policy.failover or failover or DEFAULT_FAILOVER
    return Decision(
        decision_id=decision_id,
        candidates=Candidates(
            line, expectation, facts, answering, profile.reasoning_effort, preferred_by=shape.preferred_by
        ),
        rejections=rejections,
        strategy=ranking.strategy,
        policy=policy.name,
        policy_rule=rule,
        policy_version=settings.policy_version,
        reason=decision_reason(
            line,
            rejections,
            ranking,
            expectation,
            facts,
            regions=shape.needs.regions,
            preferred_by=shape.preferred_by,
        ),
        confidence=confidence(line),
        task=profile.task,
        tier=caller.tier,
        complexity=complexity,
        input_tokens=first.input_tokens if first is not None and expectation.input_known else profile.input_tokens,
        expected_output_tokens=None if first is None else first.output_tokens,
        decided_at=now,
        decided_at_wall=now_wall,
        valid_for_seconds=valid_for_seconds(rejections.written, settings.plan_valid_seconds, now),
        reusable=room is None and is_reusable(line, ranking.strategy),
        spared=tuple(scoring.spec(place).target for place in line.spared) if line.spared else (),
        probes_wanted=silent if query.executing and len(silent) < len(line.order) else (),
        max_candidates=query.options.max_candidates,
        weights=ranking.weights,
        capability_share=ranking.capability_share,
        regions=shape.needs.regions,
    )


def unavailable(
    decision: Decision,
    now: float,
    room: Room | None = None,
    *,
    reserved: Reserved | None = None,
    regions: Iterable[str] = (),
) -> NoEligibleTargetError | BudgetExhaustedError | AllTargetsUnavailableError:
    """Returns the error for a decision without candidates, so that "never fits" can be told from "not now".

    Where at least one target is only held up by what passes, it says when the soonest may be free; 1 s where unknown.
    Where all that fit are only too slow for the deadline, waiting does not help, and it says no time. Where budgets
    (`room`) would keep every one of them from being used, whatever else is in its way, it says that, and what of the
    tightest others have `reserved`. `regions` are those of all targets, for a request that asks for one that is none.
    """
    passing = [rejection for rejection in decision.rejections if not rejection.permanent]
    if not passing:
        message = "no target can serve this request as asked"
        message += f": {rejected_counts(decision.rejections)}" if decision.rejections else ": no target is configured"
        message += elsewhere(decision.regions, frozenset(regions))
        return NoEligibleTargetError(message, rejections=decision.rejections, decision_id=decision.decision_id)
    if room is not None and all(RejectionReason.BUDGET in rejection.reasons for rejection in passing):
        return BudgetExhaustedError(
            f"{_fit(len(passing))}, none fits into budget {room.budget}, which has {_left(room, reserved, now)}",
            rejections=_free_again(decision.rejections, reserved),
            budget=room.budget,
            decision_id=decision.decision_id,
        )
    retry_after: float | None = None
    advice = "give it a longer deadline"
    if any(rejection.reasons != TOO_SLOW for rejection in passing):
        waits = [rejection.retry_at - now for rejection in passing if rejection.retry_at is not None]
        retry_after = max(RETRY_AFTER_MINIMUM_SECONDS, min(waits, default=RETRY_AFTER_SECONDS))
        advice = try_again(retry_after)
        if all(RejectionReason.DRAINED in rejection.reasons for rejection in passing):
            advice = "an operator has drained all of them; undrain one"
    return AllTargetsUnavailableError(
        f"{_fit(len(passing))}, none can be used now: {rejected_counts(passing)}; {advice}",
        rejections=decision.rejections,
        retry_after_seconds=retry_after,
        decision_id=decision.decision_id,
    )


def _fit(count: int) -> str:
    return "1 target fits this request" if count == 1 else f"{count} targets fit this request"


def _left(room: Room, reserved: Reserved | None, now: float) -> str:
    """Returns what a budget has left and for how long, what others hold of it, and what would help."""
    left, advice = f"{usd(room.left_nano_usd)} left", "ask for fewer tokens, or raise the budget"
    if reserved is None:
        until = "" if room.retry_at is None else f" for {room.retry_at - now:.0f} s"
        return f"{left}{until}; {advice}"
    held = f"{left} and {usd(reserved.nano_usd)} reserved for calls and plans under way"
    if reserved.frees_at is None:
        return f"{held}, of which what they do not spend comes free as they end; {advice}"
    seconds = max(0.0, reserved.frees_at - now)
    return f"{held}, some of which comes free within {seconds:.1f} s; report how plans end, {advice}"


def _free_again(rejections: Sequence[Rejection], reserved: Reserved | None) -> Sequence[Rejection]:
    """Returns the rejections, to be tried again when something reserved comes free where that is all they wait for."""
    frees_at = None if reserved is None else reserved.frees_at
    if frees_at is None:
        return rejections
    return tuple(
        rejection._replace(retry_at=frees_at if rejection.retry_at is None else min(frees_at, rejection.retry_at))
        if rejection.reasons == SHORT_OF_BUDGET
        else rejection
        for rejection in rejections
    )


def _kept(query: RouteQuery, state: FleetReading, now: float) -> Kept | None:
    key = affinity_key(tenant=query.caller.tenant, sticky_key=query.options.sticky_key, session_id=query.session_id)
    return None if key is None else state.affinity.kept(key, state.fleet, now)


def _passed_over(line: Line) -> tuple[Rejection, ...]:
    """Returns the rejections of those that passed: a trial goes to somebody else, or they are spared this call."""
    scoring = line.scoring
    trials = tuple(Rejection(scoring.spec(place).target, WAITING, WAITS_FOR_TRIAL) for place in line.left_out)
    return trials + tuple(
        sparing(scoring.spec(place).target, scoring.notable[place], scoring.vital(place).in_flight)
        for place in line.spared
    )


def _silent(line: Line) -> tuple[Target, ...]:
    """Returns those that should be tried off the callers' path, best first."""
    scoring = line.scoring
    if not scoring.notable:
        return ()
    silent = (place for place in line.order if scoring.standing(place) is Standing.SILENT_TRIAL)
    return tuple(scoring.spec(place).target for place in silent)


def _stable_key(query: RouteQuery, policy: Policy) -> str:
    """The sticky key before the request id: it outlives the request. The policy's name keeps experiments apart."""
    key = query.options.sticky_key or query.request_id
    return f"{policy.name}\0{key}" if key else ""
