"""When an active check is due, what it asks, what its answer means, and what it may cost: nothing here asks anybody.

Only endpoints that are in question are checked: where calls succeed they say more than a check can, and what nobody
calls and nothing speaks against costs nobody anything. A list of models is free, and shows that an endpoint can be
connected to again; whether its models answer only a call can show, which for a check has one token.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from enum import Enum
from math import floor, inf
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.cost import expected_cost_nano_usd
from turnout_server.core.model import BreakerState, FailureKind

if TYPE_CHECKING:
    from turnout_server.core.faults import EndpointGroup
    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.gate import Gate
    from turnout_server.core.target_state import TargetState

CALL_INPUT_TOKENS = 64
"""The most that the request of a check comes to, vendors' framing included."""
CALL_OUTPUT_TOKENS = 1
DAY_SECONDS = 86_400.0

Name = tuple[str, str]
"""A provider and one of its endpoints."""


class Means(Enum):
    """What a check asks."""

    LIST = "list"
    """For the endpoint's models: costs nothing, and tells whether it can be connected to."""
    CALL = "call"
    """For one token, under the lease of a half-open target's one trial."""


class Question(NamedTuple):
    """One check that is worth making; `place` is that of the target that is called, or whose address is asked."""

    provider: str
    endpoint: str
    means: Means
    place: int


class Phases:
    """When it is whose turn: once in every interval, at a moment drawn for each endpoint when it is first met.

    Sidecars that meet the same outage in the same second so check at moments spread over the interval, and one sidecar
    does not check all its endpoints at once. Holds as many entries as there are endpoints in question.
    """

    __slots__ = ("_drawn", "_rng")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._drawn: dict[Name, float] = {}

    def due(self, name: Name, *, since: float, now: float, interval_seconds: float) -> bool:
        """Whether its moment lies after `since`, when this was last asked, and not after `now`; monotonic seconds."""
        phase = self._drawn.get(name)
        if phase is None:
            phase = self._drawn[name] = self._rng.random()
        return floor(now / interval_seconds - phase) > floor(since / interval_seconds - phase)

    def keep(self, names: Iterable[Name]) -> None:
        """Forgets all but these: of those that are gone, or well again."""
        here = set(names)
        if not here >= self._drawn.keys():
            self._drawn = {name: phase for name, phase in self._drawn.items() if name in here}


class Taken(NamedTuple):
    """What was taken out of a day's allowance for a call: nano-USD, at what wall-clock time."""

    nano_usd: int
    at: float


class Allowance:
    """What checks have cost on the present day (UTC), in nano-USD. A new process begins with nothing spent."""

    __slots__ = ("_day", "spent_nano_usd")

    def __init__(self) -> None:
        self._day = 0
        self.spent_nano_usd = 0

    def take(
        self, cost_nano_usd: int | None, limit_nano_usd: int, now_wall: float, *, asked_for: bool = False
    ) -> Taken | None:
        """Takes what a call may cost; None, with nothing taken, where the day has no room for it.

        What has no known price has none: unknown is not zero. What somebody has `asked_for` is taken in any case.
        """
        self._turn(now_wall)
        if not asked_for and (cost_nano_usd is None or self.spent_nano_usd + cost_nano_usd > limit_nano_usd):
            return None
        taken = Taken(cost_nano_usd or 0, now_wall)
        self.spent_nano_usd += taken.nano_usd
        return taken

    def settle(self, taken: Taken, cost_nano_usd: int | None, now_wall: float) -> None:
        """Puts what a call cost in the place of what was taken for it; None, unknown, leaves what was taken.

        What was taken before midnight stays with the day that it was taken on.
        """
        self._turn(now_wall)
        if cost_nano_usd is not None and floor(taken.at / DAY_SECONDS) == self._day:
            self.spent_nano_usd = max(0, self.spent_nano_usd - taken.nano_usd + max(0, cost_nano_usd))

    def _turn(self, now_wall: float) -> None:
        day = floor(now_wall / DAY_SECONDS)
        if day != self._day:
            self._day, self.spent_nano_usd = day, 0


def call_cost_nano_usd(spec: TargetSpec) -> int | None:
    """Returns what a check's call of one token may cost by the catalog, None where the price is not known."""
    return expected_cost_nano_usd(spec.price, input_tokens=CALL_INPUT_TOKENS, output_tokens=CALL_OUTPUT_TOKENS)


def question(group: EndpointGroup, targets: Sequence[TargetState], now: float) -> Question | None:
    """Returns what is worth asking an endpoint now, None for nothing; `targets` are those of the whole fleet.

    While it, or one of its models, is open since nothing could be connected to: its list. Where a model is half-open
    with its trial free: a call to the one that was longest not checked, the cheapest of those. Where calls wait
    suspiciously long, or one could not connect a moment ago: its list. What is drained is not asked about.
    """
    members = [target for target in map(targets.__getitem__, group.indexes) if not target.drained]
    if not members:
        return None
    first = members[0].index
    if any(_lost(gate, now) for gate in (group.breaker, *(target.breaker for target in members))):
        return Question(group.provider, group.endpoint, Means.LIST, first)
    trials = [target for target in members if _awaits_trial(target, now)]
    if trials:
        chosen = min(trials, key=_turn_and_price)
        return Question(group.provider, group.endpoint, Means.CALL, chosen.index)
    if any(target.suspect(now) for target in members):
        return Question(group.provider, group.endpoint, Means.LIST, first)
    return None


def reached(group: EndpointGroup, targets: Sequence[TargetState], now: float) -> None:
    """Takes that an endpoint has answered for its list: what is open since nothing could be connected to is half-open.

    Nothing closes by it, no failure is forgotten and no success counted: that a server answers for its list does not
    say that its models answer.
    """
    gates: list[Gate] = [group.breaker, *(targets[index].breaker for index in group.indexes)]
    for gate in gates:
        if _lost(gate, now):
            gate.try_now(now)


def _lost(gate: Gate, now: float) -> bool:
    return gate.state(now) is BreakerState.OPEN and gate.opened_by is FailureKind.CONNECTION


def _awaits_trial(target: TargetState, now: float) -> bool:
    gates = [gate for gate in (target.breaker, target.endpoint) if not gate.closed]
    return bool(gates) and all(gate.admits(now) for gate in gates)


def _turn_and_price(target: TargetState) -> tuple[bool, float, int, int]:
    checked_at = target.statistics.last_check_at
    cost = call_cost_nano_usd(target.spec)
    # A check never calls what has no price; where there is nothing else, that is told.
    return cost is None, -inf if checked_at is None else checked_at, cost or 0, target.index
