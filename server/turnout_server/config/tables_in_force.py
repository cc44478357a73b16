"""Which tables hold with a configuration: for each policy, task and tier who comes first, and on whose word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from turnout_server.config.built_in_tables import LINES
from turnout_server.config.faults import dotted
from turnout_server.config.owners import owner_of
from turnout_server.config.policies import all_policies
from turnout_server.config.schema import Configuration
from turnout_server.core.fleet import Fleet
from turnout_server.core.model import RoutingOptions
from turnout_server.core.settings import Policy, RoutingSettings
from turnout_server.core.tables import (
    ANY_TIER,
    BuiltInRow,
    built_in_row,
    in_force,
    is_ranking_chosen,
    own_row,
    preferred_order,
    stand_ins,
)

BUILT_IN = "built in"
NOT_ASKED = RoutingOptions()
_NAMES = {line: name for name, line in LINES}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableInForce:
    """What comes first for one task and tier under one policy. `tier` "any" is every tier without a row of its own.

    `task` is "" for what comes first whatever the task. `left_out` are names that the row has and the fleet has not.
    """

    policy: str
    task: str
    tier: str
    max_cost_usd: float | None
    """The tier's cap."""
    names: tuple[str, ...]
    """Those of the row that the fleet has, as the row has them: a provider's name is all of its models."""
    targets: tuple[str, ...]
    source: str
    """The key that says so, or BUILT_IN."""
    left_out: tuple[str, ...]
    note: str
    """Why a row does not hold as it is written, "" where it does."""


def tables_in_force(configuration: Configuration, settings: RoutingSettings, fleet: Fleet) -> Iterator[TableInForce]:
    """Yields the tables of each policy, those of one policy by task and tier."""
    for name, policy in settings.policies.items():
        if policy.preferences:
            yield _row(
                policy,
                "",
                ANY_TIER,
                names=policy.preferences,
                source=dotted(
                    (
                        "routing",
                        "policies",
                        owner_of(name, ("preferences",), all_policies(configuration.routing)),
                        "preferences",
                    )
                ),
                fleet=fleet,
            )
        chosen = is_ranking_chosen(policy, NOT_ASKED)
        if chosen and policy.built_in_tables:
            yield TableInForce(
                policy=name,
                task="",
                tier=ANY_TIER,
                max_cost_usd=None,
                names=(),
                targets=(),
                source=BUILT_IN,
                left_out=(),
                note=f"no built-in row holds: the policy's strategy is {policy.strategy.value}",
            )
        for task in dict.fromkeys((*policy.tasks, *(() if chosen else policy.built_in_tables))):
            yield from _of_task(configuration, settings, policy, task, fleet, chosen=chosen)


def _of_task(
    configuration: Configuration, settings: RoutingSettings, policy: Policy, task: str, fleet: Fleet, *, chosen: bool
) -> Iterator[TableInForce]:
    rows = policy.tasks.get(task, {})
    for tier in (ANY_TIER, *settings.tiers):
        own = own_row(policy, task, tier)
        built_in = None if chosen else built_in_row(policy, task, tier)
        if own is not None:
            # A tier is told of only where it differs from what holds for any.
            if tier == ANY_TIER or tier in rows:
                owner = owner_of(policy.name, ("tasks",), all_policies(configuration.routing))
                yield _row(
                    policy,
                    task,
                    tier,
                    cap=settings.tiers.get(tier),
                    names=own,
                    source=dotted(("routing", "policies", owner, "tasks", task, tier)),
                    fleet=fleet,
                )
        elif built_in is not None and (tier == ANY_TIER or tier in policy.built_in_tables[task]):
            yield _built_in(policy, task, tier, cap=settings.tiers.get(tier), row=built_in, fleet=fleet)


def _row(
    policy: Policy,
    task: str,
    tier: str,
    *,
    names: tuple[str, ...],
    source: str,
    fleet: Fleet,
    cap: float | None = None,
) -> TableInForce:
    return TableInForce(
        policy=policy.name,
        task=task,
        tier=tier,
        max_cost_usd=cap,
        names=tuple(name for name in names if fleet.resolve(name)),
        targets=_named(fleet, preferred_order(fleet, names, None)),
        source=source,
        left_out=tuple(name for name in names if not fleet.resolve(name)),
        note="" if names else "empty: no table",
    )


def _built_in(
    policy: Policy, task: str, tier: str, *, cap: float | None, row: BuiltInRow, fleet: Fleet
) -> TableInForce:
    left_out = tuple(_NAMES[line] for line in row.lines if not stand_ins(fleet, line))
    targets = _named(fleet, in_force(fleet, row))
    gives_way = bool(targets) and len(left_out) == len(row.lines)
    return TableInForce(
        policy=policy.name,
        task=task,
        tier=tier,
        max_cost_usd=cap,
        names=targets,
        targets=targets,
        source=BUILT_IN,
        left_out=left_out,
        note="the row for any tier stands in" if gives_way else "",
    )


def _named(fleet: Fleet, places: Iterable[int]) -> tuple[str, ...]:
    return tuple(fleet.specs[place].name for place in places)
