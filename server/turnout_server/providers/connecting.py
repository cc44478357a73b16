"""Opens what sends to one provider: its TLS, its proxy, and only addresses that it may have."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver
from httpx_aiohttp import AiohttpTransport

from turnout_server.providers.addresses import is_public, socket_factory
from turnout_server.providers.certificates import TlsFiles
from turnout_server.providers.connection import ProviderConnection
from turnout_server.providers.renewal import RenewedTransport
from turnout_server.providers.transport import HttpTransport

KEEPALIVE_SECONDS = 30.0
PROXY_LOGIN = "proxy-authorization"


def connect(
    connection: ProviderConnection,
    *,
    tls: ssl.SSLContext | TlsFiles,
    resolver: Callable[[], AbstractResolver] | None = None,
    permitted: Callable[[str], bool] = is_public,
) -> HttpTransport:
    """Makes the transport of one provider; nothing is connected yet. The number of connections is not limited here:
    the targets' concurrency is.

    `resolver` makes what looks names up, the system's where it is None; `permitted` tells which addresses may be
    connected to where the provider is not allowed private ones.
    """

    def opened(context: ssl.SSLContext) -> AiohttpTransport:
        return _opened(connection, context, resolver, permitted)

    transport = RenewedTransport(tls, opened) if isinstance(tls, TlsFiles) else opened(tls)
    return HttpTransport(
        transport, connect_timeout_seconds=connection.connect_timeout_seconds, proxy=connection.proxy_name
    )


def _opened(
    connection: ProviderConnection,
    context: ssl.SSLContext,
    resolver: Callable[[], AbstractResolver] | None,
    permitted: Callable[[str], bool],
) -> AiohttpTransport:
    proxied = bool(connection.proxy_url)

    def open_session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                ssl=context,
                keepalive_timeout=KEEPALIVE_SECONDS,
                resolver=None if resolver is None else resolver(),
                # A proxy is trusted to go where it may: its own address is usually private.
                socket_factory=socket_factory(allow_private=connection.allow_private or proxied, permitted=permitted),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    if not proxied:
        return AiohttpTransport(verify=context, trust_env=False, client=open_session)
    return _Proxied(connection.proxy_url, context, open_session)


class _Proxied(AiohttpTransport):
    """Sends by way of a proxy: TLS through a tunnel of it, the rest by its hand.

    Its user and password go as a header, since aiohttp's own way of giving them is on its way out.
    """

    def __init__(self, url: str, context: ssl.SSLContext, open_session: Callable[[], aiohttp.ClientSession]) -> None:
        parts = httpx.URL(url)
        self._login = ""
        if parts.userinfo:
            login = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
            self._login = f"Basic {login}"
        proxy = httpx.Proxy(
            parts.copy_with(username=None, password=None),
            headers={PROXY_LOGIN: self._login} if self._login else None,
        )
        super().__init__(verify=context, trust_env=False, proxy=proxy, client=open_session)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends the request; raises what aiohttp raises, as httpx would."""
        if self._login and request.url.scheme == "http":
            # No tunnel, so that there is no request to the proxy alone.
            request.headers[PROXY_LOGIN] = self._login
        return await super().handle_async_request(request)
