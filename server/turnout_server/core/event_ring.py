"""The last events of this run, in a bounded ring: to be listed newest first, and followed from any that is still held.

Sequence numbers stand on the time of the start, so that one from before a restart is recognised and refused instead of
being taken for something else. They stay below 2**53: whoever keeps numbers as doubles keeps them exactly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.errors import ResumeTooOldError

if TYPE_CHECKING:
    from turnout_server.core.events import Event, EventName

EVENTS_KEPT = 1000
VALUE_CHARACTERS = 2048
"""Of a field's text so much is kept; the log has all of it. With the names, an event holds a few hundred bytes."""
SEQUENCE_BITS = 12
"""Milliseconds since the epoch take 41 bits: a run of fewer than 4,096 events a millisecond ends below the next one."""


class Told(NamedTuple):
    """An event as it was told: its number, and when in seconds since the epoch."""

    sequence: int
    at_wall: float
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events are wanted; empty is all. `target` is the name of a target or of a provider."""

    names: Collection[EventName] = ()
    target: str = ""

    def takes(self, event: Event) -> bool:
        """Whether an event is one of them."""
        if self.names and event.name not in self.names:
            return False
        return not self.target or self.target == event.provider or self.target == str(event.target)


ALL_EVENTS = EventFilter()


class EventRing:
    """Holds the last `EVENTS_KEPT` events. `started_at_wall` is the start of this run, seconds since the epoch."""

    __slots__ = ("_told", "last_sequence")

    def __init__(self, started_at_wall: float) -> None:
        self._told: deque[Told] = deque(maxlen=EVENTS_KEPT)
        self.last_sequence = int(started_at_wall * 1000) << SEQUENCE_BITS
        """The number of the newest event; before the first one, the number before its."""

    def add(self, event: Event, at_wall: float) -> Told:
        """Takes an event; the oldest one goes where there is no room."""
        if any(isinstance(value, str) and len(value) > VALUE_CHARACTERS for value in event.fields.values()):
            event = replace(event, fields={name: _cut(value) for name, value in event.fields.items()})
        self.last_sequence += 1
        told = Told(self.last_sequence, at_wall, event)
        self._told.append(told)
        return told

    def newest(self, wanted: EventFilter, *, most: int, before: int | None = None) -> Sequence[Told]:
        """Returns events, newest first; with `before` only those with a lower number."""
        found = (
            told
            for told in reversed(self._told)
            if (before is None or told.sequence < before) and wanted.takes(told.event)
        )
        return tuple(islice(found, most))

    def after(self, sequence: int, *, most: int) -> Sequence[Told]:
        """Returns what came after an event, oldest first; 0 is before everything that is held.

        Raises ResumeTooOldError where some of it is gone, and for a number that is none of this run's.
        """
        told = self._told
        oldest = told[0].sequence if told else self.last_sequence + 1
        if sequence == 0:
            sequence = oldest - 1
        if not oldest - 1 <= sequence <= self.last_sequence:
            raise ResumeTooOldError(
                f"event {sequence} is not held any more, or is of another run: list events for what there is, and "
                f"watch from the newest of them"
            )
        first = sequence + 1 - oldest
        return tuple(islice(told, first, first + most))


def _cut(value: str | float) -> str | float:
    if not isinstance(value, str) or len(value) <= VALUE_CHARACTERS:
        return value
    return value[: VALUE_CHARACTERS - 1] + "…"
