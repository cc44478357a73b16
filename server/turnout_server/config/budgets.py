"""From the `budgets` block to the core's limits, and what no single value shows to be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from turnout_server.calendars import UnknownTimezoneError, calendar
from turnout_server.config.faults import Finding, Path
from turnout_server.core.budget import BudgetPeriod, BudgetScope, BudgetSpec, OnExceed, budget_faults
from turnout_server.core.model import NANO_USD

if TYPE_CHECKING:
    from turnout_server.config.schema import Configuration
    from turnout_server.config.schema_budgets import BudgetSection

SESSION_SCOPE = "session"


def budget_findings(configuration: Configuration) -> Iterator[Finding]:
    """Yields what is wrong with budgets: names there twice, time zones nobody knows, limits that cannot be held."""
    names = [section.name for section in configuration.budgets]
    for i, section in enumerate(configuration.budgets):
        path: Path = ("budgets", i)
        if section.name in names[:i]:
            yield (*path, "name"), f'"{section.name}" is there twice'
        if section.scope == SESSION_SCOPE:
            yield (*path, "scope"), "session is not in this version yet"
            continue
        try:
            spec = budget_spec(section)
        except UnknownTimezoneError as error:
            yield (*path, "timezone"), str(error)
            continue
        for fault in budget_faults(spec):
            yield (*path, fault.field), fault.description


def budget_spec(section: BudgetSection) -> BudgetSpec:
    """Returns the core's budget. Raises UnknownTimezoneError."""
    return BudgetSpec(
        name=section.name,
        scope=BudgetScope(section.scope),
        limit_nano_usd=round(section.limit_usd * NANO_USD),
        calendar=calendar(BudgetPeriod(section.period), section.timezone),
        on_exceed=OnExceed(section.on_exceed),
        alert_at=tuple(sorted(set(section.alert_at))),
        per_pod=section.per_pod,
        replicas=section.replicas,
    )
