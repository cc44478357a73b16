"""What one decision read, kept as it was then: so that another one can be made later of exactly the same.

Most of it never changes once it is made, and is only held: vitals, expected outputs, the fleet. What can change are the
targets that are looked at one by one (`passing.one_by_one`), and the verdicts on their keys; of those a copy is made,
at the same instant as the decision, which has just asked for the same things. Nothing is written anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

from turnout_server.core.affinity import affinity_key
from turnout_server.core.expectation import Expectation
from turnout_server.core.model import BreakerState
from turnout_server.core.passing import one_by_one
from turnout_server.core.prepared import Prepared

if TYPE_CHECKING:
    from turnout_server.core.affinity import AffinityKey, Kept
    from turnout_server.core.fleet import Fleet, TargetSpec
    from turnout_server.core.latency import LatencyEstimate
    from turnout_server.core.model import HealthState, RouteQuery
    from turnout_server.core.outputs import Outputs
    from turnout_server.core.readings import (
        BreakerReading,
        CredentialsReading,
        FleetReading,
        TargetReading,
        VerdictReading,
    )
    from turnout_server.core.tokens import OutputLengths, TokenRatios
    from turnout_server.core.vitals import Vital, Vitals


class PreparedThen(Prepared):
    """Shapes and rankings of its own, beside those of the decisions that count; expected outputs are those of then.

    Sharing them would let a shadow push out what callers' decisions need again, and work out numbers at other times.
    """

    __slots__ = ("then",)

    def __init__(self, prepared: Prepared, fleet: Fleet) -> None:
        super().__init__(fleet, prepared.facts)
        self.then: Outputs | None = None

    def outputs(self, task: str, vitals: Vitals, lengths: OutputLengths) -> Outputs:
        """Returns those that the decision was made with."""
        return super().outputs(task, vitals, lengths) if self.then is None else self.then


class GateThen(NamedTuple):
    """A breaker as it was."""

    state_then: BreakerState
    admits_then: bool
    retry_at_then: float | None
    opened_by_silence: bool
    ramp_then: float

    def state(self, now: float) -> BreakerState:  # noqa: ARG002  # whatever the time is
        """Closed, open, or half-open."""
        return self.state_then

    def admits(self, now: float) -> bool:  # noqa: ARG002  # likewise
        """Whether a call could be made."""
        return self.admits_then

    def retry_at(self, now: float) -> float | None:  # noqa: ARG002  # likewise
        """When it would admit again."""
        return self.retry_at_then

    def ramp_factor(self, now: float) -> float:  # noqa: ARG002  # likewise
        """What its score was multiplied by."""
        return self.ramp_then


_CLOSED = BreakerState.CLOSED
CLOSED_GATE = GateThen(_CLOSED, True, None, False, 1.0)  # noqa: FBT003  # the fields of a tuple


class AvailabilityThen(NamedTuple):
    """How often a target answered."""

    value_then: float

    def value(self, now: float) -> float:  # noqa: ARG002  # whatever the time is
        """The share of successes."""
        return self.value_then


class TargetThen(NamedTuple):
    """A target as it was; how it is told of in `readings.TargetReading`."""

    spec: TargetSpec
    breaker: GateThen
    endpoint: GateThen
    availability: AvailabilityThen
    latency: LatencyEstimate
    in_flight: int
    drained: bool
    health_then: HealthState
    suspect_then: bool
    throttled_then: float
    crowded_then: int | None
    drift_then: float

    @property
    def restless(self) -> bool:
        """Whether time alone may change it: not that of then."""
        return False

    def health(self, now: float) -> HealthState:  # noqa: ARG002  # whatever the time is
        """Its health in one word."""
        return self.health_then

    def suspect(self, now: float) -> bool:  # noqa: ARG002  # likewise
        """Whether its calls waited suspiciously long."""
        return self.suspect_then

    def pressed(self, now: float) -> bool:  # noqa: ARG002  # likewise
        """Whether it may have had to be spared a call."""
        return self.throttled_then > 0.0 or self.crowded_then is not None

    def throttled(self, now: float) -> float:  # noqa: ARG002  # likewise
        """With which probability it was spared a call."""
        return self.throttled_then

    def crowded(self, now: float) -> int | None:  # noqa: ARG002  # likewise
        """How many calls at once it coped with, where it had as many."""
        return self.crowded_then

    def drift(self, now: float) -> float:  # noqa: ARG002  # likewise
        """What its score was multiplied by for being worse than its own past."""
        return self.drift_then


class TargetsThen(Sequence["TargetReading"]):
    """The targets of then, by their place: those that are looked at one by one as they were."""

    __slots__ = ("_apart", "_targets")

    def __init__(self, targets: Sequence[TargetReading], apart: dict[int, TargetThen]) -> None:
        self._targets = targets
        self._apart = apart

    def __len__(self) -> int:
        return len(self._targets)

    @overload
    def __getitem__(self, place: int) -> TargetReading: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[TargetReading]: ...
    def __getitem__(self, place: int | slice) -> TargetReading | Sequence[TargetReading]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return self._apart.get(place) or self._targets[place]


class CredentialsThen:
    """The verdicts on the keys of those that are looked at one by one; the rest is the configuration's."""

    __slots__ = ("_credentials", "_verdicts")

    def __init__(self, credentials: CredentialsReading, verdicts: dict[int, VerdictReading]) -> None:
        self._credentials = credentials
        self._verdicts = verdicts

    def verdict(
        self, spec: TargetSpec, *, tenant: str, executing: bool, now: float, needed_tokens: int = 0
    ) -> VerdictReading:
        """Returns the verdict on the credentials that the call could use."""
        found = self._verdicts.get(id(spec))
        if found is not None:
            return found
        return self._credentials.verdict(spec, tenant=tenant, executing=executing, now=now, needed_tokens=needed_tokens)

    def lacking(self, spec: TargetSpec, *, tenant: str, executing: bool) -> bool:
        """Whether a call needs a credential that nobody has configured."""
        return self._credentials.lacking(spec, tenant=tenant, executing=executing)

    def troubled(self, spec: TargetSpec, now: float) -> bool:
        """Whether any credential of the target is blocked; of no use to a decision."""
        return self._credentials.troubled(spec, now)

    def room_tokens(self, spec: TargetSpec, now: float) -> float:
        """The longest prompt that rate limits have room for; of no use to a decision, which reads the vitals."""
        return self._credentials.room_tokens(spec, now)


