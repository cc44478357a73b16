"""A table on the screen that keeps the chosen row chosen while everything around it changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from turnout_server.commands.live.cells import Heading, Row


class Table(DataTable[Text]):
    """A table of whole rows; with `newest_first` new ones come in above the others."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        # With whole rows to choose, Textual's own would move within a row.
        Binding("g,home", "scroll_top", show=False),
        Binding("G,end", "scroll_bottom", show=False),
    ]

    def __init__(self, *, name: str, newest_first: bool = False) -> None:
        # The chosen row keeps the colours of its words.
        super().__init__(id=name, cursor_type="row", cell_padding=0, cursor_foreground_priority="renderable")
        self._newest_first = newest_first
        self._headings: tuple[Heading, ...] = ()
        self._shown: tuple[Row, ...] = ()

    @property
    def chosen(self) -> str:
        """What tells the chosen row from all others, "" where there is none."""
        if 0 <= self.cursor_row < len(self._shown):
            return self._shown[self.cursor_row][0]
        return ""

    def show(self, headings: Sequence[Heading], rows: Sequence[Row]) -> None:
        """Shows other rows. The chosen one stays chosen where it is still there, else the one in its place is."""
        # No two rows may have the same key: of such the last one is shown.
        headings, rows = tuple(headings), tuple(dict(rows).items())
        if headings == self._headings and [key for key, _ in rows] == [key for key, _ in self._shown]:
            self._change_cells(rows)
            return
        chosen, place, offset = self.chosen, self.cursor_row, self.scroll_offset
        self.clear(columns=headings != self._headings)
        if headings != self._headings:
            for number, heading in enumerate(headings):
                self.add_column(Text(heading.title, no_wrap=True), width=heading.width, key=str(number))
        for key, cells in rows:
            self.add_row(*cells, key=key)
        self._headings, self._shown = headings, rows
        places = {key: number for number, (key, _) in enumerate(rows)}
        # Whoever has not moved away from the first row of such a table wants the newest, not the one that was.
        kept = 0 if self._newest_first and not place else places.get(chosen, place)
        self.move_cursor(row=max(0, min(kept, len(rows) - 1)), scroll=False)
        self.scroll_to(y=offset.y if kept else 0, animate=False, force=True)
        self.move_cursor(row=self.cursor_row)

    def _change_cells(self, rows: tuple[Row, ...]) -> None:
        for (key, cells), (_, before) in zip(rows, self._shown, strict=True):
            for number, (cell, old) in enumerate(zip(cells, before, strict=True)):
                if cell != old or cell.style != old.style:
                    self.update_cell(key, str(number), cell)
        self._shown = rows
