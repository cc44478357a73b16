"""From a checked configuration to what the parts of the server are made of: settings, fleet, provider connections."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType

from turnout_server.config.budgets import budget_spec
from turnout_server.config.built_in_tables import BUILT_IN_TABLES
from turnout_server.config.catalog import DEFAULT_PROVIDER_ORDER, LAST_PROVIDER, ModelRow
from turnout_server.config.endpoints import Endpoint
from turnout_server.config.policies import laid_over, resolved_policies, rule_in_words
from turnout_server.config.providers import NOTHING_FOUND, Found, ResolvedProvider, resolved_providers
from turnout_server.config.schema import Configuration
from turnout_server.config.schema_routing import (
    CacheSection,
    FailoverSection,
    PolicySection,
    QualityFloorWord,
    SelectSection,
    WeightsSection,
)
from turnout_server.core.fleet import Fleet, TargetSpec
from turnout_server.core.model import NANO_USD, Capability, Target, Weights
from turnout_server.core.settings import (
    NO_BUILT_IN_TABLES,
    PRESETS,
    AffinitySettings,
    AlertSettings,
    BackoffSettings,
    BreakerSettings,
    CacheSettings,
    CheckSettings,
    FailoverSettings,
    HealthSettings,
    Limits,
    NearEqual,
    Policy,
    PolicySelector,
    PressureSettings,
    QualityFloor,
    RoutingSettings,
    Settings,
)
from turnout_server.providers.connection import ProviderConnection
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.forms import lacking_capabilities, lacking_forms
from turnout_server.providers.media import MEDIA_BY_BYTES, media_by_url
from turnout_server.providers.prefill import prefill_of

LONG_CONTEXT_TOKENS = 200_000
"""A window of at least so many tokens is LONG_CONTEXT."""

VERSION_LENGTH = 12
MIB = 1024 * 1024

_MEDIA = frozenset({Capability.VISION, Capability.AUDIO, Capability.DOCUMENTS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that router and providers are built from."""

    settings: Settings
    fleet: Fleet
    connections: tuple[ProviderConnection, ...]


def build(
    configuration: Configuration,
    environ: Mapping[str, str],
    *,
    found: Found = NOTHING_FOUND,
    today: date | None = None,
) -> Parts:
    """Returns the parts; the configuration has been checked.

    `found` are models of servers that are asked for them when they run: called again with more of them, it returns the
    same parts with their targets added. `today` is the day that retirements and changes of price go by.
    """
    providers = resolved_providers(configuration, environ, found=found, today=today)
    ranks = _ranks([provider.name for provider in providers], configuration.routing.provider_order)
    return Parts(
        settings=_settings(configuration),
        fleet=Fleet(tuple(spec for provider in providers for spec in _specs(provider, ranks[provider.name]))),
        connections=tuple(_connection(provider, configuration.failover) for provider in providers),
    )


def _ranks(names: list[str], order: Iterable[str]) -> dict[str, int]:
    """Returns each provider's place for PRIORITY: those of `order`, then the usual ones, custom ones, ollama last."""
    wanted = [*order, *DEFAULT_PROVIDER_ORDER]
    places = {name: place for place, name in reversed(list(enumerate(wanted)))}
    custom = len(wanted)

    def key(name: str) -> tuple[int, int]:
        if name == LAST_PROVIDER and name not in places:
            return (custom + 1, 0)
        return (places.get(name, custom), names.index(name))

    return {name: rank for rank, name in enumerate(sorted(names, key=key))}


def _specs(provider: ResolvedProvider, rank: int) -> Iterable[TargetSpec]:
    for model in provider.models:
        for endpoint in provider.endpoints:
            yield _spec(provider, model, endpoint, rank)


