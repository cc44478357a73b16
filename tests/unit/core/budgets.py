"""Budgets for tests: small limits, and a calendar of even periods that needs no time zone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from turnout_server.core.budget import BudgetPeriod, BudgetScope, BudgetSpec, Span
from turnout_server.core.budget_ledger import Payer
from turnout_server.core.model import Caller

NOW_WALL = 1_800_000_000.0
PERIOD_SECONDS = 1000.0


@dataclass(frozen=True)
class EvenCalendar:
    """Periods of a thousand seconds, begun `shift` earlier; TOTAL never ends."""

    period: BudgetPeriod = BudgetPeriod.MONTH
    timezone: str = "UTC"
    shift: float = 0.0

    def span(self, now_wall: float) -> Span:
        if self.period is BudgetPeriod.TOTAL:
            return Span(0.0, None)
        starts_at = (now_wall + self.shift) // PERIOD_SECONDS * PERIOD_SECONDS - self.shift
        return Span(starts_at, starts_at + PERIOD_SECONDS)


def budget(name: str = "monthly", limit: int = 1000, **facts: Any) -> BudgetSpec:
    """A budget of `limit` nano-USD for everybody, per pod, unless `facts` say otherwise."""
    period = facts.pop("period", BudgetPeriod.MONTH)
    defaults: dict[str, Any] = {
        "scope": BudgetScope.GLOBAL,
        "calendar": EvenCalendar(period),
        "per_pod": "replicas" not in facts,
    }
    return BudgetSpec(name=name, limit_nano_usd=limit, **{**defaults, **facts})


def payer(tenant: str = "", user: str = "", tier: str = "", task: str = "") -> Payer:
    return Payer(Caller(tenant=tenant, user=user, tier=tier), task)
