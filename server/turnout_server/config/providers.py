"""Which providers there are once file, environment and catalog are put together: models, addresses and keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal

from turnout_server.config.addresses import ollama_url
from turnout_server.config.catalog import LAST_PROVIDER, ModelRow, ProviderRow, built_in, nano
from turnout_server.config.endpoints import Endpoint, endpoints_of
from turnout_server.config.schema import Configuration
from turnout_server.config.schema_providers import (
    ModelSection,
    PriceSection,
    ProviderSection,
    WholePriceSection,
    WireName,
)
from turnout_server.core.fleet import CredentialSpec, Price, PriceTier
from turnout_server.providers.connection import SecretReference

TOKEN_LABEL = "token"  # noqa: S105  # a label, no password
"""The label of the short-lived token from a file or command."""
FILE_LABEL = "api_key_file"
"""The label of the key that `api_key_file` names; keys from variables have the variable's name as label."""

_DEFAULT_ROW = ModelRow(name="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One key: what the core knows of it, and where the secret is."""

    spec: CredentialSpec
    reference: SecretReference


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedProvider:
    """One provider with everything decided. `models` are the enabled ones, `known_models` all.

    `finds_models` says that the server is asked for its models when it runs; `is_local`, that its address is one of
    this machine or its network, and may be.
    """

    name: str
    section: ProviderSection
    wire: str
    endpoints: tuple[Endpoint, ...]
    models: tuple[ModelRow, ...]
    known_models: tuple[str, ...]
    credentials: tuple[Credential, ...]
    needs_credential: bool
    finds_models: bool = False
    is_local: bool = False

    def knows(self, model: str) -> bool:
        """Whether a model may be named: one that is known, or any of a server that is asked for them."""
        return self.finds_models or model in self.known_models


Found = Mapping[str, Sequence[ModelRow]]
"""By provider, models that its server was found to have."""

NOTHING_FOUND: Found = {}


def resolved_providers(
    configuration: Configuration,
    environ: Mapping[str, str],
    *,
    found: Found = NOTHING_FOUND,
    today: date | None = None,
) -> tuple[ResolvedProvider, ...]:
    """Returns the providers in file order; without a `providers` block those whose usual variable is set.

    `found` are models of servers that are asked for them; `today` is the day that retirements and changes of price go
    by, UTC's where it is None.
    """
    today = today or datetime.now(UTC).date()
    catalog = built_in(today)
    sections = provider_sections(configuration, environ)
    return tuple(
        _resolved(
            name,
            section,
            row=catalog.get(name),
            laid_over=configuration.catalog.models.get(name, ()),
            environ=environ,
            found=found.get(name, ()),
            today=today,
        )
        for name, section in sections.items()
    )


def provider_sections(configuration: Configuration, environ: Mapping[str, str]) -> dict[str, ProviderSection]:
    """Returns the blocks of the providers in file order; without any, empty ones of those whose variable is set."""
    if "providers" in configuration.model_fields_set:
        return dict(configuration.providers)
    return {
        name: ProviderSection()
        for name, row in built_in().items()
        if any(environ.get(variable, "").strip() for variable in row.key_variables)
    }


def usual_variables(name: str) -> tuple[str, ...]:
    """Returns the environment variables that usually hold a vendor's key; none for a custom provider."""
    row = built_in().get(name)
    return row.key_variables if row is not None and name != LAST_PROVIDER else ()


def price_of(section: WholePriceSection) -> Price:
    """Returns a price in nano-USD."""
    tiers = sorted(section.tiers, key=lambda tier: tier.above_input_tokens)
    return replace(
        _flat_price(section),
        tiers=tuple(PriceTier(above_input_tokens=t.above_input_tokens, price=_flat_price(t)) for t in tiers),
    )


def _flat_price(section: PriceSection) -> Price:
    def optional(usd: float | None) -> int | None:
        return None if usd is None else nano(usd)

    return Price(
        input_per_million=nano(section.input_per_million_usd),
        output_per_million=nano(section.output_per_million_usd),
        cached_input_per_million=optional(section.cached_input_per_million_usd),
        cache_write_per_million=optional(section.cache_write_per_million_usd),
        cache_write_1h_per_million=optional(section.cache_write_1h_per_million_usd),
        audio_input_per_million=optional(section.audio_input_per_million_usd),
        cached_audio_input_per_million=optional(section.cached_audio_input_per_million_usd),
        reasoning_per_million=optional(section.reasoning_per_million_usd),
    )


def _resolved(
    name: str,
    section: ProviderSection,
    *,
    row: ProviderRow | None,
    laid_over: Sequence[ModelSection],
    environ: Mapping[str, str],
    found: Sequence[ModelRow],
    today: date,
) -> ResolvedProvider:
    wire = section.wire.value if section.wire is not None else (row.wire if row is not None else "")
    base_url = section.base_url or (row.base_url if row is not None else "")
    is_local = name == LAST_PROVIDER and not section.base_url
    if is_local:
        base_url = ollama_url(environ.get("OLLAMA_HOST", "")) or base_url
    models = {model.name: model for model in (*(row.models if row is not None else ()), *found)}
    for own in (*laid_over, *section.models):
        models[own.name] = _row(own, models.get(own.name), today)
    enabled = [models[model] for model in section.enabled_models if model in models]
    return ResolvedProvider(
        name=name,
        section=section,
        wire=wire,
        endpoints=endpoints_of(section, base_url, row.regions if row is not None else {}),
        models=tuple(enabled if section.enabled_models else models.values()),
        known_models=tuple(models),
        credentials=_credentials(name, section, environ),
        needs_credential=_keys_are_given(section) or (row is not None and not section.base_url and not is_local),
        finds_models=wire == WireName.OLLAMA.value,
        is_local=is_local,
    )


def _keys_are_given(section: ProviderSection) -> bool:
    given = section.credentials or section.api_key_file or section.api_key_env
    return bool(given or section.token.file or section.token.command)


def _credentials(name: str, section: ProviderSection, environ: Mapping[str, str]) -> tuple[Credential, ...]:
    """Returns the keys in the order they are used: the pool, the token, the file, the variable named, the usual one.

    Those of the pool share the calls by their weights; the single ones are spares, each for when those before it fail.
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
    for label, reference in _single_keys(name, section):
        if not reference.env or environ.get(reference.env, "").strip():
            found.setdefault(label, Credential(spec=CredentialSpec(label=label, weight=0.0), reference=reference))
    return tuple(found.values())


def _single_keys(name: str, section: ProviderSection) -> Iterator[tuple[str, SecretReference]]:
    token = section.token
    if token.command:
        reference = SecretReference(command=token.command, refresh_seconds=token.refresh_seconds, is_token=True)
        yield TOKEN_LABEL, reference
    elif token.file:
        yield TOKEN_LABEL, SecretReference(file=token.file, is_token=True)
    if section.api_key_file:
        yield FILE_LABEL, SecretReference(file=section.api_key_file)
    for variable in (section.api_key_env, *usual_variables(name)):
        if variable:
            yield variable, SecretReference(env=variable)


def _row(own: ModelSection, known: ModelRow | None, today: date) -> ModelRow:
    """Lays a row of the operator's over the catalog's: keys that are not given stay.

    The model counts as served, unless the row says otherwise: the operator knows better than the catalog.
    """
    base = (
        known if known is not None else replace(_DEFAULT_ROW, name=own.name, capabilities=frozenset(own.capabilities))
    )
    values: dict[str, object] = {
        "context_window_tokens": own.context_window_tokens,
        "max_output_tokens": own.max_output_tokens,
        "price": None if own.price is None else price_of(own.price),
        # A price of the operator's own is the price, wherever the call goes.
        "regional_uplift": Decimal(1) if "price" in own.model_fields_set else base.regional_uplift,
        "silent_thinking": own.silent_thinking,
        "capabilities": frozenset(own.capabilities),
        "custom_capabilities": frozenset(own.custom_capabilities),
        "quality": own.quality,
        "latency_prior_seconds": own.latency_prior_seconds or base.latency_prior_seconds,
        "seconds_per_output_token": own.seconds_per_output_token or base.seconds_per_output_token,
    }
    given = {key: value for key, value in values.items() if key in {*own.model_fields_set, "regional_uplift"}}
    retires_on = own.retires_on.isoformat() if own.retires_on is not None else ""
    deprecated = own.deprecated or (own.retires_on is not None and own.retires_on <= today)
    return replace(base, deprecated=deprecated, retires_on=retires_on, **given)  # type: ignore[arg-type] # same types
