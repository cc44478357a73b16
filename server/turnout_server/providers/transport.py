"""The narrow port to HTTP, and its one implementation: httpx messages over aiohttp connections (httpx-aiohttp).

httpx's client is left out on purpose: cookies, redirects, authentication and environment proxies are what a sidecar
must not have, and they cost time on each call. A fake for tests is any `httpx.AsyncBaseTransport`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Protocol

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamError
from turnout_server.providers.addresses import AddressRefusedError, socket_factory
from turnout_server.providers.connection import ProviderConnection
from turnout_server.providers.large_json import LargeBody
from turnout_server.providers.unpacking import unpacked

KEEPALIVE_SECONDS = 30.0
WRITE_BYTES = 64 * 1024
DRAIN_SECONDS = 1.0
DRAIN_BYTES = 64 * 1024


class Answer(Protocol):
    """An answer whose head has come."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values as they came."""
        ...

    def header(self, name: str) -> str:
        """Returns the first header of that lower-case name, "" where there is none."""
        ...

    def chunks(self) -> AsyncGenerator[bytes]:
        """Yields the body as each read from the socket brings it; raises UpstreamError TRUNCATED if it breaks off,
        PROTOCOL if it is compressed in a way that cannot be undone.
        """
        ...

    async def aclose(self) -> None:
        """Ends the answer; the connection is closed unless the whole body had been read."""
        ...

    def finish_later(self) -> None:
        """Reads in the background what little may follow a complete answer, so that the connection can be reused."""
        ...


class Transport(Protocol):
    """Sends one request over HTTP."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes | LargeBody) -> Answer:
        """Sends the request and waits for the head of the answer; raises only UpstreamError."""
        ...

    async def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Asks for what is there and waits for the head of the answer; raises only UpstreamError."""
        ...

    async def aclose(self) -> None:
        """Closes all connections."""
        ...


# The most telling exception first: aiohttp's own, or what its transport made of it for httpx.
_FAILURES: tuple[tuple[type[BaseException], FailureKind, bool, str], ...] = (
    (aiohttp.ClientConnectorCertificateError, FailureKind.CONNECTION, False, "the server's certificate is not trusted"),
    (aiohttp.ClientConnectorSSLError, FailureKind.CONNECTION, False, "the TLS handshake failed"),
    (aiohttp.ClientConnectorDNSError, FailureKind.CONNECTION, False, "the host name could not be resolved"),
    (aiohttp.ClientProxyConnectionError, FailureKind.CONNECTION, False, "the proxy could not be reached"),
    (aiohttp.ClientHttpProxyError, FailureKind.CONNECTION, False, "the proxy refused the connection"),
    (aiohttp.ClientConnectorError, FailureKind.CONNECTION, False, "the connection could not be made"),
    (aiohttp.ConnectionTimeoutError, FailureKind.CONNECTION, False, "the connection was not made in time"),
    (aiohttp.ServerDisconnectedError, FailureKind.CONNECTION, True, "the connection was closed before an answer came"),
    (aiohttp.InvalidURL, FailureKind.PROTOCOL, False, "the base URL is not a valid URL"),
    (aiohttp.ClientConnectionError, FailureKind.CONNECTION, True, "the connection broke before an answer came"),
    (aiohttp.ClientResponseError, FailureKind.PROTOCOL, True, "the answer is not valid HTTP"),
    (aiohttp.ClientError, FailureKind.CONNECTION, True, "the request failed"),
    (httpx.ConnectTimeout, FailureKind.CONNECTION, False, "the connection was not made in time"),
    (httpx.ConnectError, FailureKind.CONNECTION, False, "the connection could not be made"),
    (httpx.InvalidURL, FailureKind.PROTOCOL, False, "the base URL is not a valid URL"),
    (httpx.UnsupportedProtocol, FailureKind.PROTOCOL, False, "the base URL is neither http nor https"),
    (httpx.HTTPError, FailureKind.CONNECTION, True, "the request failed"),
    (TimeoutError, FailureKind.CONNECTION, False, "the connection was not made in time"),
    (OSError, FailureKind.CONNECTION, True, "the connection broke before an answer came"),
)
"""What each exception before the head of an answer means: kind, whether the provider may charge, words."""


URLS_REMEMBERED = 1024
"""A provider has as many as it has models and endpoints, times two."""


class HttpTransport:
    """Connections to one provider, kept alive between calls; one per provider, with its own TLS and proxy."""

    def __init__(self, transport: httpx.AsyncBaseTransport, *, connect_timeout_seconds: float) -> None:
        self._transport = transport
        # aiohttp's connect covers name look-up, TCP and TLS together; reads are watched by whoever calls.
        self._extensions = {
            "timeout": {
                "connect": connect_timeout_seconds,
                "pool": connect_timeout_seconds,
                "read": None,
                "write": None,
            }
        }
        self._finishing: dict[asyncio.Task[None], HttpAnswer] = {}
        self._urls: dict[str, httpx.URL] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes | LargeBody) -> HttpAnswer:
        """Sends the request and waits for the head of the answer; raises only UpstreamError."""
        address = self._urls.get(url) or self._parsed(url)
        if isinstance(body, LargeBody) or len(body) > WRITE_BYTES:
            request = httpx.Request(
                "POST",
                address,
                headers={**headers, "content-length": str(len(body))},
                stream=_Pieces(body),
                extensions=self._extensions,
            )
        else:
            request = httpx.Request("POST", address, headers=headers, content=body, extensions=self._extensions)
        return await self._send(request)

    async def get(self, url: str, headers: Mapping[str, str]) -> HttpAnswer:
        """Asks for what is there and waits for the head of the answer; raises only UpstreamError."""
        address = self._urls.get(url) or self._parsed(url)
        return await self._send(httpx.Request("GET", address, headers=headers, extensions=self._extensions))

    async def _send(self, request: httpx.Request) -> HttpAnswer:
        try:
            response = await self._transport.handle_async_request(request)
        except Exception as error:  # the outermost edge of other people's code: the table decides
            raise _failure_before_head(error) from error
        return HttpAnswer(response, self._finishing)

    def _parsed(self, url: str) -> httpx.URL:
        """Parses an address once: it costs as much as a small answer does."""
        if len(self._urls) >= URLS_REMEMBERED:
            self._urls.clear()
        address = self._urls[url] = httpx.URL(url)
        return address

    async def aclose(self) -> None:
        """Closes all connections, and stops reading the ends of answers."""
        finishing = dict(self._finishing)
        for task in finishing:
            task.cancel()
        await asyncio.gather(*finishing, return_exceptions=True)
        for answer in finishing.values():
            # A task cancelled before its first step never came to its end.
            await answer.discard()
        await self._transport.aclose()


