"""In which order the candidates come: groups first, the strategy within a group, chance among near-equals.

Groups, the first bit that differs decides: a silent target's trial comes last of all, then suspects, then (in a
failover) the providers that failed in this call, then whatever no table prefers, then targets beyond the soft limit
to the first token, then targets below the soft quality floor. What a table prefers keeps the table's order, and what
has a share of WEIGHTED keeps its side: the operator's word beats the soft limit and the floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from math import inf, log
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING

from turnout_server.core.asking import Hop
from turnout_server.core.filters import CLEAR, Standing
from turnout_server.core.model import Priority, Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from turnout_server.core.preferences import Ranking
    from turnout_server.core.scoring import Contender
    from turnout_server.core.settings import NearEqual

LATE, SILENT, SUSPECT, FAILED_PROVIDER, NOT_PREFERRED, SLOW, WEAK = 64, 32, 16, 8, 4, 2, 1

SOFT_FIRST_TOKEN_SECONDS = {Priority.CRITICAL: 1.0, Priority.HIGH: 2.0, Priority.NORMAL: 5.0}
"""Beyond these a target ranks after those within; LOW waits as long as it takes."""

CHANCE_STRATEGIES = frozenset(
    {Strategy.COST, Strategy.LATENCY, Strategy.QUALITY, Strategy.AVAILABILITY, Strategy.HYBRID}
)
"""Ranked by a score, in which a small difference means nothing. The others mean the order they make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineup:
    """How to line up the contenders of one decision.

    `preferred` gives places of a table by fleet index; `shares` weights of WEIGHTED by fleet index, empty for equal
    ones; `stable_key` is what must always fall on the same side, "" for chance; `turn` counts ROUND_ROBIN's decisions.
    """

    ranking: Ranking
    near_equal: NearEqual
    preferred: Mapping[int, int]
    shares: Mapping[int, float]
    stable_key: str
    turn: int
    floor: float | None
    priority: Priority
    executing: bool
    hop: Hop
    deadline_seconds: float | None = None
    """What the caller's deadline leaves a call of ours; whoever is expected to begin later is asked last."""


def line_up(contenders: list[Contender], lineup: Lineup, rng: Random) -> list[Contender]:
    """Returns the contenders in order, best first, each with its share of the calls that hold this plan.

    Where the caller makes the call, a half-open target is left out unless it comes first: its one trial goes to
    whoever would choose it first.
    """
    for contender in contenders:
        contender.group = _group(contender, lineup)
        contender.share = 0.0
        contender.place = -contender.score
    strategy = lineup.ranking.strategy
    if strategy is Strategy.ROUND_ROBIN:
        _rotate(contenders, lineup.turn, rng)
    elif strategy is Strategy.WEIGHTED:
        _draw(contenders, lineup, rng)
    if lineup.preferred:
        for contender in contenders:
            if not contender.group & NOT_PREFERRED:
                contender.place = lineup.preferred[contender.index]
    # Sorting keeps the order of equals: file order.
    ranked = sorted(contenders, key=attrgetter("group", "place"))
    near: list[Contender] = []
    if strategy in CHANCE_STRATEGIES and ranked and ranked[0].group & NOT_PREFERRED:
        near = _near_equals(ranked, lineup.near_equal)
        chosen = _better_of_two(near, rng)
        ranked.remove(chosen)
        ranked.insert(0, chosen)
    if not lineup.executing:
        ranked = [c for i, c in enumerate(ranked) if i == 0 or c.standing is CLEAR]
    _share(ranked, near, lineup)
    return ranked


def _group(contender: Contender, lineup: Lineup) -> int:
    group = 0
    if lineup.deadline_seconds is not None and contender.expected.first_token_seconds > lineup.deadline_seconds:
        group |= LATE
    if contender.standing is not CLEAR and contender.standing is Standing.SILENT_TRIAL and lineup.executing:
        group |= SILENT
    if contender.suspect:
        group |= SUSPECT
    spec = contender.target.spec
    if spec.target.provider in lineup.hop.failed_providers:
        group |= FAILED_PROVIDER
    if contender.index in lineup.preferred:
        return group
    group |= NOT_PREFERRED
    soft_limit = SOFT_FIRST_TOKEN_SECONDS.get(lineup.priority)
    if soft_limit is not None and contender.expected.first_token_seconds > soft_limit:
        shared = lineup.ranking.strategy is Strategy.WEIGHTED and _weight(contender, lineup) > 0.0
        group |= 0 if shared else SLOW
    if lineup.floor is not None and (spec.quality is None or spec.quality < lineup.floor):
        group |= WEAK
    return group


