"""How providers are doing, as data: what ProviderStatus tells, before it is protobuf.

Times are monotonic seconds; durations are seconds, money is nano-USD. None is unknown, or never.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from turnout_server.core.accuracy import EstimateAccuracy
from turnout_server.core.charts import Measure
from turnout_server.core.credentials import CredentialStatus
from turnout_server.core.model import BreakerState, FailureKind, HealthState, RateLimitReading, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Durations of the complete answers within a window, in seconds; `moving_average` is time-decayed."""

    p50: float
    p95: float
    p99: float
    minimum: float
    maximum: float
    mean: float
    moving_average: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetStatus:
    """One target. Counts, rates, sums and latencies are of the window, the rest is of now."""

    target: Target
    health: HealthState
    score: float
    """0 to 100; see `health.health_score`."""
    breaker: BreakerState
    reopen_at: float | None
    """When its breaker lets a trial through; None while it is closed."""
    cool_down_until: float | None
    """Until when every credential for it cools down; None where one does not."""
    availability: float
    success_rate: float | None
    error_rates: Mapping[FailureKind, float]
    consecutive_failures: int
    latency: LatencySummary | None
    time_to_first_token: LatencySummary | None
    output_tokens_per_second: float | None
    predicted_latency_seconds: float
    """Of a call with 1,000 uncached tokens in and 250 out."""
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    cost_per_request_nano_usd: int | None
    in_flight: int
    utilisation: float | None
    rate_limit: RateLimitReading | None
    headroom: float | None
    last_request_at: float | None
    last_success_at: float | None
    last_check_at: float | None
    drained: bool
    suspect: bool
    sample_count: int
    request_count: int
    available: bool
    """Whether it could serve some call of ours now."""
    estimates: EstimateAccuracy
    """How well tokens and cost are estimated, of its model at all endpoints."""
    throttle: float = 0.0
    """With which probability a call that would go to it goes elsewhere, 0 to below 1; see `throttle`."""
    concurrency_limit: int | None = None
    """Calls that may be in flight, as configured or as learned from its refusals; None without a limit."""
    drift: float = 1.0
    """What its score is multiplied by in decisions since it is worse than its own past, 0.5 to 1; see `baseline`."""
    worse_in: tuple[Measure, ...] = ()
    """What it is worse in than its own past."""


class TargetGauges(NamedTuple):
    """What is measured of a target again and again, and costs little to read: no window is summed up for it."""

    target: Target
    score: float
    breaker: BreakerState
    in_flight: int
    throttle: float
    concurrency_limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatus:
    """One endpoint of a provider, "" where it has only one."""

    endpoint: str
    breaker: BreakerState
    reopen_at: float | None
    cool_down_until: float | None
    credentials: tuple[CredentialStatus, ...]
    region: str
    unreachable: str = ""
    """Why it could not be connected to when it was last looked at; "" where it could, or nobody looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStatus:
    """One provider, rolled up: the best health and the mean score of its targets, and the sums."""

    provider: str
    health: HealthState
    score: float | None
    availability: float | None
    """Share of successes among its counted outcomes of the window, None where there were none."""
    in_flight: int
    request_count: int
    cost_nano_usd: int
    target_count: int
    available_target_count: int
    drained: bool
    endpoints: tuple[EndpointStatus, ...]
    targets: tuple[TargetStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateStatus:
    """Everything that the report tells of, together."""

    health: HealthState
    target_count: int
    available_target_count: int
    targets_by_health: Mapping[HealthState, int]
    request_count: int
    success_rate: float | None
    in_flight: int
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """Providers in file order, and their sum. `window_seconds` is what the counts really cover.

    `as_of` (monotonic) and `as_of_wall` are the same moment, so that all times can be told as dates.
    """

    providers: tuple[ProviderStatus, ...]
    aggregate: AggregateStatus
    as_of: float
    as_of_wall: float
    window_seconds: float
