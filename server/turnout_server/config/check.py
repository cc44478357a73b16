"""Faults that no single value shows, those of routing apart: values that contradict each other, missing files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath

from turnout_server.config.addresses import base_url_fault, proxy_url_fault
from turnout_server.config.budgets import budget_findings
from turnout_server.config.catalog import built_in
from turnout_server.config.check_contradictions import contradictions
from turnout_server.config.check_listening import listening_findings, listening_warnings
from turnout_server.config.check_policies import binding_warnings, quality_warnings
from turnout_server.config.check_regions import region_warnings
from turnout_server.config.check_routing import names_by_policy, passed_over, routing_findings
from turnout_server.config.check_webhook import webhook_findings
from turnout_server.config.faults import Finding, Path, did_you_mean
from turnout_server.config.policies import all_policies, resolved_policies
from turnout_server.config.provider_files import content_fault
from turnout_server.config.providers import FILE_LABEL, TOKEN_LABEL, ResolvedProvider, resolved_providers
from turnout_server.config.registering import admin_findings, admin_warnings
from turnout_server.config.schema import Configuration
from turnout_server.config.schema_providers import ProviderSection
from turnout_server.telemetry.logs.rotating_file import file_fault

_OWN_KEYS = {FILE_LABEL: "key file", TOKEN_LABEL: "token"}
_OF_A_SNAPSHOT = re.compile(r"\.(journal-\d+|lock|new)$")
"""What stands beside a snapshot: a sidecar of that one would set it aside, or write over it."""


def check(configuration: Configuration, environ: Mapping[str, str], *, files: bool) -> Iterator[Finding]:
    """Yields what is wrong, each with its path; with `files`, also files that are named but cannot be read."""
    yield from listening_findings(configuration, environ, files=files)
    providers = resolved_providers(configuration, environ)
    for provider in providers:
        yield from _provider(provider)
    yield from routing_findings(configuration, providers)
    yield from budget_findings(configuration)
    yield from webhook_findings(configuration.alerts, files=files)
    yield from admin_findings(configuration.admin)
    if files:
        yield from _files(configuration)
        yield from _admin_files(configuration)
        yield from _request_log(configuration)
        yield from _state(configuration)


def warnings_of(configuration: Configuration, environ: Mapping[str, str]) -> Iterator[str]:
    """Yields what is not wrong but probably not meant."""
    yield from listening_warnings(configuration.listen)
    providers = resolved_providers(configuration, environ)
    for provider in providers:
        yield from _missing_keys(provider, environ)
        yield from _old_models(provider)
        yield from _regions_without_address(provider)
    if not any(provider.models or provider.finds_models for provider in providers):
        yield (
            "no provider is configured: every request is refused; set ANTHROPIC_API_KEY, OPENAI_API_KEY or another "
            "vendor's key, or name providers in a file"
        )
    yield from admin_warnings(configuration)
    yield from passed_over(configuration, {provider.name for provider in providers})
    policies, named = resolved_policies(configuration.routing), names_by_policy(configuration)
    yield from region_warnings(policies, providers, named)
    yield from quality_warnings(policies, providers, named)
    yield from binding_warnings(configuration.routing.select)
    yield from contradictions(all_policies(configuration.routing), policies, configuration.failover, providers)


def _missing_keys(provider: ResolvedProvider, environ: Mapping[str, str]) -> Iterator[str]:
    where = f"providers.{provider.name}"
    given = provider.section.api_key_env
    if given and not environ.get(given, "").strip():
        yield f"{where}.api_key_env: {_variable(given)} is not set"
    for key in provider.section.credentials:
        if key.api_key_env and not environ.get(key.api_key_env, "").strip():
            yield f"{where}.credentials: {key.name} is left out, {_variable(key.api_key_env)} is not set"
    if provider.needs_credential and not provider.credentials:
        yield f"{where}: no key is known, so only Route can use it, not Execute"


def _variable(name: str) -> str:
    """Names a variable, unless it cannot be one: then it may be a key that was pasted in its place."""
    return f"environment variable {name}" if name.isidentifier() else "the environment variable named there"


def _old_models(provider: ResolvedProvider) -> Iterator[str]:
    where = f"providers.{provider.name}.enabled_models"
    for model in provider.models:
        if model.name not in provider.section.enabled_models:
            continue
        if model.deprecated:
            yield f"{where}: {model.name} is no longer served; it is used only where a request or table names it"
        elif model.retires_on:
            yield f"{where}: the vendor stops serving {model.name} on {model.retires_on}"


def _regions_without_address(provider: ResolvedProvider) -> Iterator[str]:
    """Yields the regions of a vendor that are a word only: calls are not sent anywhere else for them."""
    row = built_in().get(provider.name)
    if row is None or provider.section.base_url or provider.is_local:
        return
    for endpoint in provider.endpoints:
        if endpoint.region and endpoint.base_url == row.base_url:
            known = f" (only in {', '.join(row.regions)})" if row.regions else ""
            yield (
                f"providers.{provider.name}: no address of its own in region {endpoint.region} is known{known}, "
                f"so its calls go to {row.base_url}"
            )


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
    yield from _base_urls(provider, path)
    for place, name in enumerate(section.enabled_models):
        if not provider.knows(name):
            message = f'no model "{name}" is known{did_you_mean(name, provider.known_models)}'
            yield (*path, "enabled_models", place), message
    yield from _twice(path, "models", [model.name for model in section.models])
    for i, model in enumerate(section.models):
        for j, capability in enumerate(model.custom_capabilities):
            if not capability.strip():
                where = (*path, "models", i, "custom_capabilities", j)
                yield where, "is empty; name a capability, or leave it out"
    yield from _twice(path, "endpoints", [endpoint.name for endpoint in section.endpoints])
    yield from _credentials(provider, path)
    yield from _token(provider, path)
    if section.region and section.endpoints:
        yield (*path, "region"), "is for a provider without endpoints; each endpoint has its own"


def _custom(provider: ResolvedProvider, path: Path) -> Iterator[Finding]:
    section = provider.section
    missing = [
        name
        for name, given in (
            ("wire", section.wire),
            ("base_url", _has_url(section)),
            ("models", provider.models or provider.finds_models),
        )
        if not given
    ]
    if not missing:
        return
    yield path, f"a custom provider needs {', '.join(missing)}{_meant(provider.name)}"


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
    proxy_url = section.proxy_url.get_secret_value()
    if proxy_url and (fault := proxy_url_fault(proxy_url)):
        yield (*path, "proxy_url"), fault


def _credentials(provider: ResolvedProvider, path: Path) -> Iterator[Finding]:
    pool = provider.section.credentials
    yield from _twice(path, "credentials", [key.name for key in pool])
    for i, key in enumerate(pool):
        where: Path = (*path, "credentials", i)
        if bool(key.api_key_file) == bool(key.api_key_env):
            yield where, "give exactly one of api_key_file and api_key_env"
        if key.name in (FILE_LABEL, TOKEN_LABEL):
            yield (*where, "name"), f'"{key.name}" is the label of the provider\'s own {_OWN_KEYS[key.name]}'
        for place, model in enumerate(key.models):
            if not provider.knows(model):
                message = f'no model "{model}" is known{did_you_mean(model, provider.known_models)}'
                yield (*where, "models", place), message


def _token(provider: ResolvedProvider, path: Path) -> Iterator[Finding]:
    token = provider.section.token
    if token.file and token.command:
        yield (*path, "token"), "give one of file and command, not both"
    if token.command and not token.command[0].strip():
        yield (*path, "token", "command", 0), "the first word is the program; it is empty"
    if "refresh_seconds" in token.model_fields_set and not token.command:
        yield (*path, "token", "refresh_seconds"), "is for a command; a file is read again when it changes"


def _twice(path: Path, key: str, names: list[str]) -> Iterator[Finding]:
    for place, name in enumerate(names):
        if name in names[:place]:
            yield (*path, key, place, "name"), f'"{name}" is there twice'


def _files(configuration: Configuration) -> Iterator[Finding]:
    for name, provider in configuration.providers.items():
        path: Path = ("providers", name)
        named: list[Finding] = [
            ((*path, key), getattr(provider, key))
            for key in ("api_key_file", "ca_file", "client_cert_file", "headers_from_file")
        ]
        named.append(((*path, "token", "file"), provider.token.file))
        named += [
            ((*path, "credentials", i, "api_key_file"), key.api_key_file) for i, key in enumerate(provider.credentials)
        ]
        for where, file in named:
            fault = (_file_fault(file) or content_fault(str(where[-1]), file)) if file else ""
            if fault:
                yield where, fault


def _admin_files(configuration: Configuration) -> Iterator[Finding]:
    for place, credential in enumerate(configuration.admin.credentials):
        if credential.api_key_file and (fault := _file_fault(credential.api_key_file)):
            yield ("admin", "credentials", place, "api_key_file"), fault


def _request_log(configuration: Configuration) -> Iterator[Finding]:
    file = configuration.telemetry.request_log.file
    fault = file_fault(file) if file else ""
    if fault:
        yield ("telemetry", "request_log", "file"), fault


def _state(configuration: Configuration) -> Iterator[Finding]:
    """Yields what is wrong with the folder; a file there that cannot be used is set aside at the start."""
    path: Path = ("state", "snapshot_file")
    file, log = configuration.state.snapshot_file, configuration.telemetry.request_log.file
    if not file:
        return
    folder = FilePath(file).parent
    if not FilePath(file).name:
        yield path, f"{file} is a folder; name a file in it"
    elif _OF_A_SNAPSHOT.search(file):
        yield path, f"{file} is a name for what belongs to a snapshot (.journal-1, .lock, .new); choose another"
    elif log and FilePath(file).resolve() == FilePath(log).resolve():
        yield path, f"{file} is the request log as well; give each a file of its own"
    elif not folder.is_dir():
        yield path, f"folder {folder} does not exist; create it"
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield path, f"folder {folder} cannot be written, and files are renamed there; give the sidecar's user the right"


def _file_fault(file: str) -> str:
    try:
        with FilePath(file).open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        return f"{_file(file)} cannot be read: {error.strerror or type(error).__name__}"
    return f"{_file(file)} is empty" if empty else ""


def _file(name: str) -> str:
    """Names a file, unless it is no path: then it may be a key that was pasted in its place."""
    return f"file {name}" if os.sep in name else "the file named there"
