"""Raises alarm where a target answers slowly or fails often, and says when that is over. No decision depends on it.

Looked at every few seconds beside the calls, over the last minute or two of what is counted for `ProviderStatus`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.events import Event, EventName
from turnout_server.core.model import CALLER_FAILURES

if TYPE_CHECKING:
    from turnout_server.core.model import Target
    from turnout_server.core.settings import AlertSettings
    from turnout_server.core.statistics import Counts
    from turnout_server.core.target_state import TargetState

WINDOW_SECONDS = 60.0
SAMPLES_MINIMUM = 10
"""Fewer calls than this in the window raise no alarm: one failure of two is no rate."""
OVER_SHARE = 0.8
"""An alarm is over once the measure is below this share of its limit, so that it does not flap around it."""


class _Measured(NamedTuple):
    """What an alarm looks at, and what is told with it."""

    name: EventName
    value: float
    limit: float
    fields: dict[str, float]


class Alarms:
    """The alarms that are raised now, by target."""

    __slots__ = ("_raised", "_settings")

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings
        self._raised: dict[tuple[EventName, Target], float] = {}
        """Since when, monotonic seconds."""

    def adopt(self, settings: AlertSettings, targets: Iterable[TargetState]) -> None:
        """Takes other limits and other targets; an alarm for one that is gone is forgotten."""
        self._settings = settings
        here = {target.spec.target for target in targets}
        self._raised = {key: since for key, since in self._raised.items() if key[1] in here}

    def look(self, target: TargetState, now: float) -> Iterator[Event]:
        """Yields what is to be told of a target; takes some 50 us where it was called in the last minute."""
        where, last_at = target.spec.target, target.statistics.last_request_at
        if last_at is None or now - last_at > WINDOW_SECONDS:
            # Nobody calls it any more, so that nobody knows whether it is over.
            for name in (EventName.HIGH_LATENCY, EventName.HIGH_ERROR_RATE):
                self._raised.pop((name, where), None)
            return
        counts = target.statistics.window(WINDOW_SECONDS, now)
        rate, rated = _error_rate(counts)
        if rated >= SAMPLES_MINIMUM:
            limit = self._settings.high_error_rate
            fields = {"error_rate": round(rate, 4), "limit": limit, "call_count": rated}
            yield from self._judge(_Measured(EventName.HIGH_ERROR_RATE, rate, limit, fields), where, now)
        answered = counts.latency.count
        median = counts.latency.quantile(0.5)
        if median is not None and answered >= SAMPLES_MINIMUM:
            limit = self._settings.high_latency_seconds
            measured = {"median_seconds": round(median, 3), "limit_seconds": limit, "call_count": answered}
            yield from self._judge(_Measured(EventName.HIGH_LATENCY, median, limit, measured), where, now)

    def _judge(self, measured: _Measured, where: Target, now: float) -> Iterator[Event]:
        name, value, limit, fields = measured
        since = self._raised.get((name, where))
        if since is None and value > limit:
            self._raised[name, where] = now
            yield Event(
                name=name, at=now, target=where, provider=where.provider, endpoint=where.endpoint, fields=fields
            )
        elif since is not None and (value < OVER_SHARE * limit or value == 0.0):
            del self._raised[name, where]
            yield Event(
                name=EventName.RECOVERED,
                at=now,
                target=where,
                provider=where.provider,
                endpoint=where.endpoint,
                fields={"from": name.value, "after_seconds": round(now - since, 3), **fields},
            )


def _error_rate(counts: Counts) -> tuple[float, int]:
    """Returns the share of calls that failed through no fault of their callers, and of how many."""
    callers_own = sum(counts.failures[kind] for kind in CALLER_FAILURES)
    rated = counts.total - callers_own
    return ((rated - counts.succeeded) / rated if rated else 0.0), rated
