"""When the periods of budgets begin, by the calendar of a time zone.

Outside the core, because a time zone is a file: it is read once, when a calendar is made. From then on `span` is a
function of time alone, and the core asks it only when a period has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from turnout_server.core.budget import BudgetPeriod, Span

DAY = timedelta(days=1)
WEEK = timedelta(days=7)
SECONDS = {BudgetPeriod.MINUTE: 60, BudgetPeriod.HOUR: 3600}
LAST_MONTH = 12


class UnknownTimezoneError(ValueError):
    """There is no time zone of that name on this machine."""


@dataclass(frozen=True, slots=True)
class ZoneCalendar:
    """The periods of one length in one time zone. Days, weeks (from Monday) and months begin at the local midnight.

    So a day has 23 or 25 hours where the clocks change. A midnight that the clocks skip begins at the change; of one
    that comes twice the first counts. Minutes and hours are counted by the offset that holds when they are asked for.
    """

    period: BudgetPeriod
    timezone: str
    zone: tzinfo = field(compare=False, repr=False)

    def span(self, now_wall: float) -> Span:
        """Returns the period that `now_wall`, seconds since the epoch, lies in."""
        if self.period is BudgetPeriod.TOTAL:
            return Span(0.0, None)
        local = datetime.fromtimestamp(now_wall, self.zone)
        length = SECONDS.get(self.period)
        if length is not None:
            offset = local.utcoffset()
            shift = 0.0 if offset is None else offset.total_seconds()
            starts_at = (now_wall + shift) // length * length - shift
            return Span(starts_at, starts_at + length)
        day = local.date()
        if self.period is BudgetPeriod.WEEK:
            day -= timedelta(days=day.weekday())
            return Span(self._midnight(day), self._midnight(day + WEEK))
        if self.period is BudgetPeriod.MONTH:
            after = date(day.year + day.month // LAST_MONTH, day.month % LAST_MONTH + 1, 1)
            return Span(self._midnight(day.replace(day=1)), self._midnight(after))
        return Span(self._midnight(day), self._midnight(day + DAY))

    def _midnight(self, day: date) -> float:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()


def calendar(period: BudgetPeriod, timezone: str) -> ZoneCalendar:
    """Returns the calendar of an IANA time zone. Raises UnknownTimezoneError."""
    if timezone == "UTC":
        # Known everywhere, on machines without the files too.
        return ZoneCalendar(period, timezone, UTC)
    try:
        return ZoneCalendar(period, timezone, ZoneInfo(timezone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # ValueError: not the form of a name, or no file of the kind; OSError: a folder, a name too long.
        raise UnknownTimezoneError(
            f'no time zone "{timezone}" is known here; write an IANA name, as in Europe/Berlin, or UTC'
        ) from None
