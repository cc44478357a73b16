"""One frame as plain text: what `turnout top --once` prints, for scripts and for terminals that can do no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, set_cell_size

from turnout_server.commands.live.columns import Column, target_columns
from turnout_server.commands.live.decision_rows import decision_rows
from turnout_server.commands.live.event_rows import event_rows
from turnout_server.commands.live.figures import BARS
from turnout_server.commands.live.seen import Part, Seen
from turnout_server.commands.live.summary import budget_line, missing, place_line, total_line
from turnout_server.commands.live.target_rows import UNSORTED, TargetRow, arranged, target_rows

ROWS = 10
"""As many of the latest decisions, and of the latest events."""
NO_TARGETS = "no targets: no provider is configured"
NO_DECISIONS = "no decisions"
NO_EVENTS = "no events"


def frame_lines(seen: Seen, width: int, *, order: str = UNSORTED, bars: str = BARS) -> Iterator[str]:
    """Yields the lines of a frame, each at most `width` cells: every target, the latest decisions and events."""
    yield cut(f"turnout top  {place_line(seen)}", width)
    yield cut(total_line(seen), width)
    budgets = budget_line(seen)
    if budgets:
        yield cut(budgets, width)
    rows = arranged(target_rows(seen), order=order, pattern="")
    yield ""
    if rows:
        yield from (cut(line, width) for line in _table(target_columns(width, rows, bars=bars), rows))
    else:
        yield cut(NO_TARGETS, width)
    yield ""
    yield "DECISIONS"
    decided = [(row.time, row.result, row.chosen, row.why) for row in decision_rows(seen)[:ROWS]]
    yield from _lines(decided, width, instead=missing(seen, Part.DECISIONS, nothing=NO_DECISIONS))
    yield ""
    yield "EVENTS"
    happened = [(row.time, row.name, row.where, row.facts) for row in event_rows(seen)[:ROWS]]
    yield from _lines(happened, width, instead=missing(seen, Part.EVENTS, nothing=NO_EVENTS))


def cut(text: str, width: int) -> str:
    """Returns a text that is at most `width` cells wide, with a mark where something is left out."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + "~"[: max(0, width)]


def shortened(name: str, width: int) -> str:
    """Returns a name that is at most `width` cells wide: names often differ at their end alone, so both ends stay."""
    if cell_len(name) <= width:
        return name
    begin = set_cell_size(name, max(0, width - 1) // 2).rstrip()
    end = set_cell_size(name[::-1], max(0, width - 1 - cell_len(begin)))[::-1].lstrip()
    return begin + "~"[: max(0, width)] + end


def name_width(longest: int, room: int) -> int:
    """Returns how wide names may be, so that what is said beside them has half of the room that both share."""
    return max(1, min(longest, room // 2))


def placed(column: Column, text: str) -> str:
    """Returns a cell as wide as its column."""
    short = shortened(text, column.width) if column.names else cut(text, column.width)
    room = " " * (column.width - cell_len(short))
    return room + short if column.right else short + room


def _table(columns: Sequence[Column], rows: Iterable[TargetRow]) -> Iterator[str]:
    yield " ".join(placed(column, column.title) for column in columns).rstrip()
    for row in rows:
        yield " ".join(placed(column, column.cell(row)) for column in columns).rstrip()


def _lines(rows: Sequence[tuple[str, ...]], width: int, *, instead: str) -> Iterator[str]:
    """Yields rows of texts that line up: the one before the last is a name, the last one is cut where the line ends."""
    if not rows:
        yield cut(instead, width)
        return
    widths = [max(cell_len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)]
    widths[-1] = name_width(widths[-1], width - sum(wide + 2 for wide in widths[:-1]) - 2)
    for row in rows:
        texts = (*row[:-2], shortened(row[-2], widths[-1]))
        cells = [text + " " * (wide - cell_len(text)) for text, wide in zip(texts, widths, strict=True)]
        yield cut("  ".join((*cells, row[-1])).rstrip(), width)
