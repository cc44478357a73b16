"""Budgets as the router uses them: requests and targets in, claims, charges, notices and events out.

It turns what is asked into money by the rules of `budget_need` and keeps the ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.attempt_need import attempt_need
from turnout_server.core.budget import SUGGEST_SHARE, Notices, Suggestion
from turnout_server.core.budget_book import WHOLE
from turnout_server.core.budget_ledger import Ledger, Payer
from turnout_server.core.budget_need import Claim, claim, fleet_rates
from turnout_server.core.candidates import cheaper
from turnout_server.core.events import Event, EventName
from turnout_server.core.filters import usd
from turnout_server.core.model import NANO_USD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from turnout_server.core.budget import BudgetSpec, Remaining
    from turnout_server.core.budget_book import Alert, BudgetReport
    from turnout_server.core.budget_ledger import Reserved, Room
    from turnout_server.core.decision import Candidate, Decision
    from turnout_server.core.fleet import Fleet, TargetSpec
    from turnout_server.core.model import Outcome, RequestProfile, RouteQuery, Target
    from turnout_server.core.state import FleetState


class Spending:
    """What is spent, and what may be. `now` is monotonic, `now_wall` seconds since the epoch."""

    def __init__(self, specs: Sequence[BudgetSpec], state: FleetState, now_wall: float) -> None:
        self._state = state
        self._ledger = Ledger(specs, now_wall, fleet_rates(state.fleet.specs))
        self.active = bool(specs)
        """Whether there are budgets. Without, nothing need be asked here before an attempt."""
        self.settles = self.active
        """Whether there may be something to settle: there are budgets, or calls still hold something of those that were
        taken out. Without, everything else here does nothing."""

    @property
    def ledger(self) -> Ledger:
        """The budgets themselves, for whoever keeps what is spent."""
        return self._ledger

    def adopt(self, specs: Sequence[BudgetSpec], fleet: Fleet, now_wall: float) -> None:
        """Takes another configuration's budgets and another fleet's prices; see `Ledger.adopt`."""
        self._ledger.adopt(specs, now_wall, fleet_rates(fleet.specs))
        self.active = bool(self._ledger.books)
        self.settles = self.active or self._ledger.owes

    def room(self, query: RouteQuery, *, now: float, now_wall: float, holder: str = "") -> Room | None:
        """Returns what is left for a request, with what its call holds already; None where no budget applies."""
        return self._ledger.room(_payer(query), now=now, now_wall=now_wall, holder=holder) if self.active else None

    def reserved(self, query: RouteQuery, budget: str, *, holder: str = "") -> Reserved | None:
        """Returns what other calls and plans hold of a budget; None for nothing."""
        return self._ledger.reserved(budget, _payer(query), holder=holder)

    def reserve(
        self,
        spec: TargetSpec,
        query: RouteQuery,
        *,
        holder: str,
        attempt_id: str,
        now: float,
        now_wall: float,
        at_most: int | None = None,
    ) -> Claim | None:
        """Reserves the most that an attempt can cost; None where a budget has too little, and then nothing is taken.

        `at_most` is an output limit that is sent in any case, None for none.
        """
        room = self.room(query, now=now, now_wall=now_wall, holder=holder)
        wanted = None if room is None else self._claim(spec, query.profile, room, at_most)
        if wanted is None or not self._ledger.reserve(holder, attempt_id, wanted.nano_usd, _payer(query), now_wall):
            return None
        return wanted

    def release(self, holder: str, attempt_id: str, now_wall: float) -> None:
        """Gives back what an attempt reserved that was never made; it stays with the call."""
        self._ledger.settle(holder, attempt_id, 0, now_wall)

    def settle(
        self, holder: str, attempt_id: str, cost_nano_usd: int | None, *, now: float, now_wall: float
    ) -> list[Event]:
        """Charges what an attempt cost; unknown costs what was reserved."""
        return _events(self._ledger.settle(holder, attempt_id, cost_nano_usd, now_wall), now)

    def end(self, holder: str) -> None:
        """Releases what a call still holds."""
        self._ledger.end(holder)

    def plan(self, decision: Decision, query: RouteQuery, *, plan_valid_seconds: float, now: float) -> None:
        """Holds the cost of a plan's first candidate, for as long as plan and attempt may last."""
        now_wall = decision.decided_at_wall
        room = self.room(query, now=now, now_wall=now_wall)
        if room is None or not decision.candidates:
            return
        first = decision.candidates[0]
        wanted = self._claim(first.spec, query.profile, room)
        if wanted is None:
            return
        self._ledger.reserve_plan(
            decision.decision_id,
            wanted.nano_usd,
            _payer(query),
            expected=first.expected_cost_nano_usd,
            expires_at=now + plan_valid_seconds + first.attempt_timeout_seconds,
            now_wall=now_wall,
        )

    def report(self, outcome: Outcome, *, now: float, now_wall: float) -> list[Event]:
        """Charges what a caller's own attempt cost, to those for whom it was decided."""
        payer = Payer(outcome.caller, outcome.task)
        record = self._state.history.get(outcome.decision_id) if outcome.decision_id else None
        if record is not None:
            payer = Payer(record.caller, record.decision.task)
        alerts = self._ledger.report(outcome.decision_id, outcome.cost_nano_usd, payer, now_wall, ok=outcome.ok)
        return _events(alerts, now)

    def expire(self, now: float) -> None:
        """Releases plans that nobody reported in time."""
        self._ledger.expire(now)
        self.settles = self.active or self._ledger.owes

    def refused(self, query: RouteQuery, budget: str, *, now: float, now_wall: float) -> list[Event]:
        """Takes note that a request was refused for a budget's sake."""
        return _events(self._ledger.refused(budget, _payer(query), now_wall), now)

    def notices(self, query: RouteQuery, decision: Decision, chosen: Target, now_wall: float) -> Notices:
        """Returns what remains for a caller, with a cheaper target where a budget runs low and there is one."""
        budgets = self._ledger.remaining(_payer(query), now_wall)
        lowest = max(budgets, key=_used_share, default=None)
        if lowest is None or lowest.used_share < SUGGEST_SHARE:
            return Notices(budgets)
        found = cheaper(decision.candidates, chosen)
        return Notices(budgets, None if found is None else _suggestion(found, lowest, chosen))

    def budgets(self, now_wall: float) -> list[BudgetReport]:
        """Returns all budgets, by name."""
        return self._ledger.reports(now_wall)

    def budget_specs(self) -> list[BudgetSpec]:
        """Returns all budgets without what is spent, by name."""
        return self._ledger.specs()

    def budget(self, name: str, now_wall: float) -> BudgetReport:
        """Returns one budget. Raises UnknownBudgetError."""
        return self._ledger.budget(name, now_wall)

    def change(self, spec: BudgetSpec, etag: str, now_wall: float) -> BudgetReport:
        """Changes a budget. Raises UnknownBudgetError, StaleEtagError or InvalidRequestError."""
        return self._ledger.change(spec, etag, now_wall)

    def create(self, spec: BudgetSpec, now_wall: float) -> BudgetReport:
        """Adds a budget. Raises InvalidRequestError or AlreadyExistsError."""
        report = self._ledger.create(spec, now_wall)
        self.active = self.settles = True
        return report

    def delete(self, name: str, etag: str, now_wall: float) -> None:
        """Takes a budget out. Raises UnknownBudgetError or StaleEtagError."""
        self._ledger.delete(name, etag, now_wall)
        self.active = bool(self._ledger.books)
        self.settles = self.active or self._ledger.owes

    def _claim(self, spec: TargetSpec, profile: RequestProfile, room: Room, at_most: int | None = None) -> Claim | None:
        need = attempt_need(spec, profile, self._state.token_ratios, self._state.lengths)
        return claim(
            spec,
            input_tokens=need.input_tokens,
            asked=profile.max_output_tokens,
            expected_tokens=need.expected_tokens,
            left_nano_usd=room.left_nano_usd,
            at_most=at_most,
        )


def _payer(query: RouteQuery) -> Payer:
    return Payer(query.caller, query.profile.task)


def _used_share(remaining: Remaining) -> float:
    return remaining.used_share


def _suggestion(found: Candidate, lowest: Remaining, chosen: Target) -> Suggestion:
    left = usd(lowest.left_nano_usd)
    reason = (
        f"budget {lowest.name} has {left} left of {usd(lowest.limit_nano_usd)}; {found.target} is cheaper than {chosen}"
    )
    return Suggestion(found.target, found.expected_cost_nano_usd, reason)


def _events(alerts: Iterable[Alert], now: float) -> list[Event]:
    return [
        Event(
            name=EventName.BUDGET_EXHAUSTED if alert.share >= WHOLE else EventName.BUDGET_ALERT,
            at=now,
            fields={
                "budget": alert.spec.name,
                "scope": alert.spec.scope.value,
                "key": alert.key,
                "share": alert.share,
                "spent_usd": alert.spent / NANO_USD,
                "limit_usd": alert.spec.own_limit_nano_usd / NANO_USD,
            },
        )
        for alert in alerts
    ]