class AffinityThen(NamedTuple):
    """Where the request's key was answered last."""

    kept_then: Kept | None

    def kept(self, key: AffinityKey, fleet: Fleet, now: float) -> Kept | None:  # noqa: ARG002  # there is one key
        """Returns the target of the key."""
        return self.kept_then


class Moment:
    """What a decision on `query` read at `now`. One other decision may read it, on the same query at the same `now`."""

    __slots__ = (
        "_outputs",
        "_prepared",
        "_vitals",
        "affinity",
        "credentials",
        "fleet",
        "lengths",
        "targets",
        "token_ratios",
    )

    def __init__(self, state: FleetReading, query: RouteQuery, prepared: PreparedThen, now: float) -> None:
        profile, caller = query.profile, query.caller
        self.fleet = state.fleet
        self.lengths: OutputLengths = state.lengths
        self.token_ratios: TokenRatios = state.token_ratios
        self._prepared = prepared
        self._vitals = state.vitals(now)
        self._outputs = state.prepared.outputs(profile.task, self._vitals, state.lengths)
        key = affinity_key(tenant=caller.tenant, sticky_key=query.options.sticky_key, session_id=query.session_id)
        kept = None if key is None else state.affinity.kept(key, state.fleet, now)
        self.affinity = AffinityThen(kept)
        apart: dict[int, TargetThen] = {}
        verdicts: dict[int, VerdictReading] = {}
        if self._vitals.special or self._vitals.rooms:
            expectation = Expectation(profile, prepared.facts, self._outputs, kept)
            for index in one_by_one(expectation):
                target = state.targets[index]
                apart[index] = _then(target, self._vitals.each[index], now)
                verdicts[id(target.spec)] = state.credentials.verdict(
                    target.spec,
                    tenant=caller.tenant,
                    executing=query.executing,
                    now=now,
                    needed_tokens=expectation.input_tokens(index) if expectation.input_known else 0,
                )
        self.targets: Sequence[TargetReading] = TargetsThen(state.targets, apart)
        self.credentials = CredentialsThen(state.credentials, verdicts)

    @property
    def prepared(self) -> Prepared:
        """The shadows' own, with the outputs of then."""
        self._prepared.then = self._outputs
        return self._prepared

    def vitals(self, now: float) -> Vitals:  # noqa: ARG002  # whatever the time is
        """Returns the numbers of then."""
        return self._vitals


def _then(target: TargetReading, vital: Vital, now: float) -> TargetThen:
    return TargetThen(
        target.spec,
        _gate_then(target.breaker, now),
        _gate_then(target.endpoint, now),
        AvailabilityThen(target.availability.value(now)),
        target.latency,
        target.in_flight,
        target.drained,
        vital.health,
        target.suspect(now),
        target.throttled(now),
        target.crowded(now),
        target.drift(now),
    )


def _gate_then(gate: BreakerReading, now: float) -> GateThen:
    state, ramp = gate.state(now), gate.ramp_factor(now)
    if state is _CLOSED:
        return CLOSED_GATE if ramp == 1.0 else CLOSED_GATE._replace(ramp_then=ramp)
    admits = gate.admits(now)
    return GateThen(state, admits, None if admits else gate.retry_at(now), gate.opened_by_silence, ramp)
