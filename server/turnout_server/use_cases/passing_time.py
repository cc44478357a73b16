"""What happens without anybody doing anything: leases and open times run out, what was told is told again with its
count, targets get slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.events import EventName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from turnout_server.core.spending import Spending
    from turnout_server.core.state import FleetState
    from turnout_server.ports import Instruments
    from turnout_server.use_cases.announcing import Announcing


class PassingTime:
    """Over one state and what is spent. `clock` is monotonic seconds."""

    __slots__ = ("_announcing", "_clock", "_instruments", "_spending", "_state")

    def __init__(
        self,
        state: FleetState,
        spending: Spending,
        announcing: Announcing,
        *,
        clock: Callable[[], float],
        instruments: Instruments,
    ) -> None:
        self._state = state
        self._spending = spending
        self._announcing = announcing
        self._clock = clock
        self._instruments = instruments

    def expire(self) -> None:
        """Lets lapsed leases and open times run out and tells of it; to be called about four times a second."""
        if self._spending.settles:
            self._spending.expire(self._clock())
        events = self._state.expire(self._clock())
        if not events:
            return
        for event in events:
            if event.name is EventName.PROBE_EXPIRED:
                self._instruments.outcome("missing")
        self._announcing.tell(events)

    def tell_repeated(self) -> None:
        """Tells what went on happening since it was first told; to be called a few times a second, outside of calls."""
        self._announcing.tell(self._announcing.troubles.due(self._clock()))

    def alarms(self) -> Iterator[None]:
        """Looks for targets that answer slowly or fail often and tells of them; to be called every few seconds.

        Done piece by piece, for whoever has others to let have their turn.
        """
        announcing = self._announcing
        for target in tuple(self._state.targets):
            announcing.tell(announcing.troubles.alarms.look(target, self._clock()))
            if target.baseline.drifting:
                announcing.tell(self._state.drift_over(target, self._clock()))
            yield
