"""What a decision reads of the fleet's state, and no more: `state.FleetState` offers it, tests bring their own.

Of most targets a decision reads only the vitals; the others are asked one by one, so every answer is O(1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from turnout_server.core.affinity import AffinityKey, Kept
from turnout_server.core.fleet import Fleet, TargetSpec
from turnout_server.core.latency import LatencyEstimate
from turnout_server.core.model import BreakerState, HealthState, RejectionReason
from turnout_server.core.prepared import Prepared
from turnout_server.core.tokens import OutputLengths, TokenRatios
from turnout_server.core.vitals import Vitals


class BreakerReading(Protocol):
    """A breaker as far as it decides whether a target may be called."""

    def state(self, now: float) -> BreakerState:
        """Closed, open, or half-open once the reopen time has passed."""
        ...

    def admits(self, now: float) -> bool:
        """Whether a call may be made: closed, or half-open with its one trial free."""
        ...

    def retry_at(self, now: float) -> float | None:
        """When it may admit again: the reopen time, or the end of the lease; asked only while it does not admit."""
        ...

    @property
    def opened_by_silence(self) -> bool:
        """Whether it was silence that opened it, so that a trial may take a user's time."""
        ...

    def ramp_factor(self, now: float) -> float:
        """What its score is multiplied by, 0.1 to 1; below 1 only for a while after closing."""
        ...


class AvailabilityReading(Protocol):
    """How often a target answers."""

    def value(self, now: float) -> float:
        """The decayed share of successes, 0 to 1, never from nothing."""
        ...


class TargetReading(Protocol):
    """One target."""

    @property
    def spec(self) -> TargetSpec:
        """What does not change."""
        ...

    @property
    def breaker(self) -> BreakerReading:
        """Its own breaker."""
        ...

    @property
    def endpoint(self) -> BreakerReading:
        """The breaker that it shares with the other models of its endpoint."""
        ...

    @property
    def availability(self) -> AvailabilityReading:
        """How often it answers."""
        ...

    @property
    def latency(self) -> LatencyEstimate:
        """How long it takes."""
        ...

    @property
    def in_flight(self) -> int:
        """Our own calls to it that have not ended."""
        ...

    @property
    def drained(self) -> bool:
        """Whether an operator took it out."""
        ...

    @property
    def restless(self) -> bool:
        """Whether time alone may forbid it, or rank it lower."""
        ...

    def health(self, now: float) -> HealthState:
        """Its health in one word."""
        ...

    def suspect(self, now: float) -> bool:
        """Whether its calls wait suspiciously long for a first token, or its endpoint could not be connected to."""
        ...

    def pressed(self, now: float) -> bool:
        """Whether it may have to be spared a call now, or within the next moments."""
        ...

    def throttled(self, now: float) -> float:
        """With which probability it is spared a call that comes now, 0 to below 1."""
        ...

    def crowded(self, now: float) -> int | None:
        """How many calls at once it copes with, by its refusals, where it has as many; None elsewhere."""
        ...

    def drift(self, now: float) -> float:
        """What its score is multiplied by, 0.5 to 1; below 1 while it is worse than its own past."""
        ...


class VerdictReading(Protocol):
    """Whether there is a usable credential; `reason` is None where there is."""

    @property
    def reason(self) -> RejectionReason | None:
        """NO_CREDENTIAL, CREDENTIALS, COOLING_DOWN, RATE_LIMIT or None."""
        ...

    @property
    def retry_at(self) -> float | None:
        """When that passes, monotonic seconds; None is not known or never."""
        ...

    @property
    def detail(self) -> str:
        """One short sentence."""
        ...


class CredentialsReading(Protocol):
    """The state of all credentials."""

    def verdict(
        self, spec: TargetSpec, *, tenant: str, executing: bool, now: float, needed_tokens: int = 0
    ) -> VerdictReading:
        """Judges the credentials that a call to the target could use."""
        ...

    def lacking(self, spec: TargetSpec, *, tenant: str, executing: bool) -> bool:
        """Whether a call needs a credential that nobody has configured: as long as the fleet stays, for ever."""
        ...

    def troubled(self, spec: TargetSpec, now: float) -> bool:
        """Whether any credential that some call to the target could use is blocked, apart from rate limits."""
        ...

    def room_tokens(self, spec: TargetSpec, now: float) -> float:
        """The longest prompt that the known rate limits of its credentials have room for; -1 for none, or infinity."""
        ...


class AffinityReading(Protocol):
    """Which target last answered a key."""

    def kept(self, key: AffinityKey, fleet: Fleet, now: float) -> Kept | None:
        """Returns the target, None where that is not known, or was too long ago."""
        ...


class FleetReading(Protocol):
    """Everything known of all targets; `targets` stand in the order of `fleet.specs`."""

    @property
    def fleet(self) -> Fleet:
        """The targets' names and static facts."""
        ...

    @property
    def targets(self) -> Sequence[TargetReading]:
        """Each target's state."""
        ...

    @property
    def credentials(self) -> CredentialsReading:
        """All credentials."""
        ...

    @property
    def prepared(self) -> Prepared:
        """What was worked out for this fleet before."""
        ...

    @property
    def affinity(self) -> AffinityReading:
        """Which target last answered a key."""
        ...

    def vitals(self, now: float) -> Vitals:
        """All targets' numbers, taken now or a moment ago."""
        ...

    @property
    def lengths(self) -> OutputLengths:
        """How long answers are."""
        ...

    @property
    def token_ratios(self) -> TokenRatios:
        """How many tokens a byte makes."""
        ...
