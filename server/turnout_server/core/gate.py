"""What every breaker has in common: how long it is open, whose turn the one trial is, and how it closes.

When to open is each breaker's own business (`breaker`, `endpoint`); this is what opening means. Only an outcome that
carries the id of a trial leased since the opening moves it: an answer to a call from before says nothing about now.
"""

from __future__ import annotations

import random
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.model import BreakerState, FailureKind, Probe, is_silence
from turnout_server.core.settings import BreakerSettings

if TYPE_CHECKING:
    from turnout_server.core.kept import KeptGate, Since

TRIALS_REMEMBERED = 16
"""Trials of one opening whose late end still counts; a lease lapses long before so many are out."""


# A member read from its class costs as much as a call, and these are read for hundreds of targets in one decision.
_CLOSED, _OPEN, _HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class Change(Enum):
    """What an outcome did to a breaker."""

    NONE = "none"
    OPENED = "opened"
    CLOSED = "closed"


class Due(NamedTuple):
    """What time alone has done to a breaker: it became half-open, or the trial `lapsed` ("" for none) ran out."""

    half_open: bool = False
    lapsed: str = ""


NOTHING_DUE = Due()


class Gate:
    """Closed, open until `reopen_at`, or half-open with one leased trial at a time.

    The open time doubles with each opening up to its maximum, with jitter so that many sidecars do not return as one;
    only the first may be longer than the maximum by chance, where it is the maximum already.
    It starts anew once the gate has stayed closed for the time of the ramp.
    """

    __slots__ = (
        "_before",
        "_busy",
        "_closed_at",
        "_lease",
        "_lease_began_at",
        "_lease_ends_at",
        "_opened_at",
        "_openings",
        "_rng",
        "_settings",
        "_successes",
        "_told_half_open",
        "_trials",
        "opened_by",
        "opened_by_silence",
        "reopen_at",
    )

    def __init__(self, settings: BreakerSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._opened_at: float | None = None
        self._closed_at: float | None = None
        self._openings = 0
        self._busy = False
        self._lease: Probe | None = None
        self._lease_began_at = 0.0
        self._lease_ends_at = 0.0
        self._trials: dict[str, None] = {}
        self._successes = 0
        self._told_half_open = False
        self._before: tuple[float | None, float | None, int, FailureKind | None, bool, float] | None = None
        self.reopen_at = 0.0
        """Monotonic seconds; means something only while it is not closed."""
        self.opened_by: FailureKind | None = None
        """The kind of the failure that opened it last; None while closed."""
        self.opened_by_silence = False
        """It is not closed because calls were not answered: then a trial may take somebody's time."""

    def follow_breaker(self, settings: BreakerSettings) -> None:
        """Takes other settings: they hold from the next event on, an opening that runs stays as long as it was."""
        self._settings = settings

    def state(self, now: float) -> BreakerState:
        """Closed, open, or half-open once the reopen time has passed."""
        if self._opened_at is None:
            return _CLOSED
        return _OPEN if now < self.reopen_at else _HALF_OPEN

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._opened_at is None

    def admits(self, now: float) -> bool:
        """Whether a call may be made: closed, or half-open with its one trial free."""
        if self._opened_at is None:
            return True
        return now >= self.reopen_at and (self._lease is None or now >= self._lease.expires_at)

    def retry_at(self, now: float) -> float | None:
        """When it may admit again: the reopen time, or the end of the trial; None while it admits.

        A trial is expected to end when its answer is; one that is late, to take as long again as it has taken. Its
        lease ends it in any case.
        """
        if self.admits(now):
            return None
        if self._lease is None:
            return self.reopen_at
        expected = max(self._lease_ends_at, 2.0 * now - self._lease_began_at)
        return max(self.reopen_at, min(self._lease.expires_at, expected))

    def lease(
        self, *, now: float, lease_seconds: float, probe_id: str, expected_seconds: float | None = None
    ) -> Probe | None:
        """Takes the one trial of a half-open gate until it ends or `lease_seconds` pass; None where there is none.

        `expected_seconds` is how long it should take, None for as long as the lease.
        """
        if self._opened_at is None or not self.admits(now):
            return None
        self._lease = Probe(probe_id=probe_id, expires_at=now + lease_seconds)
        self._lease_began_at = now
        self._lease_ends_at = now + (lease_seconds if expected_seconds is None else expected_seconds)
        self._trials[probe_id] = None
        if len(self._trials) > TRIALS_REMEMBERED:
            del self._trials[next(iter(self._trials))]
        return self._lease

    def release(self, probe_id: str) -> bool:
        """Ends a trial that says nothing either way; tells whether it was one of this opening."""
        known = probe_id in self._trials
        if known:
            del self._trials[probe_id]
        if self._lease is not None and self._lease.probe_id == probe_id:
            self._lease = None
        return known

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

    def try_now(self, now: float) -> bool:
        """Has an open gate be half-open from now on, since there is a sign that a trial may go well; tells whether it
        was open. What it takes to close, and how long the next opening is, stay as they were.
        """
        if self._opened_at is None or now >= self.reopen_at:
            return False
        self.reopen_at = now
        return True

    def due(self, now: float) -> Due:
        """Returns what has passed by itself since this was last asked; each is told once."""
        if self._opened_at is None:
            return NOTHING_DUE
        is_news = now >= self.reopen_at and not self._told_half_open
        self._told_half_open = self._told_half_open or is_news
        lapsed = ""
        if self._lease is not None and now >= self._lease.expires_at:
            # The trial's end still counts if it comes late: only the slot is free for another.
            lapsed, self._lease = self._lease.probe_id, None
        return Due(half_open=is_news, lapsed=lapsed)

    def keep_gate(self, now: float) -> KeptGate:
        """Returns what is kept of it: not who has its trial, since nobody comes back from before a restart."""
        from turnout_server.core.kept import KeptGate  # noqa: PLC0415 - needed only where state outlives the process

        return KeptGate(
            opened_age=None if self._opened_at is None else now - self._opened_at,
            closed_age=None if self._closed_at is None else now - self._closed_at,
            openings=self._openings,
            busy=self._busy,
            successes=self._successes,
            opened_by=self.opened_by,
            by_silence=self.opened_by_silence,
            reopen_wait=self.reopen_at - now,
        )

    def resume_gate(self, kept: KeptGate, since: Since) -> None:
        """Takes what was kept: closed, open for the rest of its time, or half-open with its trial free."""
        settings = self._settings
        self._opened_at = None if kept.opened_age is None else since.past(kept.opened_age)
        self._closed_at = None if kept.closed_age is None else since.past(kept.closed_age)
        self._openings = max(0, kept.openings)
        self._busy = kept.busy
        self.opened_by = kept.opened_by
        self.opened_by_silence = kept.by_silence
        longest = max(settings.open_seconds, settings.open_max_seconds) * (1.0 + settings.open_jitter)
        self.reopen_at = since.ahead(kept.reopen_wait, longest)
        self._before = None
        self._forget_trials()
        if self._opened_at is None:
            self._lease = None
        # Those needed may be fewer now: one trial decides in any case.
        self._successes = min(max(0, kept.successes), settings.recovery_successes - 1)

    def _trial_succeeded(self, probe_id: str, now: float) -> Change:
        """Counts a trial's success; enough of them close the gate."""
        if self._opened_at is None or not self.release(probe_id):
            return Change.NONE
        self._successes += 1
        if self._successes < self._settings.recovery_successes:
            return Change.NONE
        self._opened_at = None
        self._closed_at = now
        self._forget_trials()
        self._lease = None
        self.opened_by = None
        self.opened_by_silence = False
        self._before = None
        return Change.CLOSED

    def _trial_failed(self, probe_id: str, kind: FailureKind, now: float, seconds: float) -> Change:
        """Opens a half-open gate again; a failure that is not a trial's changes nothing."""
        if self._opened_at is None or not self.release(probe_id):
            return Change.NONE
        self._open(kind, now, seconds)
        return Change.OPENED

    def _open(self, kind: FailureKind, now: float, seconds: float = 0.0, *, busy: bool | None = None) -> None:
        """Opens it for a failure that took so long; `busy` says whether there was traffic enough for a ramp, None that
        it was open already.
        """
        settings = self._settings
        self._before = (
            self._opened_at,
            self._closed_at,
            self._openings,
            self.opened_by,
            self.opened_by_silence,
            self.reopen_at,
        )
        if self._opened_at is None and self._closed_at is not None and now - self._closed_at >= settings.ramp_seconds:
            self._openings = 0
        # The exponent is bounded, as an endless fault would otherwise make a number too large to be a float.
        doubled = settings.open_seconds * 2.0 ** min(self._openings, 32)
        jitter = self._rng.uniform(1.0 - settings.open_jitter, 1.0 + settings.open_jitter)
        # Doubled, it is not longer than the longest by chance either: what is well again is used after that time.
        longest = max(settings.open_seconds, settings.open_max_seconds / (1.0 + settings.open_jitter))
        self.reopen_at = max(self.reopen_at, now + min(doubled, longest) * jitter)
        self._openings += 1
        self._opened_at = now
        if busy is not None:
            self._busy = busy
        self.opened_by = kind
        self.opened_by_silence = is_silence(kind, seconds)
        self._forget_trials()

    def _undo_opening(self, since: float, *, trips: bool) -> Change:
        """Takes an opening by a CONNECTION failure from `since` on back, as if that failure had not been.

        One that opened a closed gate stays where the failures that remain would have opened it too (`trips`).
        """
        opened_at = self._opened_at
        if opened_at is None or opened_at < since or self.opened_by is not FailureKind.CONNECTION:
            return Change.NONE
        if self._before is None or (self._before[0] is None and trips):
            return Change.NONE
        (
            self._opened_at,
            self._closed_at,
            self._openings,
            self.opened_by,
            self.opened_by_silence,
            self.reopen_at,
        ) = self._before
        self._before = None
        if self._opened_at is not None:
            # Trials that were leased since are trials since the opening that stands, too.
            return Change.NONE
        self._forget_trials()
        self._lease = None
        return Change.CLOSED

    def _reset_gate(self) -> Change:
        """Closes it and forgets that it was ever open: no ramp, and the next opening is as short as a first one."""
        was_closed = self.closed
        self._opened_at = self._closed_at = None
        self._openings = 0
        self._busy = False
        self.reopen_at = 0.0
        self.opened_by = None
        self.opened_by_silence = False
        self._before = None
        self._forget_trials()
        self._lease = None
        return Change.NONE if was_closed else Change.CLOSED

    def _forget_trials(self) -> None:
        """Has no trial from before count. While it is not closed, whoever is out keeps the slot until its lease ends:
        a trial that outlasted its lease may fail, and open the gate anew, while another one is made.
        """
        self._trials.clear()
        self._successes = 0
        self._told_half_open = False
