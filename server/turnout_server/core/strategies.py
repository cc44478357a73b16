"""In which order the candidates come: groups first, the strategy within a group, chance among near-equals.

What a table prefers keeps the table's order, and what has a share of WEIGHTED keeps its side: the operator's word beats
the soft limit and the floor. Targets are told here by their places among those that passed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from hashlib import blake2b
from math import inf, log
from random import Random
from typing import TYPE_CHECKING

from turnout_server.core.asking import Hop
from turnout_server.core.filters import CLEAR, Standing
from turnout_server.core.groups import FAILED_PROVIDER, FAILED_REGION, LATE, NOT_PREFERRED, SILENT, SLOW, SUSPECT
from turnout_server.core.model import Priority, Strategy
from turnout_server.core.sparing import can_stand_in, is_spared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from turnout_server.core.columns import Facts
    from turnout_server.core.expectation import Expectation
    from turnout_server.core.passing import Field
    from turnout_server.core.preferences import Ranking
    from turnout_server.core.scoring import Scoring
    from turnout_server.core.settings import NearEqual

SOFT_FIRST_TOKEN_SECONDS = {Priority.CRITICAL: 1.0, Priority.HIGH: 2.0, Priority.NORMAL: 5.0}
"""Beyond these a target ranks after those within; LOW waits as long as it takes."""

CHANCE_STRATEGIES = frozenset(
    {Strategy.COST, Strategy.LATENCY, Strategy.QUALITY, Strategy.AVAILABILITY, Strategy.HYBRID}
)
"""Ranked by a score, in which a small difference means nothing. The others mean the order they make."""

TURN_STRATEGIES = frozenset({Strategy.ROUND_ROBIN, Strategy.WEIGHTED})

CONFIDENT_SAMPLES = 20.0

Load = float
"""Calls in flight less the score, which is below 1: of two targets the one with the lower load is taken."""


@dataclass(slots=True, kw_only=True)
class Lineup:
    """How to line up those that passed in one decision. Not frozen: that would cost more than all else that uses it.

    `preferred` gives places of a table by fleet index; `shares` weights of WEIGHTED by fleet index, empty for equal
    ones; `stable_key` is what must always fall on the same side, "" for chance; `turn` counts ROUND_ROBIN's decisions.
    """

    ranking: Ranking
    near_equal: NearEqual
    preferred: Mapping[int, int]
    shares: Mapping[int, float]
    stable_key: str
    turn: int
    priority: Priority
    executing: bool
    hop: Hop
    deadline_seconds: float | None = None
    """What the caller's deadline leaves a call of ours; whoever is expected to begin later is asked last."""
    kept: int | None = None
    """The target that answered the request's key last, by its place in the fleet."""
    advantage: float = 0.0
    """By what share another's score must be higher to take its place."""


class Line:
    """Those that passed in order, best first: `order` holds their places, `groups` the group bits by place.

    `left_out` are half-open ones whose trial goes to somebody else, `spared` those that came first and were spared.
    """

    __slots__ = ("_loads", "_shares", "groups", "held", "left_out", "near", "order", "scoring", "spared")

    def __init__(self, scoring: Scoring, groups: Sequence[int]) -> None:
        self.scoring = scoring
        self.groups = groups
        self.order: Sequence[int] = ()
        self.left_out: Sequence[int] = ()
        self.spared: Sequence[int] = ()
        self.near: Sequence[int] = ()
        """The first and its near-equals, where chance has decided among them."""
        self.held: int | None = None
        """The place of the first, where it came first for its key's sake."""
        self._shares: dict[int, float] | None = {}
        self._loads: Sequence[Load] = ()

    def share(self, place: int) -> float:
        """Returns what part of the calls it should get: the chance that this decision, drawn again, puts it first."""
        if self._shares is not None:
            return self._shares.get(place, 0.0)
        return self._share_by_chance(place)

    def pack(self) -> None:
        """Makes it as small as it can be, since it is kept: memory that is soon used again is also faster."""
        self.order = array("I", self.order)
        self.near = array("I", self.near)
        self.scoring.pack()

    def chance(self, near: Sequence[int]) -> None:
        """Shares the calls among near-equals as `_better_of_two` does, once somebody asks."""
        self._shares = None
        self.near = near

    def give(self, shares: dict[int, float]) -> None:
        """Shares the calls as told."""
        self._shares = shares

    def load(self, place: int) -> Load:
        """Returns what is compared between two that are near-equal."""
        scoring = self.scoring
        return scoring.vital(place).in_flight - scoring.scores[place]

    def _share_by_chance(self, place: int) -> float:
        """Returns its chance to win `_better_of_two`: (2 x how many it beats + how many it equals) / n squared."""
        if place not in self.near:
            return 0.0
        if not self._loads:
            self._loads = array("d", sorted(map(self.load, self.near)))
        loads, own, count = self._loads, self.load(place), len(self.near)
        first, end = bisect_left(loads, own), bisect_right(loads, own)
        return (2 * (count - end) + end - first) / (count * count)


