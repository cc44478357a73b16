"""Sees that a target has gone quiet before the first timeout fires: many calls wait, and no first token comes.

It only ranks the target last; a timeout or an answer decides.
"""

from __future__ import annotations

from itertools import islice

from turnout_server.core.settings import HealthSettings


class SuspectWatch:
    """The attempts of one target that wait for their first token.

    Suspect: at least 5 have waited longer than max(2 s, 3 x p95 of the time to first token), with no first token
    since. It stays so until one answers, or until none is left that could.
    """

    __slots__ = ("_count", "_deciding_at", "_factor", "_flagged", "_seconds", "_waiting")

    def __init__(self, settings: HealthSettings) -> None:
        self._waiting: dict[str, float] = {}
        self._deciding_at: float | None = None
        self._flagged = False
        self.follow(settings)

    def follow(self, settings: HealthSettings) -> None:
        """Takes other settings; the attempts that wait go on waiting."""
        self._count = settings.suspect_attempts
        self._seconds = settings.suspect_seconds
        self._factor = settings.suspect_factor
        self._decide()

    @property
    def waiting_count(self) -> int:
        """How many attempts wait, as far as no first token has come since they began."""
        return len(self._waiting)

    @property
    def may_be(self) -> bool:
        """Whether it is suspect or has enough attempts waiting to become so."""
        return self._flagged or self._deciding_at is not None

    def began_at(self, attempt_id: str) -> float | None:
        """Returns when an attempt began that still waits for the first sign of life; None for others."""
        return self._waiting.get(attempt_id)

    def started(self, attempt_id: str, now: float) -> None:
        """Takes an attempt that begins to wait."""
        self._waiting[attempt_id] = now
        if len(self._waiting) == self._count:
            self._decide()

    def first_token(self) -> None:
        """Takes a sign of life: whoever waits is only slow."""
        self._waiting.clear()
        self._deciding_at = None
        self._flagged = False

    def reset(self) -> None:
        """Forgets whom it waits for: only attempts that begin from now on can make the target suspect."""
        self.first_token()

    def ended(self, attempt_id: str) -> None:
        """Takes an attempt that ended without a first token."""
        if self._waiting.pop(attempt_id, None) is None:
            return
        self._decide()
        if not self._waiting:
            self._flagged = False

    def suspect(self, p95_first_token_seconds: float, now: float) -> bool:
        """Whether the target is suspect."""
        if self._flagged:
            return True
        if self._deciding_at is None:
            return False
        return now - self._deciding_at > self.overdue_seconds(p95_first_token_seconds)

    def overdue_seconds(self, p95_first_token_seconds: float) -> float:
        """Returns how long an attempt waits until its first token is overdue: max(2 s, 3 x p95)."""
        return max(self._seconds, self._factor * p95_first_token_seconds)

    def flag(self, p95_first_token_seconds: float, now: float) -> bool:
        """Holds on to the suspicion where there is one; tells whether it is new."""
        if self._flagged or not self.suspect(p95_first_token_seconds, now):
            return False
        self._flagged = True
        return True

    def _decide(self) -> None:
        """Looks up when the youngest of the oldest five began: once it is overdue, five are."""
        self._deciding_at = next(islice(self._waiting.values(), self._count - 1, None), None)
