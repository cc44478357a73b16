"""Providers that are registered at run time: under which rules, and as which block of the configuration.

The message of a caller never brings a key, a file or a variable: it names one of `admin.credentials`. Its address is on
a host of `admin.allowed_hosts`, and follows the rules of every provider's address besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from turnout_server.config.catalog import built_in
from turnout_server.config.faults import Finding, Path, did_you_mean
from turnout_server.config.schema_providers import ProviderSection

if TYPE_CHECKING:
    from turnout_server.config.schema import AdminSection, Configuration
    from turnout_server.core.changing import ModelFacts, ProviderFacts

HTTPS_PORT, HTTP_PORT = 443, 80


def admin_findings(admin: AdminSection) -> Iterator[Finding]:
    """Yields what is wrong with the `admin` block."""
    if admin.allow_register and not admin.allowed_hosts:
        yield ("admin", "allowed_hosts"), "is empty, so nothing can be registered; name the hosts that may be"
    for place, host in enumerate(admin.allowed_hosts):
        if not _host_of(host):
            yield ("admin", "allowed_hosts", place), f'"{host}" is no host; write llm.example.com, or with a port'
    names = [each.name for each in admin.credentials]
    for place, credential in enumerate(admin.credentials):
        path: Path = ("admin", "credentials", place)
        if credential.name in names[:place]:
            yield (*path, "name"), f'"{credential.name}" is there twice'
        if bool(credential.api_key_file) == bool(credential.api_key_env):
            yield path, "give exactly one of api_key_file and api_key_env"


def admin_warnings(configuration: Configuration) -> Iterator[str]:
    """Yields what is probably not meant."""
    if configuration.admin.allow_register and not configuration.listen.auth.tokens:
        yield (
            "admin.allow_register: there are no tokens in listen.auth, so everybody on this machine can register "
            "providers, and use the keys of admin.credentials at the allowed hosts"
        )


def registration_findings(
    facts: ProviderFacts, configuration: Configuration, taken: Iterator[str] | set[str], environ: Mapping[str, str]
) -> Iterator[Finding]:
    """Yields what speaks against a registered provider beside the checks of every provider.

    `configuration` is the file's, `taken` the names of the providers that it has.
    """
    admin, path = configuration.admin, ("providers", facts.name)
    if facts.name in taken:
        yield path, "is a provider of the configuration: change it there"
    if facts.name in built_in():
        # Its usual variable would be sent to an address that came with a message.
        yield path, "is the name of a vendor, whose usual key would be used; take another name"
    if not _allowed(facts.base_url, admin):
        hosts = ", ".join(admin.allowed_hosts) or "none"
        yield (*path, "base_url"), f"is on none of the hosts that admin.allowed_hosts has: {hosts}"
    if facts.credential:
        known = {each.name: each for each in admin.credentials}
        found = known.get(facts.credential)
        if found is None:
            hint = did_you_mean(facts.credential, known) or "; it has none"
            yield (*path, "credentials"), f'"{facts.credential}" is none of admin.credentials{hint}'
        elif found.api_key_env and not environ.get(found.api_key_env, "").strip():
            yield (*path, "credentials"), f'"{facts.credential}" has no key: its environment variable is not set'
    for place, model in enumerate(facts.models):
        if (model.input_usd is None) is not (model.output_usd is None):
            yield (
                (*path, "models", place, "price"),
                "needs input_per_million_usd and output_per_million_usd, or neither",
            )
        elif model.input_usd is None and (model.cached_input_usd is not None or model.cache_write_usd is not None):
            yield (*path, "models", place, "price"), "has a price of cached input and none of input; give both"


def registered_section(facts: ProviderFacts, admin: AdminSection) -> ProviderSection:
    """Returns the block that stands for a registered provider. Raises pydantic's ValidationError."""
    credential = next((each for each in admin.credentials if each.name == facts.credential), None)
    keys: list[dict[str, Any]] = []
    if credential is not None:
        keys = [
            {
                "name": credential.name,
                "api_key_file": credential.api_key_file,
                "api_key_env": credential.api_key_env,
            }
        ]
    return ProviderSection.model_validate(
        {
            "wire": facts.wire,
            "base_url": facts.base_url,
            "credentials": keys,
            "region": facts.region,
            "max_concurrency": facts.max_concurrency,
            "enabled_models": tuple(model.name for model in facts.models),
            "models": [_model(model) for model in facts.models],
            "allow_private": admin.allow_private,
            "allow_insecure": admin.allow_insecure,
        }
    )


def section_findings(facts: ProviderFacts, admin: AdminSection) -> list[Finding]:
    """Returns which values of a registered provider cannot be."""
    try:
        registered_section(facts, admin)
    except ValidationError as error:
        return [
            (("providers", facts.name, *details["loc"]), details["msg"][:1].lower() + details["msg"][1:])
            for details in error.errors(include_url=False, include_input=False)
        ]
    return []


def _model(model: ModelFacts) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": model.name,
        "context_window_tokens": model.context_window_tokens,
        "max_output_tokens": model.max_output_tokens,
        "capabilities": model.capabilities,
        "custom_capabilities": model.custom_capabilities,
        "quality": model.quality,
        "latency_prior_seconds": model.latency_prior_seconds,
        "silent_thinking": model.silent_thinking,
    }
    if model.input_usd is not None and model.output_usd is not None:
        values["price"] = {
            "input_per_million_usd": model.input_usd,
            "output_per_million_usd": model.output_usd,
            "cached_input_per_million_usd": model.cached_input_usd,
            "cache_write_per_million_usd": model.cache_write_usd,
        }
    return values


def _allowed(base_url: str, admin: AdminSection) -> bool:
    """Whether a URL's host is one of those allowed: exactly that name, and its port where the rule has one."""
    try:
        parts = urlsplit(base_url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return False
    if port is None:
        port = HTTP_PORT if parts.scheme == "http" else HTTPS_PORT
    rules = [found for found in map(_host_of, admin.allowed_hosts) if found]
    return any(host == name and wanted in (None, port) for name, wanted in rules)


def _host_of(rule: str) -> tuple[str, int | None] | None:
    """Returns host and port of one of `admin.allowed_hosts`; None for what is no host."""
    if not rule or any(character.isspace() or character in "/@?#\\*" for character in rule):
        return None
    try:
        parts = urlsplit(f"//{rule}")
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return None
    return (host, port) if host else None
