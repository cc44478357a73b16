"""When a target is left alone: after failures in a row, or when half of many calls fail, for a time that doubles.

Failures in a row are counted once per call, must span a second (one burst is one fault) and expire. The share of
failures looks at the last 30 seconds in one-second buckets.

What ends a row is an answer of later: where answers are long, those from before an outage go on ending well long after
nobody new is served. A row that they dispute must last longer, so that it is not taken for unbroken only because
answers take longer than failures: until the first content of a later attempt, which ends it, is overdue.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.gate import Change, Gate
from turnout_server.core.model import FailureKind
from turnout_server.core.recent import RecentCounts
from turnout_server.core.settings import BreakerSettings

BEFORE_CONTENT = frozenset(
    {FailureKind.CONNECTION, FailureKind.OVERLOADED, FailureKind.SERVER_ERROR, FailureKind.TIMEOUT}
)

if TYPE_CHECKING:
    from turnout_server.core.kept import BreakerLine, KeptName, Since
"""Failures to begin an answer: they are refuted by one that begins later, and by none that began before. Failures of
answers that had begun (cut, stalled, malformed) are refuted only by a whole one, whenever it began."""
STREAK_REMEMBERED = 64
"""More failures in a row than any threshold; beyond it the oldest still tells how long they span."""


class Failed(NamedTuple):
    """One failure of a streak."""

    at: float
    kind: FailureKind


class Breaker(Gate):
    """One target's breaker. Only failures that are the provider's fault may be recorded here."""

    __slots__ = ("_disputed", "_recent", "_streak")

    def __init__(self, settings: BreakerSettings, rng: random.Random) -> None:
        super().__init__(settings, rng)
        self._streak: dict[str, Failed] = {}
        self._disputed = False
        """An answer has ended well since the row began, though it had begun before."""
        self._recent = RecentCounts(settings.ratio_window_seconds)

    def follow(self, settings: BreakerSettings) -> None:
        """Takes other settings; what was counted stays."""
        self.follow_breaker(settings)
        self._recent.follow(settings.ratio_window_seconds)

    def keep(self, name: KeptName, now: float) -> BreakerLine:
        """Returns what is kept of it."""
        from turnout_server.core.kept import BreakerLine, KeptFailure  # noqa: PLC0415 - needed only where state outlives the process

        streak = tuple(KeptFailure(now - failed.at, failed.kind) for failed in self._streak.values())
        return BreakerLine(name, self.keep_gate(now), streak, self._disputed, self._recent.keep(now))

    def resume(self, kept: BreakerLine, since: Since) -> None:
        """Takes what was kept. The calls of its streak are over: whatever fails now is another one."""
        self.resume_gate(kept.gate, since)
        self._streak = {
            f"kept {place}": Failed(since.past(failed.age), failed.kind)
            for place, failed in enumerate(kept.streak[:STREAK_REMEMBERED])
        }
        self._disputed = kept.disputed
        self._recent.resume(kept.recent, since)

    @property
    def consecutive_failures(self) -> int:
        """How many calls in a row failed, as far as they have not expired."""
        return len(self._streak)

    def answering(self, began_at: float) -> None:
        """Takes the first content of an attempt that began then: whoever failed to begin an answer before is past."""
        if self._streak and self._opened_at is None:
            self._streak = {
                call_id: failed
                for call_id, failed in self._streak.items()
                if failed.at > began_at or failed.kind not in BEFORE_CONTENT
            }

    def record_success(self, now: float, *, probe_id: str = "", began_at: float | None = None) -> Change:
        """Takes a complete answer: ends a streak; closes a half-open breaker where it is the last trial needed.

        `began_at` is when the attempt began: it says nothing of failures to begin an answer since. None where unknown:
        then it ends any streak.
        """
        self._recent.add(now, None)
        if self._opened_at is None:
            if self._streak and began_at is not None:
                self._streak = {
                    call_id: failed
                    for call_id, failed in self._streak.items()
                    if failed.at > began_at and failed.kind in BEFORE_CONTENT
                }
                self._disputed = True
            else:
                self._streak.clear()
            return Change.NONE
        change = self._trial_succeeded(probe_id, now)
        if change is Change.CLOSED:
            self._streak.clear()
            self._recent.clear()
        return change

    def record_failure(
        self,
        kind: FailureKind,
        call_id: str,
        now: float,
        *,
        probe_id: str = "",
        overdue_seconds: float = 0.0,
        seconds: float = 0.0,
    ) -> Change:
        """Takes a failure that hurts health; `call_id` is the call that it belongs to, counted once in a streak.

        `overdue_seconds` is the time after which the first content of an attempt is overdue at this target; `seconds`
        is what the attempt took.
        """
        self._recent.add(now, kind)
        if self._opened_at is not None:
            return self._trial_failed(probe_id, kind, now, seconds)
        self._expire_streak(now)
        self._disputed = self._disputed and bool(self._streak)
        if call_id not in self._streak and len(self._streak) < STREAK_REMEMBERED:
            self._streak[call_id] = Failed(now, kind)
        if not self._trips(now, overdue_seconds):
            return Change.NONE
        self._open(kind, now, seconds, busy=self._recent.per_second(now) >= self._settings.ramp_minimum_rate)
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

    def reset(self) -> Change:
        """Forgets every failure, and closes where it is not closed."""
        self._streak.clear()
        self._disputed = False
        self._recent.clear()
        return self._reset_gate()

    def _trips(self, now: float, overdue_seconds: float = 0.0) -> bool:
        settings = self._settings
        if len(self._streak) >= settings.consecutive_failures:
            first = next(iter(self._streak.values()))
            span_seconds = settings.consecutive_span_seconds
            if now - first.at >= (max(span_seconds, overdue_seconds) if self._disputed else span_seconds):
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
