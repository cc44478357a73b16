"""Any order of attempts, outcomes, trials and pauses: what must hold of a fleet's state whatever happens."""

from __future__ import annotations

from math import isfinite

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unit.core.fleets import spec
from tests.unit.core.live_fleet import LiveFleet
from turnout_server.core.fleet import CredentialSpec
from turnout_server.core.gate import Gate
from turnout_server.core.model import CALLER_FAILURES, BreakerState, FailureKind, Outcome, RateLimitReading
from turnout_server.core.model import RateLimitBucket as Bucket
from turnout_server.core.settings import PRESETS, FailoverSettings, Preset, Settings
from turnout_server.core.state import RecordResult

KEY = (CredentialSpec(label="k1"), CredentialSpec(label="k2"))
SPECS = (
    spec("a/m1", credentials=KEY, needs_credential=True, max_concurrency=3),
    spec("a/m2", credentials=KEY, needs_credential=True),
    spec("a/m1@eu"),
    spec("b/m"),
)
NAMES = [each.name for each in SPECS]
NAME = st.sampled_from(NAMES)
KIND = st.none() | st.sampled_from(FailureKind)
ODD_SECONDS = st.none() | st.floats(allow_nan=True, allow_infinity=True)
LEASE_SECONDS = 20.0


class FleetMachine(RuleBasedStateMachine):
    """Drives a FleetState as the router does, with outcomes that lie and clocks that jump."""

    @initialize(preset=st.sampled_from(Preset), seed=st.integers(0, 1000))
    def begin(self, preset: Preset, seed: int) -> None:
        self.breaker = PRESETS[preset]
        chosen = Settings(failover=FailoverSettings(breaker=self.breaker), history_max_bytes=20_000)
        self.fleet = LiveFleet(*SPECS, settings=chosen, seed=seed)
        self.running: dict[str, tuple[str, str]] = {}
        self.leased: dict[str, float] = {}
        self.done: list[Outcome] = []
        self.revision = 0

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, 4.0, 30.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.fleet.now += seconds
        self.fleet.expire()

    @rule(name=NAME)
    def start(self, name: str) -> None:
        """An attempt begins: where the breakers are closed, or with the trial that there is."""
        target = self.fleet.at(name)
        probe_id = ""
        if not (target.breaker.closed and target.endpoint.closed):
            before = [gate.admits(self.fleet.now) for gate in (target.breaker, target.endpoint)]
            leased = self.fleet.lease(name, LEASE_SECONDS)

            assert (leased is not None) is all(before)

            if leased is None:
                return
            probe_id = leased
            for gate in (target.breaker, target.endpoint):
                assert gate.closed or not gate.admits(self.fleet.now)
        self.running[self.fleet.started(name, credential="k1")] = (name, probe_id)

    @rule(
        kind=KIND,
        latency=ODD_SECONDS,
        retry_after=ODD_SECONDS,
        remaining=st.none() | st.integers(-1, 3),
        which=st.integers(0, 100),
    )
    def end(
        self,
        kind: FailureKind | None,
        latency: float | None,
        retry_after: float | None,
        remaining: int | None,
        which: int,
    ) -> None:
        if not self.running:
            return
        attempt_id = list(self.running)[which % len(self.running)]
        name, probe_id = self.running.pop(attempt_id)
        target = self.fleet.at(name)
        before = target.availability.value(self.fleet.now)
        reopen_at = (target.breaker.reopen_at, target.endpoint.reopen_at)
        recorded = self.fleet.ended(
            name,
            kind,
            attempt_id=attempt_id,
            probe_id=probe_id,
            credential="k1",
            latency_seconds=latency,
            retry_after_seconds=retry_after,
            rate_limit=RateLimitReading(requests=Bucket(limit=3, remaining=remaining, reset_seconds=retry_after)),
        )
        self.done.append(Outcome(target=target.spec.target, failure=kind, attempt_id=attempt_id))

        assert recorded.result is RecordResult.ACCEPTED
        if kind in CALLER_FAILURES:
            assert before == target.availability.value(self.fleet.now)
        if target.breaker.state(self.fleet.now) is BreakerState.OPEN and kind is not FailureKind.CONNECTION:
            # A later deadline never shortens an earlier one; only our own network's fault is taken back.
            assert target.breaker.reopen_at >= reopen_at[0]
            assert target.endpoint.reopen_at >= reopen_at[1]

    @rule(name=NAME, kind=KIND, label=st.sampled_from(["", "k1", "x"]), known=st.booleans())
    def report(self, name: str, kind: FailureKind | None, label: str, known: bool) -> None:  # noqa: FBT001  # drawn
        outages = self.fleet.state.credentials._outages
        keys = {key for key in outages._by_key if not key.reported}
        models = {key for key in outages._by_model if not key.reported}
        facts = {} if known else {"decision_id": ""}
        self.fleet.reported(name, kind, credential=label, **facts)

        assert keys == {key for key in outages._by_key if not key.reported}
        assert models == {key for key in outages._by_model if not key.reported}

    @rule(
        name=NAME,
        kind=st.sampled_from([FailureKind.SERVER_ERROR, FailureKind.CONNECTION, FailureKind.TIMEOUT]),
        count=st.integers(1, 6),
    )
    def storm(self, name: str, kind: FailureKind, count: int) -> None:
        """Calls fail one after the other, as many as may be made."""
        for _ in range(count):
            self.fleet.now += 0.6
            target = self.fleet.at(name)
            if target.breaker.closed and target.endpoint.closed:
                self.fleet.ended(name, kind)

    @rule(which=st.integers(0, 100))
    def report_again(self, which: int) -> None:
        if not self.done:
            return
        outcome = self.done[which % len(self.done)]
        target = self.fleet.at(str(outcome.target))
        before = target.availability.value(self.fleet.now)
        recorded = self.fleet.state.record(outcome, call_id="x", now=self.fleet.now, in_flight=False)

        # What was told more than an hour ago is not remembered, but then no decision vouches for it either.
        if recorded.result is RecordResult.DUPLICATE:
            assert before == target.availability.value(self.fleet.now)

    @invariant()
    def counts_agree(self) -> None:
        for name in NAMES:
            assert self.fleet.at(name).in_flight == sum(name == other for other, _ in self.running.values())

    @invariant()
    def numbers_are_sound(self) -> None:
        now = self.fleet.now
        for target in self.fleet.state.targets:
            assert 0.0 < target.availability.value(now) < 1.0
            assert 0.0 <= target.score(now) <= 100.0
            assert self.breaker.ramp_floor <= target.breaker.ramp_factor(now) <= 1.0
            assert isfinite(target.latency.predict(1000, 250, now))

    @invariant()
    def every_gate_comes_back(self) -> None:
        longest = self.breaker.open_max_seconds * (1.0 + self.breaker.open_jitter) + LEASE_SECONDS
        now = self.fleet.now
        for gate in self._gates():
            retry_at = gate.retry_at(now)

            assert gate.admits(now) is (retry_at is None)
            assert retry_at is None or now < retry_at <= now + longest
            assert gate.closed or gate.state(now + longest) is BreakerState.HALF_OPEN

    @invariant()
    def state_is_bounded(self) -> None:
        assert self.fleet.state.history.size_bytes <= 20_000
        assert all(t.suspects.waiting_count <= t.in_flight for t in self.fleet.state.targets)

    @invariant()
    def revisions_grow_and_status_can_be_told(self) -> None:
        state = self.fleet.state

        assert state.revision >= self.revision
        assert state.changed_since(state.revision) == []

        self.revision = state.revision
        told = state.status(providers=(), window_seconds=300.0, now=self.fleet.now, now_wall=0.0)

        assert told.aggregate.in_flight == len(self.running)
        assert sum(told.aggregate.targets_by_health.values()) == len(SPECS)

    def _gates(self) -> list[Gate]:
        targets = self.fleet.state.targets
        return [*(target.breaker for target in targets), *(target.endpoint for target in targets)]


TestFleetMachine = FleetMachine.TestCase
TestFleetMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
