"""Faults of routing that no single value shows: policies, tiers and targets that are not there, weights of nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from turnout_server.config.catalog import LAST_PROVIDER, built_in
from turnout_server.config.check_policies import inheritance_findings, select_findings, shadow_findings
from turnout_server.config.check_regions import region_findings
from turnout_server.config.faults import Finding, Path, did_you_mean
from turnout_server.config.policies import SHARED_FAILOVER_KEYS, all_policies, resolved_policies
from turnout_server.config.providers import ResolvedProvider
from turnout_server.config.schema import CatalogSection, Configuration
from turnout_server.config.schema_routing import FailoverSection, PolicySection
from turnout_server.core.model import Strategy
from turnout_server.core.settings import PRESETS
from turnout_server.core.tables import ANY_TIER


def routing_findings(configuration: Configuration, providers: tuple[ResolvedProvider, ...]) -> Iterator[Finding]:
    """Yields what is wrong with policies, the table that selects them, and the global failover block."""
    routing = configuration.routing
    policies = all_policies(routing)
    if routing.default_policy not in policies:
        hint = did_you_mean(routing.default_policy, policies)
        yield ("routing", "default_policy"), f'no policy "{routing.default_policy}"{hint}'
    for i, row in enumerate(routing.select):
        if row.policy not in policies:
            yield ("routing", "select", i, "policy"), f'no policy "{row.policy}"{did_you_mean(row.policy, policies)}'
        if row.when.tier and row.when.tier not in routing.tiers:
            hint = did_you_mean(row.when.tier, routing.tiers)
            yield ("routing", "select", i, "when", "tier"), f'no tier "{row.when.tier}"{hint}'
    if ANY_TIER in routing.tiers:
        yield ("routing", "tiers", ANY_TIER), "stands for all tiers in tables; give the tier another name"
    yield from select_findings(routing.select)
    whole = resolved_policies(routing)
    for name, policy in routing.policies.items():
        path: Path = ("routing", "policies", name)
        if not name or not name.isprintable():
            yield path[:-1], f"{name!r} is no name of a policy: give one of printable characters"
        yield from inheritance_findings(name, policies, path)
        yield from shadow_findings(name, policies, path)
        yield from _policy(policy, whole[name], path, configuration)
        yield from _targets(policy, path, providers, configuration.catalog)
        yield from region_findings(policy, path)
    yield from _drained(routing.drained, providers)
    yield from _failover(configuration.failover, ("failover",))


def _policy(own: PolicySection, whole: PolicySection, path: Path, configuration: Configuration) -> Iterator[Finding]:
    weights = whole.weights
    if whole.strategy is Strategy.ADAPTIVE:
        yield (*path, "strategy"), "ADAPTIVE is not in this version yet"
    if whole.strategy is Strategy.WEIGHTED and not any(whole.shares.values()):
        nothing = "are all 0; give at least one target a share above 0"
        yield (*path, "shares"), nothing if whole.shares else "WEIGHTED needs shares: a weight for each target"
    if not any((weights.cost, weights.latency, weights.availability, weights.quality, weights.priority)):
        yield (*path, "weights"), "all weights are 0"
    for key in sorted(own.failover.model_fields_set & SHARED_FAILOVER_KEYS):
        yield (*path, "failover", key), "is shared by all policies: set it in the global failover block"
    yield from _failover(own.failover, (*path, "failover"))
    for task, table in own.tasks.items():
        if not task:
            told = "has a table for no task; name one, or use preferences"
            yield (*path, "tasks"), told
        for tier in table:
            if tier != ANY_TIER and tier not in configuration.routing.tiers:
                hint = did_you_mean(tier, (*configuration.routing.tiers, ANY_TIER))
                yield (*path, "tasks", task, tier), f'no tier "{tier}"{hint}'


def _targets(
    policy: PolicySection, path: Path, providers: tuple[ResolvedProvider, ...], catalog: CatalogSection
) -> Iterator[Finding]:
    """Yields names of nothing. A vendor that is not set up may be named, since one file serves many sidecars."""
    names = _target_names(providers)
    known = {provider.name for provider in providers}
    open_ended = {provider.name for provider in providers if provider.finds_models} | {LAST_PROVIDER}
    vendors = built_in()
    for where, name in _named_targets(policy, path):
        provider, slash, model = name.partition("/")
        if provider in open_ended or name in names:
            continue
        if provider in known:
            yield where, f'no target "{name}"{did_you_mean(name, names)}'
        elif provider in vendors:
            models = {*vendors[provider].rows, *(row.name for row in catalog.models.get(provider, ()))}
            # The name of an endpoint is the operator's own.
            if slash and model not in models and model.rpartition("@")[0] not in models:
                hint = did_you_mean(name, (f"{provider}/{row}" for row in models))
                yield where, f'no target "{name}": the catalog has no such model of {provider}{hint}'
        elif slash:
            hint = did_you_mean(provider, known | set(vendors))
            yield where, f'no target "{name}": there is no provider {provider}{hint}'
        else:
            yield where, f'"{name}" is no target; write provider/model'


def _drained(drained: tuple[str, ...], providers: tuple[ResolvedProvider, ...]) -> Iterator[Finding]:
    """Yields names of nothing: what should get no calls would get them. Vendors that are not set up may be named."""
    names = _target_names(providers)
    open_ended = {provider.name for provider in providers if provider.finds_models}
    absent = frozenset(built_in()) - {provider.name for provider in providers}
    for i, name in enumerate(drained):
        provider = name.partition("/")[0]
        if name not in names and provider not in open_ended | absent:
            yield ("routing", "drained", i), f'no provider or target "{name}"{did_you_mean(name, names)}'


def _target_names(providers: tuple[ResolvedProvider, ...]) -> set[str]:
    names = {provider.name for provider in providers}
    for provider in providers:
        for model, endpoint in itertools.product(provider.models, provider.endpoints):
            names.add(f"{provider.name}/{model.name}")
            if endpoint.name:
                names.add(f"{provider.name}/{model.name}@{endpoint.name}")
    return names


def _named_targets(policy: PolicySection, path: Path) -> Iterator[tuple[Path, str]]:
    for i, name in enumerate(policy.preferences):
        yield (*path, "preferences", i), name
    for name in policy.shares:
        yield (*path, "shares", name), name
    for task, tiers in policy.tasks.items():
        for tier, targets in tiers.items():
            for i, name in enumerate(targets):
                yield (*path, "tasks", task, tier, i), name


def names_by_policy(configuration: Configuration) -> dict[str, list[str]]:
    """Returns the targets that each policy's own tables, preferences and shares name."""
    return {
        name: [target for _, target in _named_targets(policy, ())]
        for name, policy in configuration.routing.policies.items()
    }