def line_up(
    field: Field, scoring: Scoring, lineup: Lineup, expectation: Expectation, *, facts: Facts, rng: Random
) -> Line:
    """Returns those that passed in order.

    Where the caller makes the call, a half-open target is left out unless it comes first: its one trial goes to
    whoever would choose it first.
    """
    groups, mixed = _groups(field, lineup, expectation, facts)
    line = Line(scoring, groups)
    scores, strategy = scoring.scores, lineup.ranking.strategy
    # Sorting keeps the order of equals: file order.
    order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
    if strategy is Strategy.ROUND_ROBIN:
        order.sort()
    places = _places(order, line, lineup, facts, rng)
    if places:
        order.sort(key=places.__getitem__)
    if mixed:
        order.sort(key=groups.__getitem__)
    near = _put_first(order, line, lineup, rng)
    if scoring.notable:
        near = _spare(order, near, line, lineup, rng)
    if not lineup.executing and scoring.notable:
        line.left_out = sorted(place for place in order[1:] if scoring.standing(place) is not CLEAR)
        order = [order[0], *(place for place in order[1:] if scoring.standing(place) is CLEAR)] if order else order
    line.order = order
    _share(line, near, lineup)
    line.pack()
    return line


def _put_first(order: list[int], line: Line, lineup: Lineup, rng: Random) -> list[int]:
    """Puts first whoever the key stays at, or chance among near-equals; returns these."""
    line.held = None if lineup.kept is None else _held(order, line, lineup)
    if line.held is not None:
        order.remove(line.held)
        order.insert(0, line.held)
        return []
    if not (lineup.ranking.strategy in CHANCE_STRATEGIES and order and line.groups[order[0]] & NOT_PREFERRED):
        return []
    near = _near_equals(order, line, lineup.near_equal)
    chosen = _better_of_two(near, line, rng)
    order.remove(chosen)
    order.insert(0, chosen)
    return near


def _spare(order: list[int], near: list[int], line: Line, lineup: Lineup, rng: Random) -> list[int]:
    """Takes whoever comes first and is spared out of the line while somebody can stand in; returns near-equals."""
    notable = line.scoring.notable
    spared: list[int] = []
    while order and is_spared(notable.get(order[0]), rng):
        spared.append(order.pop(0))
        lineup.kept = None
        if not any(can_stand_in(place, line.groups, notable) for place in order):
            # The one that refuses least.
            best = min(spared, key=lambda place: notable[place].throttle)
            spared.remove(best)
            order.insert(0, best)
            line.held = None
            near = []
            break
        near = _put_first(order, line, lineup, rng)
    line.spared = spared
    return near


def _places(order: Sequence[int], line: Line, lineup: Lineup, facts: Facts, rng: Random) -> dict[int, float]:
    """Returns what is sorted by where it is not the score, nothing where it is."""
    places: dict[int, float] = {}
    if lineup.ranking.strategy is Strategy.ROUND_ROBIN:
        places = _rotated(line, lineup.turn, rng)
    elif lineup.ranking.strategy is Strategy.WEIGHTED:
        places = _drawn(order, line, lineup, facts, rng)
    if lineup.preferred:
        if not places:
            places = {place: rank for rank, place in enumerate(order)}
        for place in order:
            if not line.groups[place] & NOT_PREFERRED:
                places[place] = lineup.preferred[line.scoring.selection.indexes[place]]
    return places


