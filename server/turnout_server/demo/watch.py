"""Follows the sidecar's ProviderStatus: the last state of each target, and when its breaker was seen in which state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from turnout.answer import target_name
from turnout.v1 import router_pb2 as pb

CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChange:
    """A breaker was seen in another state than before."""

    at_seconds: float
    breaker: str
    state: str


@dataclass(slots=True, kw_only=True)
class StatusWatch:
    """The sidecar's own view, poll by poll; `clock` is seconds from the first request.

    Breakers are named by their target, those of endpoints by "provider" or "provider@endpoint".
    """

    clock: Callable[[], float]
    targets: dict[str, pb.TargetState] = field(default_factory=dict)
    breakers: dict[str, str] = field(default_factory=dict)
    changes: list[BreakerChange] = field(default_factory=list)

    def take(self, response: pb.ProviderStatusResponse) -> None:
        """Takes one answer."""
        for provider in response.providers:
            for endpoint in provider.endpoints:
                self._take_breaker(_endpoint_name(provider.provider, endpoint.endpoint), endpoint.breaker)
            for state in provider.targets:
                name = target_name(state.target)
                self.targets[name] = state
                self._take_breaker(name, state.breaker)

    def opened(self, provider: str) -> frozenset[str]:
        """Returns the provider's breakers that were ever seen not closed."""
        return frozenset(
            change.breaker
            for change in self.changes
            if change.state != CLOSED and change.breaker.partition("/")[0].partition("@")[0] == provider
        )

    def closed_again_at(self, breaker: str) -> float | None:
        """Returns since when the breaker is closed again, None if it is not or never was open."""
        mine = [change for change in self.changes if change.breaker == breaker]
        return mine[-1].at_seconds if mine and mine[-1].state == CLOSED else None

    def breaker_text(self, name: str) -> str:
        """Writes what keeps a target from being used: its own breaker, or that of its endpoint."""
        target = self.targets[name].target
        own = self.breakers[name]
        shared = self.breakers.get(_endpoint_name(target.provider, target.endpoint), CLOSED)
        return f"{shared} (endpoint)" if own == CLOSED != shared else own

    def _take_breaker(self, name: str, breaker: pb.BreakerState.ValueType) -> None:
        state = breaker_name(breaker)
        if state != self.breakers.get(name, CLOSED):
            self.changes.append(BreakerChange(at_seconds=self.clock(), breaker=name, state=state))
        self.breakers[name] = state


def _endpoint_name(provider: str, endpoint: str) -> str:
    return f"{provider}@{endpoint}" if endpoint else provider


def breaker_name(state: pb.BreakerState.ValueType) -> str:
    """Returns CLOSED, OPEN or HALF_OPEN."""
    return pb.BreakerState.Name(state).removeprefix("BREAKER_STATE_")


def health_name(state: pb.HealthState.ValueType) -> str:
    """Returns HEALTHY, DEGRADED, UNHEALTHY or OFFLINE."""
    return pb.HealthState.Name(state).removeprefix("HEALTH_STATE_")


def failure_name(kind: pb.FailureKind.ValueType) -> str:
    """Returns the failure kind's name, as in OVERLOADED."""
    return pb.FailureKind.Name(kind).removeprefix("FAILURE_KIND_")
