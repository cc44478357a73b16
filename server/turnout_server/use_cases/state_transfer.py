"""What is known, for those who keep it over a restart or hand it to another sidecar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.events import Event, EventName

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout_server.core.keeping import Memory
    from turnout_server.core.spending import Spending
    from turnout_server.core.state import FleetState
    from turnout_server.core.status_report import Steps
    from turnout_server.core.taking_over import Received, TakenOver
    from turnout_server.use_cases.announcing import Announcing


class StateTransfer:
    """Over one state and what is spent. `clock` is monotonic, `wall` seconds since the epoch.

    `expire` lets time take effect.
    """

    __slots__ = ("_announcing", "_clock", "_expire", "_spending", "_state", "_wall")

    def __init__(
        self,
        state: FleetState,
        spending: Spending,
        announcing: Announcing,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        expire: Callable[[], None],
    ) -> None:
        self._state = state
        self._spending = spending
        self._announcing = announcing
        self._clock = clock
        self._wall = wall
        self._expire = expire

    def memory(self) -> Memory:
        """Returns what takes the state's lines to keep, and puts back what was kept; for one owner."""
        from turnout_server.core.keeping import Memory  # noqa: PLC0415 - needed only where state outlives the process

        return Memory(self._state, self._spending)

    def take_over(self, document: Received, *, by: str) -> Steps[TakenOver]:
        """Takes what a state says that was exported, as far as it is not known better here; tells who asked for it.

        Piece by piece: `taking_over.take_over`. Once it is begun it is to be gone through to its end.
        """
        from turnout_server.core.taking_over import take_over  # noqa: PLC0415 - seldom asked for

        self._expire()
        taken = yield from take_over(self._state, self._spending, document, now=self._clock(), now_wall=self._wall())
        fields: dict[str, str | int | float] = {
            "by": by,
            "target_count": len(taken.targets),
            "budget_count": len(taken.budgets),
            "warning_count": len(taken.warnings),
        }
        self._announcing.tell((Event(name=EventName.STATE_IMPORTED, at=self._clock(), fields=fields),))
        return taken
