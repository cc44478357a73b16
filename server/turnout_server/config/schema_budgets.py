"""The `budgets` block: limits on spending."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from turnout_server.config.fields import LOWER, Count, Section, Share, Usd

Period = Literal["minute", "hour", "day", "week", "month", "total"]
Scope = Literal["global", "tenant", "user", "tier", "task", "session"]


class BudgetSection(Section):
    """One limit on spending; each value of its scope has the whole of it."""

    name: str = Field(description="1 to 64 characters; no two budgets have the same.")
    scope: Annotated[Scope, LOWER] = Field(
        default="global", description="Whose spending: global, or each tenant's, user's, tier's or task's."
    )
    period: Annotated[Period, LOWER] = Field(
        default="month",
        description="How long it holds: minute, hour, day, week (from Monday), month, total (for ever).",
    )
    limit_usd: Usd = Field(description="Above 0.")
    on_exceed: Annotated[Literal["reject", "downgrade"], LOWER] = Field(
        default="reject",
        description="Targets that do not fit are rejected; with downgrade, the cheapest that fits is then taken.",
    )
    alert_at: tuple[Share, ...] = Field(
        default=(0.5, 0.8, 0.95), description="Shares of the limit that an event tells of; 1 always does."
    )
    per_pod: bool = Field(default=False, description="Each sidecar has the whole limit for itself.")
    replicas: Count | None = Field(
        default=None,
        description="Among how many sidecars the limit is divided. Global, tenant and user need this or `per_pod`.",
    )
    timezone: str = Field(default="UTC", description="IANA name; days, weeks and months begin at its midnight.")
