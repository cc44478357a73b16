"""Faults that no single value shows: names that lead nowhere, values that contradict each other, missing files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath

from turnout_server.config.addresses import base_url_fault, host_and_port, stays_local
from turnout_server.config.catalog import LATER_KEY_VARIABLES, built_in
from turnout_server.config.faults import Path, did_you_mean
from turnout_server.config.policies import SHARED_FAILOVER_KEYS, all_policies, lineage, resolved_policies
from turnout_server.config.providers import FILE_LABEL, ResolvedProvider, resolved_providers
from turnout_server.config.schema import Configuration
from turnout_server.config.schema_providers import BUILT_WIRES, ProviderSection
from turnout_server.config.schema_routing import FailoverSection, PolicySection
from turnout_server.core.model import Strategy
from turnout_server.core.settings import PRESETS

Finding = tuple[Path, str]

ANY_TIER = "any"


def check(configuration: Configuration, environ: Mapping[str, str], *, files: bool) -> Iterator[Finding]:
    """Yields what is wrong, each with its path; with `files`, also files that are named but cannot be read."""
    yield from _listeners(configuration)
    providers = resolved_providers(configuration, environ)
    for provider in providers:
        yield from _provider(provider)
    yield from _routing(configuration, providers)
    yield from _failover(configuration.failover, ("failover",))
    if files:
        yield from _files(configuration)


def warnings_of(configuration: Configuration, environ: Mapping[str, str]) -> Iterator[str]:
    """Yields what is not wrong but probably not meant."""
    providers = resolved_providers(configuration, environ)
    for provider in providers:
        yield from _missing_keys(provider, environ)
        yield from _old_models(provider)
    if "providers" not in configuration.model_fields_set:
        for name, variables in LATER_KEY_VARIABLES.items():
            for variable in variables:
                if environ.get(variable, "").strip():
                    yield f"environment variable {variable} is ignored: this version does not know {name} yet"
    if not any(provider.models for provider in providers):
        yield (
            "no provider is configured: every request is refused; set ANTHROPIC_API_KEY or OPENAI_API_KEY, "
            "or name providers in a file"
        )
    yield from _unknown_providers(configuration, {provider.name for provider in providers})


def _missing_keys(provider: ResolvedProvider, environ: Mapping[str, str]) -> Iterator[str]:
    where = f"providers.{provider.name}"
    given = provider.section.api_key_env
    if given and not environ.get(given, "").strip():
        yield f"{where}.api_key_env: environment variable {given} is not set"
    for key in provider.section.credentials:
        if key.api_key_env and not environ.get(key.api_key_env, "").strip():
            yield f"{where}.credentials: {key.name} is left out, environment variable {key.api_key_env} is not set"
    if provider.needs_credential and not provider.credentials:
        yield f"{where}: no key is known, so only Route can use it, not Execute"


def _old_models(provider: ResolvedProvider) -> Iterator[str]:
    where = f"providers.{provider.name}.enabled_models"
    for model in provider.models:
        if model.name not in provider.section.enabled_models:
            continue
        if model.deprecated:
            yield f"{where}: {model.name} is no longer served; it is used only where a request or table names it"
        elif model.retires_on:
            yield f"{where}: the vendor stops serving {model.name} on {model.retires_on}"


def _listeners(configuration: Configuration) -> Iterator[Finding]:
    listen = configuration.listen
    if not listen.address and not listen.socket:
        yield ("listen",), "nothing to listen on: give an address or a socket"
    addresses: list[tuple[Path, str]] = [
        (("listen", "address"), listen.address),
        (("health", "address"), configuration.health.address),
        (("metrics", "address"), configuration.metrics.address),
    ]
    taken: dict[int, Path] = {}
    for path, address in addresses:
        if not address:
            continue
        parts = host_and_port(address)
        if parts is None:
            yield path, f'"{address}" is no address; write host:port, as in 127.0.0.1:50151'
            continue
        host, port = parts
        if path[0] == "listen" and not stays_local(host) and not listen.insecure_listen:
            yield path, "reaches beyond this machine without TLS; set listen.insecure_listen: true if that is meant"
        if port and port in taken:
            yield path, f"port {port} is also that of {'.'.join(str(key) for key in taken[port])}"
        taken.setdefault(port, path)


def _provider(provider: ResolvedProvider) -> Iterator[Finding]:
    path: Path = ("providers", provider.name)
    section = provider.section
    known = built_in()
    if any(c in provider.name for c in "/@") or provider.name != provider.name.strip() or not provider.name:
        yield path, 'a provider\'s name must not be empty nor hold "/", "@" or spaces around it'
    if provider.name in known:
        if section.wire is not None and section.wire.value != known[provider.name].wire:
            yield (*path, "wire"), f"{provider.name} speaks the wire {known[provider.name].wire}; leave it out"
    else:
        yield from _custom(provider, path)
    if section.wire is not None and section.wire not in BUILT_WIRES:
        built = " and ".join(sorted(BUILT_WIRES))
        yield (*path, "wire"), f"the wire {section.wire.value} is not in this version yet; it has {built}"
    yield from _base_urls(provider, path)
    for place, name in enumerate(section.enabled_models):
        if name not in provider.known_models:
            message = f'no model "{name}" is known{did_you_mean(name, provider.known_models)}'
            yield (*path, "enabled_models", place), message
    yield from _twice(path, "models", [model.name for model in section.models])
    yield from _twice(path, "endpoints", [endpoint.name for endpoint in section.endpoints])
    yield from _credentials(provider, path)
    if section.region and section.endpoints:
        yield (*path, "region"), "is for a provider without endpoints; each endpoint has its own"


def _custom(provider: ResolvedProvider, path: Path) -> Iterator[Finding]:
    section = provider.section
    missing = [
        name
        for name, given in (("wire", section.wire), ("base_url", _has_url(section)), ("models", section.models))
        if not given
    ]
    if not missing:
        return
    what = f"needs {', '.join(missing)}"
    if provider.name in LATER_KEY_VARIABLES:
        yield path, f"{provider.name} is not known by itself in this version yet, so it {what}"
    else:
        yield path, f"a custom provider {what}{_meant(provider.name)}"


def _meant(name: str) -> str:
    text = did_you_mean(name, built_in())
    return text if "did you mean" in text else ""


def _has_url(section: ProviderSection) -> bool:
    return bool(section.base_url or (section.endpoints and all(one.base_url for one in section.endpoints)))


def _base_urls(provider: ResolvedProvider, path: Path) -> Iterator[Finding]:
    section = provider.section
    urls: list[tuple[Path, str]] = [((*path, "base_url"), section.base_url)]
    urls += [((*path, "endpoints", i, "base_url"), endpoint.base_url) for i, endpoint in enumerate(section.endpoints)]
    for where, url in urls:
        if not url:
            continue
        fault = base_url_fault(url, allow_insecure=section.allow_insecure, allow_private=section.allow_private)
        if fault:
            yield where, fault


def _credentials(provider: ResolvedProvider, path: Path) -> Iterator[Finding]:
    pool = provider.section.credentials
    yield from _twice(path, "credentials", [key.name for key in pool])
    for i, key in enumerate(pool):
        where: Path = (*path, "credentials", i)
        if bool(key.api_key_file) == bool(key.api_key_env):
            yield where, "give exactly one of api_key_file and api_key_env"
        if key.name == FILE_LABEL:
            yield (*where, "name"), f'"{FILE_LABEL}" is the label of the provider\'s own key file'
        for place, model in enumerate(key.models):
            if model not in provider.known_models:
                message = f'no model "{model}" is known{did_you_mean(model, provider.known_models)}'
                yield (*where, "models", place), message


def _twice(path: Path, key: str, names: list[str]) -> Iterator[Finding]:
    for place, name in enumerate(names):
        if name in names[:place]:
            yield (*path, key, place, "name"), f'"{name}" is there twice'


def _routing(configuration: Configuration, providers: tuple[ResolvedProvider, ...]) -> Iterator[Finding]:
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
    whole = resolved_policies(routing)
    for name, policy in routing.policies.items():
        path: Path = ("routing", "policies", name)
        parent = policy.inherits
        if parent is not None and parent not in policies:
            yield (*path, "inherits"), f'no policy "{parent}"{did_you_mean(parent, policies)}'
        elif lineage(name, policies) is None:
            yield (*path, "inherits"), "policies inherit from each other in a circle"
        yield from _policy(policy, whole[name], path, configuration)
        yield from _targets(policy, path, providers)


def _policy(own: PolicySection, whole: PolicySection, path: Path, configuration: Configuration) -> Iterator[Finding]:
    weights = whole.weights
    if whole.strategy is Strategy.ADAPTIVE:
        yield (*path, "strategy"), "ADAPTIVE is not in this version yet"
    if whole.strategy is Strategy.WEIGHTED and not any(whole.shares.values()):
        yield (*path, "shares"), "WEIGHTED needs shares: a weight for each target"
    if not any((weights.cost, weights.latency, weights.availability, weights.quality, weights.priority)):
        yield (*path, "weights"), "all weights are 0"
    for key in sorted(own.failover.model_fields_set & SHARED_FAILOVER_KEYS):
        yield (*path, "failover", key), "is shared by all policies: set it in the global failover block"
    yield from _failover(own.failover, (*path, "failover"))
    for task, table in own.tasks.items():
        for tier in table:
            if tier != ANY_TIER and tier not in configuration.routing.tiers:
                hint = did_you_mean(tier, (*configuration.routing.tiers, ANY_TIER))
                yield (*path, "tasks", task, tier), f'no tier "{tier}"{hint}'


def _targets(policy: PolicySection, path: Path, providers: tuple[ResolvedProvider, ...]) -> Iterator[Finding]:
    names = _target_names(providers)
    known = {provider.name for provider in providers}
    for where, name in _named_targets(policy, path):
        provider, slash, _ = name.partition("/")
        if provider in known and name not in names:
            yield where, f'no target "{name}"{did_you_mean(name, names)}'
        elif not slash and provider not in known and provider not in built_in() and provider not in LATER_KEY_VARIABLES:
            yield where, f'"{name}" is no target; write provider/model'


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


def _unknown_providers(configuration: Configuration, known: set[str]) -> Iterator[str]:
    absent: dict[str, str] = {}
    for name, policy in configuration.routing.policies.items():
        for _, target in _named_targets(policy, ()):
            provider = target.partition("/")[0]
            if provider not in known:
                absent.setdefault(provider, f"routing.policies.{name}: {target}")
    for provider, where in absent.items():
        yield f"{where} is passed over: no provider {provider} is configured"


def _failover(section: FailoverSection, path: Path) -> Iterator[Finding]:
    preset = PRESETS[section.preset]
    longest = section.open_max_seconds
    if longest is not None and longest < (section.open_seconds or preset.open_seconds):
        yield (*path, "open_max_seconds"), "must not be less than open_seconds"
    if section.backoff.max_seconds < section.backoff.base_seconds:
        yield (*path, "backoff", "max_seconds"), "must not be less than base_seconds"


def _files(configuration: Configuration) -> Iterator[Finding]:
    for name, provider in configuration.providers.items():
        path: Path = ("providers", name)
        named: list[Finding] = [
            ((*path, key), getattr(provider, key))
            for key in ("api_key_file", "ca_file", "client_cert_file", "headers_from_file")
        ]
        named += [
            ((*path, "credentials", i, "api_key_file"), key.api_key_file) for i, key in enumerate(provider.credentials)
        ]
        for where, file in named:
            fault = _file_fault(file) if file else ""
            if fault:
                yield where, fault


def _file_fault(file: str) -> str:
    try:
        with FilePath(file).open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        return f"file {file} cannot be read: {error.strerror or error}"
    return f"file {file} is empty" if empty else ""
