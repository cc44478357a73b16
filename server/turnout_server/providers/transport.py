"""The narrow port to HTTP, and its one implementation: httpx messages over aiohttp connections (httpx-aiohttp).

httpx's client is left out on purpose: cookies, redirects, authentication and environment proxies are what a sidecar
must not have, and they cost time on each call. A fake for tests is any `httpx.AsyncBaseTransport`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Protocol

import httpx

from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamError
from turnout_server.providers.large_json import LargeBody
from turnout_server.providers.transport_failures import failure_before_head
from turnout_server.providers.unpacking import unpacked

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


URLS_REMEMBERED = 1024
"""A provider has as many as it has models and endpoints, times two."""


class HttpTransport:
    """Connections to one provider, kept alive between calls; one per provider, with its own TLS and proxy.

    `proxy` is the proxy's name for messages, "" where there is none.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, *, connect_timeout_seconds: float, proxy: str = "") -> None:
        self._transport = transport
        self._proxy = proxy
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
            raise failure_before_head(error, self._proxy) from error
        return HttpAnswer(response, self._finishing)

    def _parsed(self, url: str) -> httpx.URL:
        """Parses an address once: it costs as much as a small answer does."""
        if len(self._urls) >= URLS_REMEMBERED:
            self._urls.clear()
        try:
            address = self._urls[url] = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise failure_before_head(error, self._proxy) from None
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
