"""How vendors differ from the others of their wire, as data: a new vendor is a row here, not code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Authentication(StrEnum):
    """In which header the key goes."""

    BEARER = "bearer"
    API_KEY = "x-api-key"
    GOOGLE_API_KEY = "x-goog-api-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one vendor differs from the others of its wire.

    `vendor` is whose errors these are, for the tables of `classify`; "" for servers of no known vendor. `vendor_rules`
    is true where the vendor's own model names are served: then the tables of what each model generation takes apply.
    `max_tokens_field` and `stream_usage` are for the openai wire.
    """

    vendor: str = ""
    authentication: Authentication = Authentication.BEARER
    vendor_rules: bool = False
    max_tokens_field: str = "max_tokens"
    stream_usage: bool = True


OPENAI = Dialect(vendor="openai", vendor_rules=True, max_tokens_field="max_completion_tokens")
OPENAI_COMPATIBLE = Dialect()
ANTHROPIC = Dialect(vendor="anthropic", authentication=Authentication.API_KEY, vendor_rules=True)
GOOGLE = Dialect(vendor="google", authentication=Authentication.GOOGLE_API_KEY, vendor_rules=True)
OLLAMA = Dialect(vendor="ollama")

_BY_PROVIDER: Mapping[str, Dialect] = MappingProxyType(
    {"openai": OPENAI, "anthropic": ANTHROPIC, "google": GOOGLE, "ollama": OLLAMA}
)
_BY_WIRE: Mapping[str, Dialect] = MappingProxyType(
    {"openai": OPENAI_COMPATIBLE, "anthropic": ANTHROPIC, "gemini": GOOGLE, "ollama": OLLAMA}
)


def dialect_of(provider: str, wire: str) -> Dialect:
    """Returns the dialect of a vendor known by name, else the plain one of the wire; KeyError for an unknown wire."""
    return _BY_PROVIDER.get(provider) or _BY_WIRE[wire]
