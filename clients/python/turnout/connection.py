"""Where the sidecar is and how to speak to it: address, token, TLS and the options of the channel."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc

from turnout.tokens import TokenSource, WithToken

DEFAULT_ADDRESS = "127.0.0.1:50151"
ADDRESS_VARIABLE = "TURNOUT_ADDRESS"
TOKEN_VARIABLE = "TURNOUT_TOKEN"  # noqa: S105 - a name
TOKEN_FILE_VARIABLE = "TURNOUT_TOKEN_FILE"  # noqa: S105 - a name
CA_FILE_VARIABLE = "TURNOUT_CA_FILE"
CERT_FILE_VARIABLE = "TURNOUT_CERT_FILE"
KEY_FILE_VARIABLE = "TURNOUT_KEY_FILE"
SERVER_NAME_VARIABLE = "TURNOUT_SERVER_NAME"
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
    # A connection that died without a word would take every call into its deadline for a quarter of an hour. The
    # sidecar allows a ping every 5 s. Without the last two of these gRPC waits a minute for the answer to any of its
    # pings all the same, and sends only two while nothing else is sent.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
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

    @classmethod
    def from_files(cls, *, ca_file: str = "", cert_file: str = "", key_file: str = "", server_name: str = "") -> Self:
        """Reads PEM files; "" for none. Raises ValueError for one that cannot be read."""
        return cls(
            ca=_content("CA", ca_file),
            certificate=_content("certificate", cert_file),
            key=_content("key", key_file),
            server_name=server_name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A checked way to the sidecar. Raises ValueError for an address that cannot be one, or a token in the open."""

    address: str
    token: str = field(default="", repr=False)
    token_file: str = ""
    tls: Tls | None = None

    def __post_init__(self) -> None:
        _check_address(self.address)
        if self.token and self.token_file:
            raise ValueError("both a token and a token file are given: give one of them")
        if (self.token or self.token_file) and self.tls is None and not _is_local(self.address):
            msg = (
                f"a token would go to {self.address} in plain text: switch TLS on (tls=Tls(...), --ca-file or "
                f"{CA_FILE_VARIABLE}), or use a local address"
            )
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

    def channel(self, message_bytes: int = MESSAGE_BYTES) -> grpc.Channel:
        """Opens a blocking channel for any service, with the token beside every call. Raises ValueError as the rest.

        Messages may be as large as told, each way. A token that was replaced meanwhile is not looked for; `Client` does
        that.
        """
        credentials, token = self.credentials, self.token_source()
        sizes = {"grpc.max_receive_message_length": message_bytes, "grpc.max_send_message_length": message_bytes}
        options = tuple({**dict(self.options), **sizes}.items())
        if credentials is None:
            channel = grpc.insecure_channel(self.address, options)
        else:
            channel = grpc.secure_channel(self.address, credentials, options)
        return grpc.intercept_channel(channel, WithToken(token)) if token.text else channel

    def token_source(self) -> TokenSource:
        """Returns the token that goes with every call. Raises ValueError for a file that cannot be read."""
        return TokenSource(text=self.token, file=self.token_file)


def connect(
    address: str | None,
    environment: Mapping[str, str],
    *,
    token: str = "",
    token_file: str = "",
    tls: Tls | None = None,
) -> Connection:
    """Returns the way to the sidecar: as given, and for what is not given as the environment says.

    The variables are TURNOUT_ADDRESS, TURNOUT_TOKEN or TURNOUT_TOKEN_FILE, and for TLS TURNOUT_CA_FILE,
    TURNOUT_CERT_FILE, TURNOUT_KEY_FILE and TURNOUT_SERVER_NAME.
    A Unix socket has no TLS, so that those of TLS do not count for one. Raises ValueError as `Connection` and `Tls` do.
    """
    where = resolve_address(address, environment)
    if not token and not token_file:
        token, token_file = environment.get(TOKEN_VARIABLE, "").strip(), environment.get(TOKEN_FILE_VARIABLE, "")
        if token and token_file:
            msg = f"{TOKEN_VARIABLE} and {TOKEN_FILE_VARIABLE} are both set: set one of them"
            raise ValueError(msg)
    if tls is None and not where.startswith("unix:"):
        tls = tls_of(environment)
    return Connection(address=where, token=token, token_file=token_file, tls=tls)


def tls_of(environment: Mapping[str, str]) -> Tls | None:
    """Returns TLS as the environment says, None where it says nothing. Raises ValueError as `Tls.from_files`."""
    names = (CA_FILE_VARIABLE, CERT_FILE_VARIABLE, KEY_FILE_VARIABLE, SERVER_NAME_VARIABLE)
    ca_file, cert_file, key_file, server_name = (environment.get(name, "") for name in names)
    if not (ca_file or cert_file or key_file or server_name):
        return None
    return Tls.from_files(ca_file=ca_file, cert_file=cert_file, key_file=key_file, server_name=server_name)


def _content(what: str, file: str) -> bytes | None:
    if not file:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        msg = f"{what} file {file} cannot be read: {error.strerror or type(error).__name__}"
        raise ValueError(msg) from None


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
