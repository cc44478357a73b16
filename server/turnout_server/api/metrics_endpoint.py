"""GET /metrics on a port of its own, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from turnout_server.api.sockets import ListenError, check_free, split_address

Render = Callable[[str], tuple[bytes, str]]
"""Takes the Accept header; returns the body and its content type."""


class MetricsEndpoint:
    """Serves one rendering. `start`, then `stop` once."""

    __slots__ = ("_render", "_runner")

    def __init__(self, render: Render) -> None:
        self._render = render
        self._runner: web.AppRunner | None = None

    async def start(self, address: str) -> str:
        """Listens on "host:port" (port 0: a free one) and returns the real address. Raises ListenError."""
        host, port = split_address(address)
        check_free(address)
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        runner = web.AppRunner(app, access_log=None)
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

    async def _answer(self, request: web.Request) -> web.Response:
        body, content_type = self._render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})