def _spec(provider: ResolvedProvider, model: ModelRow, endpoint: Endpoint, rank: int) -> TargetSpec:
    target = Target(provider.name, model.name, endpoint.name)
    capabilities = model.capabilities - (_MEDIA - MEDIA_BY_BYTES[provider.wire])
    if model.context_window_tokens is not None:
        long = frozenset({Capability.LONG_CONTEXT})
        capabilities = (
            capabilities | long if model.context_window_tokens >= LONG_CONTEXT_TOKENS else capabilities - long
        )
    dialect = dialect_of(provider.name, provider.wire)
    spec = TargetSpec(
        target=target,
        name=str(target),
        wire=provider.wire,
        base_url=endpoint.base_url,
        region=endpoint.region,
        context_window_tokens=model.context_window_tokens,
        max_output_tokens=model.max_output_tokens,
        price=model.regional_price if endpoint.is_regional else model.price,
        capabilities=capabilities,
        custom_capabilities=model.custom_capabilities,
        url_capabilities=capabilities & media_by_url(provider.wire, dialect),
        quality=model.quality,
        latency_prior_seconds=model.latency_prior_seconds,
        seconds_per_output_token_prior=model.seconds_per_output_token,
        silent_thinking=model.silent_thinking,
        prefill=prefill_of(dialect, provider.wire, model.name),
        deprecated=model.deprecated,
        needs_credential=provider.needs_credential,
        credentials=tuple(credential.spec for credential in provider.credentials),
        max_concurrency=provider.section.max_concurrency,
        first_token_timeout_seconds=provider.section.first_token_timeout_seconds,
        provider_rank=rank,
    )
    # Both go by the model's name and by what the catalog says that it can do.
    return replace(
        spec,
        capabilities=capabilities - lacking_capabilities(spec, dialect),
        lacking_forms=lacking_forms(spec, dialect),
    )


def _connection(provider: ResolvedProvider, failover: FailoverSection) -> ProviderConnection:
    section = provider.section
    return ProviderConnection(
        provider=provider.name,
        wire=provider.wire,
        dialect=dialect_of(provider.name, provider.wire),
        credentials=MappingProxyType(
            {credential.spec.label: credential.reference for credential in provider.credentials}
        ),
        allow_private=section.allow_private or provider.is_local,
        proxy_url=section.proxy_url.get_secret_value(),
        ca_file=section.ca_file,
        client_cert_file=section.client_cert_file,
        headers_from_file=section.headers_from_file,
        propagate_trace=section.propagate_trace,
        connect_timeout_seconds=failover.connect_timeout_seconds,
    )


def _settings(configuration: Configuration) -> Settings:
    routing = configuration.routing
    window = routing.metrics_window
    policies = resolved_policies(routing)
    return Settings(
        routing=RoutingSettings(
            policies=MappingProxyType(
                {name: _policy(name, policy, configuration.failover, window) for name, policy in policies.items()}
            ),
            default_policy=routing.default_policy,
            select=tuple(
                sorted(
                    (_selector(place, row) for place, row in enumerate(routing.select)),
                    key=lambda selector: not selector.binding,
                )
            ),
            near_equal=NearEqual(
                margin=routing.near_equal.margin,
                cold_margin=routing.near_equal.cold_margin,
                cold_samples=routing.near_equal.cold_samples,
            ),
            affinity=AffinitySettings(
                ttl_seconds=routing.affinity.ttl_seconds,
                advantage=routing.affinity.advantage,
                max_entries=routing.affinity.max_entries,
            ),
            tiers=MappingProxyType({name: tier.max_cost_usd for name, tier in routing.tiers.items()}),
            plan_valid_seconds=routing.plan_valid_seconds,
            policy_version=policy_version(configuration),
        ),
        failover=_failover(configuration.failover, window),
        history_max_bytes=configuration.history.max_mib * MIB,
        budgets=tuple(budget_spec(section) for section in configuration.budgets),
        alerts=AlertSettings(
            high_latency_seconds=configuration.alerts.high_latency_seconds,
            high_error_rate=configuration.alerts.high_error_rate,
        ),
        checks=CheckSettings(
            enabled=configuration.checks.enabled,
            interval_seconds=configuration.checks.interval_seconds,
            max_nano_usd_per_day=round(configuration.checks.max_usd_per_day * NANO_USD),
        ),
        drained=routing.drained,
    )


def policy_version(configuration: Configuration) -> str:
    """Returns a short text that differs whenever the routing or failover settings do."""
    # What is drained changes who takes part, as an operator's word at run time does, and no rule.
    values = configuration.model_dump(mode="json", include={"routing", "failover"}, exclude={"routing": {"drained"}})
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:VERSION_LENGTH]


