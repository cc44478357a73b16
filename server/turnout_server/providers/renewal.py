"""Connections whose TLS files may change: new ones are made with the new files, those with answers under way stay."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx

from turnout_server.providers.certificates import TlsFiles


@dataclass(slots=True, eq=False)
class _Generation:
    """Connections made with one version of the files."""

    version: int
    transport: httpx.AsyncBaseTransport
    answer_count: int = 0


class RenewedTransport(httpx.AsyncBaseTransport):
    """Sends over connections made with the files as they are. `make` opens what sends with one context."""

    def __init__(self, files: TlsFiles, make: Callable[[ssl.SSLContext], httpx.AsyncBaseTransport]) -> None:
        self._files = files
        self._make = make
        self._present = _Generation(files.version, make(files.context))
        self._past: set[_Generation] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends the request; raises what the transport below raises."""
        if self._files.due():
            await self._files.look()
        if self._files.version != self._present.version:
            self._begin_anew()
        generation = self._present
        generation.answer_count += 1
        try:
            response = await generation.transport.handle_async_request(request)
        except BaseException:
            self._ended(generation)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Watched(response.stream, lambda: self._ended(generation))
        return response

    async def aclose(self) -> None:
        """Closes all connections."""
        past, self._past = self._past, set()
        await asyncio.gather(
            *self._closing, self._present.transport.aclose(), *(generation.transport.aclose() for generation in past)
        )

    def _begin_anew(self) -> None:
        before = self._present
        self._present = _Generation(self._files.version, self._make(self._files.context))
        self._past.add(before)
        self._close_unused(before)

    def _ended(self, generation: _Generation) -> None:
        generation.answer_count -= 1
        self._close_unused(generation)

    def _close_unused(self, generation: _Generation) -> None:
        if generation.answer_count or generation not in self._past:
            return
        self._past.discard(generation)
        task = asyncio.get_running_loop().create_task(generation.transport.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Watched(httpx.AsyncByteStream):
    """A body that tells when it is closed."""

    def __init__(self, body: httpx.AsyncByteStream, on_close: Callable[[], None]) -> None:
        self._body = body
        self._on_close: Callable[[], None] | None = on_close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._body)

    async def aclose(self) -> None:
        on_close, self._on_close = self._on_close, None
        try:
            await self._body.aclose()
        finally:
            if on_close is not None:
                on_close()
