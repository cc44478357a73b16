"""What was decided and what came of it, for people who look back: decisions one by one, sums, trends.

Reads what the other use cases write; the one change is to forget. Everything here returns at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.errors import UnknownDecisionError
from turnout_server.core.spend_series import spend_steps
from turnout_server.core.summaries import Statistics, StatisticsQuery, compare, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout_server.core.history import DecisionFilter, DecisionPage, DecisionRecord
    from turnout_server.core.model import Target
    from turnout_server.core.spend_series import Spend, SpendQuery
    from turnout_server.core.state import FleetState
    from turnout_server.core.status_report import Steps
    from turnout_server.core.trends import Trend, TrendQuery


class LookingBack:
    """Over one state. `clock` is monotonic, `wall` seconds since the epoch."""

    __slots__ = ("_clock", "_state", "_wall")

    def __init__(self, state: FleetState, *, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock
        self._wall = wall

    def decisions(self, wanted: DecisionFilter, *, page_size: int = 50, page_token: str = "") -> DecisionPage:
        """Lists decisions, newest first. Raises InvalidRequestError for a page token that is not one of ours."""
        return self._state.history.page(wanted, page_size=page_size, page_token=page_token)

    def decision(self, decision_id: str) -> DecisionRecord:
        """Returns one decision with everything known of it. Raises UnknownDecisionError."""
        record = self._state.history.get(decision_id)
        if record is None:
            raise UnknownDecisionError(
                f"there is no decision {decision_id!r} in the history; it may have been pushed out by newer ones",
                name=decision_id,
            )
        return record

    def statistics(self, wanted: StatisticsQuery) -> Statistics:
        """Returns sums over what was decided and what came of it, grouped as wanted."""
        return summarise(self._state.past.chronicle, wanted, now=self._clock(), now_wall=self._wall())

    def compare(self, targets: Sequence[Target], wanted: StatisticsQuery) -> Statistics:
        """Returns the sums of each of the targets, in their order."""
        return compare(self._state.past.chronicle, targets, wanted, now=self._clock(), now_wall=self._wall())

    def trend(self, indexes: Sequence[int], wanted: TrendQuery) -> Trend:
        """Returns one measure over time of the targets at these places of the fleet, together."""
        return self._state.trend(indexes, wanted, now=self._clock(), now_wall=self._wall())

    def now(self) -> float:
        """Returns the time that it is, monotonic seconds."""
        return self._clock()

    def now_wall(self) -> float:
        """Returns the time that it is, seconds since the epoch."""
        return self._wall()

    def spend(self, wanted: SpendQuery) -> Steps[Spend]:
        """Works out what was spent over time, piece by piece, for whoever has others to let have their turn."""
        past = self._state.past
        return spend_steps(past.chronicle, wanted, now=self._clock(), now_wall=self._wall(), costs=past.costs)

    def clear_history(self, before_wall: float | None = None) -> int:
        """Forgets the decisions made before a moment, all without one, and their sums; returns how many decisions."""
        before = None if before_wall is None else before_wall - self._wall() + self._clock()
        return self._state.past.clear(before_wall, before)
