"""A fleet and its settings as those see them who began under them: a call ends under the configuration it began with.

While they are in force this is the state itself. Once others were adopted it is a view: the targets and facts of then,
with their health as it is now. It lives as long as a call holds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.budget_need import FleetRates, fleet_rates
from turnout_server.core.vitals import Vitals, take_vitals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout_server.core.affinity import Affinity
    from turnout_server.core.breaker import Breaker
    from turnout_server.core.budget_ledger import Room
    from turnout_server.core.credentials import Credentials
    from turnout_server.core.endpoint import EndpointBreaker
    from turnout_server.core.fleet import Fleet, TargetSpec
    from turnout_server.core.health import Availability
    from turnout_server.core.latency import LatencyEstimate
    from turnout_server.core.model import HealthState, Target
    from turnout_server.core.prepared import Prepared
    from turnout_server.core.readings import FleetReading
    from turnout_server.core.settings import Settings
    from turnout_server.core.state import FleetState
    from turnout_server.core.target_state import TargetState
    from turnout_server.core.tokens import OutputLengths, TokenRatios


class Found(NamedTuple):
    """One target: its state as it is now, and its facts as they were when its configuration was in force."""

    state: TargetState
    spec: TargetSpec


class InForce:
    """One configuration of the router. `retire` is told before another one is adopted."""

    __slots__ = ("_former", "_state", "fleet", "settings")

    def __init__(self, state: FleetState, settings: Settings) -> None:
        self.fleet = state.fleet
        self.settings = settings
        self._state = state
        self._former: FormerFleet | None = None

    @property
    def reading(self) -> FleetReading:
        """What decisions under this configuration read."""
        return self._state if self._former is None else self._former

    def find(self, target: Target) -> Found | None:
        """Returns a target of this configuration; None where it has no such."""
        index = self.fleet.index(target)
        if index is None:
            return None
        if self._former is None:
            state = self._state.targets[index]
            return Found(state, state.spec)
        former = self._former.targets[index]
        return Found(former.state, former.spec)

    def room(self, room: Room | None) -> Room | None:
        """Returns what budgets leave with the rates of this configuration's prices, in the order of its fleet."""
        return room if room is None or self._former is None else room._replace(rates=self._former.rates)

    def retire(self) -> None:
        """Keeps what it was: the state is about to follow another configuration."""
        if self._former is None:
            self._former = FormerFleet(self._state)


class FormerTarget:
    """A target's facts as they were, and its state as it is: what a decision reads of one target."""

    __slots__ = ("spec", "state")

    def __init__(self, state: TargetState) -> None:
        self.spec = state.spec
        self.state = state

    @property
    def breaker(self) -> Breaker:
        """Its own breaker."""
        return self.state.breaker

    @property
    def endpoint(self) -> EndpointBreaker:
        """The breaker that it shares with the other models of its endpoint."""
        return self.state.endpoint

    @property
    def availability(self) -> Availability:
        """How often it answers."""
        return self.state.availability

    @property
    def latency(self) -> LatencyEstimate:
        """How long it takes."""
        return self.state.latency

    @property
    def in_flight(self) -> int:
        """Our own calls to it that have not ended."""
        return self.state.in_flight

    @property
    def drained(self) -> bool:
        """Whether an operator took it out."""
        return self.state.drained

    @property
    def restless(self) -> bool:
        """Whether time alone may forbid it, or rank it lower."""
        return self.state.restless

    def health(self, now: float) -> HealthState:
        """Its health in one word."""
        return self.state.health(now)

    def suspect(self, now: float) -> bool:
        """Whether its calls wait suspiciously long for a first token."""
        return self.state.suspect(now)

    def pressed(self, now: float) -> bool:
        """Whether it may have to be spared a call now."""
        return self.state.pressed(now)

    def throttled(self, now: float) -> float:
        """With which probability it is spared a call that comes now."""
        return self.state.throttled(now)

    def crowded(self, now: float) -> int | None:
        """How many calls at once it copes with, where it has as many."""
        return self.state.crowded(now)

    def drift(self, now: float) -> float:
        """What its score is multiplied by while it is worse than its own past."""
        return self.state.drift(now)


class FormerFleet:
    """What decisions read of a fleet that was replaced. Few read it, so that nothing is kept up to date for them."""

    __slots__ = ("_rates", "_state", "fleet", "prepared", "targets")

    def __init__(self, state: FleetState) -> None:
        self.fleet: Fleet = state.fleet
        self.targets: Sequence[FormerTarget] = tuple(map(FormerTarget, state.targets))
        self.prepared: Prepared = state.prepared
        self._state = state
        self._rates: FleetRates | None = None

    @property
    def credentials(self) -> Credentials:
        """All credentials."""
        return self._state.credentials

    @property
    def lengths(self) -> OutputLengths:
        """How long answers are."""
        return self._state.lengths

    @property
    def token_ratios(self) -> TokenRatios:
        """What models make of text."""
        return self._state.token_ratios

    @property
    def affinity(self) -> Affinity:
        """Where keys were answered last."""
        return self._state.affinity

    @property
    def rates(self) -> FleetRates:
        """The dearest rates of its prices."""
        if self._rates is None:
            self._rates = fleet_rates(self.fleet.specs)
        return self._rates

    def vitals(self, now: float) -> Vitals:
        """Returns all targets' numbers as they are now."""
        return take_vitals(self.targets, self.credentials, self.token_ratios, now)
