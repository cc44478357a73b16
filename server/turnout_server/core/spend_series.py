"""What was spent over time, by whatever it is told apart by: series of points, made of the chronicle's sums.

Points begin at whole multiples of their width by the wall clock, so that they fit others' accounts. A stretch of the
chronicle counts where it begins: at the edge of a point up to a quarter of an hour may be its neighbour's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnout_server.core.chronicle import MINUTES_KEPT, OTHER
from turnout_server.core.statistics import MINUTE_SECONDS
from turnout_server.core.summaries import NAMES, StatisticsQuery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout_server.core.chronicle import Chronicle
    from turnout_server.core.statistics import Counts
    from turnout_server.core.summaries import Dimension

SERIES_MAXIMUM = 100
"""Series told apart in one answer; the rest is one series named `OTHER`."""
POINTS_MAXIMUM = 1000
FINE_SECONDS = MINUTES_KEPT * MINUTE_SECONDS
"""So far back sums are kept by the minute; beyond, by quarters of an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendQuery:
    """What is wanted. Times are seconds since the epoch; a step is whole minutes, beyond `FINE_SECONDS` quarters."""

    from_wall: float
    until_wall: float
    step_seconds: float
    group_by: Dimension | None = None
    tenant: str = ""


class Spent:
    """What attempts cost, nano-USD: in all, the failed ones of them; how many whose cost is known, and is not."""

    __slots__ = ("cost", "failed_cost", "priced", "unknown")

    def __init__(self) -> None:
        self.cost = 0
        self.failed_cost = 0
        self.priced = 0
        self.unknown = 0

    def add(self, counts: Counts) -> None:
        """Takes what ended."""
        self.cost += counts.cost_nano_usd
        self.failed_cost += counts.failed_cost_nano_usd
        self.priced += counts.priced
        self.unknown += counts.total - counts.priced

    def merge(self, other: Spent) -> None:
        """Adds another one's."""
        self.cost += other.cost
        self.failed_cost += other.failed_cost
        self.priced += other.priced
        self.unknown += other.unknown


class Series:
    """One value of the dimension: its points by their place, and all of them together."""

    __slots__ = ("name", "points", "total")

    def __init__(self, name: str) -> None:
        self.name = name
        self.points: dict[int, Spent] = {}
        self.total = Spent()

    def add(self, place: int, counts: Counts) -> None:
        """Takes what ended within a point."""
        point = self.points.get(place)
        if point is None:
            point = self.points[place] = Spent()
        point.add(counts)
        self.total.add(counts)

    def merge(self, other: Series) -> None:
        """Adds another series."""
        for place, spent in other.points.items():
            self.points.setdefault(place, Spent()).merge(spent)
        self.total.merge(other.total)


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


def spend(chronicle: Chronicle, wanted: SpendQuery, *, now: float, now_wall: float) -> Spend:
    """Returns what was spent. Without a dimension there is one series, be it empty."""
    offset, step = now_wall - now, wanted.step_seconds
    stretch = chronicle.stretch(wanted.from_wall - offset, wanted.until_wall - offset, now)
    name = NAMES[wanted.group_by]
    fits = StatisticsQuery(tenant=wanted.tenant).fits
    found: dict[str, Series] = {} if wanted.group_by else {"": Series("")}
    total = Spent()
    for slot in stretch.slots:
        place = _place(slot.begins_at + offset, step)
        for heading, sums in slot.sums.items():
            if not sums.attempts.total or not fits(heading):
                continue
            key = name(heading)
            series = found.get(key)
            if series is None:
                series = found[key] = Series(key)
            series.add(place, sums.attempts)
            total.add(sums.attempts)
    from_wall, until_wall = stretch.from_at + offset, stretch.until_at + offset
    begins = [slot.begins_at + offset for slot in stretch.slots] or [from_wall]
    first, last = _place(min(begins), step), _place(max(from_wall, until_wall - 1e-6), step)
    places = range(first, max(first, last) + 1)
    return Spend(_bounded(found.values()), total, tuple((each, each * step) for each in places), from_wall, until_wall)


def _place(at_wall: float, step: float) -> int:
    return int(at_wall // step)


def _bounded(found: Iterable[Series]) -> tuple[Series, ...]:
    ordered = sorted(found, key=lambda series: (-series.total.cost, -series.total.unknown, series.name))
    if len(ordered) > SERIES_MAXIMUM:
        rest = Series(OTHER)
        for series in ordered[SERIES_MAXIMUM - 1 :]:
            rest.merge(series)
        ordered[SERIES_MAXIMUM - 1 :] = [rest]
    return tuple(ordered)
