"""How many calls ended lately and how many of them failed, in one-second buckets: bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from turnout_server.core.model import FailureKind

if TYPE_CHECKING:
    from turnout_server.core.kept import Since


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

    def follow(self, window_seconds: float) -> None:
        """Takes another window; what a longer one would still hold is gone already."""
        self._window = window_seconds

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

    def per_second(self, now: float) -> float:
        """Returns how many calls ended per second, over the whole window."""
        self._forget(now)
        return self._total / self._window

    def keep(self, now: float) -> tuple[tuple[int, int, int, int], ...]:
        """Returns each second as it is kept: how long ago, all, failed, not connected."""
        self._forget(now)
        current = int(now // 1.0)
        return tuple((current - each.number, each.total, each.failed, each.connections) for each in self._seconds)

    def resume(self, rows: Iterable[tuple[int, int, int, int]], since: Since) -> None:
        """Takes what was kept."""
        self.clear()
        for ago, total, failed, connections in sorted(rows, reverse=True):
            second = Second(since.number(ago, 1.0))
            second.total, second.failed, second.connections = total, failed, connections
            self._seconds.append(second)
            self._total += total
            self._failed += failed
        self._forget(since.now)

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