def _policy(name: str, section: PolicySection, failover: FailoverSection, window: int) -> Policy:
    limits = section.limits
    return Policy(
        name=name,
        strategy=section.strategy,
        weights=_weights(section.weights),
        preferences=section.preferences,
        regions=section.regions,
        shares=MappingProxyType(dict(section.shares)),
        tasks=MappingProxyType({task: MappingProxyType(dict(table)) for task, table in section.tasks.items()}),
        built_in_tables=BUILT_IN_TABLES if section.built_in_tables else NO_BUILT_IN_TABLES,
        limits=Limits(
            max_cost_usd=limits.max_cost_usd,
            max_latency_seconds=limits.max_latency_seconds,
            min_availability=limits.min_availability,
            min_quality=limits.min_quality,
        ),
        quality_floor=_floor(section.quality_floor),
        failover_on_refusal=section.failover_on_refusal,
        wait_for_preferred_seconds=section.wait_for_preferred_seconds,
        mid_stream=section.mid_stream,
        cache=_cache(section.cache) if section.cache.enabled else None,
        trim=section.trim.enabled,
        hedge=section.hedge.enabled,
        shadow_policy=section.shadow_policy or "",
        failover=_failover(laid_over(failover, section.failover), window)
        if section.failover.model_fields_set
        else None,
    )


def _cache(section: CacheSection) -> CacheSettings:
    return CacheSettings(
        max_entries=section.max_entries, ttl_seconds=section.ttl_seconds, any_temperature=section.any_temperature
    )


def _weights(section: WeightsSection) -> Weights:
    return Weights(
        cost=section.cost,
        latency=section.latency,
        availability=section.availability,
        quality=section.quality,
        priority=section.priority,
        capability=section.capability,
    )


def _floor(value: QualityFloorWord | float) -> QualityFloor:
    if value is QualityFloorWord.AUTO:
        return QualityFloor(auto=True)
    return QualityFloor(auto=False, value=None if value is QualityFloorWord.NONE else float(value))


def _selector(place: int, row: SelectSection) -> PolicySelector:
    key, given, value = row.when.label.partition("=")
    return PolicySelector(
        policy=row.policy,
        tenant=row.when.tenant,
        task=row.when.task,
        tier=row.when.tier,
        label=(key, value) if given else None,
        rule=rule_in_words(place, row.when),
        binding=row.binding,
    )


def _failover(section: FailoverSection, window: int) -> FailoverSettings:
    return FailoverSettings(
        breaker=_breaker(section),
        health=HealthSettings(
            window_outcomes=window,
            suspect_attempts=section.suspect.attempts,
            suspect_seconds=section.suspect.seconds,
        ),
        pressure=PressureSettings(
            throttle_multiplier=section.throttle_multiplier, adaptive_concurrency=section.adaptive_concurrency
        ),
        backoff=BackoffSettings(
            kind=section.backoff.kind,
            base_seconds=section.backoff.base_seconds,
            max_seconds=section.backoff.max_seconds,
        ),
        max_attempts=section.max_attempts,
        retry_budget_ratio=section.retry_budget_ratio,
        first_token_timeout_seconds=section.first_token_timeout_seconds,
        idle_timeout_seconds=section.idle_timeout_seconds,
        connect_timeout_seconds=section.connect_timeout_seconds,
        request_timeout_seconds=section.request_timeout_seconds,
        stream_max_seconds=section.stream_max_seconds,
    )


def _breaker(section: FailoverSection) -> BreakerSettings:
    preset = PRESETS[section.preset]
    open_seconds = section.open_seconds if section.open_seconds is not None else preset.open_seconds
    longest = section.open_max_seconds
    return replace(
        preset,
        consecutive_failures=section.consecutive_failures or preset.consecutive_failures,
        open_seconds=open_seconds,
        # An opening time above the preset's longest lifts that too.
        open_max_seconds=longest if longest is not None else max(preset.open_max_seconds, open_seconds),
        recovery_successes=section.recovery_successes or preset.recovery_successes,
        failure_ratio=section.failure_ratio,
        ramp_seconds=section.ramp_seconds,
    )
