"""How many calls at once a target copes with, learned from its refusals: additive increase, multiplicative decrease.

Nothing is limited until it refuses. When at least three calls, and a tenth of those sent lately, were refused or not
begun in time, the limit is 0.7 x the most that were in flight; while all of it is used and fewer are refused, it rises
by one a second or ten calls, whichever is longer. Additive increase with multiplicative decrease is what makes many
sidecars that know nothing of each other share a provider evenly (Chiu and Jain, "Analysis of the increase and decrease
algorithms for congestion avoidance", 1989); 0.7 is CUBIC's factor (RFC 9438, 4.6), gentler than TCP's half, since a
call that goes elsewhere costs more than a packet that waits. Never below three (the minimum of Envoy's adaptive
concurrency), and forgotten a minute after the last decrease.

Latency alone decreases nothing: what a vendor's model takes depends on the prompt and on everybody else's load, and a
limit that follows it turns calls away without making any faster; see docs/decisions/0029.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout_server.core.kept import Since
    from turnout_server.core.settings import PressureSettings


class ConcurrencyLimit:
    """One target's limit. `sent` for every call, `refused` for those that the target did not take."""

    __slots__ = ("_began_at", "_cut_at", "_limit", "_peak", "_refused", "_sent", "_settings")

    def __init__(self, settings: PressureSettings) -> None:
        self._settings = settings
        self._limit: int | None = None
        self._cut_at = 0.0
        self._began_at = 0.0
        self._sent = 0
        self._refused = 0
        self._peak = 0

    def follow(self, settings: PressureSettings) -> None:
        """Takes other settings: they hold from the next decrease on."""
        self._settings = settings

    @property
    def in_force(self) -> bool:
        """Whether there may be a limit."""
        return self._limit is not None

    def limit(self, now: float) -> int | None:
        """Returns the calls that may be in flight, at least 1; None where nothing has been learned."""
        if self._limit is None:
            return None
        if now - self._cut_at >= self._settings.concurrency_memory_seconds or not self._settings.adaptive_concurrency:
            self._limit = None
        return self._limit

    def sent(self, in_flight: int, now: float) -> None:
        """Counts a call that is sent now; `in_flight` counts it too."""
        settings = self._settings
        passed = now - self._began_at
        if not self._sent:
            self._began_at = now
        elif passed >= settings.concurrency_round_seconds and (
            self._sent >= settings.concurrency_round_count or passed >= settings.concurrency_longest_round_seconds
        ):
            self._end_round(now)
        self._sent += 1
        self._peak = max(self._peak, in_flight)

    def refused(self, began_at: float, now: float) -> bool:
        """Counts a call sent at `began_at` that was not taken; tells whether there is a limit now where none was."""
        settings = self._settings
        before = self.limit(now)
        if before is not None and began_at <= self._cut_at:
            # Sent before the last decrease, which it has had its part in.
            return False
        self._refused += 1
        enough = max(settings.concurrency_refused_count, settings.concurrency_refused_share * self._sent)
        if self._refused < enough or not settings.adaptive_concurrency:
            return False
        most = self._peak if before is None else min(before, self._peak)
        self._limit = max(settings.concurrency_floor, int(most * settings.concurrency_decrease))
        self._cut_at = now
        self._begin_round(now)
        return before is None

    def keep(self, now: float) -> tuple[int | None, float]:
        """Returns the limit as it is kept, None without one, and how long ago it was lowered last."""
        return self.limit(now), now - self._cut_at

    def resume(self, limit: int | None, cut_age: float, since: Since) -> None:
        """Takes what was kept: a limit is forgotten when it would have been."""
        self.reset()
        self._limit = None if limit is None else max(self._settings.concurrency_floor, limit)
        self._cut_at = since.past(cut_age)

    def reset(self) -> None:
        """Starts anew."""
        self._limit = None
        self._sent = self._refused = self._peak = 0

    def _end_round(self, now: float) -> None:
        limit = self.limit(now)
        # What is not used is no evidence for more (RFC 7661).
        if limit is not None and self._peak >= limit and not self._refused:
            self._limit = limit + 1
        self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        self._began_at = now
        self._sent = self._refused = self._peak = 0
