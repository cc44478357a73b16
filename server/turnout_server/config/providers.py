"""Which providers there are once file, environment and catalog are put together: models, addresses and keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from turnout_server.config.catalog import LATER_KEY_VARIABLES, ModelRow, ProviderRow, built_in, nano
from turnout_server.config.schema import Configuration
from turnout_server.config.schema_providers import ModelSection, PriceSection, ProviderSection
from turnout_server.core.fleet import CredentialSpec, Price
from turnout_server.providers.connection import SecretReference

FILE_LABEL = "api_key_file"
"""The label of the key that `api_key_file` names; keys from variables have the variable's name as label."""

_DEFAULT_ROW = ModelRow(name="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where calls of one endpoint go; the name is "" where a provider has only one."""

    name: str
    region: str
    base_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One key: what the core knows of it, and where the secret is."""

    spec: CredentialSpec
    reference: SecretReference


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedProvider:
    """One provider with everything decided. `models` are the enabled ones, `known_models` all."""

    name: str
    section: ProviderSection
    wire: str
    endpoints: tuple[Endpoint, ...]
    models: tuple[ModelRow, ...]
    known_models: tuple[str, ...]
    credentials: tuple[Credential, ...]
    needs_credential: bool


def resolved_providers(configuration: Configuration, environ: Mapping[str, str]) -> tuple[ResolvedProvider, ...]:
    """Returns the providers in file order; without a `providers` block those whose usual key variable is set."""
    catalog = built_in()
    if "providers" in configuration.model_fields_set:
        return tuple(_resolved(name, section, catalog, environ) for name, section in configuration.providers.items())
    return tuple(
        _resolved(name, ProviderSection(), catalog, environ)
        for name, row in catalog.items()
        if any(environ.get(variable, "").strip() for variable in row.key_variables)
    )


def usual_variables(name: str) -> tuple[str, ...]:
    """Returns the environment variables that usually hold a vendor's key; none for a custom provider."""
    row = built_in().get(name)
    return row.key_variables if row is not None else LATER_KEY_VARIABLES.get(name, ())


def price_of(section: PriceSection) -> Price:
    """Returns a price in nano-USD."""
    cached, written = section.cached_input_per_million_usd, section.cache_write_per_million_usd
    return Price(
        input_per_million=nano(section.input_per_million_usd),
        output_per_million=nano(section.output_per_million_usd),
        cached_input_per_million=None if cached is None else nano(cached),
        cache_write_per_million=None if written is None else nano(written),
    )


def _resolved(
    name: str, section: ProviderSection, catalog: Mapping[str, ProviderRow], environ: Mapping[str, str]
) -> ResolvedProvider:
    row = catalog.get(name)
    wire = section.wire.value if section.wire is not None else (row.wire if row is not None else "")
    base_url = section.base_url or (row.base_url if row is not None else "")
    models = {model.name: model for model in (row.models if row is not None else ())}
    for own in section.models:
        models[own.name] = _row(own, models.get(own.name))
    enabled = [models[model] for model in section.enabled_models if model in models]
    return ResolvedProvider(
        name=name,
        section=section,
        wire=wire,
        endpoints=_endpoints(section, base_url.rstrip("/")),
        models=tuple(enabled if section.enabled_models else models.values()),
        known_models=tuple(models),
        credentials=_credentials(name, section, environ),
        needs_credential=_keys_are_given(section) or (row is not None and not section.base_url),
    )


def _endpoints(section: ProviderSection, base_url: str) -> tuple[Endpoint, ...]:
    if not section.endpoints:
        return (Endpoint(name="", region=section.region, base_url=base_url),)
    return tuple(
        Endpoint(
            name=endpoint.name,
            region=endpoint.region or section.region,
            base_url=endpoint.base_url.rstrip("/") or base_url,
        )
        for endpoint in section.endpoints
    )


def _keys_are_given(section: ProviderSection) -> bool:
    return bool(section.credentials or section.api_key_file or section.api_key_env)


def _credentials(name: str, section: ProviderSection, environ: Mapping[str, str]) -> tuple[Credential, ...]:
    """Returns the keys in the order they are used: the pool, the file, the variable named, the usual variable.

    That keys bound to a caller's tenant come first is decided call by call. A variable that is not set is no key.
    """
    found: dict[str, Credential] = {}
    for key in section.credentials:
        if key.api_key_file or environ.get(key.api_key_env, "").strip():
            spec = CredentialSpec(
                label=key.name, weight=key.weight, tenants=frozenset(key.tenants), models=frozenset(key.models)
            )
            reference = (
                SecretReference(file=key.api_key_file) if key.api_key_file else SecretReference(env=key.api_key_env)
            )
            found.setdefault(key.name, Credential(spec=spec, reference=reference))
    if section.api_key_file:
        found.setdefault(
            FILE_LABEL,
            Credential(spec=CredentialSpec(label=FILE_LABEL), reference=SecretReference(file=section.api_key_file)),
        )
    usual = usual_variables(name) if name != "ollama" else ()
    for variable in (section.api_key_env, *usual):
        if variable and environ.get(variable, "").strip():
            found.setdefault(
                variable, Credential(spec=CredentialSpec(label=variable), reference=SecretReference(env=variable))
            )
    return tuple(found.values())


def _row(own: ModelSection, known: ModelRow | None) -> ModelRow:
    """Lays a row of the operator's over the catalog's: keys that are not given stay, and the model counts as served."""
    base = (
        known if known is not None else replace(_DEFAULT_ROW, name=own.name, capabilities=frozenset(own.capabilities))
    )
    values: dict[str, object] = {
        "context_window_tokens": own.context_window_tokens,
        "max_output_tokens": own.max_output_tokens,
        "price": None if own.price is None else price_of(own.price),
        "silent_thinking": own.silent_thinking,
        "capabilities": frozenset(own.capabilities),
        "custom_capabilities": frozenset(own.custom_capabilities),
        "quality": own.quality,
        "latency_prior_seconds": own.latency_prior_seconds or base.latency_prior_seconds,
    }
    given = {key: value for key, value in values.items() if key in own.model_fields_set}
    return replace(base, deprecated=False, retires_on="", **given)  # type: ignore[arg-type] # same keys, same types
