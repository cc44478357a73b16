"""What a budget is, as values: whose spending it limits, for how long, and what happens when it is used up.

Money is integer nano-USD. Times are wall-clock seconds since the epoch, since periods are dates.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from turnout_server.core.errors import FieldViolation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout_server.core.model import Caller, Target
    from turnout_server.core.trimming import TrimReport

NAME_MAXIMUM = 64
"""Characters of a budget's name, as the contract has it."""
LIMIT_MAXIMUM_NANO_USD = 10**9 * 10**9
"""The highest limit that a configuration may give: a billion USD."""
BUDGETS_MAXIMUM = 100
"""Every decision looks at each of them."""
REPLICAS_MAXIMUM = 10_000_000
SUGGEST_SHARE = 0.8
"""From this share of a limit on, used or reserved, a cheaper target is suggested."""


class BudgetScope(StrEnum):
    """Whose spending is added up: each value of the scope has the whole limit for itself."""

    GLOBAL = "global"
    TENANT = "tenant"
    USER = "user"
    TIER = "tier"
    TASK = "task"


SHARED_SCOPES = frozenset({BudgetScope.GLOBAL, BudgetScope.TENANT, BudgetScope.USER})
"""Scopes that mean all sidecars together, which no single one can hold: the limit is said to be per pod, or divided."""


class BudgetPeriod(StrEnum):
    """How long a limit holds before it begins anew, in the budget's time zone; TOTAL never does."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


class OnExceed(StrEnum):
    """What happens where the target that would be chosen does not fit into what is left."""

    REJECT = "reject"
    DOWNGRADE = "downgrade"


class Span(NamedTuple):
    """One period, from `starts_at` on and until just before `ends_at`; None: it never ends."""

    starts_at: float
    ends_at: float | None


class Calendar(Protocol):
    """Knows when the periods of one budget begin. Equal for equal periods and time zones.

    Days and months are the business of a time zone's table, which stands in files: whoever makes one has read them, so
    that it answers here as a function of time alone.
    """

    @property
    def period(self) -> BudgetPeriod:
        """How long its periods are."""
        ...

    @property
    def timezone(self) -> str:
        """The IANA name of the time zone that they begin in."""
        ...

    def span(self, now_wall: float) -> Span:
        """Returns the period that a time lies in; the next one begins where it ends."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSpec:
    """One limit as the operator gave it.

    `alert_at` are shares of the limit, rising, above 0 and at most 1. `per_pod` says that this sidecar has the whole
    limit for itself, `replicas` among how many it is divided.
    """

    name: str
    scope: BudgetScope
    limit_nano_usd: int
    calendar: Calendar
    on_exceed: OnExceed = OnExceed.REJECT
    alert_at: tuple[float, ...] = (0.5, 0.8, 0.95)
    per_pod: bool = False
    replicas: int | None = None

    @property
    def own_limit_nano_usd(self) -> int:
        """What of the limit is this sidecar's, rounded down, so that all of them together stay within it."""
        return self.limit_nano_usd // (self.replicas or 1)

    def key(self, caller: Caller, task: str) -> str:
        """Returns the value of the scope that a call belongs to; "" for global, and for calls without one."""
        match self.scope:
            case BudgetScope.GLOBAL:
                return ""
            case BudgetScope.TENANT:
                return caller.tenant
            case BudgetScope.USER:
                return caller.user
            case BudgetScope.TIER:
                return caller.tier
            case BudgetScope.TASK:
                return task


def budget_faults(spec: BudgetSpec) -> Iterator[FieldViolation]:
    """Yields what no budget may be, by the field's name in configuration and contract alike."""
    if not 1 <= len(spec.name) <= NAME_MAXIMUM:
        yield FieldViolation(field="name", description=f"must have 1 to {NAME_MAXIMUM} characters")
    if not spec.name.isprintable():
        yield FieldViolation(field="name", description="holds characters that cannot be printed")
    if not 0 < spec.limit_nano_usd <= LIMIT_MAXIMUM_NANO_USD or spec.own_limit_nano_usd < 1:
        yield FieldViolation(field="limit_usd", description="must be above 0, and at most 1e9")
    if any(not 0.0 < share <= 1.0 for share in spec.alert_at):
        yield FieldViolation(field="alert_at", description="each share must be above 0 and at most 1")
    if spec.replicas is not None and not 1 <= spec.replicas <= REPLICAS_MAXIMUM:
        yield FieldViolation(field="replicas", description=f"must be from 1 to {REPLICAS_MAXIMUM}")
    if spec.per_pod and spec.replicas is not None:
        yield FieldViolation(
            field="replicas", description="divides the limit among sidecars, but per_pod gives each the whole: keep one"
        )
    if spec.scope in SHARED_SCOPES and not spec.per_pod and spec.replicas is None:
        yield FieldViolation(
            field="per_pod",
            description=f"each sidecar counts alone, so a limit on {spec.scope.value} spending needs per_pod: true "
            "(each sidecar has the whole limit) or replicas: N (it is divided among N)",
        )


class Remaining(NamedTuple):
    """What remains of one budget for a caller, of this sidecar's part; `ends_at` None: the period never ends."""

    name: str
    limit_nano_usd: int
    left_nano_usd: int
    used_share: float
    ends_at: float | None


class Suggestion(NamedTuple):
    """A cheaper target, while a budget runs low; None is an unknown cost."""

    target: Target
    expected_cost_nano_usd: int | None
    reason: str


class Notices(NamedTuple):
    """What a caller may want to know beside an answer: of the budgets in force for it, and of its prompt."""

    budgets: tuple[Remaining, ...] = ()
    suggestion: Suggestion | None = None
    trimming: TrimReport | None = None
