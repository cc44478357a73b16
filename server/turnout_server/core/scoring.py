"""How good a target is for this request: every factor from 0 to 1, 1 best, each with its formula, and what they make.

No factor can be NaN or infinite: each is a ratio of a finite, not negative number to one at least as large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnout_server.core.filters import CLEAR, Standing
from turnout_server.core.model import HealthState, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout_server.core.expectation import Expected
    from turnout_server.core.preferences import Ranking
    from turnout_server.core.readings import TargetReading

COST_GRAIN_NANO_USD = 10_000
"""Differences of a thousandth of a cent do not matter; so a free target does not make all others worthless."""
LATENCY_GRAIN_SECONDS = 0.001
AVAILABILITY_POWER = 4
"""The availability factor is the chance that four calls in a row succeed: 99 % gives 0.96, 95 % 0.81, 50 % 0.06. Taken
as it is, a target that fails every twentieth call would be near-equal to one that never fails."""
RECOVERED = 24.9 / 25
"""The availability that a half-open target is ranked with: what a new one starts from."""
QUALITY_SCALE = 100.0
CONFIDENT_SAMPLES = 20.0


@dataclass(slots=True, eq=False)
class Contender:
    """A target that passed the filters, on its way to becoming a candidate: measured, then scored, then ranked.

    Fields are given by place: hundreds are made in one decision.
    """

    target: TargetReading
    index: int
    expected: Expected
    standing: Standing
    availability: float
    """0 to 1; a half-open target's is taken as recovered, so that it can win its place back."""
    health: HealthState
    ramp: float
    suspect: bool
    sample_count: int
    factors: dict[str, float]
    score: float = 0.0
    group: int = 0
    place: float = 0.0
    """Place among the targets of its group, lower first."""
    share: float = 0.0


def measured(target: TargetReading, index: int, expected: Expected, standing: Standing, now: float) -> Contender:
    """Returns the contender with what is known of its health now."""
    recovered = standing is not CLEAR
    return Contender(
        target,
        index,
        expected,
        standing,
        RECOVERED if recovered else target.availability.value(now),
        target.health(now),
        min(target.breaker.ramp_factor(now), target.endpoint.ramp_factor(now)),
        target.suspect(now),
        target.latency.sample_count,
        {},
    )


def score_all(contenders: Sequence[Contender], ranking: Ranking) -> None:
    """Sets factors and score of each.

    cost: (cheapest + 0.00001 USD) / (own + 0.00001 USD), 0 where the price is unknown. latency: (fastest + 1 ms) / (own
    + 1 ms), of the predicted whole. availability: its fourth power. quality: hundredths, 0 where unknown. priority: the
    provider's place counted from the end, with the quality as fraction. HYBRID is their weighted mean, the other
    strategies take one factor, ROUND_ROBIN and WEIGHTED rank without a score of their own and show HYBRID's. All are
    multiplied by the ramp factor.
    """
    costs = [c.expected.cost_nano_usd for c in contenders if c.expected.cost_nano_usd is not None]
    cheapest = min(costs, default=0) + COST_GRAIN_NANO_USD
    fastest = min((c.expected.latency_seconds for c in contenders), default=0.0) + LATENCY_GRAIN_SECONDS
    last_rank = max((c.target.spec.provider_rank for c in contenders), default=0)
    by_cost, by_latency, by_availability, by_quality, by_priority = ranking.weights
    single = SINGLE_FACTOR.get(ranking.strategy)
    for contender in contenders:
        spec = contender.target.spec
        own = contender.expected.cost_nano_usd
        cost = 0.0 if own is None else cheapest / (own + COST_GRAIN_NANO_USD)
        latency = fastest / (contender.expected.latency_seconds + LATENCY_GRAIN_SECONDS)
        availability = contender.availability**AVAILABILITY_POWER
        quality = 0.0 if spec.quality is None else min(1.0, max(0.0, spec.quality / QUALITY_SCALE))
        # A fraction below 1 keeps the better of one provider before the others of it, and behind the next provider.
        priority = (last_rank - spec.provider_rank + quality * 0.99) / (last_rank + 1)
        factors = contender.factors = {
            "cost": cost,
            "latency": latency,
            "availability": availability,
            "quality": quality,
            "priority": priority,
        }
        if single is None:
            score = (
                by_cost * cost
                + by_latency * latency
                + by_availability * availability
                + by_quality * quality
                + by_priority * priority
            )
        else:
            score = factors[single]
        if contender.ramp < 1.0:
            factors["ramp"] = contender.ramp
            score *= contender.ramp
        # Weights that are scaled to the sum 1 may add up to a hair more.
        contender.score = min(1.0, score)


SINGLE_FACTOR = {
    Strategy.PRIORITY: "priority",
    Strategy.COST: "cost",
    Strategy.LATENCY: "latency",
    Strategy.QUALITY: "quality",
    Strategy.AVAILABILITY: "availability",
}


def confidence(ranked: Sequence[Contender]) -> float:
    """Returns how sure the choice is, 0 to 1: lead x (1 + evidence) / 2.

    lead: how far the first's score is above the second's, as a share of the first's; 1 where the second is of a later
    group or there is none, 0 where chance put the second in front. evidence: n / (n + 20), n being the smaller sample
    count of the two.
    """
    if not ranked:
        return 0.0
    first, second = ranked[0], ranked[1] if len(ranked) > 1 else None
    samples = first.sample_count
    lead = 1.0
    if second is not None:
        samples = min(samples, second.sample_count)
        if second.group == first.group:
            lead = max(0.0, first.score - second.score) / first.score if first.score > 0 else 0.0
    return lead * (1.0 + samples / (samples + CONFIDENT_SAMPLES)) / 2
