"""Budgets as people see and change them: what is spent, what there is to say of it beside an answer, other limits.

Each change is checked whole before anything is changed, is one step, and is told as an event with who made it. It holds
until the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from turnout_server.core.events import Event, EventName
from turnout_server.core.model import NANO_USD

if TYPE_CHECKING:
    from turnout_server.core.budget import BudgetSpec, Notices
    from turnout_server.core.budget_book import BudgetReport
    from turnout_server.core.decision import Decision
    from turnout_server.core.model import RouteQuery, Target
    from turnout_server.core.spending import Spending


class Budgets:
    """Over what is spent. `clock` is monotonic, `wall` seconds since the epoch; `tell` takes events.

    `by` is always who changes something, in words for people.
    """

    __slots__ = ("_clock", "_spending", "_tell", "_wall")

    def __init__(
        self,
        spending: Spending,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        tell: Callable[[Iterable[Event]], None],
    ) -> None:
        self._spending = spending
        self._clock = clock
        self._wall = wall
        self._tell = tell

    def reports(self) -> list[BudgetReport]:
        """Returns all budgets with what is spent, by name."""
        return self._spending.budgets(self._wall())

    def specs(self) -> list[BudgetSpec]:
        """Returns all budgets without what is spent, by name; `report` sums up thousands of accounts."""
        return self._spending.budget_specs()

    def report(self, name: str) -> BudgetReport:
        """Returns one budget with what is spent. Raises UnknownBudgetError."""
        return self._spending.budget(name, self._wall())

    def notices(self, decision: Decision, query: RouteQuery, chosen: Target | None = None) -> Notices | None:
        """Returns what a caller may want to know beside an answer of `chosen`, the first without; None for nothing."""
        if not self._spending.active:
            return None
        return self._spending.notices(query, decision, chosen or decision.candidates[0].target, self._wall())

    def create(self, spec: BudgetSpec, *, by: str) -> BudgetReport:
        """Adds a budget. Raises InvalidRequestError or AlreadyExistsError."""
        report = self._spending.create(spec, self._wall())
        self._told(EventName.BUDGET_CREATED, spec, by, _in_words(spec))
        return report

    def change(self, spec: BudgetSpec, etag: str = "", *, by: str) -> BudgetReport:
        """Gives the budget of that name other values; what is spent stays spent.

        `etag` is that of the budget that was read, "" to change in any case. Raises UnknownBudgetError, StaleEtagError
        or InvalidRequestError.
        """
        before = self._spending.budget(spec.name, self._wall()).spec
        report = self._spending.change(spec, etag, self._wall())
        if before != spec:
            self._told(EventName.BUDGET_CHANGED, spec, by, f"{_in_words(before)} -> {_in_words(spec)}")
        return report

    def delete(self, name: str, etag: str = "", *, by: str) -> None:
        """Takes a budget out. Raises UnknownBudgetError or StaleEtagError."""
        before = self._spending.budget(name, self._wall()).spec
        self._spending.delete(name, etag, self._wall())
        self._told(EventName.BUDGET_DELETED, before, by, _in_words(before))

    def _told(self, name: EventName, spec: BudgetSpec, by: str, what: str) -> None:
        fields: dict[str, str | int | float] = {"budget": spec.name, "by": by, "what": what}
        self._tell((Event(name=name, at=self._clock(), fields=fields),))


def _in_words(spec: BudgetSpec) -> str:
    part = f" / {spec.replicas}" if spec.replicas else ""
    per_pod = ", per_pod" if spec.per_pod else ""
    shares = ", ".join(f"{share:g}" for share in spec.alert_at)
    return (
        f"{spec.limit_nano_usd / NANO_USD:g} USD{part} for {spec.scope} each {spec.calendar.period} "
        f"({spec.calendar.timezone}), {spec.on_exceed}, alerts at {shares}{per_pod}"
    )
