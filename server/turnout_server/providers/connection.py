"""What the shell must know of a provider to call it: facts from configuration and catalog, no secrets, no state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from turnout_server.providers.dialects import Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReference:
    """Where a secret is found: an environment variable's name, a file's path, or a command. Exactly one is set.

    A command is run anew after `refresh_seconds`. `is_token` says that the secret is no key of the vendor's but a
    short-lived token, which always goes into the Authorization header.
    """

    env: str = ""
    file: str = ""
    command: tuple[str, ...] = field(default=(), repr=False)
    refresh_seconds: float = 300.0
    is_token: bool = False

    def __str__(self) -> str:
        if self.command:
            # Its arguments may be secrets.
            return f"command {self.command[0]}"
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

    @property
    def proxy_name(self) -> str:
        """The proxy as it may be told: without user and password, "" where there is none."""
        if not self.proxy_url:
            return ""
        parts = urlsplit(self.proxy_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
