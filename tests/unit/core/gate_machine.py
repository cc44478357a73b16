"""What must hold of every breaker in any order of failures, answers, trials and pauses, against a model of its own.

The model knows when it opened, until when, whose trials count, and how many more have to succeed: no more. When a
breaker opens is each kind's own business: `trips` says so where its model can tell.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from math import floor

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from turnout_server.core.gate import Change, Gate
from turnout_server.core.model import BreakerState, FailureKind
from turnout_server.core.settings import PRESETS, BreakerSettings, Preset

START = 1000.0
KINDS = st.sampled_from([FailureKind.SERVER_ERROR, FailureKind.TIMEOUT, FailureKind.CONNECTION, FailureKind.TRUNCATED])
SECONDS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 6.0, 30.0, 301.0])
STEPS = st.sampled_from([0.3, 0.5, 1.0])
LEASES = st.sampled_from([0.5, 2.0, 10.0])


@dataclass
class Opening:
    """One opening: by what, from when, until when at least; what it was opened from, None for closed."""

    kind: FailureKind
    at: float
    until: float
    before: Opening | None
    reversible: bool = True
    lease: tuple[str, float] | None = None
    trials: set[str] = field(default_factory=set)
    succeeded: int = 0


class GateMachine(RuleBasedStateMachine):
    """Drives one gate; `gate`, `failed`, `answered` and `forgiven` are its kind's."""

    gate: Gate
    breaker: BreakerSettings

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.opening: Opening | None = None
        self.probes: list[str] = []
        self.ids = (f"probe {number}" for number in itertools.count())

    # What each kind of breaker brings.

    def made(self, settings: BreakerSettings, rng: random.Random) -> Gate:
        raise NotImplementedError

    def failed(self, kind: FailureKind, who: int, probe_id: str) -> Change:
        raise NotImplementedError

    def answered(self, began_at: float | None, probe_id: str) -> Change:
        raise NotImplementedError

    def forgiven(self, since: float) -> Change:
        raise NotImplementedError

    def trips(self) -> bool | None:
        """Whether what is known opens a closed gate; None where the model cannot tell."""
        raise NotImplementedError

    def closes(self) -> None:
        """Takes note that the gate was closed by its trials."""
        raise NotImplementedError

    # What may happen to any.

    @initialize(preset=st.sampled_from(Preset), seed=st.integers(0, 99))
    def begin(self, preset: Preset, seed: int) -> None:
        self.breaker = PRESETS[preset]
        self.gate = self.made(self.breaker, random.Random(seed))

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def wait_for_a_trial(self) -> None:
        """Until the next may be had; what lapses meanwhile may still end."""
        if self.opening is not None:
            self.now = self.trial_at()

    @rule(kind=KINDS, who=st.integers(0, 9))
    def fail(self, kind: FailureKind, who: int) -> None:
        self.takes_failure(kind, who, "")

    @rule(kind=KINDS, count=st.integers(1, 6), step=st.sampled_from([0.0, 0.3, 1.0, 120.0]))
    def storm(self, kind: FailureKind, count: int, step: float) -> None:
        """Calls fail one after the other."""
        for who in range(count):
            self.takes_failure(kind, who, "")
            self.now += step

    @rule(kinds=st.lists(KINDS, min_size=4, max_size=4), ago=st.sampled_from([None, 0.0, 0.7, 3.0]), step=STEPS)
    def mend_and_fail(self, kinds: list[FailureKind], ago: float | None, step: float) -> None:
        """It works again; then calls fail, of which one that began before, or between, ends well."""
        if self.opening is not None:
            return
        self.answered(None, "")
        for who, kind in enumerate(kinds):
            self.takes_failure(kind, who, "")
            self.now += step
            if who == 1 and self.opening is None:
                self.answered(None if ago is None else self.now - ago, "")

    @rule(ago=st.none() | SECONDS)
    def succeed(self, ago: float | None) -> None:
        """A call from before, or without a trial, ends well: that closes nothing."""
        change = self.answered(None if ago is None else self.now - ago, "")

        assert change is Change.NONE

    @rule(seconds=LEASES)
    def lease(self, seconds: float) -> None:
        self.takes_trial(seconds)

    @rule(kind=st.none() | KINDS)
    def try_again(self, kind: FailureKind | None) -> None:
        """The next trial, and how it ends."""
        if self.opening is not None:
            self.now = self.trial_at()
            probe_id = self.takes_trial(10.0)

            assert probe_id is not None

            self.ends_trial(probe_id, kind)

    @rule(kind=KINDS)
    def try_twice(self, kind: FailureKind) -> None:
        """A lease runs out, the next trials end; then the first, which may be of an opening that is over, ends well."""
        if self.opening is not None:
            self.now = self.trial_at()
            late = self.takes_trial(0.5)
            self.try_again(None)
            self.try_again(kind)

            assert late is not None

            self.ends_trial(late, None)

    @rule(kind=KINDS, lease_seconds=LEASES)
    def fail_late(self, kind: FailureKind, lease_seconds: float) -> None:
        """A lease runs out, another trial begins, and the first fails while the second is out."""
        if self.opening is not None:
            self.now = self.trial_at()
            late = self.takes_trial(0.5)
            self.now = self.trial_at()

            assert self.takes_trial(lease_seconds) is not None
            assert late is not None

            self.ends_trial(late, kind)

    @rule(which=st.integers(0, 3), kind=st.none() | KINDS)
    def end_trial(self, which: int, kind: FailureKind | None) -> None:
        """Some trial ends: of this opening or of an earlier one, in time or late, for the first time or again."""
        if self.probes:
            self.ends_trial(self.probes[-1 - which % len(self.probes)], kind)

    @rule(which=st.integers(0, 3))
    def release(self, which: int) -> None:
        if not self.probes:
            return
        probe_id, opening = self.probes[-1 - which % len(self.probes)], self.opening
        counted = opening is not None and probe_id in opening.trials

        assert self.gate.release(probe_id) is counted

        self.forget_trial(probe_id)

    @rule(ago=st.sampled_from([0, 2, 5, 40]))
    def forgive(self, ago: int) -> None:
        """It was our own network."""
        since = float(floor(self.now)) - ago
        opening = self.opening
        change = self.forgiven(since)
        if opening is None or opening.kind is not FailureKind.CONNECTION or opening.at < since:
            assert change is Change.NONE
            return
        trips = self.trips() if opening.before is None else False
        if not opening.reversible or trips:
            assert change is Change.NONE
            return
        if trips is None and change is Change.NONE:
            return
        before = opening.before

        assert (change is Change.CLOSED) is (before is None) is self.gate.closed

        self.opening = before
        if before is not None:
            assert self.gate.reopen_at == before.until

            before.reversible = False
            # The trials since are trials since the opening that stands, too.
            before.lease, before.succeeded, before.trials = opening.lease, opening.succeeded, opening.trials

    @rule()
    def try_now(self) -> None:
        """There is a sign that a trial may go well: what is open is half-open at once, and nothing else changes."""
        opening = self.opening
        was_open = opening is not None and self.now < opening.until

        assert self.gate.try_now(self.now) is was_open

        if opening is not None and was_open:
            opening.until = self.now

    @rule()
    def look(self) -> None:
        """Time takes effect: half-open is told once an opening, and a lease that ran out frees only its slot."""
        opening, due = self.opening, self.gate.due(self.now)
        lapsed = opening is not None and opening.lease is not None and self.now >= opening.lease[1]

        assert bool(due.lapsed) is lapsed
        assert not due.half_open or (opening is not None and self.now >= opening.until)
        assert not self.gate.due(self.now).half_open

        if opening is not None and lapsed:
            assert opening.lease is not None
            assert due.lapsed == opening.lease[0]

            opening.lease = None

    # What follows from it.

    def takes_failure(self, kind: FailureKind, who: int, probe_id: str) -> Change:
        opening, reopen_at = self.opening, self.gate.reopen_at
        counted = opening is not None and probe_id in opening.trials
        change = self.failed(kind, who, probe_id)
        expected = counted if opening is not None else self.trips()
        if expected is not None:
            assert change is (Change.OPENED if expected else Change.NONE)
        assert change is not Change.CLOSED
        if change is Change.OPENED:
            settings, until = self.breaker, self.gate.reopen_at

            # A later deadline never shortens an earlier one; the longest open time holds for each opening.
            assert until >= reopen_at
            assert until >= self.now + settings.open_seconds * (1.0 - settings.open_jitter)
            assert until <= max(reopen_at, self.now + settings.open_max_seconds * (1.0 + settings.open_jitter))
            assert self.gate.opened_by is kind

            self.opening = Opening(kind, self.now, until, opening)
            if opening is not None:
                # Whoever is out with a lease has the slot until it ends or lapses, though it counts no more.
                self.opening.lease = None if opening.lease and opening.lease[0] == probe_id else opening.lease
        return change

    def takes_trial(self, seconds: float) -> str | None:
        opening = self.opening
        free = opening is not None and self.now >= opening.until
        free = free and (opening is None or opening.lease is None or self.now >= opening.lease[1])
        probe_id = next(self.ids)
        probe = self.gate.lease(now=self.now, lease_seconds=seconds, probe_id=probe_id)

        assert (probe is not None) is free

        if probe is None or opening is None:
            return None

        assert not self.gate.admits(self.now)

        opening.lease = (probe_id, self.now + seconds)
        opening.trials.add(probe_id)
        self.probes.append(probe_id)
        return probe_id

    def ends_trial(self, probe_id: str, kind: FailureKind | None) -> None:
        opening = self.opening
        counted = opening is not None and probe_id in opening.trials
        if kind is not None:
            if self.takes_failure(kind, 0, probe_id) is Change.NONE:
                self.forget_trial(probe_id)
            return
        change = self.answered(None, probe_id)
        self.forget_trial(probe_id)
        if opening is None or not counted:
            assert change is Change.NONE
            return
        opening.succeeded += 1
        enough = opening.succeeded >= self.breaker.recovery_successes

        assert change is (Change.CLOSED if enough else Change.NONE)

        if enough:
            self.opening = None
            self.closes()

    def trial_at(self) -> float:
        assert self.opening is not None

        return max(self.now, self.opening.until, self.opening.lease[1] if self.opening.lease else 0.0)

    def forget_trial(self, probe_id: str) -> None:
        opening = self.opening
        if opening is not None:
            opening.trials.discard(probe_id)
            if opening.lease is not None and opening.lease[0] == probe_id:
                opening.lease = None

    # What must hold at any moment.

    @invariant()
    def state_is_what_its_openings_say(self) -> None:
        opening, gate, now = self.opening, self.gate, self.now
        if opening is None:
            assert gate.state(now) is BreakerState.CLOSED
            assert gate.closed
            assert gate.admits(now)
            assert gate.opened_by is None
            assert gate.retry_at(now) is None
            return
        half_open = now >= opening.until
        leased = opening.lease is not None and now < opening.lease[1]

        assert gate.reopen_at == opening.until
        assert gate.state(now) is (BreakerState.HALF_OPEN if half_open else BreakerState.OPEN)
        assert gate.admits(now) is (half_open and not leased)
        assert gate.ramp_factor(now) == 1.0

    @invariant()
    def time_alone_always_leads_out(self) -> None:
        gate, now = self.gate, self.now
        if self.opening is None:
            return
        latest = self.trial_at()
        retry_at = gate.retry_at(now)

        assert gate.admits(latest)
        assert (retry_at is None) is gate.admits(now)
        assert retry_at is None or now < retry_at <= latest

    @invariant()
    def ramp_rises(self) -> None:
        factors = [self.gate.ramp_factor(self.now + seconds) for seconds in (0.0, 5.0, 29.0, 31.0)]

        assert self.breaker.ramp_floor <= factors[0]
        assert factors == sorted(factors)
        assert factors[-1] == 1.0

    def teardown(self) -> None:
        """Whatever has happened, trials that succeed close it: each can be had once the one before has ended."""
        if not hasattr(self, "gate"):
            return
        for _ in range(self.breaker.recovery_successes):
            if self.opening is None:
                break
            self.now = self.trial_at()
            probe_id = self.takes_trial(10.0)

            assert probe_id is not None

            self.ends_trial(probe_id, None)

        assert self.gate.closed
