"""The one maker of decisions: asks every target, scores those that pass, ranks them, and says why in one sentence.

Arrow line: query -> policy, strategy -> demand -> (examine, expect) each target -> score -> line up -> Decision.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from turnout_server.core.asking import Hop, build_demand, check_query
from turnout_server.core.complexity import infer_complexity
from turnout_server.core.deadlines import whole_answer_limit_seconds
from turnout_server.core.decision import Candidate, Decision, Rejection
from turnout_server.core.errors import AllTargetsUnavailableError, NoEligibleTargetError
from turnout_server.core.expectation import Expectation
from turnout_server.core.explain import candidate_reason, decision_reason, rejected_counts
from turnout_server.core.filters import CLEAR, Standing, examine
from turnout_server.core.model import RejectionReason
from turnout_server.core.preferences import (
    preferred_names,
    preferred_order,
    quality_floor,
    resolve_ranking,
    select_policy,
    tier_cap_nano_usd,
    with_limits,
)
from turnout_server.core.reuse import is_reusable, valid_for_seconds
from turnout_server.core.scoring import confidence, measured, score_all
from turnout_server.core.settings import FailoverSettings, RoutingSettings
from turnout_server.core.strategies import Lineup, line_up

if TYPE_CHECKING:
    from turnout_server.core.fleet import Fleet
    from turnout_server.core.model import RouteQuery
    from turnout_server.core.readings import FleetReading
    from turnout_server.core.scoring import Contender
    from turnout_server.core.settings import Policy

__all__ = ["Hop", "decide", "unavailable"]

FIRST_CHOICE = Hop()
DEFAULT_FAILOVER = FailoverSettings()
RETRY_AFTER_SECONDS = 1.0
"""Where nothing says when a target will be free again."""
RETRY_AFTER_MINIMUM_SECONDS = 0.05
TOO_SLOW = (RejectionReason.DEADLINE,)
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
) -> Decision:
    """Returns the decision; one without candidates where no target can be used, never an error for that.

    `turn` counts ROUND_ROBIN's decisions; `hop` is what earlier attempts of the call have taught; `failover` is the
    global block, used for the time an attempt should get where the policy has none of its own. Raises
    UnknownPolicyError, UnknownTargetError, InvalidRequestError or NotYetError for what was asked.
    """
    check_query(query)
    hop = hop or FIRST_CHOICE
    policy = select_policy(query, settings)
    complexity = infer_complexity(query.profile)
    ranking = resolve_ranking(query, policy, complexity)
    query = with_limits(query, policy)
    fleet = state.fleet
    preferred = preferred_order(fleet, preferred_names(policy, query.profile.task, query.caller.tier))
    shares = _shares(policy, fleet)
    expectation = Expectation(query.profile, state.token_ratios, state.lengths)
    demand = build_demand(
        query,
        fleet,
        preferred=preferred,
        shares=shares,
        tier_cap_nano_usd=tier_cap_nano_usd(settings, query.caller.tier),
        input_known=expectation.input_known,
        hop=hop,
    )

    contenders: list[Contender] = []
    rejections: list[Rejection] = []
    for index, target in enumerate(state.targets):
        expected = expectation.of(target, now)
        found = examine(target, index, expected, demand=demand, state=state, now=now)
        if isinstance(found, Rejection):
            rejections.append(found)
        else:
            contenders.append(measured(target, index, expected, found, now))

    score_all(contenders, ranking)
    lineup = Lineup(
        ranking=ranking,
        near_equal=settings.near_equal,
        preferred=preferred,
        shares=shares,
        stable_key=_stable_key(query, policy),
        turn=turn,
        floor=quality_floor(policy, ranking.strategy, complexity),
        priority=query.options.priority,
        executing=query.executing,
        hop=hop,
        deadline_seconds=query.deadline_seconds if query.executing else None,
    )
    ranked = line_up(contenders, lineup, rng)
    kept = {contender.index for contender in ranked}
    rejections += [
        Rejection(c.target.spec.target, (RejectionReason.BREAKER_OPEN,), WAITS_FOR_TRIAL)
        for c in contenders
        if c.index not in kept
    ]
    silent = tuple(c.target.spec.target for c in ranked if c.standing is Standing.SILENT_TRIAL)
    others = len(silent) < len(ranked)
    first = ranked[0].expected if ranked else None
    known = expectation.input_known
    answering = policy.failover or failover or DEFAULT_FAILOVER
    return Decision(
        decision_id=decision_id,
        candidates=tuple(_candidate(c, query, answering, cost_known=known) for c in ranked),
        rejections=tuple(rejections),
        strategy=ranking.strategy,
        policy=policy.name,
        policy_version=settings.policy_version,
        reason=decision_reason(ranked, rejections, ranking),
        confidence=confidence(ranked),
        task=query.profile.task,
        tier=query.caller.tier,
        complexity=complexity,
        input_tokens=first.input_tokens if first is not None and known else query.profile.input_tokens,
        expected_output_tokens=None if first is None else first.output_tokens,
        decided_at=now,
        decided_at_wall=now_wall,
        valid_for_seconds=valid_for_seconds(rejections, settings.plan_valid_seconds, now),
        reusable=is_reusable(ranked, ranking.strategy),
        probes_wanted=silent if query.executing and others else (),
        max_candidates=query.options.max_candidates,
    )


def unavailable(decision: Decision, now: float) -> NoEligibleTargetError | AllTargetsUnavailableError:
    """Returns the error for a decision without candidates, so that "never fits" can be told from "not now".

    Where at least one target is only held up by what passes, it says when the soonest may be free; 1 s where unknown.
    Where all that fit are only too slow for the deadline, waiting does not help, and it says no time.
    """
    passing = [rejection for rejection in decision.rejections if not rejection.permanent]
    if not passing:
        message = "no target can serve this request as asked"
        message += f": {rejected_counts(decision.rejections)}" if decision.rejections else ": no target is configured"
        return NoEligibleTargetError(message, rejections=decision.rejections, decision_id=decision.decision_id)
    retry_after: float | None = None
    advice = "give it a longer deadline"
    if any(rejection.reasons != TOO_SLOW for rejection in passing):
        waits = [rejection.retry_at - now for rejection in passing if rejection.retry_at is not None]
        retry_after = max(RETRY_AFTER_MINIMUM_SECONDS, min(waits, default=RETRY_AFTER_SECONDS))
        advice = f"try again in {retry_after:.1f} s"
    return AllTargetsUnavailableError(
        f"{len(passing)} targets fit this request, none can be used now: {rejected_counts(passing)}; {advice}",
        rejections=decision.rejections,
        retry_after_seconds=retry_after,
        decision_id=decision.decision_id,
    )


def _candidate(contender: Contender, query: RouteQuery, failover: FailoverSettings, *, cost_known: bool) -> Candidate:
    expected = contender.expected
    spec = contender.target.spec
    attempt_timeout_seconds = whole_answer_limit_seconds(
        spec,
        expected.latency_seconds,
        failover,
        predicted_first_token_seconds=expected.first_token_seconds,
        effort=query.profile.reasoning_effort,
    )
    # By place: the field names are paid for in every one of hundreds.
    return Candidate(
        spec,
        contender.score,
        contender.factors,
        expected.latency_seconds,
        expected.first_token_seconds,
        expected.cost_nano_usd if cost_known else None,
        contender.health,
        contender.sample_count,
        attempt_timeout_seconds,
        False,  # noqa: FBT003  # explored
        contender.share,
        None,
        contender.standing is not CLEAR,
        candidate_reason(contender),
    )


def _shares(policy: Policy, fleet: Fleet) -> dict[int, float]:
    """A name that stands for several targets gives each an equal part of its share."""
    shares: dict[int, float] = {}
    for name, weight in policy.shares.items():
        places = fleet.resolve(name)
        for place in places:
            shares[place] = shares.get(place, 0.0) + weight / len(places)
    return shares


def _stable_key(query: RouteQuery, policy: Policy) -> str:
    """The sticky key before the request id: it outlives the request. The policy's name keeps experiments apart."""
    key = query.options.sticky_key or query.request_id
    return f"{policy.name}\0{key}" if key else ""
