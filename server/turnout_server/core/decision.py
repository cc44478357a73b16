"""A decision: every known target accounted for, as candidate with its factors or as rejection with its reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from turnout_server.core.comparison import Shadow
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import (
    Complexity,
    HealthState,
    Probe,
    RejectionReason,
    Strategy,
    Target,
)

NO_FACTORS: Mapping[str, float] = MappingProxyType({})


class Candidate(NamedTuple):
    """A target that passed the filters. A named tuple, because one decision may list hundreds.

    `score` is 0 to 1, 1 best, times the ramp factor; `factors` are the scaled parts it was made of. `share` is the
    chance that a caller who holds this plan should give this candidate a call. Latencies are predictions in seconds.
    """

    spec: TargetSpec
    score: float
    factors: Mapping[str, float]
    expected_latency_seconds: float
    expected_time_to_first_token_seconds: float
    expected_cost_nano_usd: int | None
    health: HealthState
    sample_count: int
    attempt_timeout_seconds: float
    explored: bool = False
    share: float = 0.0
    probe: Probe | None = None
    half_open: bool = False
    reason: str = ""

    @property
    def target(self) -> Target:
        """The target itself."""
        return self.spec.target


def kept_candidate(spec: TargetSpec, health: HealthState) -> Candidate:
    """Returns the candidate of an answer that is there already: at once, and for nothing."""
    return Candidate(
        spec,
        1.0,
        NO_FACTORS,
        0.0,
        0.0,
        0,
        health,
        0,
        0.0,
        share=1.0,
        reason="its answer to an equal request is kept",
    )


class Rejection(NamedTuple):
    """A target that did not pass: all reasons that apply, permanent ones first. `retry_at` is monotonic seconds."""

    target: Target
    reasons: tuple[RejectionReason, ...]
    detail: str = ""
    retry_at: float | None = None

    @property
    def permanent(self) -> bool:
        """Whether the target can never serve this request as asked."""
        return self.reasons[0].permanent


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The ranked candidates, best first, the rejections, and one sentence why.

    `decided_at` is monotonic, `decided_at_wall` seconds since the epoch. `input_tokens` and `expected_output_tokens`
    are what the scores were computed for. Candidates and rejections are immutable, but need not be tuples: those of a
    fresh decision are written out as they are read. `probes_wanted` are half-open targets, opened by silence, that
    should now be probed off the caller's path.
    """

    decision_id: str
    candidates: Sequence[Candidate]
    rejections: Sequence[Rejection]
    strategy: Strategy
    policy: str
    policy_version: str
    reason: str
    confidence: float
    task: str
    tier: str
    complexity: Complexity
    input_tokens: int | None
    expected_output_tokens: int | None
    decided_at: float
    decided_at_wall: float
    valid_for_seconds: float
    reusable: bool
    probes_wanted: tuple[Target, ...] = ()
    max_candidates: int | None = None
    spared: tuple[Target, ...] = ()
    """Those that came first and were spared the call, since they take only part of their calls."""
    weights: tuple[float, ...] = ()
    """HYBRID's weights, in the order of `scoring.FACTORS`; most other strategies take one factor alone."""
    capability_share: float = 0.0
    """What part of a score the preferred capabilities make; HYBRID's weights make the rest."""
    regions: tuple[str, ...] = ()
    """The only regions that it allows, by request and policy, the preferred one first; empty: anywhere."""
    policy_rule: str = ""
    """What chose the policy: the request, a row of `routing.select`, or the default."""
    shadow: Shadow | None = field(default=None, compare=False, repr=False)
    """What the policy's shadow makes of the same request, once it has decided; None where it has none."""