def _near_equals(ranked: Sequence[Contender], near_equal: NearEqual) -> list[Contender]:
    """Returns those of the first's group whose scores are near the best, the best included.

    The margin is wider while one of the two compared has few samples.
    """
    best = ranked[0]
    near = [best]
    for other in ranked[1:]:
        if other.group != best.group:
            break
        cold = min(best.sample_count, other.sample_count) < near_equal.cold_samples
        margin = near_equal.cold_margin if cold else near_equal.margin
        if other.score >= best.score * (1.0 - margin):
            near.append(other)
    return near


def _load(contender: Contender) -> tuple[int, float]:
    return contender.target.in_flight, -contender.score


def _better_of_two(near: Sequence[Contender], rng: Random) -> Contender:
    """Draws two, with replacement, and returns the one with less in flight, then with the better score.

    With replacement, since of two targets the better one would otherwise always be taken: by everybody.
    """
    if len(near) == 1:
        return near[0]
    return min(near[rng.randrange(len(near))], near[rng.randrange(len(near))], key=_load)


def _share(ranked: Sequence[Contender], near: Sequence[Contender], lineup: Lineup) -> None:
    """Sets what part of the calls each should get: the chance that this decision, drawn again, would put it first."""
    if not ranked:
        return
    first = ranked[0]
    strategy = lineup.ranking.strategy
    peers = [c for c in ranked if c.group == first.group]
    if first.standing is not CLEAR or not first.group & NOT_PREFERRED:
        first.share = 1.0
    elif strategy is Strategy.ROUND_ROBIN:
        for peer in peers:
            peer.share = 1.0 / len(peers)
    elif strategy is Strategy.WEIGHTED:
        weights = [_weight(peer, lineup) for peer in peers]
        whole = sum(weights)
        for peer, weight in zip(peers, weights, strict=True):
            peer.share = weight / whole if whole > 0 else (1.0 if peer is first else 0.0)
    elif len(near) > 1:
        _share_by_chance([c for c in near if c.standing is CLEAR or lineup.executing])
    else:
        first.share = 1.0


def _share_by_chance(near: Sequence[Contender]) -> None:
    """Sets each one's chance to win `_better_of_two`: (2 x how many it beats + how many it equals) / n squared."""
    beaten = count = len(near)
    for _, equals in groupby(sorted(near, key=_load), key=_load):
        tied = list(equals)
        beaten -= len(tied)
        for contender in tied:
            contender.share = (2 * beaten + len(tied)) / (count * count)


def _rotate(contenders: list[Contender], turn: int, rng: Random) -> None:
    """Gives places by turn, in file order within each group; one that ramps up lets some of its turns pass."""
    by_group: dict[int, list[Contender]] = {}
    for contender in sorted(contenders, key=lambda c: c.index):
        by_group.setdefault(contender.group, []).append(contender)
    for members in by_group.values():
        for i, contender in enumerate(members):
            passes = contender.ramp < 1.0 and rng.random() >= contender.ramp
            contender.place = (i - turn) % len(members) + (len(members) if passes else 0)


def _draw(contenders: list[Contender], lineup: Lineup, rng: Random) -> None:
    """Gives places by weighted rendezvous: -ln(u) / weight, lowest first, u from the key and the target's name.

    The first place falls on each target with the chance weight / sum of weights, the same key gives the same places in
    every process, and a target that drops out moves only its own calls (Efraimidis and Spirakis, 2006). Targets without
    a share stand behind all with one, by score.
    """
    contenders.sort(key=attrgetter("score"), reverse=True)
    for contender in contenders:
        weight = _weight(contender, lineup)
        if weight <= 0.0:
            # All of them are equal here: sorted by score first, they stay so.
            contender.place = inf
            continue
        if lineup.stable_key:
            name = f"{lineup.stable_key}\0{contender.target.spec.target}"
            drawn = int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "big")
            chance = (drawn + 1) / (1 << 56)
        else:
            chance = 1.0 - rng.random()
        contender.place = -log(chance) / weight


def _weight(contender: Contender, lineup: Lineup) -> float:
    weight = lineup.shares.get(contender.index, 0.0) if lineup.shares else 1.0
    return weight * contender.ramp
