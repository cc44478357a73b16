"""How good a target is for this request: every factor from 0 to 1, 1 best, each with its formula, and what they make.

No factor can be NaN or infinite: each is a ratio of a finite, not negative number to one at least as large.
"""

from __future__ import annotations

from array import array
from math import inf
from typing import TYPE_CHECKING

from turnout_server.core.filters import CLEAR, Standing
from turnout_server.core.model import Strategy
from turnout_server.core.vitals import AVAILABILITY_POWER, Vital

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout_server.core.columns import Facts
    from turnout_server.core.expectation import Expectation, Expected
    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.passing import Field
    from turnout_server.core.preferences import Ranking

LATENCY_GRAIN_SECONDS = 0.001
RECOVERED = 24.9 / 25
"""The availability that a half-open target is ranked with, so that it can win its place back: that of a new one."""

SINGLE_FACTOR = {
    Strategy.PRIORITY: "priority",
    Strategy.COST: "cost",
    Strategy.LATENCY: "latency",
    Strategy.QUALITY: "quality",
    Strategy.AVAILABILITY: "availability",
}


FACTORS = ("cost", "latency", "availability", "quality", "priority")

Measures = tuple[float, float, float, float, float]
"""The factors of one target, in the order of `FACTORS`."""


class Scoring:
    """The scores of those that passed, in their order: `scores` as a column, and how one came about.

    cost: (cheapest + 0.00001 USD) / (own + 0.00001 USD), 0 where the price is unknown. latency: (fastest + 1 ms) / (own
    + 1 ms), of the predicted whole. availability: its fourth power. quality: hundredths, 0 where unknown. priority: the
    provider's place counted from the end, with the quality as fraction. capability: the share of the preferred
    capabilities, only where a request has some (`wanted`, by place in the fleet). HYBRID is their weighted mean, the
    other strategies take one factor, ROUND_ROBIN and WEIGHTED rank without a score of their own and show HYBRID's. All
    are multiplied by the ramp factor, and by the drift factor where a target is worse than its own past.
    """

    __slots__ = (
        "_cheapest",
        "_expectation",
        "_facts",
        "_fastest",
        "_ranking",
        "_wanted",
        "notable",
        "scores",
        "selection",
    )

    def __init__(
        self,
        field: Field,
        ranking: Ranking,
        expectation: Expectation,
        facts: Facts,
        wanted: Sequence[float] | None = None,
    ) -> None:
        # Of the field, its columns are not kept: they can be worked out again for the few that somebody looks at.
        self._expectation = expectation
        self._facts = facts
        self._ranking = ranking
        self._wanted = wanted
        self.selection = field.passing.selection
        self.notable = field.notable
        cheapest = min(field.costs, default=inf)
        # Where no price is known, none is near the cheapest.
        self._cheapest = 0.0 if cheapest == inf else cheapest
        self._fastest = min(field.latencies, default=0.0) + LATENCY_GRAIN_SECONDS
        single = SINGLE_FACTOR.get(ranking.strategy)
        scores = self._mean(field) if single is None else self._column(single, field)
        if wanted is not None and ranking.capability_share:
            part = ranking.capability_share
            rest, shares = 1.0 - part, self.selection.of(wanted)
            scores = [rest * score + part * share for score, share in zip(scores, shares, strict=True)]
        for place in field.notable:
            scores[place] = self._score(place)
        self.scores: Sequence[float] = scores

    def pack(self) -> None:
        """Makes the scores as small as they can be, since they are kept."""
        self.scores = array("d", self.scores)

    def factors(self, place: int, expected: Expected) -> dict[str, float]:
        """Returns the factors behind one score, by name; `expected` is what is expected of that target."""
        cost, latency, availability, quality, priority = self.measures(place, expected)
        factors = {
            "cost": cost,
            "latency": latency,
            "availability": availability,
            "quality": quality,
            "priority": priority,
        }
        if self._wanted is not None:
            factors["capability"] = self._wanted[self.selection.indexes[place]]
        if self.notable:
            ramp = self.ramp(place)
            if ramp < 1.0:
                factors["ramp"] = ramp
            drift = self.drift(place)
            if drift < 1.0:
                factors["drift"] = drift
        return factors

    def wanted(self, place: int) -> float | None:
        """Returns the share of the preferred capabilities that the target at a place has; None where there are none."""
        return None if self._wanted is None else self._wanted[self.selection.indexes[place]]

    def score(self, place: int) -> float:
        """Returns the score at a place; weights that are scaled to the sum 1 may add up to a hair more."""
        return min(1.0, self.scores[place])

    def spec(self, place: int) -> TargetSpec:
        """Returns the static facts of the target at a place."""
        return self._facts.specs[self.selection.indexes[place]]

    def vital(self, place: int) -> Vital:
        """Returns the numbers of the target at a place."""
        return self._expectation.vitals.each[self.selection.indexes[place]]

    def standing(self, place: int) -> Standing:
        """Returns what the target at a place may be used for."""
        notable = self.notable.get(place)
        return CLEAR if notable is None else notable.standing

    def ramp(self, place: int) -> float:
        """Returns the ramp factor of the target at a place."""
        notable = self.notable.get(place)
        return 1.0 if notable is None else notable.ramp

    def drift(self, place: int) -> float:
        """Returns the drift factor of the target at a place."""
        notable = self.notable.get(place)
        return 1.0 if notable is None else notable.drift

    def _mean(self, field: Field) -> list[float]:
        by_cost, by_latency, by_availability, by_quality, by_priority = self._ranking.weights
        # Of the weighted factors, all that is the same for every target.
        of_cost, of_latency = by_cost * self._cheapest, by_latency * self._fastest
        strengths = self.selection.of(self._expectation.vitals.strengths)
        columns = zip(field.costs, field.latencies, strengths, strict=True)
        if not (by_quality or by_priority):
            return [
                of_cost / cost + of_latency / (latency + LATENCY_GRAIN_SECONDS) + by_availability * strength
                for cost, latency, strength in columns
            ]
        qualities, priorities = self._column("quality", field), self._column("priority", field)
        return [
            of_cost / cost
            + of_latency / (latency + LATENCY_GRAIN_SECONDS)
            + by_availability * strength
            + by_quality * quality
            + by_priority * priority
            for (cost, latency, strength), quality, priority in zip(columns, qualities, priorities, strict=True)
        ]

    def _column(self, factor: str, field: Field) -> list[float]:
        if factor == "cost":
            return [self._cheapest / cost for cost in field.costs]
        if factor == "latency":
            return [self._fastest / (latency + LATENCY_GRAIN_SECONDS) for latency in field.latencies]
        if factor == "availability":
            return list(self.selection.of(self._expectation.vitals.strengths))
        qualities = self.selection.of(self._facts.qualities)
        if factor == "quality":
            return list(qualities)
        ranks, last_rank = self.selection.of(self._facts.ranks), self.selection.last_rank
        return [_priority(last_rank, rank, quality) for rank, quality in zip(ranks, qualities, strict=True)]

    def measures(self, place: int, expected: Expected) -> Measures:
        """Returns the factors at one place; `expected` is what is expected of that target."""
        expectation, facts = self._expectation, self._facts
        index = self.selection.indexes[place]
        notable = self.notable.get(place)
        recovered = notable is not None and notable.standing is not CLEAR
        quality = facts.qualities[index]
        return (
            self._cheapest / expectation.cost(index, expected),
            self._fastest / (expected.latency_seconds + LATENCY_GRAIN_SECONDS),
            RECOVERED**AVAILABILITY_POWER if recovered else expectation.vitals.strengths[index],
            quality,
            _priority(self.selection.last_rank, facts.ranks[index], quality),
        )

    def _score(self, place: int) -> float:
        """Works out the score of one that is set apart, as the columns do for the others."""
        measures = self.measures(place, self._expectation.of(self.selection.indexes[place]))
        single = SINGLE_FACTOR.get(self._ranking.strategy)
        if single is None:
            by_cost, by_latency, by_availability, by_quality, by_priority = self._ranking.weights
            cost, latency, availability, quality, priority = measures
            score = (
                by_cost * cost
                + by_latency * latency
                + by_availability * availability
                + by_quality * quality
                + by_priority * priority
            )
        else:
            score = measures[FACTORS.index(single)]
        if self._wanted is not None:
            part = self._ranking.capability_share
            score = (1.0 - part) * score + part * self._wanted[self.selection.indexes[place]]
        notable = self.notable[place]
        return score * notable.ramp * notable.drift


def _priority(last_rank: int, rank: int, quality: float) -> float:
    # A fraction below 1 keeps the better of one provider before the others of it, and behind the next provider.
    return (last_rank - rank + quality * 0.99) / (last_rank + 1)
