"""Connects to where calls would go, and hangs up: tells what is in the way without a request that anybody pays for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from turnout_server.providers.addresses import AddressInfo, AddressRefusedError, socket_factory
from turnout_server.providers.certificates import TlsFiles
from turnout_server.providers.connection import ProviderConnection

SocketFactory = Callable[[AddressInfo], socket.socket]

PORTS = {"http": 80, "https": 443}

_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (AddressRefusedError, "the provider's address is private, loopback or link-local, and allow_private is off"),
    (ssl.SSLCertVerificationError, "the server's certificate is not trusted"),
    (ssl.SSLError, "the TLS handshake failed"),
    (socket.gaierror, "the host name could not be resolved"),
    (TimeoutError, "the connection was not made in time"),
    (OSError, "the connection could not be made"),
)
"""The most telling first; the words are those of calls that fail so."""


class Dialler:
    """Dials for one provider: its TLS, its address rules. With a proxy it is the proxy that is dialled."""

    def __init__(self, connection: ProviderConnection, tls: ssl.SSLContext | TlsFiles) -> None:
        self._connection = connection
        self._tls = tls

    async def dial(self, base_url: str) -> str:
        """Returns why no connection could be made, "" where one could."""
        connection = self._connection
        proxied = bool(connection.proxy_url)
        parts = urlsplit(connection.proxy_url if proxied else base_url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        factory = socket_factory(allow_private=connection.allow_private or proxied)
        try:
            async with asyncio.timeout(connection.connect_timeout_seconds):
                await _connected(host, parts.port or PORTS[parts.scheme], self._context if secure else None, factory)
        except (OSError, UnicodeError, ValueError) as error:
            words = next(
                (text for kind, text in _REASONS if isinstance(error, kind)), "the base URL is not a valid URL"
            )
            return f"the proxy {connection.proxy_name} could not be reached: {words}" if proxied else words
        return ""

    @property
    def _context(self) -> ssl.SSLContext:
        return self._tls.context if isinstance(self._tls, TlsFiles) else self._tls


async def _connected(host: str, port: int, context: ssl.SSLContext | None, factory: SocketFactory | None) -> None:
    loop = asyncio.get_running_loop()
    made = await _first(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), factory)
    try:
        transport, _ = await loop.create_connection(
            asyncio.Protocol, sock=made, ssl=context, server_hostname=host.rstrip(".") if context is not None else None
        )
    except BaseException:
        with contextlib.suppress(OSError):
            made.close()
        raise
    transport.abort()


async def _first(found: Sequence[AddressInfo], factory: SocketFactory | None) -> socket.socket:
    """Connects to the first address that takes it; raises what the last one came to."""
    loop = asyncio.get_running_loop()
    failed: OSError = socket.gaierror("no address")
    for info in found:
        made: socket.socket | None = None
        try:
            made = socket.socket(info[0], info[1], info[2]) if factory is None else factory(info)
            made.setblocking(False)  # noqa: FBT003 - the standard library's
            await loop.sock_connect(made, info[4])
        except OSError as error:
            failed = error
        except BaseException:
            # Given up while it was being connected.
            if made is not None:
                made.close()
            raise
        else:
            return made
        if made is not None:
            made.close()
    raise failed
