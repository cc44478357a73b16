"""Figures as short as a cell of the live view is wide, and texts that cannot disturb the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from turnout_server.commands.printing import printable

UNKNOWN = "-"
BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "_.-=+*#@"
"""For terminals that cannot show the others."""

_COUNTS = (
    (0.995, ".2f", 1, ""),
    (9.95, ".1f", 1, ""),
    (999.5, ".0f", 1, ""),
    (9_950, ".1f", 1e3, "k"),
    (999_500, ".0f", 1e3, "k"),
    (9.95e6, ".1f", 1e6, "M"),
    (999.5e6, ".0f", 1e6, "M"),
)
"""Below which number which form is used: each ends where rounding would make it a character longer."""
_GIGA = 1e9
_AMOUNTS = ((0.09995, ".4f"), (0.9995, ".3f"), (999.995, ".2f"), (9999.5, ".0f"))
"""Likewise for USD."""
_LEAST_SHOWN_USD = 0.00005
_TEN = 10.0
_HUNDRED = 100.0
_THOUSAND = 1000.0
_MINUTE = 60.0
_HOUR = 3600.0
_DAY = 86400.0


def seconds_of(duration: Duration) -> float:
    """Returns a duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def took(seconds: float | None) -> str:
    """Returns how long something took, in at most five characters: 412ms, 1.23s, 12.3s, 120s, 34m."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0.9995:  # noqa: PLR2004 - what rounds to 1000ms is a second
        return f"{seconds * _THOUSAND:.0f}ms"
    if seconds < _TEN:
        return f"{seconds:.2f}s"
    if seconds < _HUNDRED:
        return f"{seconds:.1f}s"
    return f"{seconds:.0f}s" if seconds < _THOUSAND else f"{seconds / _MINUTE:.0f}m"


def lasting(seconds: float) -> str:
    """Returns how long something will last or has lasted, in at most four characters: 4s, 90s, 12m, 3h, 2d."""
    if seconds < 2 * _MINUTE:
        return f"{max(0.0, seconds):.0f}s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f}m"
    return f"{seconds / _HOUR:.0f}h" if seconds < 2 * _DAY else f"{seconds / _DAY:.0f}d"


def until(instant: Timestamp, now: datetime) -> str:
    """Returns how long it is to an instant, "now" where it has come."""
    left = (instant.ToDatetime(now.tzinfo) - now).total_seconds()
    return lasting(left) if left >= 0.5 else "now"  # noqa: PLR2004 - what rounds to 0 s


def clock(instant: Timestamp) -> str:
    """Returns the time of day (UTC) to the second."""
    return f"{instant.ToDatetime():%H:%M:%S}"


def count(value: float | None) -> str:
    """Returns a number in at most four characters: 0, 0.05, 3.2, 12, 999, 1.2k, 12k, 3.0M."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0"
    for below, form, unit, sign in _COUNTS:
        if value < below:
            return f"{value / unit:{form}}{sign}"
    return f"{value / _GIGA:.0f}G"


def whole(value: int) -> str:
    """Returns how many there are, in at most four characters: 0, 7, 999, 1.2k."""
    return str(value) if value < _THOUSAND else count(value)


def share(value: float | None) -> str:
    """Returns a share of 0 to 1 in at most four characters; what is not quite 0 or 1 is not shown as such."""
    if value is None:
        return UNKNOWN
    if value in {0.0, 1.0}:
        return f"{value:.0%}"
    if value < 0.001:  # noqa: PLR2004 - what rounds to 0.0 %
        return "<.1%"
    if value < 0.0995:  # noqa: PLR2004 - what rounds to 10.0 % has no room for it
        return f"{value:.1%}"
    return f"{min(value, 0.99):.0%}"


def money(usd: float | None) -> str:
    """Returns an amount in at most seven characters: $0, $0.0042, $0.420, $12.34, $1234, $12.3k."""
    if usd is None:
        return UNKNOWN
    if usd == 0:
        return "$0"
    if usd < _LEAST_SHOWN_USD:
        return "<$.0001"
    for below, form in _AMOUNTS:
        if usd < below:
            return f"${usd:{form}}"
    return f"${usd / _THOUSAND:.1f}k"


def sparkline(values: Sequence[float | None], width: int, *, bars: str = BARS) -> str:
    """Returns the last values as bars against the highest of them, right-aligned; a gap where nothing is known.

    The scale begins at 0, so that a latency that doubles is a bar of twice the height.
    """
    last = list(values)[-width:] if width > 0 else []
    highest = max((value for value in last if value is not None), default=0.0)
    cells = [" " if value is None else _bar(value, highest, bars) for value in last]
    return "".join(cells).rjust(width)


def _bar(value: float, highest: float, bars: str) -> str:
    if highest <= 0:
        return bars[0]
    return bars[max(0, min(len(bars) - 1, round(value / highest * len(bars)) - 1))]


def one_line(text: str) -> str:
    """Returns a text as one line, `printable`."""
    return printable(" ".join(text.split()))
