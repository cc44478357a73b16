"""What was spent over time, by whatever it is told apart by: series of points, made of the chronicle's sums.

Points of whole days also have what the days before cost, which the chronicle has let go of.

Points begin at whole multiples of their width by the wall clock, so that they fit others' accounts. A stretch of the
chronicle counts where it begins: at the edge of a point up to a quarter of an hour may be its neighbour's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnout_server.core.chronicle import MINUTES_KEPT, OTHER
from turnout_server.core.daily_costs import DAY_SECONDS, Spent
from turnout_server.core.statistics import MINUTE_SECONDS
from turnout_server.core.status_report import finished
from turnout_server.core.summaries import NAMES, StatisticsQuery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout_server.core.chronicle import Chronicle, Heading
    from turnout_server.core.daily_costs import DailyCosts, Day
    from turnout_server.core.status_report import Steps
    from turnout_server.core.summaries import Dimension

SERIES_MAXIMUM = 100
"""Series told apart in one answer; the rest is one series named `OTHER`."""
POINTS_MAXIMUM = 1000
MERGED_AT_ONCE = 500
"""Series that are merged before others have their turn."""
FINE_SECONDS = (MINUTES_KEPT - 1) * MINUTE_SECONDS
"""So far back sums are kept by the minute; beyond, by quarters of an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendQuery:
    """What is wanted. Times are seconds since the epoch; a step is whole minutes, beyond `FINE_SECONDS` quarters."""

    from_wall: float
    until_wall: float
    step_seconds: float
    group_by: Dimension | None = None
    tenant: str = ""


class Series:
    """One value of the dimension: its points by their place, and all of them together."""

    __slots__ = ("name", "points", "total")

    def __init__(self, name: str) -> None:
        self.name = name
        self.points: dict[int, Spent] = {}
        self.total = Spent()

    def take(self, place: int, spent: Spent) -> None:
        """Takes what was spent within a point."""
        self.points.setdefault(place, Spent()).merge(spent)
        self.total.merge(spent)

    def merge(self, other: Series) -> None:
        """Adds another series."""
        for place, spent in other.points.items():
            self.take(place, spent)


class _Found:
    """Series as they come together."""

    def __init__(self, wanted: SpendQuery) -> None:
        self.series: dict[str, Series] = {} if wanted.group_by else {"": Series("")}
        self.total = Spent()
        self._step = wanted.step_seconds
        self._name = NAMES[wanted.group_by]
        self._fits = StatisticsQuery(tenant=wanted.tenant).fits

    def take(self, heading: Heading, begins_wall: float, spent: Spent) -> None:
        """Takes what was spent under a heading in a time that began then, where it is wanted."""
        if not self._fits(heading):
            return
        name = self._name(heading)
        series = self.series.get(name)
        if series is None:
            series = self.series[name] = Series(name)
        series.take(_place(begins_wall, self._step), spent)
        self.total.merge(spent)


@dataclass(frozen=True, slots=True)
class Spend:
    """Series, the dearest first; `points` are the beginnings of all their points, seconds since the epoch, by place.

    `from_wall` to `until_wall` is the time really covered.
    """

    series: tuple[Series, ...]
    total: Spent
    points: tuple[tuple[int, float], ...]
    from_wall: float
    until_wall: float


def spend(
    chronicle: Chronicle, wanted: SpendQuery, *, now: float, now_wall: float, costs: DailyCosts | None = None
) -> Spend:
    """Returns what was spent. Without a dimension there is one series, be it empty.

    `costs` are those of the days before what the chronicle has; they are part of it where points are whole days.
    """
    return finished(spend_steps(chronicle, wanted, now=now, now_wall=now_wall, costs=costs))


def spend_steps(
    chronicle: Chronicle, wanted: SpendQuery, *, now: float, now_wall: float, costs: DailyCosts | None = None
) -> Steps[Spend]:
    """Does the same piece by piece, for whoever has others to let have their turn."""
    offset, step = now_wall - now, wanted.step_seconds
    stretch = chronicle.stretch(wanted.from_wall - offset, wanted.until_wall - offset, now)
    found = _Found(wanted)
    # A quarter of an hour may leave the chronicle for its day meanwhile: nobody has a turn in between here either.
    days = _days(costs, wanted)
    for day in days:
        for heading, spent in day.costs.items():
            found.take(heading, day.begins_wall, spent)
    # Minutes are merged into the last quarter as they age: these go together, before anybody has a turn.
    settled_count = max(0, sum(slot.minutes > 1 for slot in stretch.slots) - 1)
    settled, growing = stretch.slots[:settled_count], stretch.slots[settled_count:]
    for number, slot in enumerate((*growing, *settled), 1):
        if number > len(growing):
            yield
        for heading, sums in slot.sums.items():
            if sums.attempts.total:
                found.take(heading, slot.begins_at + offset, Spent.of(sums.attempts))
    from_wall, until_wall = stretch.from_at + offset, stretch.until_at + offset
    if days:
        if wanted.until_wall < from_wall:
            until_wall = min(now_wall, max(wanted.until_wall, days[-1].ends_wall))
        from_wall = min(from_wall, days[0].begins_wall)
    begins = [from_wall, *(slot.begins_at + offset for slot in stretch.slots)]
    first, last = _place(min(begins), step), _place(max(from_wall, until_wall - 1e-6), step)
    places = range(first, max(first, last) + 1)
    series_found = yield from _bounded(found.series.values())
    return Spend(series_found, found.total, tuple((each, each * step) for each in places), from_wall, until_wall)


def _days(costs: DailyCosts | None, wanted: SpendQuery) -> tuple[Day, ...]:
    """Returns the days that are part of what is wanted: none where points are shorter."""
    if costs is None or wanted.step_seconds % DAY_SECONDS:
        return ()
    return tuple(day for day in costs.days if day.ends_wall > wanted.from_wall and day.begins_wall < wanted.until_wall)


def _place(at_wall: float, step: float) -> int:
    return int(at_wall // step)


def _bounded(found: Iterable[Series]) -> Steps[tuple[Series, ...]]:
    ordered = sorted(found, key=lambda series: (-series.total.cost, -series.total.unknown, series.name))
    if len(ordered) > SERIES_MAXIMUM:
        # What the chronicle did not tell apart is among them: it has the name that the rest gets.
        apart = [series for series in ordered if series.name != OTHER][: SERIES_MAXIMUM - 1]
        told, rest = set(apart), Series(OTHER)
        for number, series in enumerate(ordered, 1):
            if series not in told:
                rest.merge(series)
            if not number % MERGED_AT_ONCE:
                yield
        ordered = [*apart, rest]
    return tuple(ordered)
