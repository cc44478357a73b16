"""Where the sidecar is and how to speak to it: address, token, TLS and the options of the channel."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc

DEFAULT_ADDRESS = "127.0.0.1:50151"
ADDRESS_VARIABLE = "TURNOUT_ADDRESS"
MESSAGE_BYTES = 32 * 1024 * 1024
"""The sidecar's own limit of a message."""

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    # A sidecar is next door: an egress proxy from the environment must not come between.
    ("grpc.enable_http_proxy", 0),
    # A restarted sidecar is back within seconds; gRPC's default would wait up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS to the sidecar; all values are PEM.

    `ca` is what its certificate is checked against (None: the roots that gRPC brings). `certificate` and `key` are the
    client's own, for mutual TLS. `server_name` is what the certificate must say, where it is not the address's host.
    """

    ca: bytes | None = None
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    server_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A checked way to the sidecar. Raises ValueError for an address that cannot be one, or a token in the open."""

    address: str
    token: str = field(default="", repr=False)
    tls: Tls | None = None

    def __post_init__(self) -> None:
        _check_address(self.address)
        if self.token and self.tls is None and not _is_local(self.address):
            msg = f"a token would go to {self.address} in plain text: give tls=Tls(...), or use a local address"
            raise ValueError(msg)
        if self.tls is not None and (self.tls.certificate is None) != (self.tls.key is None):
            raise ValueError("tls has one of certificate and key: mutual TLS needs both")

    @property
    def options(self) -> tuple[tuple[str, str | int], ...]:
        """The channel's options."""
        if self.tls is not None and self.tls.server_name:
            return (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", self.tls.server_name))
        return CHANNEL_OPTIONS

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """The channel's credentials, None for plain text."""
        if self.tls is None:
            return None
        return grpc.ssl_channel_credentials(self.tls.ca, self.tls.key, self.tls.certificate)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


def resolve_address(address: str | None, environment: Mapping[str, str]) -> str:
    """Returns the address to use: the one given, else that of TURNOUT_ADDRESS, else 127.0.0.1:50151."""
    return address or environment.get(ADDRESS_VARIABLE, "") or DEFAULT_ADDRESS


def _check_address(address: str) -> None:
    if address.startswith("unix:"):
        if address.removeprefix("unix:").strip("/"):
            return
    elif "://" not in address and "/" not in address:
        host, _, port = address.rpartition(":")
        if host and port.isascii() and port.isdigit() and 0 < int(port) <= 65535:  # noqa: PLR2004 - the range of ports
            return
    msg = f"{address!r} is not an address of a sidecar: give host:port or unix:/path, such as {DEFAULT_ADDRESS}"
    raise ValueError(msg)


def _is_local(address: str) -> bool:
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
