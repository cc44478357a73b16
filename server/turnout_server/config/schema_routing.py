"""The `routing` and `failover` blocks: how targets are ranked, and how one call is carried through failures."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, ValidatorFunctionWrapHandler, field_validator

from turnout_server.config.fields import (
    LOWER,
    NUMBER,
    TABLE,
    UPPER,
    Count,
    CountOr0,
    Names,
    Percent,
    Seconds,
    SecondsOr0,
    Section,
    Share,
    Usd,
    Weight,
)
from turnout_server.core.model import MidStreamPolicy, Strategy
from turnout_server.core.settings import BackoffKind, Preset

LABEL_PATTERN = r"^$|^[^=]+=.*$"
"""In the JSON schema: one label, or none."""


def _label(value: str) -> str:
    key, found, _ = value.partition("=")
    if value and not (key and found):
        raise ValueError("is no key=value; write one label, as in team=research")
    return value


class QualityFloorWord(StrEnum):
    """Floors that are not a number."""

    AUTO = "auto"
    NONE = "none"


class NearEqualSection(Section):
    """When candidates are so close that chance decides, so that many sidecars do not all take the same one."""

    margin: Share = Field(default=0.05, description="Share of the best score within which candidates are near-equal.")
    cold_margin: Share = Field(default=0.15, description="The same, while a candidate has few samples.")
    cold_samples: CountOr0 = Field(default=20, description="Fewer samples than this are few.")


class AffinitySection(Section):
    """How long a sticky key or session keeps the target that answered it."""

    ttl_seconds: Seconds = Field(default=3600.0, description="How long after its last answer a key keeps its target.")
    advantage: Share = Field(default=0.2, description="By what share another target's score must be higher.")
    max_entries: Count = Field(
        default=10000, description="Keys that are remembered; the one longest without an answer is forgotten first."
    )


class WhenSection(Section):
    """Conditions; those that are not given fit every request."""

    tenant: str = Field(default="", description="The caller's tenant.")
    task: str = Field(default="", description="The request's task.")
    tier: str = Field(default="", description="The caller's tier.")
    label: Annotated[str, AfterValidator(_label)] = Field(
        default="",
        description="`key=value`: one of the caller's labels.",
        json_schema_extra={"pattern": LABEL_PATTERN},
    )


class SelectSection(Section):
    """One row of policy selection; the first that fits decides."""

    when: WhenSection = Field(default_factory=WhenSection, description="What the request must be like.")
    policy: str = Field(description="The policy it then gets.")
    binding: bool = Field(
        default=False,
        description="Whether a request that fits may name no other policy; such rows come before all others.",
    )


class WeightsSection(Section):
    """Weights of HYBRID; only their proportions count."""

    cost: Weight = 0.4
    latency: Weight = 0.3
    availability: Weight = 0.3
    quality: Weight = 0.0
    priority: Weight = 0.0
    capability: Weight | None = Field(
        default=None, description="Of capabilities that a request would like; null: a quarter of all others together."
    )


class LimitsSection(Section):
    """Hard limits; a request's own are laid over them and the tighter one holds. Null: none."""

    max_cost_usd: Usd | None = Field(
        default=None,
        description="The dearest a request may be expected to be; a call that the sidecar makes is held to it.",
    )
    max_latency_seconds: Seconds | None = Field(default=None, description="The slowest it may be expected to be.")
    min_availability: Share | None = Field(default=None, description="0 to 1.")
    min_quality: Percent | None = Field(default=None, description="0 to 100.")


class HedgeSection(Section):
    """A second target asked when the first is slow."""

    enabled: bool = Field(default=False, description="Ask a second target when the first is slow to begin.")


class CacheSection(Section):
    """Answers kept for equal requests."""

    enabled: bool = Field(default=False, description="Keep complete answers, and give them to equal requests.")
    max_entries: Count = Field(
        default=1000, description="Answers that are kept; the oldest goes first. All policies together: 64 MiB."
    )
    ttl_seconds: Seconds = Field(default=300.0, description="For how long.")
    any_temperature: bool = Field(
        default=False, description="Also of requests whose temperature is not 0, or not given."
    )


