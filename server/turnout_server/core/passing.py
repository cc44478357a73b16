"""Who passes the filters in one decision: columns of those that do, and what is known of those that do not.

Most targets are ordinary: nothing has happened to them, so that their shape and their numbers decide. Only the special
ones (see `vitals`) are examined one by one. Both ways come to the same answer.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.budget_need import worst_input_tokens
from turnout_server.core.columns import COST_GRAIN_NANO_USD, Selection
from turnout_server.core.cost import PER_MILLION
from turnout_server.core.decision import Rejection
from turnout_server.core.filters import (
    CLEAR,
    MEASURED_COUNT,
    Standing,
    budget_shortage,
    cap_shortage,
    examine,
    needed_window,
)
from turnout_server.core.model import REASON_ORDER, HealthState, RejectionReason
from turnout_server.core.rejections import Rejections
from turnout_server.core.shapes import Passing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from turnout_server.core.asking import Demand
    from turnout_server.core.budget_need import FleetRates
    from turnout_server.core.columns import Facts
    from turnout_server.core.expectation import Expectation
    from turnout_server.core.readings import FleetReading
    from turnout_server.core.shapes import Shape

Reasons = dict[int, RejectionReason]
"""First reasons by place in a selection."""


class Notable(NamedTuple):
    """What sets a target apart that passed all the same."""

    standing: Standing
    ramp: float
    suspect: bool
    health: HealthState
    throttle: float = 0.0
    """With which probability it is spared a call, 0 to below 1."""
    crowd_limit: int | None = None
    """How many calls at once it copes with, where it has as many."""
    drift: float = 1.0
    """What its score is multiplied by since it is worse than its own past (`baseline`), 0.5 to 1."""

    @property
    def unsteady(self) -> bool:
        """Whether it is a trial, ramps up or may be spared: no second request should be treated alike."""
        return self.standing is not CLEAR or self.ramp < 1.0 or self.pressed

    @property
    def pressed(self) -> bool:
        """Whether it may be spared a call."""
        return self.throttle > 0.0 or self.crowd_limit is not None


class Field(NamedTuple):
    """Those that passed, in the order of the fleet, as columns: costs (with the grain), latencies, group bits.

    `notable` holds what sets some of them apart, by their place in the selection.
    """

    passing: Passing
    costs: list[float]
    latencies: list[float]
    notable: Mapping[int, Notable]
    rejections: Rejections


class Sieve:
    """The filters of one decision."""

    __slots__ = ("_demand", "_expectation", "_facts", "_now", "_shape", "_state")

    def __init__(
        self, shape: Shape, expectation: Expectation, demand: Demand, *, facts: Facts, state: FleetReading, now: float
    ) -> None:
        self._facts = facts
        self._shape = shape
        self._expectation = expectation
        self._demand = demand
        self._state = state
        self._now = now

    def field(self) -> Field:
        """Returns those that pass."""
        shape, expectation = self._shape, self._expectation
        made: dict[int, Rejection] = {}
        notable: dict[int, Notable] = {}
        for index in one_by_one(self._expectation):
            found = self._examined(index)
            if isinstance(found, Rejection):
                made[index] = found
            elif found.suspect or found.unsteady or found.drift < 1.0:
                notable[index] = found
        passing = shape.without(frozenset(made))
        selection = passing.selection
        costs, latencies = expectation.columns(selection)
        out = self._permanent(selection, costs, shape.smallest_window)
        self._passing_by(selection, latencies, out)
        if out:
            kept = [place for place in range(len(selection)) if place not in out]
            passing = Passing(
                Selection([selection.indexes[place] for place in kept], self._facts),
                [passing.groups[place] for place in kept],
            )
            costs = [costs[place] for place in kept]
            latencies = [latencies[place] for place in kept]
        places = {
            place: found for index, found in notable.items() if (place := passing.selection.place(index)) is not None
        }
        return Field(passing, costs, latencies, places, self._rejections(selection, out, made))

    def _examined(self, index: int) -> Notable | Rejection:
        target, now = self._state.targets[index], self._now
        expected = self._expectation.of(index)
        found = examine(target, index, expected, demand=self._demand, state=self._state, now=now)
        if isinstance(found, Rejection):
            return found
        ramp = min(target.breaker.ramp_factor(now), target.endpoint.ramp_factor(now))
        return Notable(
            found,
            ramp,
            target.suspect(now),
            target.health(now),
            target.throttled(now),
            target.crowded(now),
            target.drift(now),
        )

    def _permanent(self, selection: Selection, costs: Sequence[float], smallest_window: float) -> Reasons:
        """Finds those that never fit a request of this length: for their tier, window, price or cost, in this order."""
        demand = self._demand
        cap, limit = demand.tier_cap_nano_usd, demand.max_cost_nano_usd
        out: Reasons = {}
        if cap is not None:
            out |= self._dearer(selection, costs, cap, RejectionReason.TIER)
        for place in self._too_small(selection, smallest_window):
            out.setdefault(place, RejectionReason.CONTEXT_WINDOW)
        if (cap is not None or limit is not None or demand.room is not None) and inf in costs:
            # That is the cost without a price.
            for place, cost in enumerate(costs):
                if cost == inf:
                    out.setdefault(place, RejectionReason.UNKNOWN_PRICE)
        if limit is not None:
            out = self._dearer(selection, costs, limit, RejectionReason.COST_LIMIT) | out
        left = demand.cost_left_nano_usd
        if left is not None:
            self._add_short_of_cap(selection, left, out)
        return out

    def _add_short_of_cap(self, selection: Selection, left_nano_usd: int, out: Reasons) -> None:
        expectation, rates = self._expectation, self._facts.rates
        # The output limit may be lowered to what an answer should need, whatever the caller asked for.
        tokens = (self._worst_input_tokens(), max(1, expectation.most_output_tokens))
        if rates.dearest.need(*tokens) <= left_nano_usd:
            return
        for place, index in _perhaps_short(selection, left_nano_usd, rates, *tokens):
            if place not in out and cap_shortage(self._facts.specs[index], expectation.of(index), self._demand):
                out[place] = RejectionReason.COST_LIMIT

    def _dearer(self, selection: Selection, costs: Sequence[float], limit: int, reason: RejectionReason) -> Reasons:
        # Columns are not rounded: whoever is near the limit is asked for the exact cost.
        near = limit + COST_GRAIN_NANO_USD - 1.0
        if max(costs, default=0.0) <= near:
            return {}
        out: Reasons = {}
        for place, cost in enumerate(costs):
            if cost > near:
                exact = self._expectation.of(selection.indexes[place]).cost_nano_usd
                if exact is not None and exact > limit:
                    out[place] = reason
        return out

    def _too_small(self, selection: Selection, smallest_window: float) -> list[int]:
        demand, expectation, hop = self._demand, self._expectation, self._demand.hop
        of_a_hop = hop.minimum_context is not None or hop.required_window_over is not None
        most = (expectation.most_input_tokens if demand.input_known else 0) + (demand.max_output_tokens or 1)
        if most <= smallest_window and not of_a_hop:
            return []
        found = []
        for place, window in enumerate(selection.of(self._facts.windows)):
            if window < most or of_a_hop:
                index = selection.indexes[place]
                spec = self._facts.specs[index]
                unknown = spec.context_window_tokens is None
                if unknown or needed_window(spec, expectation.input_tokens(index), demand) > window:
                    found.append(place)
        return found

    def _passing_by(self, selection: Selection, latencies: Sequence[float], out: Reasons) -> None:
        """Adds those that are too slow, or fail too often, for limits that were given; then those too late."""
        demand, expectation = self._demand, self._expectation
        each = expectation.vitals.each
        if demand.max_latency_seconds is not None:
            _add_above(demand.max_latency_seconds, latencies, RejectionReason.LATENCY_LIMIT, out)
        if demand.max_first_token_seconds is not None:
            firsts = expectation.first_tokens(selection)
            _add_above(demand.max_first_token_seconds, firsts, RejectionReason.LATENCY_LIMIT, out)
        least = demand.min_availability
        if least is not None:
            for place, index in enumerate(selection.indexes):
                if each[index].availability < least:
                    out.setdefault(place, RejectionReason.AVAILABILITY)
        if demand.room is not None:
            self._add_short_of_budget(selection, out)
        left = demand.deadline_seconds
        if left is not None and expectation.slowest_first_token_seconds > left:
            late: Reasons = {}
            _add_above(left, expectation.first_tokens(selection), RejectionReason.DEADLINE, late)
            for place, reason in late.items():
                if each[selection.indexes[place]].sample_count >= MEASURED_COUNT or demand.needs.tried:
                    out.setdefault(place, reason)

    def _add_short_of_budget(self, selection: Selection, out: Reasons) -> None:
        demand, expectation = self._demand, self._expectation
        asked, room = demand.max_output_tokens, demand.room
        tokens = (self._worst_input_tokens(), max(1, expectation.most_output_tokens if asked is None else asked))
        if room is None or room.holds_all(*tokens):
            return
        left = demand.cost_left_nano_usd
        if left is not None and left <= room.left_nano_usd:
            # Whoever is not out for the call's cap needs no more than that leaves, and no budget more than is sent.
            return
        for place, index in _perhaps_short(selection, room.left_nano_usd, room.rates, *tokens):
            if place not in out and budget_shortage(self._facts.specs[index], expectation.of(index), demand):
                out[place] = RejectionReason.BUDGET

    def _worst_input_tokens(self) -> int:
        return worst_input_tokens(self._expectation.most_input_tokens, counted=self._demand.input_counted)

    def _rejections(self, selection: Selection, out: Reasons, made: Mapping[int, Rejection]) -> Rejections:
        shape = self._shape
        loose = {selection.indexes[place]: reason for place, reason in out.items()}
        earlier = self._earlier()
        for index, rejection in made.items():
            # What is unfit for the whole shape is counted with it: what has happened to it comes after that.
            if shape.rest.place(index) is None:
                loose[index] = rejection.reasons[0]
        return Rejections(shape, self._expectation, self._demand, made=made, loose=loose, earlier=earlier)

    def _earlier(self) -> Mapping[int, RejectionReason]:
        """Finds the unfit ones against which a request of this length has an earlier reason than its shape."""
        shape, demand = self._shape, self._demand
        if not shape.rest.indexes:
            return {}
        costs: Sequence[float] = ()
        if demand.tier_cap_nano_usd is not None or demand.max_cost_nano_usd is not None or demand.room is not None:
            costs, _ = self._expectation.columns(shape.rest)
        found = self._permanent(shape.rest, costs, shape.rest_smallest_window)
        return {
            shape.rest.indexes[place]: reason
            for place, reason in found.items()
            if REASON_ORDER[reason] < REASON_ORDER[shape.reasons[place]]
        }


def one_by_one(expectation: Expectation) -> Sequence[int]:
    """Returns the places of the targets that one request's decision has to look at one by one, in order."""
    vitals = expectation.vitals
    special = vitals.special
    if vitals.rooms:
        needed = expectation.most_input_tokens if expectation.input_known else 0
        tight = [index for index, room in vitals.rooms.items() if room < max(1, needed)]
        if tight:
            special = special.union(tight)
    return sorted(special) if special else ()


def _perhaps_short(
    selection: Selection, left_nano_usd: int, rates: FleetRates, input_tokens: int, output_tokens: int
) -> Iterator[tuple[int, int]]:
    """Finds those for which so much may be too little, by place and index: so many tokens at worst would cost more."""
    most = left_nano_usd * PER_MILLION
    columns = zip(selection.of(rates.inputs), selection.of(rates.outputs), strict=True)
    for place, (input_rate, output_rate) in enumerate(columns):
        if input_tokens * input_rate + output_tokens * output_rate > most:
            yield place, selection.indexes[place]


def _add_above(limit: float, values: Sequence[float], reason: RejectionReason, out: Reasons) -> None:
    for place, value in enumerate(values):
        if value > limit:
            out.setdefault(place, reason)
