"""A real FleetState on a clock that the test sets, and short ways to have calls end in it."""

from __future__ import annotations

import itertools
import random
from typing import Any

from tests.unit.core.fleets import SetFleet, decided, spec
from turnout_server.core.events import Event, EventName
from turnout_server.core.fleet import Fleet, TargetSpec
from turnout_server.core.model import BreakerState, FailureKind, Outcome, RouteQuery
from turnout_server.core.settings import BreakerSettings, FailoverSettings, HealthSettings, Settings
from turnout_server.core.state import FleetState, Recorded, TargetState

EXACT = Settings(
    failover=FailoverSettings(breaker=BreakerSettings(open_jitter=0.0), health=HealthSettings(cooldown_jitter=0.0))
)
START = 1000.0


class LiveFleet:
    """The state of a fleet; every outcome is an attempt of ours unless a test says otherwise."""

    def __init__(self, *specs: str | TargetSpec, settings: Settings = EXACT, seed: int = 1) -> None:
        made = tuple(spec(each) if isinstance(each, str) else each for each in specs)
        self.now = START
        self.state = FleetState(Fleet(made), settings, now=START, rng=random.Random(seed))
        self.events: list[Event] = []
        self._numbers = itertools.count()
        self._decision = decided(SetFleet(*made))

    def at(self, name: str) -> TargetState:
        return self.state.targets[self.state.fleet.resolve(name)[0]]

    def started(self, name: str, *, credential: str = "") -> str:
        """Begins an attempt and returns its id."""
        attempt_id = f"attempt {next(self._numbers)}"
        target = self.at(name)
        self.state.attempt_started(
            target, credential=credential, call_id=attempt_id, attempt_id=attempt_id, now=self.now
        )
        return attempt_id

    def ended(
        self, name: str, failure: FailureKind | None = None, *, attempt_id: str = "", call_id: str = "", **facts: Any
    ) -> Recorded:
        """Ends an attempt of ours, one that begins now unless it is named."""
        attempt_id = attempt_id or self.started(name)
        outcome = Outcome(target=self.at(name).spec.target, failure=failure, attempt_id=attempt_id, **facts)
        return self._told(self.state.record(outcome, call_id=call_id or attempt_id, now=self.now, in_flight=True))

    def reported(self, name: str, failure: FailureKind | None = None, **facts: Any) -> Recorded:
        """Reports what a caller did with a plan of ours, unless the decision is named."""
        defaults = {"attempt_id": f"attempt {next(self._numbers)}", "decision_id": self._decision.decision_id}
        if "decision_id" not in facts:
            self.state.history.add(self._decision, RouteQuery())
        values = {**defaults, **facts}
        outcome = Outcome(target=self.at(name).spec.target, failure=failure, reported=True, **values)
        return self._told(self.state.record(outcome, call_id=outcome.attempt_id, now=self.now, in_flight=False))

    def fail(self, name: str, count: int = 3, kind: FailureKind = FailureKind.SERVER_ERROR) -> None:
        """Has calls fail, a second apart: three open the breaker."""
        for _ in range(count):
            self.now += 1.0
            self.ended(name, kind)

    def opened(self, name: str, kind: FailureKind = FailureKind.SERVER_ERROR) -> None:
        """Has the breaker open, and its open time pass."""
        self.fail(name, kind=kind)

        assert self.at(name).breaker.state(self.now) is BreakerState.OPEN

        self.now = self.at(name).breaker.reopen_at

    def lease(self, name: str, seconds: float = 10.0) -> str | None:
        """Leases the trial and returns its id, None where there is none."""
        probe_id = f"probe {next(self._numbers)}"
        probe = self.state.lease_probe(self.at(name), now=self.now, lease_seconds=seconds, probe_id=probe_id)
        return None if probe is None else probe.probe_id

    def tried(self, name: str, failure: FailureKind | None = None) -> None:
        """Makes the trial."""
        probe_id = self.lease(name)

        assert probe_id is not None

        self.ended(name, failure, probe_id=probe_id)

    def expire(self) -> list[EventName]:
        """Lets time take effect; returns what was told."""
        events = self.state.expire(self.now)
        self.events += events
        return [event.name for event in events]

    def names(self) -> list[EventName]:
        return [event.name for event in self.events]

    def _told(self, recorded: Recorded) -> Recorded:
        self.events += recorded.events
        return recorded
