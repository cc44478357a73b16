"""A state that another sidecar exported, taken over by one that runs: only what this one does not know better itself.

What is known of a target is taken where this sidecar has not called it: its own knowledge is newer than any document.
Of what budgets have spent the larger sum counts, since money that was spent anywhere is spent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from turnout_server.core.affinity import AffinityKey
from turnout_server.core.keeping import sorted_lines, spent
from turnout_server.core.kept import (
    AffinityLine,
    AgesLine,
    BreakerLine,
    EndpointLine,
    LearnedLine,
    StatisticsLine,
    SumsLine,
    TargetLine,
    endpoint_name,
    kept_name,
)
from turnout_server.core.model import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout_server.core.keeping import Aged
    from turnout_server.core.kept import KeptName, Since
    from turnout_server.core.spending import Spending
    from turnout_server.core.state import FleetState
    from turnout_server.core.target_state import TargetState

WARNINGS_MAXIMUM = 100
"""Warnings told of one document; the last of more says how many there were."""


@dataclass(slots=True)
class TakenOver:
    """Targets whose state was taken over, the budgets whose spending was, and what could not be, in words."""

    targets: list[Target] = field(default_factory=list)
    budgets: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def take_over(
    state: FleetState, spending: Spending, lines: Iterable[Aged], *, now: float, now_wall: float
) -> TakenOver:
    """Takes what fits, in one step; the lines have been read as a whole, and none of them is wrong."""
    taken = TakenOver()
    latest, several = sorted_lines(lines)
    names = {kept_name(spec): target for spec, target in zip(state.fleet.specs, state.targets, strict=True)}
    fresh = {name: target for name, target in names.items() if _is_fresh(target)}
    endpoints = {
        endpoint_name(state.fleet.specs[group.indexes[0]]): group.breaker
        for group in state.groups
        if all(_is_fresh(state.targets[index]) for index in group.indexes)
    }
    known_from = now
    for line, since in latest:
        match line:
            case AgesLine():
                known_from = since.past(line.chronicle)
            case EndpointLine() if line.name in endpoints:
                endpoints[line.name].resume(line, since)
            case BreakerLine() | TargetLine() | StatisticsLine():
                _of_target(line, since, names, fresh, taken)
            case _:
                # Keys are not taken: another sidecar's may be others.
                pass
    _learned(state, several, {target.spec.target for target in fresh.values()})
    _conversations(state, several, names, taken, now)
    sums = [(line, since) for line, since in several if isinstance(line, SumsLine)]
    if sums and state.past.chronicle.is_empty:
        state.past.chronicle.resume(sums, known_from, now)
    elif sums:
        taken.warnings.append("sums over the past: this sidecar has its own already")
    for kept in spent(line for line, _ in several).values():
        if spending.ledger.take_over(kept, now_wall):
            taken.budgets.append(kept.budget.name)
        else:
            taken.warnings.append(f"budget {kept.budget.name}: there is no such here, or its period is over")
    state.resumed(now)
    if len(taken.warnings) > WARNINGS_MAXIMUM:
        rest = len(taken.warnings) - WARNINGS_MAXIMUM + 1
        taken.warnings[WARNINGS_MAXIMUM - 1 :] = [f"and {rest} more"]
    return taken


def _of_target(
    line: BreakerLine | TargetLine | StatisticsLine,
    since: Since,
    names: dict[KeptName, TargetState],
    fresh: dict[KeptName, TargetState],
    taken: TakenOver,
) -> None:
    """Takes a line about one target, or says why not; of its lines the one of what is learned speaks for all."""
    target = fresh.get(line.name)
    if isinstance(line, TargetLine):
        where = Target(line.name.provider, line.name.model, line.name.endpoint)
        if target is not None:
            target.resume(line, since)
            taken.targets.append(where)
        elif line.name in names:
            taken.warnings.append(f"{where}: it was called here, and what is known of it here is newer")
        else:
            taken.warnings.append(f"{where}: there is no such target here, or it has another address")
    elif target is None:
        return
    elif isinstance(line, BreakerLine):
        target.breaker.resume(line, since)
    else:
        target.statistics.resume(line, since)


def _is_fresh(target: TargetState) -> bool:
    """Whether nobody has called a target since the start, or told of a call."""
    return not target.in_flight and target.statistics.last_request_at is None


def _learned(state: FleetState, lines: Iterable[Aged], fresh: set[Target]) -> None:
    """Takes what was learned of models' tokens, where none of a model's targets has taught anything here."""
    own = {(spec.target.provider, spec.target.model) for spec in state.fleet.specs if spec.target not in fresh}
    models = {(target.provider, target.model) for target in fresh} - own
    for line, _ in lines:
        if isinstance(line, LearnedLine):
            state.token_ratios.resume(row for row in line.ratios if row[:2] in models)
            state.lengths.resume(row for row in line.lengths if row[1:3] in models)


def _conversations(
    state: FleetState, lines: Iterable[Aged], names: dict[KeptName, TargetState], taken: TakenOver, now: float
) -> None:
    """Takes who answered which conversation last, where there is none here yet: they are held in order of time."""
    entries = [
        (AffinityKey(tenant, sticky_key, session_id), names[name].spec.target, share, since.past(age))
        for line, since in lines
        if isinstance(line, AffinityLine)
        for tenant, sticky_key, session_id, place, share, age in line.rows
        if 0 <= place < len(line.names) and (name := line.names[place]) in names
    ]
    if entries and len(state.affinity):
        taken.warnings.append("sticky keys and sessions: this sidecar has its own already")
    elif entries:
        state.affinity.resume(entries, now)
