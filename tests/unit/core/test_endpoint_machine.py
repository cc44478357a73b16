"""An endpoint's breaker in any order of events: exactly what stands against it opens it, and says who is in doubt."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import settings
from hypothesis.stateful import invariant, rule

from tests.unit.core.gate_machine import SECONDS, GateMachine
from turnout_server.core.endpoint import DOUBT_SECONDS, EndpointBreaker
from turnout_server.core.gate import Change, Gate
from turnout_server.core.model import FailureKind
from turnout_server.core.settings import BreakerSettings, HealthSettings

HEALTH = HealthSettings()
MODELS = 3


@dataclass
class Against:
    """One failed attempt that still stands against the endpoint."""

    at: float
    model: str
    kind: FailureKind


class EndpointMachine(GateMachine):
    """Keeps what stands against the endpoint."""

    gate: EndpointBreaker

    def __init__(self) -> None:
        super().__init__()
        self.against: list[Against] = []
        self.doubted_at: float | None = None

    def made(self, settings: BreakerSettings, rng: random.Random) -> Gate:
        return EndpointBreaker(settings, HEALTH, rng)

    def failed(self, kind: FailureKind, who: int, probe_id: str) -> Change:
        model = f"m{who % MODELS}"
        if self.opening is None:
            self.against.append(Against(self.now, model, kind))
            if kind is FailureKind.CONNECTION:
                self.doubted_at = self.now
        change = self.gate.record_failure(kind, model, self.now, probe_id=probe_id)
        if change is Change.OPENED:
            self.doubted_at = None
        return change

    def answered(self, began_at: float | None, probe_id: str) -> Change:
        if self.opening is None:
            # Whoever has answered speaks for all that was asked before it began, and for all but connecting.
            since = self.now if began_at is None else began_at
            self.stays([each for each in self.connections() if each.at > since])
        return self.gate.record_success(self.now, probe_id=probe_id, began_at=began_at)

    def forgiven(self, since: float) -> Change:
        self.stays([each for each in self.against if each.kind is not FailureKind.CONNECTION or each.at < since])
        return self.gate.forgive_connections(since)

    def closes(self) -> None:
        self.against.clear()

    def trips(self) -> bool | None:
        young = [each for each in self.against if each.at > self.now - self.breaker.consecutive_expiry_seconds]
        connections = [each for each in young if each.kind is FailureKind.CONNECTION]
        several = (
            len(young) >= HEALTH.endpoint_failures and len({each.model for each in young}) >= HEALTH.endpoint_models
        )
        return several or len(connections) >= HEALTH.endpoint_failures

    @rule(ago=SECONDS)
    def connects(self, ago: float) -> None:
        began_at = self.now - ago
        self.stays([each for each in self.against if each.kind is not FailureKind.CONNECTION or each.at > began_at])
        self.gate.connected(began_at)

    @invariant()
    def doubt_is_of_a_failure_to_connect_a_moment_ago(self) -> None:
        doubted = self.doubted_at is not None and self.now < self.doubted_at + DOUBT_SECONDS

        assert self.gate.in_doubt(self.now) is doubted
        assert not doubted or self.gate.closed
        # Time that has passed leaves nothing to ask.
        assert self.gate.doubted is doubted

    def connections(self) -> list[Against]:
        return [each for each in self.against if each.kind is FailureKind.CONNECTION]

    def stays(self, against: list[Against]) -> None:
        self.against = against
        if not self.connections():
            self.doubted_at = None


TestEndpointMachine = EndpointMachine.TestCase
TestEndpointMachine.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
