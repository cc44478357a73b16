"""The live view itself: tables that follow the feed, and keys. With `tables` and `dialogs` all that needs Textual."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Input, Static

from turnout.answer import target_name
from turnout.errors import TurnoutError
from turnout.v1 import admin_pb2, router_pb2
from turnout_server.commands.live.cells import styled, target_cells, text_cells
from turnout_server.commands.live.changes import Act, Needless, make, prepare
from turnout_server.commands.live.decision_detail import decision_detail
from turnout_server.commands.live.decision_rows import decision_rows
from turnout_server.commands.live.decision_window import MOST
from turnout_server.commands.live.dialogs import HELP, Question, Reading
from turnout_server.commands.live.event_rows import event_rows
from turnout_server.commands.live.feed import Feed
from turnout_server.commands.live.figures import one_line
from turnout_server.commands.live.frame import NO_DECISIONS, NO_EVENTS, NO_TARGETS, cut
from turnout_server.commands.live.heights import Heights, heights
from turnout_server.commands.live.link import Link
from turnout_server.commands.live.seen import Part, Seen
from turnout_server.commands.live.summary import budget_line, missing, place_line, total_line
from turnout_server.commands.live.tables import Table
from turnout_server.commands.live.target_detail import target_detail
from turnout_server.commands.live.target_rows import ORDERS, UNSORTED, TargetRow, arranged, target_rows
from turnout_server.commands.sidecar import what_failed

KEYS = "d drain  u undrain  r reset  enter detail  s sort  / filter  ? help  q quit"
MORE_KEYS = "  w window  tab next table"
_DRAW_SECONDS = 0.05
_AGAIN_SECONDS = 1.0
"""Times run down between two looks, too."""
_TRENDS = 50
"""Of so many targets the trend is read where there are as many, also of those below the last one on the screen."""
DECISIONS = ("DECIDED", "RESULT", "CHOSEN", "WHY")
EVENTS = ("HAPPENED", "EVENT", "WHERE", "FACTS")


class LiveView(App[None]):
    """Shows a feed until somebody quits. `order` is one of ORDERS."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "turnout top"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "change('drain')", show=False),
        Binding("u", "change('undrain')", show=False),
        Binding("r", "change('reset')", show=False),
        Binding("s", "sort", show=False),
        Binding("w", "window", show=False),
        # Before the table: what is typed right behind it belongs to the filter already.
        Binding("slash", "filter", show=False, priority=True),
        Binding("escape", "unfilter", show=False),
        Binding("question_mark", "help", show=False),
        Binding("q", "quit", show=False),
        # Before a field to write into takes it for copying.
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]
    CSS = """
    Screen { layout: vertical; }
    #place, #total, #budgets, #keys, .keys { height: 1; width: 100%; }
    .title { height: auto; max-height: 4; width: 100%; }
    #place, .title { text-style: bold; }
    #place.lost { background: $error; color: $text; }
    #keys, .keys { color: $text-muted; }
    #filter { height: 1; border: none; padding: 0; display: none; background: $surface; }
    Table { scrollbar-size: 0 1; overflow-x: hidden; background: $background; }
    Table > .datatable--header { text-style: bold; background: $panel; color: $text-muted; }
    Table:focus > .datatable--header { background: $primary; color: $text; }
    Table > .datatable--cursor { background: $background; color: $foreground; text-style: none; }
    Table:focus > .datatable--cursor { background: $boost; text-style: bold; }
    Question { align: center middle; }
    Question .box { width: 70; max-width: 100%; height: auto; border: round $primary; padding: 1 2; }
    Question .box { background: $surface; }
    Reading { background: $background; }
    Reading Lines { height: 1fr; }
    #lines { width: auto; }
    #lines.wrapped { width: 100%; }
    Toast { max-width: 76; }
    """

    def __init__(self, feed: Feed, link: Link, *, interval_seconds: float, order: str) -> None:
        super().__init__()
        self._feed = feed
        self._link = link
        self._interval_seconds = interval_seconds
        self._order = order
        self._pattern = ""
        self._drawing = False

    def compose(self) -> ComposeResult:
        """Lays out the lines and tables."""
        yield Static(id="place")
        yield Static(id="total")
        yield Static(id="budgets")
        yield Table(name="targets")
        yield Table(name="decisions", newest_first=True)
        yield Table(name="events", newest_first=True)
        yield Input(id="filter", placeholder="show only what names this; enter keeps it, esc forgets it", compact=True)
        yield Static(Text(KEYS, no_wrap=True), id="keys")

    def on_mount(self) -> None:
        """Begins to follow the sidecar."""
        self.query_one("#targets").focus()
        self.draw()
        self.run_worker(self._feed.run(self._interval_seconds, self._changed), name="feed")
        self.set_interval(_AGAIN_SECONDS, self.draw)

    def on_resize(self, event: Resize) -> None:
        """Shares the room out anew, once the new size is in force."""
        del event
        self.call_after_refresh(self.draw)

    def _changed(self) -> None:
        """Draws soon: a burst of events is drawn once."""
        if not self._drawing:
            self._drawing = True
            self.set_timer(_DRAW_SECONDS, self.draw)

    def draw(self) -> None:
        """Shows what is known now."""
        self._drawing = False
        if not self.screen_stack or not self.screen_stack[0].query("#keys"):
            # It has ended while something was still on its way.
            return
        seen, main = self._feed.seen, self.screen_stack[0]
        width, stale = self.size.width, bool(seen.lost)
        place = main.query_one("#place", Static)
        place.update(Text(cut(place_line(seen), width), no_wrap=True))
        place.set_class(stale, "lost")
        by = f"  by {self._order}" if self._order != UNSORTED else ""
        main.query_one("#total", Static).update(styled(cut(f"{total_line(seen)}{by}", width), stale=stale))
        keys = KEYS + MORE_KEYS if width >= len(KEYS + MORE_KEYS) else KEYS
        if self._pattern:
            keys = f"only what names {self._pattern}   esc all   {keys}"
        main.query_one("#keys", Static).update(Text(cut(keys, width), no_wrap=True))
        spent = budget_line(seen)
        budgets = main.query_one("#budgets", Static)
        budgets.display = bool(spent)
        budgets.update(styled(cut(spent, width), stale=stale))
        rows = arranged(target_rows(seen), order=self._order, pattern=self._pattern)
        parts = heights(self.size.height - 3 - bool(spent), len(rows))
        for name, lines in (("targets", parts.targets), ("decisions", parts.decisions), ("events", parts.events)):
            table = main.query_one(f"#{name}", Table)
            if table.size.height != lines:
                table.styles.height = lines
        self._feed.decision_count = min(MOST, max(parts.decisions - 1, self._feed.decision_count))
        self._draw_tables(main, seen, rows, parts)
        if isinstance(self.screen, Reading):
            self.screen.refresh_lines()

    def _draw_tables(self, main: Screen[object], seen: Seen, rows: list[TargetRow], parts: Heights) -> None:
        width, stale, pattern = self.size.width, bool(seen.lost), self._pattern
        targets = main.query_one("#targets", Table)
        # A table that does not fit has a line at its right to scroll by.
        nothing = "no target has this in its name or state" if pattern else NO_TARGETS
        targets.show(*target_cells(rows, width - (len(rows) >= parts.targets), nothing=nothing, stale=stale))
        first = round(targets.scroll_offset.y)
        self._feed.trends_of = [row.name for row in rows[first : first + max(parts.targets, _TRENDS)]]
        nothing = missing(seen, Part.DECISIONS, nothing="no decision names this" if pattern else NO_DECISIONS)
        decided = text_cells(DECISIONS, decision_rows(seen, pattern=pattern), width - 1, nothing=nothing, stale=stale)
        main.query_one("#decisions", Table).show(*decided)
        nothing = missing(seen, Part.EVENTS, nothing="no event names this" if pattern else NO_EVENTS)
        happened = text_cells(EVENTS, event_rows(seen, pattern=pattern), width - 1, nothing=nothing, stale=stale)
        main.query_one("#events", Table).show(*happened)

    def action_sort(self) -> None:
        """Sorts targets by the next order. Whoever has not moved away from the first row sees the new first ones."""
        names = list(ORDERS)
        self._order = names[(names.index(self._order) + 1) % len(names)]
        table = self.query_one("#targets", Table)
        at_first = table.cursor_row <= 0
        self.draw()
        if at_first:
            table.move_cursor(row=0)

    def action_window(self) -> None:
        """Looks back over another time."""
        self._feed.next_window()

    def action_help(self) -> None:
        """Shows the keys and what stands in the columns."""
        self.push_screen(Reading("turnout top", HELP.splitlines, wrap=False))

    def action_filter(self) -> None:
        """Lets a filter be written."""
        field = self.query_one("#filter", Input)
        field.display = True
        self.query_one("#keys").display = False
        self.screen.set_focus(field)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leaves a slash that is part of a filter to the filter."""
        del parameters
        return action != "filter" or not isinstance(self.focused, Input)

    def action_unfilter(self) -> None:
        """Forgets the filter."""
        self.query_one("#filter", Input).value = ""
        self._end_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filters while it is written."""
        self._pattern = event.value.strip()
        self.draw()

    def on_input_submitted(self) -> None:
        """Keeps the filter."""
        self._end_filter()

    def _end_filter(self) -> None:
        self.query_one("#filter").display = False
        self.query_one("#keys").display = True
        self.query_one("#targets").focus()

    def on_data_table_row_selected(self, event: Table.RowSelected) -> None:
        """Shows everything about the chosen row."""
        key = event.row_key.value or ""
        if not key:
            return
        if event.data_table.id == "targets":
            self.push_screen(
                Reading(f"target {key}", lambda: target_detail(self._feed.seen, key), wrap=True, target=key)
            )
        elif event.data_table.id == "decisions":
            self._explain(key)
        else:
            self._tell(int(key))

    def _tell(self, sequence: int) -> None:
        """Shows an event: the decision it names, else its facts."""
        row = next((row for row in event_rows(self._feed.seen) if row.sequence == sequence), None)
        if row is None:
            return
        if row.decision_id:
            self._explain(row.decision_id)
        else:
            lines = [f"{row.time} UTC  {row.where}", *row.facts.split("  ")]
            self.push_screen(Reading(row.name, lambda: lines, wrap=True))

    @work
    async def _explain(self, decision_id: str) -> None:
        """Shows a decision with all that is known of it by now."""
        try:
            request = admin_pb2.GetDecisionRequest(decision_id=decision_id)
            record = (await self._link.call(self._link.admin.GetDecision, request)).decision
        except TurnoutError as error:
            # Where the sidecar has forgotten it meanwhile, or does not answer: what was read of it for the table.
            known = (one for one in self._feed.seen.decisions if one.decision.decision_id == decision_id)
            read = next(known, None)
            if read is None:
                self._warn(error)
                return
            record = read
        # The first line is the title.
        self.push_screen(
            Reading(f"decision {decision_id}", lambda: decision_detail(record, self.size.width - 1)[1:], wrap=False)
        )

    def action_change(self, act: str) -> None:
        """Changes the chosen target once somebody has said yes."""
        self.change(act, self.query_one("#targets", Table).chosen)

    def on_reading_change_asked(self, event: Reading.ChangeAsked) -> None:
        """Changes the target that is read about."""
        self.change(event.act, event.target)

    @work(exclusive=True, group="change")
    async def change(self, act: str, name: str) -> None:
        """Changes a target, by the name that is shown, once somebody has said yes."""
        target = self._target(name)
        if target is None:
            return
        try:
            focused = self.focused
            change = await prepare(self._link, Act(act), target)
            if isinstance(change, Needless):
                self.notify(change.why, markup=False)
                return
            if self.focused is not focused:
                # The sidecar took long: what is typed by now must not be taken for an answer.
                self.notify(f"{act} {name}: not asked, you have gone on; press the key again", markup=False)
                return
            if await self.push_screen_wait(Question(change.question)):
                await make(self._link, change)
                self.notify(change.done, markup=False)
                self._feed.read_soon()
        except TurnoutError as error:
            self._warn(error)

    def _target(self, name: str) -> router_pb2.Target | None:
        for provider in self._feed.seen.status.providers:
            for state in provider.targets:
                if one_line(target_name(state.target)) == name:
                    return state.target
        return None

    def _warn(self, error: TurnoutError) -> None:
        self.notify(what_failed(error, self._link.address), severity="error", timeout=10, markup=False)
