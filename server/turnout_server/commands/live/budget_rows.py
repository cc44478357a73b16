"""Budgets as short texts, those nearest to their end first."""

from __future__ import annotations

from dataclasses import dataclass

from turnout.v1 import admin_pb2
from turnout_server.commands.live.figures import money, one_line, share
from turnout_server.commands.live.seen import Seen
from turnout_server.commands.live.target_rows import Tone
from turnout_server.commands.printing import enum_word

_WARN_SHARE = 0.8
"""From here on answers suggest a cheaper target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetText:
    """One value of a budget's scope; `used` is the share of the limit that is spent or reserved."""

    text: str
    used: float
    tone: Tone


def budget_texts(seen: Seen) -> list[BudgetText]:
    """Returns the budgets, the most used ones first."""
    texts = [text for budget in seen.budgets for text in _of(budget)]
    return sorted(texts, key=lambda one: -one.used)


def _of(budget: admin_pb2.Budget) -> list[BudgetText]:
    parts = budget.replicas if budget.HasField("replicas") else 1
    limit = budget.limit_usd / parts
    period = enum_word(admin_pb2.BudgetPeriod, budget.period).lower()
    of = f"of {money(limit)}" + ("" if budget.period == admin_pb2.BUDGET_PERIOD_TOTAL else f" per {period}")
    if not budget.spend:
        return [BudgetText(text=f"{one_line(budget.name)} $0 {of}", used=0.0, tone=Tone.GOOD)]
    found = []
    for spend in budget.spend:
        used = (spend.spent_usd + spend.reserved_usd) / limit if limit > 0 else 1.0
        whose = f" {one_line(spend.key) or '(none)'}" if budget.scope != admin_pb2.BUDGET_SCOPE_GLOBAL else ""
        left = share(max(0.0, 1.0 - used))
        reserved = f" +{money(spend.reserved_usd)} reserved" if spend.reserved_usd > 0 else ""
        found.append(
            BudgetText(
                text=f"{one_line(budget.name)}{whose} {money(spend.spent_usd)}{reserved} {of}, {left} left",
                used=used,
                tone=Tone.BAD if spend.remaining_usd <= 0 else Tone.WARN if used >= _WARN_SHARE else Tone.GOOD,
            )
        )
    return found
