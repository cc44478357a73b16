"""A decision as attributes of its span: what was chosen, and every target with its standing or the reason against it.

Candidates and rejections are parallel arrays, since one event for each target costs twenty times as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from turnout_server.core.candidates import brief, first_spec
from turnout_server.core.model import NANO_USD

if TYPE_CHECKING:
    from turnout_server.core.briefs import Explained
    from turnout_server.core.comparison import Shadow
    from turnout_server.core.decision import Candidate, Decision, Rejection
    from turnout_server.telemetry.traces.call_spans import Decided

LISTED_MAXIMUM = 50
"""Candidates, and rejections, that are listed; the rest is counted."""
UNKNOWN_COST = -1.0
"""Stands in an array, which cannot leave one out, for a cost that is not known."""


def decision_attributes(decided: Decided) -> dict[str, Any]:
    """Returns all that a decision's span says. One that found nothing says why."""
    decision = decided.decision
    if decision is None:
        return {
            "turnout.decision.id": decided.decision_id,
            "turnout.decision.reason": decided.reason,
            **_rejections(decided.rejections),
        }
    attributes = _decision(decision)
    if decided.hop:
        attributes["turnout.decision.hop"] = decided.hop
        attributes["turnout.decision.cause"] = decided.cause
    attributes.update(_candidates(decision.candidates))
    attributes.update(_rejections(decision.rejections))
    return attributes


def candidate_attributes(candidate: Explained) -> Mapping[str, Any]:
    """Returns what an event says of one candidate: every factor of its score."""
    attributes: dict[str, Any] = {
        "turnout.candidate.target": candidate.name,
        "turnout.candidate.score": candidate.score,
        "turnout.candidate.share": candidate.share,
        "turnout.candidate.samples": candidate.sample_count,
        "turnout.candidate.expected_time_to_first_token_seconds": candidate.expected_time_to_first_token_seconds,
    }
    if candidate.reason:
        attributes["turnout.candidate.reason"] = candidate.reason
    for name, value in candidate.factors.items():
        attributes[_factor_name(name)] = value
    return attributes


@cache
def _factor_name(name: str) -> str:
    """Returns the attribute of a factor; there are seven of them."""
    return f"turnout.candidate.factor.{name}"


def _decision(decision: Decision) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "turnout.decision.id": decision.decision_id,
        "turnout.decision.policy": decision.policy,
        "turnout.decision.policy_version": decision.policy_version,
        "turnout.decision.strategy": decision.strategy.value,
        "turnout.decision.reason": decision.reason,
        "turnout.decision.confidence": decision.confidence,
        "turnout.decision.complexity": decision.complexity.value,
    }
    if decision.task:
        attributes["turnout.decision.task"] = decision.task
    if decision.tier:
        attributes["turnout.decision.tier"] = decision.tier
    if decision.regions:
        attributes["turnout.decision.regions"] = list(decision.regions)
    if decision.policy_rule:
        attributes["turnout.decision.policy_rule"] = decision.policy_rule
    if decision.shadow is not None:
        attributes.update(_shadow(decision.shadow))
    return attributes


def _shadow(shadow: Shadow) -> dict[str, Any]:
    """What the policy's shadow would have chosen; its name alone where it has not decided yet."""
    attributes: dict[str, Any] = {"turnout.decision.shadow.policy": shadow.policy}
    comparison = shadow.comparison
    if comparison is not None:
        attributes["turnout.decision.shadow.agreed"] = comparison.agreed
        chosen = comparison.shadow_chosen.target
        if chosen is not None:
            attributes["turnout.decision.shadow.chosen"] = str(chosen)
    return attributes


def _candidates(candidates: Sequence[Candidate]) -> dict[str, Any]:
    count = len(candidates)
    if not count:
        return {}
    listed = brief(candidates, LISTED_MAXIMUM)
    chosen = first_spec(candidates)
    attributes: dict[str, Any] = {
        "turnout.decision.chosen": listed.names[0],
        "turnout.candidates.targets": listed.names,
        "turnout.candidates.scores": listed.scores,
        "turnout.candidates.expected_seconds": listed.expected_latency_seconds,
        "turnout.candidates.expected_cost_usd": [_usd(cost) for cost in listed.expected_cost_nano_usd],
        # `value`, which is a call, would take as long as all else of it.
        "turnout.candidates.health": [health._value_ for health in listed.health],
    }
    if chosen is not None and chosen.region:
        attributes["turnout.decision.region"] = chosen.region
    if count > len(listed.names):
        attributes["turnout.candidates.unlisted"] = count - len(listed.names)
    return attributes


def _rejections(rejections: Sequence[Rejection]) -> dict[str, Any]:
    listed = tuple(islice(rejections, LISTED_MAXIMUM))
    if not listed:
        return {}
    attributes: dict[str, Any] = {
        "turnout.rejections.targets": [str(rejection.target) for rejection in listed],
        # All reasons against one target are one string of its array.
        "turnout.rejections.reasons": [",".join(reason.value for reason in rejection.reasons) for rejection in listed],
    }
    if len(rejections) > len(listed):
        attributes["turnout.rejections.unlisted"] = len(rejections) - len(listed)
    return attributes


def _usd(nano_usd: int | None) -> float:
    return UNKNOWN_COST if nano_usd is None else nano_usd / NANO_USD
