"""Rows as cells with their colours and widths, for tables on a screen; they need Rich, and no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from turnout_server.commands.live.columns import target_columns
from turnout_server.commands.live.decision_rows import DecisionRow
from turnout_server.commands.live.event_rows import EventRow
from turnout_server.commands.live.frame import cut, name_width, placed, shortened
from turnout_server.commands.live.target_rows import TargetRow, Tone

_STYLES = {Tone.GOOD: "green", Tone.WARN: "yellow", Tone.BAD: "bold red", Tone.OFF: "grey58"}
_STALE = "grey58"
_TIME_WIDTH = 8
_COLOURED = frozenset({"STATE", "HEALTH", "BREAKER"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A column: its heading, and how wide it is."""

    title: str
    width: int


Row = tuple[str, tuple[Text, ...]]
"""What tells a row from all others, "" for one that stands for none; and its cells."""

Cells = tuple[Sequence[Heading], Sequence[Row]]


def styled(text: str, tone: Tone | None = None, *, stale: bool = False) -> Text:
    """Returns a text in the colour of its tone; in grey where it is of a sidecar that does not answer."""
    return Text(text, style=_STALE if stale else _STYLES[tone] if tone is not None else "", no_wrap=True, end="")


def target_cells(rows: Sequence[TargetRow], width: int, *, nothing: str, stale: bool) -> Cells:
    """Returns the table of targets for so many columns; `nothing` is said where there is no row."""
    if not rows:
        return [Heading(title="TARGET", width=width)], [("", (styled(nothing, stale=stale),))]
    columns = target_columns(width, rows)
    gaps = ["", *(" " for _ in columns[1:])]
    headings = [
        Heading(title=gap + placed(column, column.title), width=len(gap) + column.width)
        for gap, column in zip(gaps, columns, strict=True)
    ]
    shown: list[Row] = []
    for row in rows:
        cells = (
            styled(gap + placed(column, column.cell(row)), row.tone if column.title in _COLOURED else None, stale=stale)
            for gap, column in zip(gaps, columns, strict=True)
        )
        shown.append((row.name, tuple(cells)))
    return headings, shown


def text_cells(
    titles: tuple[str, str, str, str],
    rows: Sequence[DecisionRow | EventRow],
    width: int,
    *,
    nothing: str,
    stale: bool,
) -> Cells:
    """Returns a table of time, word, place, and a text that takes what room is left, half of it and more."""
    texts = [_texts(row) for row in rows]
    second = max((len(each[1]) for each in texts), default=0)
    third = max((cell_len(each[2]) for each in texts), default=0)
    widths = [_TIME_WIDTH + 1, max(second, len(titles[1])) + 1]
    third = name_width(third, width - sum(widths) - 1)
    widths.append(max(third, len(titles[2])) + 1)
    widths.append(max(1, width - sum(widths)))
    headings = [Heading(title=title, width=wide) for title, wide in zip(titles, widths, strict=True)]
    shown: list[Row] = []
    for row, (time, word, where, why) in zip(rows, texts, strict=True):
        each = (time, word, shortened(where, widths[2] - 1), why)
        cells = (
            styled(cut(text, wide), row.tone if place == 1 else None, stale=stale)
            for place, (text, wide) in enumerate(zip(each, widths, strict=True))
        )
        shown.append((row.decision_id if isinstance(row, DecisionRow) else str(row.sequence), tuple(cells)))
    if not shown:
        shown = [("", (*(styled("") for _ in titles[1:]), styled(cut(nothing, widths[-1]), stale=stale)))]
    return headings, shown


def _texts(row: DecisionRow | EventRow) -> tuple[str, str, str, str]:
    if isinstance(row, DecisionRow):
        return row.time, row.result, row.chosen, row.why
    return row.time, row.name, row.where, row.facts