class TrimSection(Section):
    """Old turns dropped to fit."""

    enabled: bool = Field(
        default=False, description="Leave out repeated and oldest turns of a prompt that no target can take otherwise."
    )


class BackoffSection(Section):
    """Waits before the same target is used again; full jitter is drawn over them."""

    kind: Annotated[BackoffKind, LOWER] = Field(default=BackoffKind.EXPONENTIAL, description="How waits grow.")
    base_seconds: Seconds = Field(default=0.2, description="The first wait.")
    max_seconds: Seconds = Field(default=5.0, description="No wait is longer.")


class SuspectSection(Section):
    """When a target that answers nobody is ranked last, before any timeout fires."""

    attempts: Count = Field(default=5, description="As many attempts must wait …")
    seconds: Seconds = Field(default=2.0, description="… for this long, with no first token since.")


class FailoverSection(Section):
    """How one call is carried through failures, and when a target is left alone. Null: the preset's value."""

    preset: Annotated[Preset, LOWER] = Field(default=Preset.BALANCED, description="Values that fit together.")
    consecutive_failures: Count | None = Field(default=None, description="So many in a row open a breaker (2, 3, 5).")
    open_seconds: Seconds | None = Field(default=None, description="How long it stays open at first (3, 5, 300).")
    open_max_seconds: Seconds | None = Field(default=None, description="The longest, after doubling (15, 25, 300).")
    recovery_successes: Count | None = Field(default=None, description="So many trials close it again (1, 2, 3).")
    failure_ratio: Share = Field(default=0.5, description="Share of at least 10 calls in 30 s that opens a breaker.")
    ramp_seconds: SecondsOr0 = Field(default=30.0, description="How long a recovered target gets less than its share.")
    suspect: SuspectSection = Field(default_factory=SuspectSection, description="When a target is suspect.")
    max_attempts: Annotated[int, Field(ge=1, le=20), NUMBER] = Field(
        default=4, description="Targets that one call may try."
    )
    retry_budget_ratio: Share = Field(default=0.2, description="Share of the calls of 10 s that may be tried again.")
    throttle_multiplier: Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)] | None = Field(
        default=2.0,
        description="A target that refuses calls is sent so many for each that it accepts; null: all.",
    )
    adaptive_concurrency: bool = Field(
        default=True, description="Learn from refusals how many calls at once a target copes with."
    )
    backoff: BackoffSection = Field(default_factory=BackoffSection, description="Waits between tries.")
    first_token_timeout_seconds: Seconds | None = Field(default=None, description="Null: from the prediction.")
    idle_timeout_seconds: Seconds = Field(default=20.0, description="The longest gap within a stream.")
    connect_timeout_seconds: Seconds = Field(default=2.0, description="For connecting to a provider.")
    request_timeout_seconds: Seconds = Field(default=600.0, description="For a call whose caller set no deadline.")
    stream_max_seconds: Seconds = Field(default=1800.0, description="The longest a stream may last.")


TargetTable = Annotated[dict[str, Annotated[dict[str, Names], TABLE]], TABLE]


