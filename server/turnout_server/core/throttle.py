"""How many of its calls a target is spared that takes only part of them: client-side throttling.

A target that refuses (RATE_LIMITED, OVERLOADED) spends its strength on saying so. Once it takes less than one call in
`multiplier`, calls go elsewhere with the probability

    max(0, (requests - multiplier x accepts) / (requests + 1))

over two minutes (Site Reliability Engineering, chapter 21, "Handling Overload", "Client-Side Throttling"; their K is
the multiplier, 2). Requests are those sent and those spared. A call counts when it is sent, as accepted until it is
refused: counted when it ends, as others did, it would be hidden for as long as it runs; counted as not accepted until
then, a burst of long answers would look like refusals.

Two things are ours, since the calls of one sidecar are few. One call a second is always let through, and none is spared
where there were fewer than ten. And answers end it sooner than forgetting does: five in a row, of at least five seconds
without a refusal, halve what is held against the target.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout_server.core.kept import Since
    from turnout_server.core.settings import PressureSettings

BUCKET_COUNT = 20
"""The window is forgotten in twentieths: six seconds of two minutes."""


class _Bucket:
    """What was counted within one twentieth of the window."""

    __slots__ = ("number", "refused", "sent", "spared")

    def __init__(self, number: int) -> None:
        self.number = number
        self.sent = 0
        self.refused = 0
        self.spared = 0


class Throttle:
    """One target's throttle. `sent`, then `refused` or `accepted`; `spare` for a call that went elsewhere instead."""

    __slots__ = (
        "_buckets",
        "_last_sent_at",
        "_refused",
        "_run",
        "_run_began_at",
        "_sent",
        "_settings",
        "_spared",
        "_told",
    )

    def __init__(self, settings: PressureSettings) -> None:
        self._settings = settings
        self._last_sent_at = 0.0
        self._buckets: deque[_Bucket] = deque()
        self._sent = self._refused = self._spared = 0
        self._run = 0
        self._run_began_at = 0.0
        self._told = False

    def follow(self, settings: PressureSettings) -> None:
        """Takes other settings; what was counted stays, as far as the new window reaches."""
        if settings.throttle_window_seconds != self._settings.throttle_window_seconds:
            self.reset()
        self._settings = settings

    @property
    def troubled(self) -> bool:
        """Whether anything is held against the target; where not, no call is spared."""
        return self._refused > 0

    def sent(self, now: float) -> None:
        """Counts a call that is sent now."""
        self._bucket(now).sent += 1
        self._sent += 1
        self._last_sent_at = now

    def refused(self, now: float) -> bool:
        """Counts the refusal of a call that was sent; tells whether calls are spared from here on, once."""
        self._run = 0
        bucket = self._bucket(now)
        # What was forgotten since it was sent is not held against the target either.
        if self._refused < self._sent:
            bucket.refused += 1
            self._refused += 1
        if self._told or self.pressure(now) == 0.0:
            return False
        self._told = True
        return True

    def accepted(self, now: float) -> None:
        """Takes the first content of an answer; enough of them halve what is held against the target."""
        if not self._refused:
            return
        if not self._run:
            self._run_began_at = now
        self._run += 1
        settings = self._settings
        if self._run >= settings.ease_count and now - self._run_began_at >= settings.ease_seconds:
            self._ease()

    def spare(self, now: float) -> None:
        """Counts a call that would have been sent, and went elsewhere."""
        self._bucket(now).spared += 1
        self._spared += 1

    def pressure(self, now: float) -> float:
        """Returns the probability of the formula, 0 to below 1."""
        multiplier = self._settings.throttle_multiplier
        if not self._refused or multiplier is None:
            return 0.0
        self._forget(now)
        requests = self._sent + self._spared
        if requests < self._settings.throttle_minimum_count:
            return 0.0
        return max(0.0, (requests - multiplier * (self._sent - self._refused)) / (requests + 1))

    def share(self, now: float) -> float:
        """Returns with which probability a call that comes now is spared; 0 where none was sent for a second."""
        pressure = self.pressure(now)
        if not pressure or now - self._last_sent_at >= self._settings.throttle_floor_seconds:
            return 0.0
        return pressure

    def accepts(self, now: float) -> tuple[int, int]:
        """Returns how many calls were sent in the window, and how many of them were not refused."""
        self._forget(now)
        return self._sent, self._sent - self._refused

    def reset(self) -> None:
        """Starts anew: what was before a breaker closed says nothing about after."""
        self._buckets.clear()
        self._sent = self._refused = self._spared = 0
        self._run = 0
        self._told = False

    def keep(self, now: float) -> tuple[tuple[int, int, int, int], ...]:
        """Returns each twentieth of the window as it is kept: how long ago, sent, refused, spared."""
        self._forget(now)
        current = self._number(now)
        return tuple((current - each.number, each.sent, each.refused, each.spared) for each in self._buckets)

    def resume(self, rows: Iterable[tuple[int, int, int, int]], since: Since) -> None:
        """Takes what was kept; a run of answers begins anew."""
        self.reset()
        for ago, sent, refused, spared in sorted(rows, reverse=True):
            bucket = _Bucket(since.number(ago, self._settings.throttle_window_seconds / BUCKET_COUNT))
            bucket.sent, bucket.refused, bucket.spared = sent, refused, spared
            self._buckets.append(bucket)
            self._sent += sent
            self._refused += refused
            self._spared += spared
        self._forget(since.now)
        self._told = self._refused > 0 and self.pressure(since.now) > 0.0

    def _ease(self) -> None:
        self._run = 0
        for bucket in self._buckets:
            bucket.refused //= 2
            bucket.spared //= 2
        self._refused = sum(bucket.refused for bucket in self._buckets)
        self._spared = sum(bucket.spared for bucket in self._buckets)
        self._told = self._told and self._refused > 0

    def _bucket(self, now: float) -> _Bucket:
        self._forget(now)
        number = self._number(now)
        if not self._buckets or self._buckets[-1].number < number:
            self._buckets.append(_Bucket(number))
        return self._buckets[-1]

    def _forget(self, now: float) -> None:
        buckets = self._buckets
        oldest = self._number(now) - BUCKET_COUNT
        while buckets and buckets[0].number <= oldest:
            gone = buckets.popleft()
            self._sent -= gone.sent
            self._spared -= gone.spared
            self._refused -= gone.refused
            if self._refused > self._sent:
                # Calls sent in what is forgotten were refused after it: their refusals go with them.
                self._forgive(self._refused - self._sent)
            self._told = self._told and self._refused > 0

    def _forgive(self, count: int) -> None:
        self._refused -= count
        for bucket in self._buckets:
            taken = min(count, bucket.refused)
            bucket.refused -= taken
            count -= taken

    def _number(self, now: float) -> int:
        return int(now * BUCKET_COUNT // self._settings.throttle_window_seconds)
