"""What came of a change of state, as those who made it are told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from turnout_server.core.events import Event
from turnout_server.core.model import Target


class RecordResult(StrEnum):
    """What became of a report."""

    ACCEPTED = "ACCEPTED"
    DUPLICATE = "DUPLICATE"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What became of a report, why, and what an operator would want to hear of it."""

    result: RecordResult
    reason: str = ""
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Adopted:
    """What adopting another fleet came to: targets that are new, and those that are gone."""

    added: tuple[Target, ...]
    removed: tuple[Target, ...]


def rejected(reason: str) -> Recorded:
    """Returns that a report was rejected, and why."""
    return Recorded(result=RecordResult.REJECTED, reason=reason)