class PolicySection(Section):
    """Named routing rules. With `inherits`, keys that are not given are those of the other policy."""

    inherits: str | None = Field(default=None, description="The policy whose values hold for keys not given here.")
    shadow_policy: str | None = Field(
        default=None, description="A policy that decides beside this one without acting, for comparison; not inherited."
    )
    strategy: Annotated[Strategy, UPPER] = Field(default=Strategy.HYBRID, description="How candidates are ranked.")
    weights: WeightsSection = Field(default_factory=WeightsSection, description="For HYBRID.")
    preferences: Names = Field(default=(), description="Targets that come first, in this order.")
    regions: Annotated[Names, Field(max_length=256)] = Field(
        default=(), description="Only targets in these regions, the first preferred; empty: anywhere."
    )
    shares: Annotated[dict[str, Weight], TABLE] = Field(default_factory=dict, description="For WEIGHTED: by target.")
    tasks: TargetTable = Field(
        default_factory=dict, description="Targets that come first, by task and tier (`any`: all tiers)."
    )
    built_in_tables: bool = Field(
        default=True, description="Whether a built-in row holds where `tasks` has none for a task and tier."
    )
    limits: LimitsSection = Field(default_factory=LimitsSection, description="Hard limits.")
    hedge: HedgeSection = Field(default_factory=HedgeSection, description="A second target when the first is slow.")
    cache: CacheSection = Field(default_factory=CacheSection, description="Answers kept for equal requests.")
    trim: TrimSection = Field(default_factory=TrimSection, description="Old turns dropped to fit.")
    failover_on_refusal: bool = Field(default=False, description="Ask another target where one refuses the content.")
    wait_for_preferred_seconds: SecondsOr0 = Field(
        default=0.0, description="How long NORMAL and LOW calls wait for a cooling-down target before another is taken."
    )
    quality_floor: Annotated[QualityFloorWord, LOWER] | Percent = Field(
        default=QualityFloorWord.AUTO,
        union_mode="left_to_right",
        description="Weaker targets rank after the others: auto (60, 75 or 85 by complexity), none, or 0 to 100.",
    )
    failover: FailoverSection = Field(
        default_factory=FailoverSection, description="Keys given here stand in for those of the global block."
    )
    mid_stream: Annotated[MidStreamPolicy, UPPER] = Field(
        default=MidStreamPolicy.FAIL, description="What happens when a stream breaks after output began."
    )

    @field_validator("quality_floor", mode="wrap")
    @classmethod
    def _floor(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> QualityFloorWord | float:
        """A union tells of its choices one by one, as if each were the only one."""
        try:
            floor: QualityFloorWord | float = handler(value)
        except ValidationError:
            raise ValueError("must be auto, none, or a number from 0 to 100") from None
        return floor


class TierSection(Section):
    """What a tier may spend."""

    max_cost_usd: Usd | None = Field(
        default=None,
        description="The dearest a request of it may be expected to be; a call that the sidecar makes is held to it. "
        "Null: no cap.",
    )


def _default_tiers() -> dict[str, TierSection]:
    return {
        "free": TierSection(max_cost_usd=0.01),
        "pro": TierSection(max_cost_usd=0.10),
        "ultimate": TierSection(max_cost_usd=1.00),
    }


class RoutingSection(Section):
    """How targets are chosen."""

    default_policy: str = Field(default="default", description="For requests that no row of `select` fits.")
    provider_order: Names = Field(default=(), description="For PRIORITY; others follow in the usual order.")
    near_equal: NearEqualSection = Field(default_factory=NearEqualSection, description="When chance decides.")
    affinity: AffinitySection = Field(default_factory=AffinitySection, description="Sticky keys.")
    plan_valid_seconds: Seconds = Field(default=5.0, description="How long a plan may be used at most.")
    select: tuple[SelectSection, ...] = Field(default=(), description="Who gets which policy; the first row wins.")
    policies: Annotated[dict[str, PolicySection], TABLE] = Field(
        default_factory=lambda: {"default": PolicySection()}, description="By name; `default` always exists."
    )
    tiers: Annotated[dict[str, TierSection], TABLE] = Field(default_factory=_default_tiers, description="By name.")
    drained: Names = Field(
        default=(),
        description="What gets no new calls, as `openai`, `openai/gpt-4o` (all its endpoints) or `openai/gpt-4o@eu`.",
    )
    metrics_window: Annotated[int, Field(ge=1, le=10000), NUMBER] = Field(
        default=100, description="Outcomes that a target's availability is made of."
    )