def passed_over(configuration: Configuration, known: set[str]) -> Iterator[str]:
    """Yields a warning for each provider that is named and that is not among the `known` ones.

    In `provider_order` vendors of the catalog are not warned of.
    """
    absent: dict[str, str] = {}
    for name, policy in configuration.routing.policies.items():
        for _, target in _named_targets(policy, ()):
            provider = target.partition("/")[0]
            if provider not in known:
                absent.setdefault(provider, f"routing.policies.{name}: {target}")
    for target in configuration.routing.drained:
        provider = target.partition("/")[0]
        if provider not in known:
            absent.setdefault(provider, f"routing.drained: {target}")
    for provider, where in absent.items():
        yield f"{where} is passed over: no provider {provider} is configured"
    # The usual order names vendors that few have; only what is nobody's name can be a slip.
    vendors = set(built_in())
    for name in configuration.routing.provider_order:
        if name not in known | vendors:
            yield f'routing.provider_order: no provider "{name}"{did_you_mean(name, known | vendors)}'


def _failover(section: FailoverSection, path: Path) -> Iterator[Finding]:
    preset = PRESETS[section.preset]
    longest = section.open_max_seconds
    if longest is not None and longest < (section.open_seconds or preset.open_seconds):
        yield (*path, "open_max_seconds"), "must not be less than open_seconds"
    if section.backoff.max_seconds < section.backoff.base_seconds:
        yield (*path, "backoff", "max_seconds"), "must not be less than base_seconds"
