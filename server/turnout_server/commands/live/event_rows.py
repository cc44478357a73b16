"""Events as rows: when, what, where, and the facts."""

from __future__ import annotations

from dataclasses import dataclass

from turnout.answer import target_name
from turnout.v1 import admin_pb2
from turnout_server.commands.live.figures import clock, one_line
from turnout_server.commands.live.seen import Seen
from turnout_server.commands.live.target_rows import Tone, passes

_BAD = ("opened", "unavailable", "exhausted", "refused", "credential.out", "local_network")
_GOOD = ("closed", "recovered", "credential.back", "reloaded", "undrained")
_LAST_FIELD = "decision_id"
"""Long, and of use in the detail only: what happened comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One event; `decision_id` is "" where it tells of none."""

    sequence: int
    time: str
    name: str
    tone: Tone
    where: str
    facts: str
    decision_id: str


def event_rows(seen: Seen, *, pattern: str = "") -> list[EventRow]:
    """Returns the events, newest first, that a filter lets through by name or place."""
    rows = map(event_row, seen.events)
    return [row for row in rows if passes(pattern, row.where, row.name)]


def event_row(event: admin_pb2.Event) -> EventRow:
    """Returns the row of one event."""
    names = sorted(event.fields, key=lambda name: (name == _LAST_FIELD, name))
    return EventRow(
        sequence=event.sequence,
        time=clock(event.time),
        name=one_line(event.name),
        tone=_tone(event.name),
        where=one_line(_where(event)),
        facts="  ".join(f"{name}={one_line(event.fields[name])}" for name in names),
        decision_id=event.fields.get(_LAST_FIELD, ""),
    )


def _where(event: admin_pb2.Event) -> str:
    if event.target.model:
        return target_name(event.target)
    return "@".join(part for part in (event.target.provider, event.target.endpoint) if part) or "-"


def _tone(name: str) -> Tone:
    if any(name.endswith(end) for end in _BAD):
        return Tone.BAD
    return Tone.GOOD if any(name.endswith(end) for end in _GOOD) else Tone.WARN
