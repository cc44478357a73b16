"""A state that another sidecar exported, taken over by one that runs: only what this one does not know better itself.

What is known of a target is taken where this sidecar has not called it: its own knowledge is newer than any document.
Of what budgets have spent the larger sum counts, since money that was spent anywhere is spent.

Arrow line: lines -> `received`: all that is costly, beside the event loop -> `take_over`: in pieces, calls in between.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from turnout_server.core.affinity import Affinity, AffinityKey
from turnout_server.core.chronicle import KeptSlots
from turnout_server.core.keeping import SpentSums, spent
from turnout_server.core.kept import (
    AffinityLine,
    AgesLine,
    BreakerLine,
    BudgetLine,
    CostsLine,
    EndpointLine,
    LearnedLine,
    SpentLine,
    StatisticsLine,
    SumsLine,
    TargetLine,
    endpoint_name,
    kept_name,
)
from turnout_server.core.model import Target
from turnout_server.core.past import Past
from turnout_server.core.statistics import TargetStatistics
from turnout_server.core.target_state import GONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from turnout_server.core.fleet import Fleet
    from turnout_server.core.keeping import Aged
    from turnout_server.core.kept import KeptName, Line, Since
    from turnout_server.core.settings import Settings
    from turnout_server.core.spending import Spending
    from turnout_server.core.state import FleetState
    from turnout_server.core.status_report import Steps
    from turnout_server.core.target_state import TargetState

WARNINGS_MAXIMUM = 100
"""Warnings told of one document; the last of more says how many there were."""
TARGETS_AT_ONCE = 10
ACCOUNTS_AT_ONCE = 1000
"""Of one budget; what a step takes stays below some milliseconds."""


@dataclass(slots=True)
class TakenOver:
    """Targets whose state was taken over, the budgets whose spending was, and what could not be, in words."""

    targets: list[Target] = field(default_factory=list)
    budgets: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def bounded(self) -> TakenOver:
        """Returns it with as many warnings as are told."""
        if len(self.warnings) > WARNINGS_MAXIMUM:
            rest = len(self.warnings) - WARNINGS_MAXIMUM + 1
            self.warnings[WARNINGS_MAXIMUM - 1 :] = [f"and {rest} more"]
        return self


@dataclass(slots=True)
class ReceivedTarget:
    """What a document says of one target."""

    learned: tuple[TargetLine, Since] | None = None
    breaker: tuple[BreakerLine, Since] | None = None
    statistics: TargetStatistics | None = None


@dataclass(slots=True)
class Received:
    """What a document says, made ready: whatever is costly to make is made. None for what it does not speak of."""

    fleet: Fleet
    """The one that conversations were looked up in."""
    targets: dict[KeptName, ReceivedTarget] = field(default_factory=dict)
    endpoints: dict[KeptName, tuple[EndpointLine, Since]] = field(default_factory=dict)
    learned: list[LearnedLine] = field(default_factory=list)
    conversations: Affinity | None = None
    past: Past | None = None
    """Of which the sums are."""
    budgets: list[SpentSums] = field(default_factory=list)

    def target(self, name: KeptName) -> ReceivedTarget:
        """Returns what is said of a target so far."""
        return self.targets.setdefault(name, ReceivedTarget())


def received(lines: Iterable[Aged], fleet: Fleet, settings: Settings, *, now: float, now_wall: float) -> Received:
    """Makes a document ready for a sidecar of this fleet; touches nothing of it. The lines are known to make sense.

    Each line is let go of once it is read: all of them take many times what is made of them.
    """
    document, slots, known_from = Received(fleet=fleet), KeptSlots(), now
    spoken: list[BudgetLine | SpentLine] = []
    costs: list[CostsLine] = []
    conversations: list[tuple[AffinityKey, Target, float, float]] = []
    names = {kept_name(spec): spec.target for spec in fleet.specs}
    for line, since in lines:
        match line:
            case AgesLine():
                known_from = since.past(line.chronicle)
            case LearnedLine():
                document.learned.append(line)
            case AffinityLine():
                conversations += _conversations(line, since, names)
            case SumsLine():
                slots.add(line, since)
            case CostsLine():
                costs.append(line)
            case BudgetLine() | SpentLine():
                spoken.append(line)
            case _:
                _of_target(document, line, since)
    if conversations:
        document.conversations = Affinity(settings.routing.affinity)
        document.conversations.resume(conversations, now)
    if slots or costs:
        document.past = Past(settings.history_max_bytes, now=now)
        document.past.costs.offset = now_wall - now
        document.past.costs.resume(costs)
        document.past.chronicle.put_back(slots, known_from, now)
    document.budgets = list(spent(spoken).values())
    return document


def _of_target(document: Received, line: Line, since: Since) -> None:
    """Makes a line about a target or an endpoint ready. Keys are not taken: another sidecar's may be others."""
    match line:
        case EndpointLine():
            document.endpoints[line.name] = line, since
        case TargetLine():
            document.target(line.name).learned = line, since
        case BreakerLine():
            document.target(line.name).breaker = line, since
        case StatisticsLine():
            statistics = document.target(line.name).statistics = TargetStatistics()
            statistics.resume(line, since)


