"""Which columns the table of targets has in a terminal of some width, and what stands in them.

At 80 columns the most needed ones; each further one comes once there is room for it beside the whole names, and in a
narrower terminal some go, so that the names stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from turnout_server.commands.live.figures import BARS, count, money, share, sparkline, took, whole
from turnout_server.commands.live.target_rows import TargetRow

_GAP = 1
_NARROWEST_NAME = 21
_WIDEST_NAME = 48
_TREND = 10
_WIDER_TREND = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: its heading, how wide it is, its cell of a row; figures stand at the right, `names` keep both ends."""

    title: str
    width: int
    cell: Callable[[TargetRow], str]
    right: bool = True
    names: bool = False


def target_columns(width: int, rows: Sequence[TargetRow], *, bars: str = BARS) -> list[Column]:
    """Returns the columns that fit into a width, the first one as wide as is left for it."""
    longest = max((len(row.name) for row in rows), default=0)
    chosen = _columns(_TREND, bars)
    for title in _LEAVING:
        if width - _taken(chosen) >= min(longest, _NARROWEST_NAME):
            break
        chosen = [column for column in chosen if column.title != title]
    room = width - _taken(chosen) - max(_NARROWEST_NAME, min(longest, _WIDEST_NAME))
    for place, column in _FURTHER:
        if column.width + _GAP > room:
            break
        room -= column.width + _GAP
        before = next((at for at, one in enumerate(chosen) if one.title == place), len(chosen))
        chosen.insert(before, column)
    if room >= _WIDER_TREND - _TREND:
        wider = _trend(_WIDER_TREND, bars)
        chosen = [wider if one.title == wider.title else one for one in chosen]
    name = max(1, min(width - _taken(chosen), max(longest, _NARROWEST_NAME)))
    return [Column(title="TARGET", width=name, cell=lambda row: row.name, right=False, names=True), *chosen]


def _taken(columns: Sequence[Column]) -> int:
    return sum(column.width + _GAP for column in columns)


def _trend(width: int, bars: str) -> Column:
    return Column(title="P50 BY MIN", width=width, cell=lambda row: sparkline(row.trend, width, bars=bars), right=True)


def _columns(trend_width: int, bars: str) -> list[Column]:
    return [
        Column(title="STATE", width=13, cell=lambda row: row.state, right=False),
        Column(title="FLT", width=3, cell=lambda row: whole(row.in_flight)),
        Column(title="P50", width=5, cell=lambda row: took(row.p50_seconds)),
        _trend(trend_width, bars),
        Column(title="TTFT", width=5, cell=lambda row: took(row.first_token_seconds)),
        Column(title="/S", width=4, cell=lambda row: count(row.calls_per_second)),
        Column(title="ERR", width=4, cell=lambda row: share(row.error_rate)),
        Column(title="SPEND", width=7, cell=lambda row: money(row.spend_usd)),
    ]


_LEAVING = ("P50 BY MIN", "TTFT", "/S", "FLT", "SPEND", "P50", "ERR", "STATE")
"""What goes, in this order, where there is no room for the names."""

_FURTHER: tuple[tuple[str, Column], ...] = (
    ("P50 BY MIN", Column(title="P95", width=5, cell=lambda row: took(row.p95_seconds))),
    ("ERR", Column(title="TOK/S", width=5, cell=lambda row: count(row.output_tokens_per_second))),
    ("FLT", Column(title="SCORE", width=5, cell=lambda row: f"{row.score:.0f}")),
    ("", Column(title="$/H", width=7, cell=lambda row: money(row.usd_per_hour))),
    ("SCORE", Column(title="HEALTH", width=9, cell=lambda row: row.health, right=False)),
    ("SCORE", Column(title="BREAKER", width=20, cell=lambda row: row.breaker, right=False)),
)
"""What comes with more room, in this order, each before the column named ("": at the end)."""
