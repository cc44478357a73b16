"""What opens above the tables: a question, and texts to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import ScrollableContainer, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

HELP = """\
up down, k j   choose a row             tab  targets, decisions, events
enter          all of the chosen row    esc  back; forget the filter
d   drain the target: calls under way end, no new ones begin
u   undrain it
r   forget its health: breaker, cool-downs, windows
s   sort by state, calls, latency, errors, in flight, spend; as configured
w   look back over 1, 5, 15 or 60 minutes
/   show only what names this: targets, states, tasks, events
?   this help                           q, ctrl+c  quit

STATE  what keeps calls away, else the health; * is the whole endpoint's breaker
FLT    calls in flight                  SCORE  of its health, 0 to 100
P50    half of the whole answers came within; P95: 95 of 100
BY MIN P50 minute by minute, the one under way last, against their highest
TTFT   half of the first tokens came within
/S     calls a second                   TOK/S  output tokens a second
ERR    share of calls that failed       $/H    USD an hour, at the rate of now
SPEND  as far back as sums are kept, a day at most
RESULT unknown: still under way, or a plan that nobody has reported
WHY    strategy and score; "before X" came second, "after X" failed on the way,
       "not X REASON" was rejected for that; enter has all of it
Figures look back over the time that the second line names.
"""


class Question(ModalScreen[bool]):
    """Asks for a yes; everything else is a no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", show=False),
        Binding("n,escape,q", "answer(False)", show=False),
        Binding("ctrl+c", "app.quit", show=False),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Shows the question and the keys that answer it."""
        with Vertical(classes="box"):
            yield Static(Text(self._question))
            yield Static(Text("\ny yes    n no", style="bold"))

    def action_answer(self, answer: bool) -> None:  # noqa: FBT001 - how a binding gives it
        """Ends with the answer."""
        self.dismiss(answer)


class Reading(ModalScreen[None]):
    """Lines to read, anew each time `refresh_lines` is called. `target` is the one that they are about, if any."""

    class ChangeAsked(Message):
        """Somebody wants that target changed."""

        def __init__(self, act: str, target: str) -> None:
            super().__init__()
            self.act = act
            self.target = target

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "dismiss", show=False),
        Binding("d", "change('drain')", show=False),
        Binding("u", "change('undrain')", show=False),
        Binding("r", "change('reset')", show=False),
        Binding("ctrl+c", "app.quit", show=False),
    ]

    def __init__(self, title: str, lines: Callable[[], Sequence[str]], *, wrap: bool, target: str = "") -> None:
        super().__init__()
        self._title = title
        self._lines = lines
        self._wrap = wrap
        self._target = target

    def compose(self) -> ComposeResult:
        """Shows the title, the lines, and the keys."""
        yield Static(Text(self._title, no_wrap=True), classes="title")
        with Lines():
            yield Static(id="lines", classes="wrapped" if self._wrap else "")
        changing = "  d drain  u undrain  r reset" if self._target else ""
        yield Static(Text(f"esc back  arrows scroll{changing}", no_wrap=True), classes="keys")

    def on_mount(self) -> None:
        """Shows what there is to read."""
        self.refresh_lines()

    def refresh_lines(self) -> None:
        """Shows the lines as they are now."""
        # None before it has been laid out, and once it is closed.
        for lines in self.query("#lines").results(Static):
            lines.update(Text("\n".join(self._lines()), no_wrap=not self._wrap))

    def action_change(self, act: str) -> None:
        """Changes the target that is read about, where it is one."""
        if self._target:
            self.post_message(self.ChangeAsked(act, self._target))


class Lines(ScrollableContainer):
    """What can be scrolled by keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
    ]
