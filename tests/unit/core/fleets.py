"""A fleet's state that a test sets as it likes: what `decide` reads, without the machines that would make it so."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from turnout_server.core.affinity import Affinity
from turnout_server.core.budget_ledger import Room
from turnout_server.core.decide import Hop, decide
from turnout_server.core.decision import Candidate, Decision, Rejection
from turnout_server.core.fleet import Fleet, Price, TargetSpec
from turnout_server.core.latency import LatencyEstimate
from turnout_server.core.model import (
    BreakerState,
    Caller,
    HealthState,
    RejectionReason,
    RequestProfile,
    RouteQuery,
    RoutingOptions,
    Target,
)
from turnout_server.core.prepared import Prepared
from turnout_server.core.settings import AffinitySettings, RoutingSettings
from turnout_server.core.tokens import OutputLengths, TokenRatios
from turnout_server.core.vitals import Vitals, take_vitals

NOW = 1000.0


def spec(name: str, **facts: Any) -> TargetSpec:
    """A target by its name, fit for everything unless `facts` say otherwise. `price`: USD per million, (in, out)."""
    provider, _, rest = name.partition("/")
    model, _, endpoint = rest.partition("@")
    price = facts.pop("price", (1.0, 2.0))
    if isinstance(price, tuple):
        price = Price(input_per_million=round(price[0] * 1e9), output_per_million=round(price[1] * 1e9))
    defaults: dict[str, Any] = {
        "wire": "openai",
        "base_url": f"https://{provider}.example",
        "context_window_tokens": 128_000,
        "quality": 90.0,
        "needs_credential": False,
    }
    return TargetSpec(target=Target(provider, model, endpoint), price=price, name=name, **{**defaults, **facts})


@dataclass
class SetBreaker:
    """A breaker in the state a test wants."""

    current: BreakerState = BreakerState.CLOSED
    free: bool = True
    again_at: float | None = None
    opened_by_silence: bool = False
    ramp: float = 1.0

    def state(self, now: float) -> BreakerState:  # noqa: ARG002  # the state is set, not computed
        return self.current

    def admits(self, now: float) -> bool:  # noqa: ARG002  # likewise
        return self.current is BreakerState.CLOSED or (self.current is BreakerState.HALF_OPEN and self.free)

    def retry_at(self, now: float) -> float | None:
        return None if self.admits(now) else self.again_at

    def ramp_factor(self, now: float) -> float:  # noqa: ARG002  # likewise
        return self.ramp


@dataclass
class SetAvailability:
    """An availability as a test wants it."""

    current: float = 24.9 / 25

    def value(self, now: float) -> float:  # noqa: ARG002  # likewise
        return self.current


@dataclass
class SetTarget:
    """One target's state, to be changed freely."""

    spec: TargetSpec
    latency: LatencyEstimate
    breaker: SetBreaker = field(default_factory=SetBreaker)
    endpoint: SetBreaker = field(default_factory=SetBreaker)
    availability: SetAvailability = field(default_factory=SetAvailability)
    in_flight: int = 0
    drained: bool = False
    suspected: bool = False
    health_state: HealthState = HealthState.HEALTHY
    throttle: float = 0.0
    crowd_limit: int | None = None
    drift_factor: float = 1.0

    @property
    def restless(self) -> bool:
        return self.suspected

    def health(self, now: float) -> HealthState:  # noqa: ARG002  # likewise
        return self.health_state

    def suspect(self, now: float) -> bool:  # noqa: ARG002  # likewise
        return self.suspected

    def pressed(self, now: float) -> bool:  # noqa: ARG002  # likewise
        return self.throttle > 0.0 or self.crowd_limit is not None

    def throttled(self, now: float) -> float:  # noqa: ARG002  # likewise
        return self.throttle

    def crowded(self, now: float) -> int | None:  # noqa: ARG002  # likewise
        return self.crowd_limit

    def drift(self, now: float) -> float:  # noqa: ARG002  # likewise
        return self.drift_factor


@dataclass
class SetVerdict:
    """What a test says of a target's credentials."""

    reason: RejectionReason | None = None
    retry_at: float | None = None
    detail: str = ""


