"""Everybody who is told what happens: the ring that is listed and followed, metrics, the log, and who joins later."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from turnout_server.core.event_ring import EventRing
from turnout_server.core.events import EventName
from turnout_server.core.repeats import Repeats
from turnout_server.telemetry.logs.event_log import event_to_span, log_event
from turnout_server.telemetry.logs.logs import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import FilteringBoundLogger

    from turnout_server.core.event_ring import Told
    from turnout_server.core.events import Event

_LEFT_ALONE = ("open_seconds", "seconds")
"""Fields that say for how long a target, an endpoint or a credential is not used."""


class Telling:
    """Takes every event, once, on the event loop. `count` is of the metrics, `wall` seconds since the epoch."""

    def __init__(self, log: FilteringBoundLogger, count: Callable[[Event], None], *, wall: Callable[[], float]) -> None:
        self._log = log
        self._count = count
        self._wall = wall
        self._hedges = Repeats()
        self.ring = EventRing(wall())
        self.others: list[Callable[[Told], None]] = []
        """Are told after the rest; they return at once and never raise."""

    def __call__(self, event: Event) -> None:
        """Tells of an event. What has the shape of a credential is told to nobody, as in every line of the log.

        Hedges come with a share of all calls: each is counted, and they are told a few at once.
        """
        self._count(event)
        if event.name is not EventName.HEDGED:
            self._tell(event)
            return
        first = self._hedges.happened((event.target, event.fields.get("second")), event)
        for hedged in first:
            self._tell(hedged)
        if not first:
            event_to_span(event)

    def due(self, now: float) -> None:
        """Tells what has waited to be told, monotonic seconds; to be called a few times a second."""
        for event in self._hedges.due(now):
            self._tell(event)

    def _tell(self, event: Event) -> None:
        told = self.ring.add(_redacted(event), self._wall())
        log_event(self._log, event)
        for tell in self.others:
            tell(told)


def until(told: Told) -> Mapping[str, str]:
    """Returns the field `until`, the time to which what an event is of is left alone; nothing where it is not."""
    seconds = next((told.event.fields[name] for name in _LEFT_ALONE if name in told.event.fields), None)
    return {"until": iso(told.at_wall + seconds)} if isinstance(seconds, int | float) else {}


def iso(at_wall: float) -> str:
    """Returns a time of seconds since the epoch in UTC, with milliseconds."""
    return datetime.fromtimestamp(at_wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _redacted(event: Event) -> Event:
    fields = {name: _told(value) if isinstance(value, str) else value for name, value in event.fields.items()}
    return event if fields == event.fields else replace(event, fields=fields)


def _told(text: str) -> str:
    """Returns a text as it may be told. A file's name may hold bytes that are no UTF-8, which no answer can hold."""
    return redact_text(text if text.isascii() else text.encode(errors="backslashreplace").decode())
