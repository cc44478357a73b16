"""One trial at a time, at a target and at its endpoint, in any order of trials that end early, late, twice or never.

Who is out is known from the leases alone, never from the breakers: a trial is out from its lease on until its end is
told or the lease lapses, and whatever else happens at a breaker but its closing does not change that.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unit.core.fleets import spec
from tests.unit.core.live_fleet import LiveFleet
from turnout_server.core.fleet import Fleet, TargetSpec
from turnout_server.core.gate import Gate
from turnout_server.core.model import BreakerState, FailureKind
from turnout_server.core.settings import BreakerSettings, FailoverSettings, Settings

SPECS = (spec("a/m1"), spec("a/m2"), spec("b/m"))
NAMES = st.sampled_from([each.name for each in SPECS])
KINDS = st.sampled_from(
    [
        FailureKind.SERVER_ERROR,
        FailureKind.CONNECTION,
        FailureKind.STALLED,
        FailureKind.AUTHENTICATION,
        FailureKind.CANCELLED,
    ]
)
LEASES = st.sampled_from([0.5, 4.0, 30.0])
PAUSES = st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0])
QUICK = BreakerSettings(
    consecutive_failures=2, consecutive_span_seconds=0.0, open_seconds=1.0, open_max_seconds=4.0, recovery_successes=2
)
"""Opens easily and not for long, so that leases outlast its openings."""


class Trial(NamedTuple):
    """A trial whose end was not told yet, and until when its lease runs."""

    name: str
    attempt_id: str
    gates: tuple[Gate, ...]
    until: float


class TrialsMachine(RuleBasedStateMachine):
    """Takes trials as calls and plans do, and has them end as they like."""

    @initialize(seed=st.integers(0, 99))
    def begin(self, seed: int) -> None:
        self.settings = Settings(failover=FailoverSettings(breaker=QUICK))
        self.fleet = LiveFleet(*SPECS, settings=self.settings, seed=seed)
        self.out: dict[str, Trial] = {}

    @rule(seconds=PAUSES)
    def wait(self, seconds: float) -> None:
        self.fleet.now += seconds
        self.fleet.expire()

    @rule(seconds=PAUSES)
    def nobody_looks(self, seconds: float) -> None:
        self.fleet.now += seconds

    @rule(name=NAMES, kind=KINDS, count=st.integers(1, 4))
    def fail(self, name: str, kind: FailureKind, count: int) -> None:
        """Calls that are no trials fail: those of before an opening, too."""
        for _ in range(count):
            self.fleet.now += 0.3
            self.fleet.ended(name, kind)

    @rule(name=NAMES)
    def succeed(self, name: str) -> None:
        self.fleet.ended(name)

    @rule(name=NAMES, seconds=LEASES, wait=st.booleans())
    def try_one(self, name: str, seconds: float, wait: bool) -> None:  # noqa: FBT001  # drawn
        """Somebody takes the trial, at once or as soon as it may be had."""
        if wait:
            self.fleet.now = max([self.fleet.now, *(gate.reopen_at for gate in self.gates(name))])
        self.takes(name, seconds)

    @rule(name=NAMES, seconds=LEASES)
    def try_once_the_lease_is_over(self, name: str, seconds: float) -> None:
        gates = self.gates(name)
        ends = [trial.until for trial in self.out.values() if any(gate in trial.gates for gate in gates)]
        self.fleet.now = max([self.fleet.now, *(gate.reopen_at for gate in gates), *ends])
        self.takes(name, seconds)

    @rule(name=NAMES, seconds=LEASES, again=LEASES)
    def outlast(self, name: str, seconds: float, again: float) -> None:
        """A trial outlasts its lease, and somebody else takes the next: both are out."""
        self.try_once_the_lease_is_over(name, seconds)
        self.try_once_the_lease_is_over(name, again)

    @rule(name=NAMES, kind=st.none() | KINDS, seconds=LEASES, after=st.sampled_from([0.0, 2.0]))
    def end_late(self, name: str, kind: FailureKind | None, seconds: float, after: float) -> None:
        """Somebody else takes the trial of one that outlasts its lease; that one ends, and a third would have a trial.

        In the meantime calls elsewhere may have failed to connect: then it was our own network.
        """
        if self.fleet.at(name).breaker.closed:
            self.fail(name, FailureKind.SERVER_ERROR, 2)
        self.outlast(name, 0.5, seconds)
        self.fleet.now += after
        probe_id = next((each for each, trial in self.out.items() if trial.name == name), None)
        if probe_id is not None:
            trial = self.out.pop(probe_id)
            self.fleet.ended(trial.name, kind, attempt_id=trial.attempt_id, probe_id=probe_id)
            self.what_is_closed_has_no_trials()
        self.try_one(name, seconds, wait=True)

    @rule(which=st.integers(0, 9), kind=st.none() | KINDS, reported=st.booleans(), first=st.booleans())
    def end(self, which: int, kind: FailureKind | None, reported: bool, first: bool) -> None:  # noqa: FBT001  # drawn
        """A trial ends, perhaps long after its lease; of the sidecar's own, or of a plan. The `first` is the latest."""
        if not self.out:
            return
        probe_id = list(self.out)[0 if first else which % len(self.out)]
        trial = self.out.pop(probe_id)
        if reported:
            self.fleet.reported(trial.name, kind, probe_id=probe_id)
            self.fleet.ended(trial.name, FailureKind.CANCELLED, attempt_id=trial.attempt_id)
        else:
            self.fleet.ended(trial.name, kind, attempt_id=trial.attempt_id, probe_id=probe_id)

    @rule(which=st.integers(0, 9))
    def give_back(self, which: int) -> None:
        """The caller went away before anything was sent."""
        if self.out:
            probe_id = list(self.out)[which % len(self.out)]
            trial = self.out.pop(probe_id)
            index = self.fleet.at(trial.name).index
            self.fleet.state.release_probe(index, probe_id, self.fleet.now)
            self.fleet.ended(trial.name, FailureKind.CANCELLED, attempt_id=trial.attempt_id)

    @rule(ok=st.booleans(), provider=st.sampled_from(["a", "b"]))
    def look(self, ok: bool, provider: str) -> None:  # noqa: FBT001  # drawn
        """An endpoint is asked for its models."""
        self.fleet.state.listed(provider, "", self.fleet.now, ok=ok)

    @rule(name=NAMES)
    def reset(self, name: str) -> None:
        self.fleet.state.reset_health((self.fleet.at(name).index,), self.fleet.now)

    @rule(name=NAMES, drained=st.booleans())
    def drain(self, name: str, drained: bool) -> None:  # noqa: FBT001  # drawn
        self.fleet.state.set_drained(self.fleet.at(name).index, drained=drained)

    @rule(order=st.permutations(SPECS))
    def adopt(self, order: list[TargetSpec]) -> None:
        """Another configuration of the same targets comes, in another order."""
        self.fleet.state.adopt(Fleet(tuple(order)), self.settings)

    @invariant()
    def what_is_closed_has_no_trials(self) -> None:
        for probe_id, trial in self.out.items():
            open_gates = tuple(gate for gate in trial.gates if not gate.closed)
            if open_gates != trial.gates:
                self.out[probe_id] = trial._replace(gates=open_gates)

    def gates(self, name: str) -> list[Gate]:
        target = self.fleet.at(name)
        return [gate for gate in (target.breaker, target.endpoint) if not gate.closed]

    def takes(self, name: str, seconds: float) -> None:
        now, gates = self.fleet.now, self.gates(name)
        taken = [
            trial
            for trial in self.out.values()
            if now < trial.until and any(gate is other for gate in gates for other in trial.gates)
        ]
        half_open = bool(gates) and all(gate.state(now) is BreakerState.HALF_OPEN for gate in gates)
        probe_id = self.fleet.lease(name, seconds)

        # Exactly then: a slot that nobody holds is to be had.
        assert (probe_id is not None) is (half_open and not taken)

        if probe_id is not None:
            attempt_id = self.fleet.started(name)
            self.out[probe_id] = Trial(name, attempt_id, tuple(gates), now + seconds)


TestTrialsMachine = TrialsMachine.TestCase
TestTrialsMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
