"""What the shell must know of a provider to call it: facts from configuration and catalog, no secrets, no state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class Authentication(StrEnum):
    """In which header the key goes."""

    BEARER = "bearer"
    API_KEY = "x-api-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one vendor differs from the others of its wire, as data.

    `vendor_rules` is true where the vendor's own model names are served: then the tables of what each model generation
    takes apply. `max_tokens_field` and `stream_usage` are for the openai wire.
    """

    authentication: Authentication = Authentication.BEARER
    vendor_rules: bool = False
    max_tokens_field: str = "max_tokens"
    stream_usage: bool = True


OPENAI = Dialect(vendor_rules=True, max_tokens_field="max_completion_tokens")
OPENAI_COMPATIBLE = Dialect()
ANTHROPIC = Dialect(authentication=Authentication.API_KEY, vendor_rules=True)
ANTHROPIC_COMPATIBLE = Dialect(authentication=Authentication.API_KEY, vendor_rules=True)

_BY_PROVIDER: Mapping[str, Dialect] = MappingProxyType({"openai": OPENAI, "anthropic": ANTHROPIC})
_BY_WIRE: Mapping[str, Dialect] = MappingProxyType({"openai": OPENAI_COMPATIBLE, "anthropic": ANTHROPIC_COMPATIBLE})


def dialect_of(provider: str, wire: str) -> Dialect:
    """Returns the dialect of a vendor known by name, else the plain one of the wire; KeyError for an unknown wire."""
    return _BY_PROVIDER.get(provider) or _BY_WIRE[wire]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReference:
    """Where a secret is found: the name of an environment variable, or the path of a file. Exactly one is set."""

    env: str = ""
    file: str = ""

    def __str__(self) -> str:
        return f"file {self.file}" if self.file else f"environment variable {self.env}"


NO_CREDENTIALS: Mapping[str, SecretReference] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConnection:
    """One provider of the configuration, as its transport and wire need it.

    Base URLs are not here: they belong to the targets (`TargetSpec.base_url`). `credentials` maps a credential's label
    to where its secret is found; a provider without any is called without a key. `headers_from_file` names a file of
    `Name: value` lines. `client_cert_file` holds certificate and key in one PEM file.
    """

    provider: str
    wire: str
    dialect: Dialect
    credentials: Mapping[str, SecretReference] = field(default_factory=lambda: NO_CREDENTIALS)
    allow_private: bool = False
    proxy_url: str = field(default="", repr=False)
    ca_file: str = ""
    client_cert_file: str = ""
    headers_from_file: str = ""
    propagate_trace: bool = False
    connect_timeout_seconds: float = 2.0
