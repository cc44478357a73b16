"""What operators can turn, as the core sees it: defaults resolved, presets applied, names checked. Made by `config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from turnout_server.core.budget import BudgetSpec
from turnout_server.core.model import MidStreamPolicy, Strategy, Weights
from turnout_server.core.tables import BuiltInTables


class BackoffKind(StrEnum):
    """How waits grow from one retry to the next."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"


class Preset(StrEnum):
    """Three sets of breaker values that fit together."""

    AGGRESSIVE = "aggressive"
    BALANCED = "balanced"
    CONSERVATIVE = "conservative"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When a breaker opens, for how long, and what closes it. Defaults are the balanced preset."""

    consecutive_failures: int = 3
    consecutive_span_seconds: float = 1.0
    consecutive_expiry_seconds: float = 300.0
    failure_ratio: float = 0.5
    ratio_minimum_count: int = 10
    ratio_window_seconds: float = 30.0
    open_seconds: float = 5.0
    open_max_seconds: float = 25.0
    open_jitter: float = 0.1
    recovery_successes: int = 2
    ramp_seconds: float = 30.0
    ramp_floor: float = 0.1
    ramp_minimum_rate: float = 1.0


PRESETS: Mapping[Preset, BreakerSettings] = MappingProxyType(
    {
        Preset.AGGRESSIVE: BreakerSettings(
            consecutive_failures=2, open_seconds=3.0, open_max_seconds=15.0, recovery_successes=1
        ),
        Preset.BALANCED: BreakerSettings(),
        Preset.CONSERVATIVE: BreakerSettings(
            consecutive_failures=5, open_seconds=300.0, open_max_seconds=300.0, recovery_successes=3
        ),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """How outcomes become health."""

    window_outcomes: int = 100
    window_seconds: float = 300.0
    endpoint_failures: int = 3
    endpoint_models: int = 2
    suspect_attempts: int = 5
    suspect_seconds: float = 2.0
    suspect_factor: float = 3.0
    local_network_seconds: float = 5.0
    local_network_providers: int = 2
    cooldown_seconds: float = 5.0
    cooldown_max_seconds: float = 60.0
    cooldown_limit_seconds: float = 3600.0
    cooldown_jitter: float = 0.2
    cooldown_trial_seconds: float = 0.75
    authentication_failures: int = 2
    authentication_span_seconds: float = 5.0
    authentication_out_seconds: float = 60.0
    authentication_out_max_seconds: float = 600.0
    permission_out_seconds: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PressureSettings:
    """When a target that refuses calls is spared some of them; see `throttle` and `concurrency` for the formulas."""

    throttle_multiplier: float | None = 2.0
    """Calls sent for each that is accepted, in the long run; None switches client-side throttling off."""
    throttle_window_seconds: float = 120.0
    throttle_minimum_count: int = 10
    throttle_floor_seconds: float = 1.0
    ease_count: int = 5
    ease_seconds: float = 5.0
    adaptive_concurrency: bool = True
    concurrency_floor: int = 3
    concurrency_decrease: float = 0.7
    concurrency_refused_count: int = 3
    concurrency_refused_share: float = 0.1
    concurrency_round_count: int = 10
    concurrency_round_seconds: float = 1.0
    concurrency_longest_round_seconds: float = 10.0
    concurrency_memory_seconds: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffSettings:
    """Waits before the same target is used again; full jitter is drawn over them."""

    kind: BackoffKind = BackoffKind.EXPONENTIAL
    base_seconds: float = 0.2
    max_seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FailoverSettings:
    """How one call is carried through failures."""

    breaker: BreakerSettings = BreakerSettings()
    health: HealthSettings = HealthSettings()
    pressure: PressureSettings = PressureSettings()
    backoff: BackoffSettings = BackoffSettings()
    max_attempts: int = 4
    retry_budget_ratio: float = 0.2
    retry_budget_seconds: float = 10.0
    retry_budget_floor: int = 3
    quick_retry_min_seconds: float = 0.05
    quick_retry_max_seconds: float = 0.2
    first_token_timeout_seconds: float | None = None
    first_token_minimum_seconds: float = 10.0
    first_token_factor: float = 4.0
    silent_thinking_timeout_seconds: float = 180.0
    idle_timeout_seconds: float = 20.0
    connect_timeout_seconds: float = 2.0
    request_timeout_seconds: float = 600.0
    stream_max_seconds: float = 1800.0
    attempt_share: float = 0.6
    deadline_reserve_share: float = 0.02
    deadline_reserve_min_seconds: float = 0.02
    finish_grace_seconds: float = 2.0
    unary_direct_max_tokens: int = 256
    precommit_max_events: int = 64
    precommit_max_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Hard limits of a policy; a request's own limits are laid over them, the tighter one holds."""

    max_cost_usd: float | None = None
    max_latency_seconds: float | None = None
    min_availability: float | None = None
    min_quality: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityFloor:
    """Soft floor: `auto` takes 60, 75 or 85 by complexity, else `value`; None is no floor."""

    auto: bool = True
    value: float | None = None


