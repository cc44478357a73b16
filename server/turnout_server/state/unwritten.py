"""What has happened and is not in the journal yet: numbered, and of each thing only the last line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from turnout_server.core.events import Event
from turnout_server.core.keeping import KEPT_EVENTS, Memory
from turnout_server.core.kept import BreakerLine, CredentialLine, EndpointLine, Line, SpentLine
from turnout_server.state.key_digests import KeyDigests
from turnout_server.state.lines import Entry


class Unwritten:
    """Bounded by what there is: a line for each account, breaker and key."""

    def __init__(
        self, memory: Memory, digests: KeyDigests, *, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._memory = memory
        self._digests = digests
        self._clock = clock
        self._wall = wall
        self._events: list[Event] = []
        self._entries: dict[object, Entry] = {}
        self.last_number = 0

    def __bool__(self) -> bool:
        return bool(self._entries)

    def on_event(self, event: Event) -> None:
        """Takes what happened: its subject gets a line as it stands when lines are collected next."""
        if event.name in KEPT_EVENTS:
            self._events.append(event)

    def collect(self) -> None:
        """Gives lines and numbers to what has happened since the last time."""
        events, self._events = self._events, []
        lines: list[Line] = list(self._memory.settled())
        if events:
            lines += self._memory.changed(events, self._clock())
        now_wall = self._wall() if lines else 0.0
        for line in lines:
            subject = _subject(line)
            self._entries.pop(subject, None)
            self._entries[subject] = self.numbered(line, now_wall)

    def numbered(self, line: Line, at_wall: float) -> Entry:
        """Returns a line with the next number."""
        self.last_number += 1
        if isinstance(line, CredentialLine):
            line = dataclasses.replace(line, digest=self._digests.of(line))
        return Entry(self.last_number, at_wall, line)

    def take(self) -> Mapping[object, Entry]:
        """Returns what waits, to be written now."""
        entries, self._entries = self._entries, {}
        return entries

    def give_back(self, entries: Mapping[object, Entry]) -> None:
        """Takes back what could not be written, as far as nothing newer is known of the same thing."""
        self._entries = {**entries, **self._entries}


def _subject(line: Line) -> object:
    match line:
        case SpentLine():
            return line.budget.name, line.budget.scope, line.budget.period, line.key
        case BreakerLine() | EndpointLine():
            return line.name
        case CredentialLine():
            return line.provider, line.label
        case _:
            return line
