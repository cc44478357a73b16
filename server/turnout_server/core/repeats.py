"""What keeps happening is told at once the first time, and then now and then with how often it happened since."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from math import inf

from turnout_server.core.events import Event

EVERY_SECONDS = 10.0
"""How often the same thing is told at most: whoever reads events wants to hear of a problem, not of each call in it."""
KEYS_MAXIMUM = 1024
"""Different things that are followed at once; beyond that the one longest untold is told and followed no more."""


class _Run:
    __slots__ = ("count", "latest", "told_at")

    def __init__(self, told_at: float) -> None:
        self.told_at = told_at
        self.count = 0
        self.latest: Event | None = None


class Repeats:
    """Every event it gives out has a field `count`: how often it happened since it was last told, itself included."""

    __slots__ = ("_runs", "due_at")

    def __init__(self) -> None:
        # By the time they were told: one that is told again goes to the end.
        self._runs: dict[Hashable, _Run] = {}
        self.due_at = inf
        """When `due` has something to do, monotonic seconds."""

    def happened(self, key: Hashable, event: Event) -> list[Event]:
        """Takes one event of a kind; returns what is to be told now.

        What happens again waits for `due`: told here, it would stand in the trace of whichever call came next.
        """
        run = self._runs.get(key)
        if run is not None:
            run.count += 1
            run.latest = event
            return []
        told = [_counted(event, 1)]
        if len(self._runs) >= KEYS_MAXIMUM:
            told = [*_rest(self._runs.pop(next(iter(self._runs)))), *told]
        self._runs[key] = _Run(event.at)
        self._look()
        return told

    def due(self, now: float) -> list[Event]:
        """Returns what happened again since it was told, where that is long enough ago; forgets what did not."""
        if now < self.due_at:
            return []
        told: list[Event] = []
        for key, run in list(self._runs.items()):
            # As `due_at` is computed: the difference may be rounded to less, and nothing would ever be done.
            if now < run.told_at + EVERY_SECONDS:
                break
            del self._runs[key]
            if run.latest is not None:
                told += _rest(run)
                self._runs[key] = _Run(now)
        self._look()
        return told

    def _look(self) -> None:
        self.due_at = next((run.told_at + EVERY_SECONDS for run in self._runs.values()), inf)


def _rest(run: _Run) -> list[Event]:
    return [] if run.latest is None else [_counted(run.latest, run.count)]


def _counted(event: Event, count: int) -> Event:
    return replace(event, fields={**event.fields, "count": count})
