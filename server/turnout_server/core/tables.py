"""Tables of targets that come first for a task and a tier: the operator's by names, the built-in ones by lines.

What an operator has said comes before what is built in: a row of the operator's stands in for the built-in ones, a
policy's `preferences` come before a built-in row, and where somebody chose how to rank, no built-in row holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.model import Strategy

if TYPE_CHECKING:
    from turnout_server.core.fleet import Fleet
    from turnout_server.core.model import RoutingOptions
    from turnout_server.core.settings import Policy

ANY_TIER = "any"

ModelLine = tuple[str, ...]
"""Models that stand in for each other, as `provider/model`, the one that is meant first: a model and its successors."""


@dataclass(frozen=True, slots=True, eq=False)
class BuiltInRow:
    """One built-in row. `otherwise` holds where the fleet has none of its lines: the task's row for all tiers.

    Compared by identity, since it is part of a key that each decision looks up.
    """

    lines: tuple[ModelLine, ...]
    otherwise: BuiltInRow | None = None


BuiltInTables = Mapping[str, Mapping[str, BuiltInRow]]
"""Rows by task and tier; each task has one for ANY_TIER."""


def is_ranking_chosen(policy: Policy, options: RoutingOptions) -> bool:
    """Returns whether somebody chose how to rank: a strategy or weights in the request, a strategy but HYBRID in the
    policy. Then neither complexity nor a built-in table changes it.
    """
    return options.strategy is not None or options.weights is not None or policy.strategy is not Strategy.HYBRID


class Preferred(NamedTuple):
    """What comes first for a request: the operator's names in order, and the built-in row behind them."""

    names: tuple[str, ...]
    row: BuiltInRow | None = None
    """None where no built-in row holds."""
    own: str = ""
    """The key of the operator's row that the names begin with, within the policy; "" where it has none."""
    own_count: int = 0
    """How many of the names are that row's; the others are the policy's list."""


def preferred(policy: Policy, task: str, tier: str, *, chosen: bool) -> Preferred:
    """Returns who comes first for a task and tier.

    The operator's are the task's row for the tier, else the one for any tier, then the policy's list. An empty row is
    a row. `chosen` is what `is_ranking_chosen` says.
    """
    if not task:
        return Preferred(policy.preferences)
    own = own_row(policy, task, tier)
    if own is not None:
        key = f"tasks.{task}.{tier if tier in policy.tasks[task] else ANY_TIER}"
        return Preferred((*own, *policy.preferences), None, key, len(own))
    if chosen:
        return Preferred(policy.preferences)
    return Preferred(policy.preferences, built_in_row(policy, task, tier))


def own_row(policy: Policy, task: str, tier: str) -> tuple[str, ...] | None:
    """Returns the operator's row for a task and tier, or for any tier; None where there is none."""
    tiers = policy.tasks.get(task)
    if tiers is None:
        return None
    row = tiers.get(tier)
    return tiers.get(ANY_TIER) if row is None else row


def built_in_row(policy: Policy, task: str, tier: str) -> BuiltInRow | None:
    """Returns the built-in row for a task and tier, or for any tier; None where the policy has none for the task."""
    tiers = policy.built_in_tables.get(task)
    return None if tiers is None else tiers.get(tier) or tiers[ANY_TIER]


def preferred_order(fleet: Fleet, names: tuple[str, ...], row: BuiltInRow | None) -> dict[int, int]:
    """Returns each preferred target's place in the order, by its index; a name's targets stand in file order."""
    order: dict[int, int] = {}
    for name in names:
        for index in fleet.resolve(name):
            order.setdefault(index, len(order))
    for index in () if row is None else in_force(fleet, row):
        order.setdefault(index, len(order))
    return order


def preferred_by(fleet: Fleet, policy: Policy, wanted: Preferred) -> dict[int, str]:
    """Returns on whose word each preferred target comes first, by its index: the operator's key, or which table."""
    said: dict[int, str] = {}
    for number, name in enumerate(wanted.names):
        key = wanted.own if number < wanted.own_count else "preferences"
        for index in fleet.resolve(name):
            said.setdefault(index, key)
    if wanted.row is not None:
        table = f"the built-in table for {_task_and_tier(policy, wanted.row, fleet)}"
        for index in in_force(fleet, wanted.row):
            said.setdefault(index, table)
    return said


def _task_and_tier(policy: Policy, row: BuiltInRow, fleet: Fleet) -> str:
    if row.otherwise is not None and not any(stand_ins(fleet, line) for line in row.lines):
        row = row.otherwise
    for task, tiers in policy.built_in_tables.items():
        for tier, each in tiers.items():
            if each is row:
                return task if tier == ANY_TIER else f"{task}, tier {tier}"
    return "the task"


def in_force(fleet: Fleet, row: BuiltInRow) -> tuple[int, ...]:
    """Returns the places of the targets that a built-in row stands for in this fleet, in order, each once."""
    found: dict[int, None] = {}
    for line in row.lines:
        found.update(dict.fromkeys(stand_ins(fleet, line)))
    if not found and row.otherwise is not None:
        return in_force(fleet, row.otherwise)
    return tuple(found)


def stand_ins(fleet: Fleet, line: ModelLine) -> tuple[int, ...]:
    """Returns the places of the first model of a line that is in the fleet and still served; () where none is."""
    for name in line:
        served = tuple(index for index in fleet.resolve(name) if not fleet.specs[index].deprecated)
        if served:
            return served
    return ()