NO_TABLE: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType({})
NO_BUILT_IN_TABLES: BuiltInTables = MappingProxyType({})
DEFAULT_WEIGHTS = Weights(cost=0.4, latency=0.3, availability=0.3, quality=0.0, priority=0.0)
NO_SHARES: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """Which answers are kept for equal requests: at most `max_entries` of a policy, each for `ttl_seconds`.

    Only those of requests at temperature 0, unless `any_temperature`.
    """

    max_entries: int = 1000
    ttl_seconds: float = 300.0
    any_temperature: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Named routing rules, inheritance already resolved."""

    name: str = "default"
    strategy: Strategy = Strategy.HYBRID
    weights: Weights = DEFAULT_WEIGHTS
    preferences: tuple[str, ...] = ()
    shares: Mapping[str, float] = field(default_factory=lambda: NO_SHARES)
    tasks: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=lambda: NO_TABLE)
    """The operator's rows: targets that come first, by task and tier."""
    built_in_tables: BuiltInTables = field(default_factory=lambda: NO_BUILT_IN_TABLES)
    """What holds for a task and tier that `tasks` has no row for; see `tables`."""
    limits: Limits = Limits()
    quality_floor: QualityFloor = QualityFloor()
    failover_on_refusal: bool = False
    wait_for_preferred_seconds: float = 0.0
    mid_stream: MidStreamPolicy = MidStreamPolicy.FAIL
    failover: FailoverSettings | None = None
    hedge: bool = False
    """Whether a second target is asked when the first is slow to begin."""
    cache: CacheSettings | None = None
    """Answers kept for equal requests; None: none are."""
    trim: bool = False
    """Whether old turns are left out of a prompt that no target can take otherwise."""
    regions: tuple[str, ...] = ()
    """The only regions that may serve, the preferred one first; empty: anywhere."""
    shadow_policy: str = ""
    """The policy that decides beside this one, for comparison; see `shadow`. Empty: none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySelector:
    """Chooses `policy` where every condition given fits; empty conditions fit everything.

    A request that a `binding` one fits gets no other policy, whatever it names. `rule` tells people which row of the
    configuration it is.
    """

    policy: str
    tenant: str = ""
    task: str = ""
    tier: str = ""
    label: tuple[str, str] | None = None
    rule: str = "a row of routing.select"
    binding: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NearEqual:
    """Within `margin` of the best (relative; `cold_margin` below `cold_samples` samples), chance decides."""

    margin: float = 0.05
    cold_margin: float = 0.15
    cold_samples: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinitySettings:
    """For how long a key keeps the target that answered it, and what beats that.

    Another target takes its place when its score is higher by more than the share `advantage`. `max_entries` keys are
    remembered.
    """

    ttl_seconds: float = 3600.0
    advantage: float = 0.2
    max_entries: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingSettings:
    """Everything `decide` needs that is not state."""

    policies: Mapping[str, Policy] = field(default_factory=lambda: MappingProxyType({"default": Policy()}))
    default_policy: str = "default"
    select: tuple[PolicySelector, ...] = ()
    """Binding ones first: of all that fit, the first decides."""
    near_equal: NearEqual = NearEqual()
    affinity: AffinitySettings = AffinitySettings()
    tiers: Mapping[str, float | None] = field(
        default_factory=lambda: MappingProxyType({"free": 0.01, "pro": 0.10, "ultimate": 1.00})
    )
    """Tier name to the dearest request it may make, in USD; None is no cap."""
    plan_valid_seconds: float = 5.0
    policy_version: str = ""
    """Changes whenever any of these settings does; stands in every decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """From where on a target's last minute is told as an alarm (`alarms`)."""

    high_latency_seconds: float = 5.0
    high_error_rate: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """Whether endpoints in question are checked beside the calls (`checks`), how often, and what that may cost a day.

    `max_nano_usd_per_day` 0: only what costs nothing.
    """

    enabled: bool = True
    interval_seconds: float = 30.0
    max_nano_usd_per_day: int = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of the core's settings together."""

    routing: RoutingSettings = RoutingSettings()
    failover: FailoverSettings = FailoverSettings()
    history_max_bytes: int = 8 * 1024 * 1024
    budgets: tuple[BudgetSpec, ...] = ()
    alerts: AlertSettings = AlertSettings()
    checks: CheckSettings = CheckSettings()
    drained: tuple[str, ...] = ()
    """Providers, models and targets, by name, that get no new calls."""