USABLE = SetVerdict()
NO_ROOM = SetVerdict(RejectionReason.RATE_LIMIT, None, "no room")


class SetCredentials:
    """Usable everywhere but where a test says otherwise; remembers for whom it was asked."""

    def __init__(self) -> None:
        self.verdicts: dict[Target, SetVerdict] = {}
        self.rooms: dict[Target, float] = {}
        self.asked: list[tuple[str, bool]] = []

    def verdict(
        self,
        spec: TargetSpec,
        *,
        tenant: str,  # noqa: ARG002  # likewise
        executing: bool,  # noqa: ARG002  # likewise
        now: float,  # noqa: ARG002  # likewise
        needed_tokens: int = 0,
    ) -> SetVerdict:
        if max(1, needed_tokens) > self.rooms.get(spec.target, math.inf):
            return NO_ROOM
        return self.verdicts.get(spec.target, USABLE)

    def lacking(self, spec: TargetSpec, *, tenant: str, executing: bool) -> bool:  # noqa: ARG002  # `verdicts` has it
        self.asked.append((tenant, executing))
        return False

    def troubled(self, spec: TargetSpec, now: float) -> bool:  # noqa: ARG002  # likewise
        return spec.target in self.verdicts

    def room_tokens(self, spec: TargetSpec, now: float) -> float:  # noqa: ARG002  # likewise
        return self.rooms.get(spec.target, math.inf)


class SetFleet:
    """The state of a whole fleet; `at` finds a target's by name."""

    def __init__(self, *specs: TargetSpec) -> None:
        self.fleet = Fleet(specs)
        self.targets = [
            SetTarget(s, LatencyEstimate(s.latency_prior_seconds, s.seconds_per_output_token_prior)) for s in specs
        ]
        self.credentials = SetCredentials()
        self.lengths = OutputLengths()
        self.token_ratios = TokenRatios()
        self.prepared = Prepared(self.fleet)
        self.affinity = Affinity(AffinitySettings())

    def vitals(self, now: float) -> Vitals:
        return take_vitals(self.targets, self.credentials, self.token_ratios, now)

    def at(self, name: str) -> SetTarget:
        return self.targets[self.fleet.resolve(name)[0]]


def warm(target: SetTarget, count: int = 100, *, now: float = NOW) -> None:
    """Gives a target samples that confirm its prior, so that it counts as well known."""
    prior = target.spec.latency_prior_seconds
    whole = prior + 100 * target.spec.seconds_per_output_token_prior
    for _ in range(count):
        target.latency.observe(
            time_to_first_token_seconds=prior,
            latency_seconds=whole,
            uncached_input_tokens=0,
            output_tokens=100,
            streamed=True,
            now=now,
        )


def decided(
    fleet: SetFleet,
    *,
    profile: RequestProfile | None = None,
    caller: Caller | None = None,
    settings: RoutingSettings | None = None,
    seed: int = 1,
    turn: int = 0,
    hop: Hop | None = None,
    executing: bool = False,
    deadline_seconds: float | None = None,
    request_id: str = "",
    now: float = NOW,
    room: Room | None = None,
    **options: Any,
) -> Decision:
    """Decides at NOW; `options` are those of RoutingOptions."""
    query = RouteQuery(
        profile=profile or RequestProfile(input_tokens=1000, task="chat"),
        options=RoutingOptions(**options),
        caller=caller or Caller(),
        executing=executing,
        deadline_seconds=deadline_seconds,
        request_id=request_id,
    )
    return decide(
        query,
        fleet,
        settings or RoutingSettings(),
        now=now,
        now_wall=1.7e9,
        rng=random.Random(seed),
        decision_id="d-1",
        turn=turn,
        hop=hop,
        room=room,
    )


def names(candidates: Sequence[Candidate]) -> list[str]:
    return [str(candidate.target) for candidate in candidates]


def rejection(decision: Decision, name: str) -> Rejection:
    return next(r for r in decision.rejections if str(r.target) == name)


def reasons(decision: Decision, name: str) -> tuple[RejectionReason, ...]:
    return rejection(decision, name).reasons


def candidate(decision: Decision, name: str) -> Candidate:
    return next(c for c in decision.candidates if str(c.target) == name)
