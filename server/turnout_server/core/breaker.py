"""When a target is left alone: after failures in a row, or when half of many calls fail, for a time that doubles.

Failures in a row are counted once per call, must span a second (one burst is one fault) and expire. The share of
failures looks at the last 30 seconds in one-second buckets.
"""

from __future__ import annotations

import random
from collections import deque
from typing import NamedTuple

from turnout_server.core.gate import Change, Gate
from turnout_server.core.model import FailureKind
from turnout_server.core.settings import BreakerSettings

STREAK_REMEMBERED = 64
"""More failures in a row than any threshold; beyond it the oldest still tells how long they span."""


class Failed(NamedTuple):
    """One failure of a streak."""

    at: float
    kind: FailureKind


class Second:
    """What ended within one second."""

    __slots__ = ("connections", "failed", "number", "total")

    def __init__(self, number: int) -> None:
        self.number = number
        self.total = 0
        self.failed = 0
        self.connections = 0


class RecentCounts:
    """Outcomes of the last `window_seconds`, forgotten second by second."""

    __slots__ = ("_failed", "_seconds", "_total", "_window")

    def __init__(self, window_seconds: float) -> None:
        self._window = window_seconds
        self._seconds: deque[Second] = deque()
        self._total = 0
        self._failed = 0

    def add(self, now: float, kind: FailureKind | None) -> None:
        """Counts one outcome."""
        self._forget(now)
        number = int(now // 1.0)
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(Second(number))
        second = self._seconds[-1]
        second.total += 1
        self._total += 1
        if kind is not None:
            second.failed += 1
            self._failed += 1
            second.connections += kind is FailureKind.CONNECTION

    def read(self, now: float) -> tuple[int, int]:
        """Returns how many ended and how many of them failed."""
        self._forget(now)
        return self._total, self._failed

    def forgive_connections(self, since: float) -> None:
        """Takes CONNECTION failures of the seconds from `since` on out of the counts."""
        for second in self._seconds:
            if second.number >= since // 1.0:
                self._total -= second.connections
                self._failed -= second.connections
                second.total -= second.connections
                second.failed -= second.connections
                second.connections = 0

    def clear(self) -> None:
        """Forgets everything."""
        self._seconds.clear()
        self._total = self._failed = 0

    def _forget(self, now: float) -> None:
        # The bucket that the window's edge cuts is gone: never older than the window.
        oldest = (now - self._window) // 1.0
        while self._seconds and self._seconds[0].number <= oldest:
            gone = self._seconds.popleft()
            self._total -= gone.total
            self._failed -= gone.failed


class Breaker(Gate):
    """One target's breaker. Only failures that are the provider's fault may be recorded here."""

    __slots__ = ("_busy", "_recent", "_streak")

    def __init__(self, settings: BreakerSettings, rng: random.Random) -> None:
        super().__init__(settings, rng)
        self._streak: dict[str, Failed] = {}
        self._recent = RecentCounts(settings.ratio_window_seconds)
        self._busy = False

    @property
    def consecutive_failures(self) -> int:
        """How many calls in a row failed, as far as they have not expired."""
        return len(self._streak)

    def ramp_factor(self, now: float) -> float:
        """What the target's score is multiplied by after closing, rising from 0.1 to 1 over 30 s.

        1 where it had less than one call a second before it opened: a ramp would starve it.
        """
        if not self._busy or self._closed_at is None or self._opened_at is not None:
            return 1.0
        settings = self._settings
        passed = now - self._closed_at
        if passed >= settings.ramp_seconds:
            return 1.0
        return settings.ramp_floor + (1.0 - settings.ramp_floor) * max(0.0, passed) / settings.ramp_seconds

    def record_success(self, now: float, *, probe_id: str = "") -> Change:
        """Takes a complete answer: ends a streak; closes a half-open breaker where it is the last trial needed."""
        self._recent.add(now, None)
        if self._opened_at is None:
            self._streak.clear()
            return Change.NONE
        change = self._trial_succeeded(probe_id, now)
        if change is Change.CLOSED:
            self._streak.clear()
            self._recent.clear()
        return change

    def record_failure(self, kind: FailureKind, call_id: str, now: float, *, probe_id: str = "") -> Change:
        """Takes a failure that hurts health; `call_id` is the call that it belongs to, counted once in a streak."""
        self._recent.add(now, kind)
        if self._opened_at is not None:
            return self._trial_failed(probe_id, kind, now)
        self._expire_streak(now)
        if call_id not in self._streak and len(self._streak) < STREAK_REMEMBERED:
            self._streak[call_id] = Failed(now, kind)
        if not self._trips(now):
            return Change.NONE
        total, _ = self._recent.read(now)
        self._busy = total >= self._settings.ramp_minimum_rate * self._settings.ratio_window_seconds
        self._open(kind, now)
        return Change.OPENED

    def forgive_connections(self, since: float, now: float) -> Change:
        """Forgets CONNECTION failures from `since` on: it was our own network. Closes again what only they opened."""
        self._streak = {
            call_id: failed
            for call_id, failed in self._streak.items()
            if failed.kind is not FailureKind.CONNECTION or failed.at < since
        }
        self._recent.forgive_connections(since)
        return self._undo_opening(since, trips=self._trips(now))

    def _trips(self, now: float) -> bool:
        settings = self._settings
        if len(self._streak) >= settings.consecutive_failures:
            first = next(iter(self._streak.values()))
            if now - first.at >= settings.consecutive_span_seconds:
                return True
        total, failed = self._recent.read(now)
        return total >= settings.ratio_minimum_count and failed >= settings.failure_ratio * total

    def _expire_streak(self, now: float) -> None:
        expiry = now - self._settings.consecutive_expiry_seconds
        while self._streak:
            call_id, failed = next(iter(self._streak.items()))
            if failed.at > expiry:
                return
            del self._streak[call_id]