def _groups(field: Field, lineup: Lineup, expectation: Expectation, facts: Facts) -> tuple[Sequence[int], bool]:
    """Returns the group bits of each, and whether they differ."""
    passing, indexes = field.passing, field.passing.selection.indexes
    deadline = inf if lineup.deadline_seconds is None else lineup.deadline_seconds
    soft_limit = SOFT_FIRST_TOKEN_SECONDS.get(lineup.priority, inf)
    slow = expectation.slowest_first_token_seconds > min(deadline, soft_limit)
    if not (slow or field.notable or lineup.hop.failed_providers):
        return passing.groups, passing.mixed
    groups = list(passing.groups)
    if slow:
        _mark_slow(groups, expectation.first_tokens(passing.selection), indexes, lineup)
    for place, notable in field.notable.items():
        if notable.standing is Standing.SILENT_TRIAL and lineup.executing:
            groups[place] |= SILENT
        if notable.suspect:
            groups[place] |= SUSPECT
    if lineup.hop.failed_providers:
        _mark_failed(groups, indexes, lineup.hop, facts)
    return groups, True


def _mark_failed(groups: list[int], indexes: Sequence[int], hop: Hop, facts: Facts) -> None:
    for place, index in enumerate(indexes):
        spec = facts.specs[index]
        if spec.target.provider in hop.failed_providers:
            groups[place] |= FAILED_PROVIDER
        if spec.region in hop.failed_regions:
            groups[place] |= FAILED_REGION


def _mark_slow(groups: list[int], first_tokens: Sequence[float], indexes: Sequence[int], lineup: Lineup) -> None:
    deadline = inf if lineup.deadline_seconds is None else lineup.deadline_seconds
    soft_limit = SOFT_FIRST_TOKEN_SECONDS.get(lineup.priority, inf)
    for place, first in enumerate(first_tokens):
        if first > deadline:
            groups[place] |= LATE
        if first > soft_limit and groups[place] & NOT_PREFERRED and not _shared(indexes[place], lineup):
            groups[place] |= SLOW


def _held(order: Sequence[int], line: Line, lineup: Lineup) -> int | None:
    """Returns the place of the target that the request's key stays at; None where it has none or another is better.

    It stays within the first's group: a table, a suspicion or a failure in this call goes before the cache. Strategies
    that take turns have reasons of their own for who is next.
    """
    if lineup.kept is None or lineup.ranking.strategy in TURN_STRATEGIES or not order:
        return None
    scoring, groups, best = line.scoring, line.groups, order[0]
    place = scoring.selection.place(lineup.kept)
    if place is None or groups[place] != groups[best] or not groups[best] & NOT_PREFERRED:
        return None
    if scoring.standing(place) is not CLEAR:
        return None
    return None if scoring.scores[best] > scoring.scores[place] * (1.0 + lineup.advantage) else place


def _near_equals(order: Sequence[int], line: Line, near_equal: NearEqual) -> list[int]:
    """Returns those of the first's group whose scores are near the best, the best included.

    The margin is wider while one of the two compared has few samples.
    """
    groups, scoring, scores = line.groups, line.scoring, line.scoring.scores
    best = order[0]
    group, score, cold_samples = groups[best], scores[best], near_equal.cold_samples
    cold = scoring.vital(best).sample_count < cold_samples
    least, cold_least = score * (1.0 - near_equal.margin), score * (1.0 - near_equal.cold_margin)
    lowest = cold_least if cold else min(least, cold_least)
    near = [best]
    for place in order[1:]:
        own = scores[place]
        if own < lowest or groups[place] != group:
            break
        if cold or own >= (cold_least if scoring.vital(place).sample_count < cold_samples else least):
            near.append(place)
    return near


def _better_of_two(near: Sequence[int], line: Line, rng: Random) -> int:
    """Draws two, with replacement, and returns the one with less in flight, then with the better score.

    With replacement, since of two targets the better one would otherwise always be taken: by everybody.
    """
    if len(near) == 1:
        return near[0]
    # `randrange` would be even to the last bit, and take six times as long.
    count = len(near)
    return min(near[int(rng.random() * count)], near[int(rng.random() * count)], key=line.load)