def _conversations(
    line: AffinityLine, since: Since, names: Mapping[KeptName, Target]
) -> Iterator[tuple[AffinityKey, Target, float, float]]:
    """Yields who answered which conversation last, as far as there is such a target here."""
    for tenant, sticky_key, session_id, place, share, age in line.rows:
        target = names.get(line.names[place]) if 0 <= place < len(line.names) else None
        if target is not None:
            yield AffinityKey(tenant, sticky_key, session_id), target, share, since.past(age)


def take_over(
    state: FleetState, spending: Spending, document: Received, *, now: float, now_wall: float
) -> Steps[TakenOver]:
    """Takes what fits, piece by piece; each target and each account is one step. Calls go on between two pieces.

    The fleet may be another one after each of them.
    """
    taken = TakenOver()
    # Before the targets: what is taken of them says when they were called.
    _endpoints(state, document)
    yield
    yield from _targets(state, document, taken)
    yield from _learned(state, document, set(taken.targets))
    if document.conversations is not None and len(document.conversations):
        if len(state.affinity):
            taken.warnings.append("sticky keys and sessions: this sidecar has its own already")
        else:
            state.affinity.take(document.conversations, now)
            if state.fleet is not document.fleet:
                # Another one came meanwhile.
                state.affinity.keep_known(state.fleet)
        yield
    if document.past is not None:
        if state.past.chronicle.is_empty and state.past.costs.is_empty:
            state.past.costs.take(document.past.costs)
            state.past.chronicle.take(document.past.chronicle, now)
        else:
            taken.warnings.append("sums over the past: this sidecar has its own already")
        yield
    for sums in document.budgets:
        yield from _budget(spending, sums, taken, now_wall)
    return taken.bounded()


def _endpoints(state: FleetState, document: Received) -> None:
    for group in state.groups:
        kept = document.endpoints.get(endpoint_name(state.fleet.specs[group.indexes[0]]))
        if kept is not None and all(_is_fresh(state.targets[index]) for index in group.indexes):
            group.breaker.resume(*kept)
            state.taken_over(group.indexes)


def _targets(state: FleetState, document: Received, taken: TakenOver) -> Steps[None]:
    """Takes what is known of each target that there is, and says what is of none."""
    left = dict(document.targets)
    here = list(state.targets)
    for place, target in enumerate(here, start=1):
        name = kept_name(target.spec)
        kept = left.pop(name, None)
        if kept is not None and kept.learned is not None and target.index != GONE:
            if _is_fresh(target):
                _take_target(target, kept)
                state.taken_over((target.index,))
                taken.targets.append(target.spec.target)
            else:
                taken.warnings.append(
                    f"{target.spec.target}: it was called here, and what is known of it here is newer"
                )
        if place % TARGETS_AT_ONCE == 0:
            yield
    taken.warnings += (
        f"{Target(name.provider, name.model, name.endpoint)}: there is no such target here, or it has another address"
        for name, kept in left.items()
        if kept.learned is not None
    )


def _take_target(target: TargetState, kept: ReceivedTarget) -> None:
    if kept.learned is not None:
        target.resume(*kept.learned)
    if kept.breaker is not None:
        target.breaker.resume(*kept.breaker)
    if kept.statistics is not None:
        target.statistics.take(kept.statistics)


def _is_fresh(target: TargetState) -> bool:
    """Whether nobody has called a target since the start, or told of a call."""
    return not target.in_flight and target.statistics.last_request_at is None


def _learned(state: FleetState, document: Received, taken: set[Target]) -> Steps[None]:
    """Takes what was learned of models' tokens, where none of a model's targets has taught anything here."""
    own = {(spec.target.provider, spec.target.model) for spec in state.fleet.specs if spec.target not in taken}
    models = {(target.provider, target.model) for target in taken} - own
    for line in document.learned:
        state.token_ratios.resume(row for row in line.ratios if row[:2] in models)
        state.lengths.resume(row for row in line.lengths if row[1:3] in models)
        yield


def _budget(spending: Spending, sums: SpentSums, taken: TakenOver, now_wall: float) -> Steps[None]:
    for few in _pieces(sums):
        if not spending.ledger.take_over(few, now_wall):
            taken.warnings.append(f"budget {sums.budget.name}: there is no such here, or its period is over")
            return
        yield
    taken.budgets.append(sums.budget.name)


def _pieces(sums: SpentSums) -> Iterator[SpentSums]:
    """Yields the accounts of a budget some at a time, at least once."""
    accounts = iter(sums.accounts.items())
    yield SpentSums(sums.budget, sums.since_wall, dict(islice(accounts, ACCOUNTS_AT_ONCE)), sums.other)
    while few := dict(islice(accounts, ACCOUNTS_AT_ONCE)):
        yield SpentSums(sums.budget, sums.since_wall, few)
