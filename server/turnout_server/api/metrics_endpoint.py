"""GET /metrics on a port of its own, for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from turnout_server.api.sockets import ListenError, check_free, split_address

if TYPE_CHECKING:
    from aiohttp import web

Render = Callable[[str], Awaitable[tuple[bytes, str]]]
"""Takes the Accept header; returns the body and its content type."""

LAST_SECONDS = 1.0
"""How long a stop waits for answers that are under way. aiohttp's minute is longer than a container is given for all of
its end, and one scraper that does not read would use it up."""

ANSWER_SECONDS = 15.0
"""How long a scraper may take to read its answer, which is kept for it meanwhile: Prometheus gives up after ten."""
PIECE_BYTES = 256 * 1024
"""What is handed to the socket at a time: what it does not take is copied, for each scraper that reads slowly."""


class MetricsEndpoint:
    """Serves one rendering. `start`, then `stop` once. Who does not read it within `answer_seconds` is cut off."""

    __slots__ = ("_answer_seconds", "_render", "_runner")

    def __init__(self, render: Render, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._render = render
        self._answer_seconds = answer_seconds
        self._runner: web.AppRunner | None = None

    async def start(self, address: str) -> str:
        """Listens on "host:port" (port 0: a free one) and returns the real address. Raises ListenError."""
        from aiohttp import web  # noqa: PLC0415 - only who serves metrics pays for loading it

        host, port = split_address(address)
        check_free(address)
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=LAST_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, host or None, port).start()
        except OSError as error:
            await runner.cleanup()
            raise ListenError(f'cannot serve metrics on "{address}": {error.strerror}') from None
        self._runner = runner
        bound: int = runner.addresses[0][1]
        return f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"

    async def stop(self) -> None:
        """Stops listening; nothing happens where it never started."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web  # noqa: PLC0415 - as above

        body, content_type = await self._render(request.headers.get("Accept", ""))
        answer = web.StreamResponse(headers={"Content-Type": content_type, "Content-Length": str(len(body))})
        transport = request.transport
        try:
            async with asyncio.timeout(self._answer_seconds):
                await answer.prepare(request)
                if request.method != "HEAD":
                    for begin in range(0, len(body), PIECE_BYTES):
                        await answer.write(body[begin : begin + PIECE_BYTES])
                await answer.write_eof()
        except TimeoutError:
            # Closing would wait for it to read the rest.
            if transport is not None:
                transport.abort()
        return answer