def _share(line: Line, near: list[int], lineup: Lineup) -> None:
    """Sets what part of the calls each should get: the chance that this decision, drawn again, would put it first."""
    order, groups, scoring = line.order, line.groups, line.scoring
    if not order:
        return
    first = order[0]
    strategy = lineup.ranking.strategy
    if line.held is not None or scoring.standing(first) is not CLEAR or not groups[first] & NOT_PREFERRED:
        line.give({first: 1.0})
    elif strategy is Strategy.ROUND_ROBIN:
        peers = [place for place in order if groups[place] == groups[first]]
        line.give(dict.fromkeys(peers, 1.0 / len(peers)))
    elif strategy is Strategy.WEIGHTED:
        weights = {place: _weight(place, line, lineup) for place in order if groups[place] == groups[first]}
        whole = sum(weights.values())
        line.give({place: weight / whole for place, weight in weights.items()} if whole > 0 else {first: 1.0})
    elif len(near) > 1:
        trials_left_out = scoring.notable and not lineup.executing
        line.chance([place for place in near if scoring.standing(place) is CLEAR] if trials_left_out else near)
    else:
        line.give({first: 1.0})


def _rotated(line: Line, turn: int, rng: Random) -> dict[int, float]:
    """Returns places by turn, in file order within each group; one that ramps up lets some of its turns pass."""
    by_group: dict[int, list[int]] = {}
    for place, group in enumerate(line.groups):
        by_group.setdefault(group, []).append(place)
    places: dict[int, float] = {}
    for members in by_group.values():
        for i, place in enumerate(members):
            ramp = line.scoring.ramp(place)
            passes = ramp < 1.0 and rng.random() >= ramp
            places[place] = (i - turn) % len(members) + (len(members) if passes else 0)
    return places


def _drawn(order: Sequence[int], line: Line, lineup: Lineup, facts: Facts, rng: Random) -> dict[int, float]:
    """Returns places by weighted rendezvous: -ln(u) / weight, lowest first, u from the key and the target's name.

    The first place falls on each target with the chance weight / sum of weights, the same key gives the same places in
    every process, and a target that drops out moves only its own calls (Efraimidis and Spirakis, 2006). Targets without
    a share stand behind all with one, by score.
    """
    places: dict[int, float] = {}
    for place in order:
        weight = _weight(place, line, lineup)
        if weight <= 0.0:
            # All of them are equal here: sorted by score before, they stay so.
            places[place] = inf
            continue
        if lineup.stable_key:
            name = f"{lineup.stable_key}\0{facts.names[line.scoring.selection.indexes[place]]}"
            drawn = int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "big")
            chance = (drawn + 1) / (1 << 56)
        else:
            chance = 1.0 - rng.random()
        places[place] = -log(chance) / weight
    return places


def _shared(index: int, lineup: Lineup) -> bool:
    """Whether WEIGHTED gives it a share, which beats the soft limit."""
    if lineup.ranking.strategy is not Strategy.WEIGHTED:
        return False
    return not lineup.shares or lineup.shares.get(index, 0.0) > 0.0


def _weight(place: int, line: Line, lineup: Lineup) -> float:
    weight = lineup.shares.get(line.scoring.selection.indexes[place], 0.0) if lineup.shares else 1.0
    return weight * line.scoring.ramp(place)


def confidence(line: Line) -> float:
    """Returns how sure the choice is, 0 to 1: lead x (1 + evidence) / 2.

    lead: how far the first's score is above the second's, as a share of the first's; 1 where the second is of a later
    group or there is none, 0 where chance put the second in front. evidence: n / (n + 20), n being the smaller sample
    count of the two.
    """
    if not line.order:
        return 0.0
    scoring, first = line.scoring, line.order[0]
    samples = scoring.vital(first).sample_count
    lead = 1.0
    if len(line.order) > 1:
        second = line.order[1]
        samples = min(samples, scoring.vital(second).sample_count)
        if line.groups[second] == line.groups[first]:
            score = scoring.score(first)
            lead = max(0.0, score - scoring.score(second)) / score if score > 0 else 0.0
    return lead * (1.0 + samples / (samples + CONFIDENT_SAMPLES)) / 2
