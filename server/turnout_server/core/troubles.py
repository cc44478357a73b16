"""What goes wrong in calls, as events that can be read while a thousand calls fail, and what is over again.

A failure, a switch to another target and a request that nobody could serve are told at once the first time, then now
and then with their count (`repeats`). An opening and its closing are joined to one `recovered`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from turnout_server.core.alarms import Alarms
from turnout_server.core.events import Event, EventName
from turnout_server.core.model import CALLER_FAILURES
from turnout_server.core.repeats import Repeats

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout_server.core.decision import Decision
    from turnout_server.core.model import FailureKind, Outcome, Target
    from turnout_server.core.settings import AlertSettings
    from turnout_server.core.target_state import TargetState

OUTAGES_MAXIMUM = 4096
"""Openings that are remembered until their closing; the oldest goes first."""

_OPENINGS = frozenset({EventName.BREAKER_OPENED, EventName.ENDPOINT_OPENED})
_CLOSINGS = {
    EventName.BREAKER_CLOSED: EventName.BREAKER_OPENED,
    EventName.ENDPOINT_CLOSED: EventName.ENDPOINT_OPENED,
}


Fields: TypeAlias = "dict[str, str | int | float]"


class Troubles:
    """Everything returns the events to be told now."""

    __slots__ = ("_out_since", "_repeats", "alarms")

    def __init__(self, settings: AlertSettings) -> None:
        self.alarms = Alarms(settings)
        self._repeats = Repeats()
        self._out_since: dict[tuple[EventName, Target | None, str, str], float] = {}

    def adopt(self, settings: AlertSettings, targets: Iterable[TargetState]) -> None:
        """Takes other limits and other targets."""
        self.alarms.adopt(settings, targets)

    def failed(self, outcome: Outcome, now: float) -> list[Event]:
        """Takes the end of an attempt. A caller's own faults are none; our own probes tell by breakers."""
        failure, where = outcome.failure, outcome.target
        if failure is None or failure in CALLER_FAILURES or outcome.off_path:
            return []
        fields: Fields = {"failure": failure.value, "decision_id": outcome.decision_id}
        if outcome.http_status is not None:
            fields["http_status"] = outcome.http_status
        if outcome.reported:
            fields["reported"] = "by the caller"
        event = _of_target(EventName.FAILURE, where, now, fields)
        return self._repeats.happened((EventName.FAILURE, where, failure), event)

    def switched(
        self, from_target: Target, to_target: Target, failure: FailureKind, decision_id: str, now: float
    ) -> list[Event]:
        """Takes a call that went on to another target after a failure."""
        fields: Fields = {
            "to": str(to_target),
            "failure": failure.value,
            "decision_id": decision_id,
        }
        event = _of_target(EventName.SWITCH, from_target, now, fields)
        return self._repeats.happened((EventName.SWITCH, from_target, to_target, failure), event)

    def nobody(self, decision: Decision, reason: str, now: float) -> list[Event]:
        """Takes a request that some targets could serve, and none can now; `reason` is what its caller was told."""
        fields = {"policy": decision.policy, "decision_id": decision.decision_id, "reason": reason}
        event = Event(name=EventName.UNAVAILABLE, at=now, fields=fields)
        return self._repeats.happened((EventName.UNAVAILABLE, decision.policy), event)

    def due(self, now: float) -> list[Event]:
        """Returns what happened again since it was told."""
        return self._repeats.due(now) if now >= self._repeats.due_at else []

    def followed_by(self, event: Event) -> list[Event]:
        """Takes an event that is told; returns that a target or endpoint is well again, where it says so."""
        if event.name in _OPENINGS:
            # One that fails its trial opens again: it has been out since the first time.
            self._out_since.setdefault(_subject(event.name, event), event.at)
            if len(self._out_since) > OUTAGES_MAXIMUM:
                del self._out_since[next(iter(self._out_since))]
            return []
        opening = _CLOSINGS.get(event.name)
        if opening is None:
            return []
        since = self._out_since.pop(_subject(opening, event), None)
        fields: Fields = {"from": opening.value, **event.fields}
        if since is not None:
            fields["after_seconds"] = round(event.at - since, 3)
        return [
            Event(
                name=EventName.RECOVERED,
                at=event.at,
                target=event.target,
                provider=event.provider,
                endpoint=event.endpoint,
                fields=fields,
            )
        ]


def _subject(opening: EventName, event: Event) -> tuple[EventName, Target | None, str, str]:
    return opening, event.target, event.provider, event.endpoint


def _of_target(name: EventName, where: Target, now: float, fields: Fields) -> Event:
    return Event(name=name, at=now, target=where, provider=where.provider, endpoint=where.endpoint, fields=fields)