class HttpAnswer:
    """An answer over HttpTransport."""

    __slots__ = ("_finishing", "_finishing_later", "_response", "_stream", "status")

    def __init__(self, response: httpx.Response, finishing: dict[asyncio.Task[None], HttpAnswer]) -> None:
        self.status = response.status_code
        self._response = response
        self._stream: AsyncIterator[bytes] | None = None
        self._finishing = finishing
        self._finishing_later = False

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values as they came."""
        return self._response.headers.raw

    def header(self, name: str) -> str:
        """Returns the first header of that lower-case name, "" where there is none."""
        wanted = name.encode()
        for key, value in self._response.headers.raw:
            if key.lower() == wanted:
                return value.decode("latin-1")
        return ""

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yields the body as each read from the socket brings it; raises UpstreamError TRUNCATED if it breaks off,
        PROTOCOL if it is compressed in a way that cannot be undone.
        """
        try:
            async for chunk in self._source():
                yield chunk
        except UpstreamError:
            raise
        except Exception as error:
            raise UpstreamError(
                FailureKind.TRUNCATED, "the connection broke in the middle of the answer", http_status=self.status
            ) from error

    def finish_later(self) -> None:
        """Reads in the background what little may follow a complete answer, so that the connection can be reused."""
        self._finishing_later = True
        task = asyncio.get_running_loop().create_task(self._finish())
        self._finishing[task] = self
        task.add_done_callback(self._forget)

    async def aclose(self) -> None:
        """Ends the answer; the connection is closed unless the whole body had been read."""
        if not self._finishing_later:
            await self.discard()

    async def discard(self) -> None:
        """Ends the answer, also one that was being finished."""
        source = self._stream
        try:
            if isinstance(source, AsyncGenerator):
                await source.aclose()
        finally:
            with contextlib.suppress(Exception):  # it is gone either way
                await self._response.aclose()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._finishing.pop(task, None)

    def _source(self) -> AsyncIterator[bytes]:
        if self._stream is None:
            stream = self._response.stream
            source = aiter(stream) if isinstance(stream, httpx.AsyncByteStream) else self._response.aiter_raw()
            encoding = self.header("content-encoding")
            self._stream = source if encoding in {"", "identity"} else unpacked(source, encoding)
        return self._stream

    async def _finish(self) -> None:
        left = DRAIN_BYTES
        try:
            # The answer is complete: only the connection's reuse is at stake.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(DRAIN_SECONDS):
                    source = self._source()
                    while left > 0 and (chunk := await anext(source, None)) is not None:
                        left -= len(chunk)
        finally:
            await self.discard()


class _Pieces(httpx.AsyncByteStream):
    """A large body, written piece by piece so that other calls get their turn in between."""

    def __init__(self, body: bytes | LargeBody) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if isinstance(self._body, LargeBody):
            async for piece in self._body:
                yield piece
            return
        view = memoryview(self._body)
        for start in range(0, len(view), WRITE_BYTES):
            yield bytes(view[start : start + WRITE_BYTES])


def connect(connection: ProviderConnection, *, tls: ssl.SSLContext) -> HttpTransport:
    """Makes the transport of one provider; nothing is connected yet. The number of connections is not limited here:
    the targets' concurrency is.
    """
    proxied = bool(connection.proxy_url)

    def open_session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                ssl=tls,
                keepalive_timeout=KEEPALIVE_SECONDS,
                # A proxy is trusted to go where it may: its own address is usually private.
                socket_factory=socket_factory(allow_private=connection.allow_private or proxied),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    transport = AiohttpTransport(
        verify=tls,
        trust_env=False,
        proxy=httpx.Proxy(connection.proxy_url) if proxied else None,
        client=open_session,
    )
    return HttpTransport(transport, connect_timeout_seconds=connection.connect_timeout_seconds)


def tls_context(*, ca_file: str = "", client_cert_file: str = "") -> ssl.SSLContext:
    """Returns a client context that trusts `ca_file`, or the usual authorities where it is ""; OSError or ssl.SSLError
    where a file does not hold what it should.
    """
    context = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)
    if client_cert_file:
        context.load_cert_chain(client_cert_file)
    return context


def _failure_before_head(error: Exception) -> UpstreamError:
    origin = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    if isinstance(origin, aiohttp.ClientConnectorError) and isinstance(origin.os_error, AddressRefusedError):
        return UpstreamError(
            FailureKind.CONNECTION,
            "the provider's address is private, loopback or link-local, and allow_private is off",
            possibly_billed=False,
        )
    for kind_of_error, kind, billed, words in _FAILURES:
        if isinstance(origin, kind_of_error):
            return UpstreamError(kind, words, possibly_billed=billed)
    return UpstreamError(FailureKind.UNKNOWN, f"the request failed ({type(origin).__name__})")
