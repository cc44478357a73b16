"""What attempts cost, day by day for a month: what the chronicle lets go of is added up here before it is forgotten.

By the same headings as there, within a bound of its own: where there are many, the oldest days make room. Days are
those of UTC, so that they fit others' accounts; what is of the chronicle still is not here.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from turnout_server.core.chronicle import HEADINGS_MAXIMUM, OTHER, Heading
from turnout_server.core.model import Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from turnout_server.core.chronicle import Slot
    from turnout_server.core.kept import CostsLine
    from turnout_server.core.statistics import Counts

DAY_SECONDS = 86_400.0
DAYS_KEPT = 32
"""A month and the day that its beginning cuts; days without spending are none of them."""
DAY_BYTES = 300
COST_BYTES = 400
"""What each takes in CPython 3.11, rounded up: a day, and what one heading cost in it."""


class Spent:
    """What attempts cost, nano-USD: in all, the failed ones of them; how many whose cost is known, and is not."""

    __slots__ = ("cost", "failed_cost", "priced", "unknown")

    def __init__(self, cost: int = 0, failed_cost: int = 0, priced: int = 0, unknown: int = 0) -> None:
        self.cost = cost
        self.failed_cost = failed_cost
        self.priced = priced
        self.unknown = unknown

    @classmethod
    def of(cls, counts: Counts) -> Spent:
        """Returns what some attempts cost."""
        unknown = counts.total - counts.priced
        return cls(counts.cost_nano_usd, counts.failed_cost_nano_usd, counts.priced, unknown)

    def merge(self, other: Spent) -> None:
        """Adds another one's."""
        self.cost += other.cost
        self.failed_cost += other.failed_cost
        self.priced += other.priced
        self.unknown += other.unknown


class Day:
    """One day by its number since the epoch."""

    __slots__ = ("costs", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.costs: dict[Heading, Spent] = {}

    @property
    def begins_wall(self) -> float:
        """Its first moment, seconds since the epoch."""
        return self.number * DAY_SECONDS

    @property
    def ends_wall(self) -> float:
        """The first moment after it."""
        return (self.number + 1) * DAY_SECONDS

    @property
    def size_bytes(self) -> int:
        """An estimate of what it takes."""
        return DAY_BYTES + COST_BYTES * len(self.costs)

    def at(self, heading: Heading) -> Spent:
        """Returns what a heading cost, that of `OTHER` words where there are too many."""
        found = self.costs.get(heading)
        if found is None:
            if len(self.costs) >= HEADINGS_MAXIMUM:
                heading = Heading(heading.target, OTHER, OTHER, OTHER)
            found = self.costs.setdefault(heading, Spent())
        return found


class DailyCosts:
    """The last month, or as much of it as fits into `max_bytes` by estimate: the oldest days go first.

    `offset` is the wall clock's lead over the monotonic one, in seconds.
    """

    __slots__ = ("_days", "_max_bytes", "offset")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._days: deque[Day] = deque()
        self.offset = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing was spent that long ago."""
        return not self._days

    @property
    def days(self) -> tuple[Day, ...]:
        """In order of time."""
        return tuple(self._days)

    @property
    def size_bytes(self) -> int:
        """An estimate of what it holds."""
        return sum(day.size_bytes for day in self._days)

    def bound(self, max_bytes: int) -> None:
        """Takes another bound; what is beyond it is dropped now."""
        self._max_bytes = max_bytes
        self._make_room()

    def add(self, slot: Slot) -> None:
        """Takes what the chronicle lets go of."""
        spent = [(heading, sums.attempts) for heading, sums in slot.sums.items() if sums.attempts.total]
        if not spent:
            return
        day = self._day(int((slot.begins_at + self.offset) // DAY_SECONDS))
        for heading, attempts in spent:
            day.at(heading).merge(Spent.of(attempts))
        self._make_room()

    def clear(self, before_wall: float | None = None) -> None:
        """Forgets the days that ended before a moment, all without one."""
        while self._days and (before_wall is None or self._days[0].ends_wall <= before_wall):
            self._days.popleft()

    def keep(self) -> Iterator[CostsLine]:
        """Yields what is kept, as it is when the first line is asked for."""
        from turnout_server.core.kept import (  # noqa: PLC0415 - needed only where state outlives the process
            ROWS_MAXIMUM,
            CostsLine,
        )

        lines: list[CostsLine] = []
        for day in self._days:
            rows = [
                (
                    None if target is None else (target.provider, target.model, target.endpoint),
                    *words,
                    spent.cost,
                    spent.failed_cost,
                    spent.priced,
                    spent.unknown,
                )
                for (target, *words), spent in day.costs.items()
            ]
            lines += (
                CostsLine(day=day.number, rows=tuple(rows[begin : begin + ROWS_MAXIMUM]))  # type: ignore[arg-type]  # three words
                for begin in range(0, len(rows), ROWS_MAXIMUM)
            )
        yield from lines

    def resume(self, lines: Iterable[CostsLine]) -> None:
        """Takes what was kept."""
        for line in lines:
            day = self._day(line.day)
            for where, task, tier, tenant, *numbers in line.rows:
                heading = Heading(None if where is None else Target(*where), task, tier, tenant)
                day.at(heading).merge(Spent(*numbers))
        self._make_room()

    def take(self, other: DailyCosts) -> None:
        """Takes what another one has in the place of its own, which is empty."""
        self._days = other._days
        self._make_room()

    def _day(self, number: int) -> Day:
        """Returns a day; days come in order but for a wall clock that was set."""
        days = self._days
        found = next((day for day in reversed(days) if day.number == number), None)
        if found is None:
            found = Day(number)
            self._days = deque(sorted((*days, found), key=lambda day: day.number))
        return found

    def _make_room(self) -> None:
        days = self._days
        while len(days) > DAYS_KEPT:
            days.popleft()
        size = self.size_bytes
        while len(days) > 1 and size > self._max_bytes:
            size -= days.popleft().size_bytes
