"""Reads simulated providers from command-line flags: `NAME=WIRE`, then settings as `NAME:KEY=VALUE,…`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from turnout_server.providers.simulated.faults import FaultKind
from turnout_server.providers.simulated.provider import ProviderSettings, WireName
from turnout_server.providers.simulated.server import DEFAULT_PROVIDERS

EVERYBODY = "*"
_LISTS = frozenset({"models"})


class FlagError(ValueError):
    """A flag that cannot be read; its text says which and what would be right."""


def providers_from_flags(
    names: Iterable[str],
    *,
    latencies: Iterable[str] = (),
    faults: Iterable[str] = (),
    settings: Iterable[str] = (),
) -> dict[str, ProviderSettings]:
    """Returns the providers that flags describe; one for each wire where none is named. Raises `FlagError`."""
    providers = dict(_named(name) for name in names) or dict(DEFAULT_PROVIDERS)
    for flag in latencies:
        providers |= _changed(providers, flag, lambda text: {"latency": _pairs(text)})
    for flag in settings:
        providers |= _changed(providers, flag, _pairs)
    for flag in faults:
        providers |= _changed(providers, flag, lambda text: {"fault": _fault(text)})
    return providers


def _named(flag: str) -> tuple[str, ProviderSettings]:
    name, _, wire = flag.partition("=")
    if (wire or name) not in list(WireName):
        raise FlagError(f"provider {flag!r}: write NAME=WIRE, where WIRE is one of {', '.join(WireName)}")
    return name, ProviderSettings(wire=WireName(wire or name))


def _changed(providers: Mapping[str, ProviderSettings], flag: str, read: Any) -> dict[str, ProviderSettings]:
    name, colon, text = flag.partition(":")
    chosen = list(providers) if name == EVERYBODY else [name]
    if not colon or any(one not in providers for one in chosen):
        known = ", ".join(providers)
        raise FlagError(f"{flag!r} must begin with the name of a provider ({known}, or * for all) and a colon")
    try:
        return {one: providers[one].changed(read(text)) for one in chosen}
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise FlagError(f"{name}: {faults}") from None


def _fault(text: str) -> dict[str, Any]:
    kind, _, rest = text.partition(",")
    if kind not in list(FaultKind):
        raise FlagError(f"fault {kind!r} is not known; there are {', '.join(FaultKind)}")
    return {"kind": kind} | _pairs(rest)


def _pairs(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise FlagError(f"{pair!r} must be KEY=VALUE")
        found[key] = tuple(value.split("+")) if key in _LISTS else value
    return found
