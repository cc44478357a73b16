"""A forward proxy on loopback: CONNECT tunnels and plain requests, with a password, refusals and silence on demand."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PIECE_BYTES = 64 * 1024


@dataclass(slots=True)
class Proxy:
    """`login` ("user:password") is demanded where it is not ""; `refusal` answers everything with that status."""

    login: str = ""
    refusal: int = 0
    silent: bool = False
    closes: bool = False
    always_to: tuple[str, int] | None = None
    """Where tunnels really lead, whatever was asked for: as if the proxy alone knew the name."""
    port: int = 0
    tls: bool = False
    asked: list[str] = field(default_factory=list)
    """The first line of each request."""

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            # At once, also where the test ends it.
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rows = head.rstrip().split("\r\n")
        self.asked.append(line)
        headers = {name.strip().lower(): value.strip() for name, _, value in (row.partition(":") for row in rows)}
        if self.silent:
            await reader.read()
        elif not self.closes:
            await self._answer(line, headers, reader, writer)

    async def _answer(
        self, line: str, headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        expected = f"Basic {base64.b64encode(self.login.encode('latin-1')).decode()}"
        if self.refusal or (self.login and headers.get("proxy-authorization") != expected):
            status = self.refusal or 407
            writer.write(
                f"HTTP/1.1 {status} Planted words of the proxy\r\nproxy-authenticate: Basic\r\n"
                "content-length: 0\r\n\r\n".encode()
            )
            await writer.drain()
            # Whoever asked has the answer before the connection goes.
            await reader.read()
            return
        method, target, _ = line.split(" ", 2)
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            there, back = await asyncio.open_connection(*(self.always_to or (host.strip("[]"), int(port))))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await _both_ways(reader, writer, there, back)
            return
        parts = urlsplit(target)
        where = self.always_to or (str(parts.hostname), parts.port or 80)
        there, back = await asyncio.open_connection(*where)
        rows = [f"{name}: {value}" for name, value in headers.items() if not name.startswith("proxy-")]
        back.write("\r\n".join([f"{method} {parts.path} HTTP/1.1", *rows, "", ""]).encode("latin-1"))
        await _both_ways(reader, writer, there, back)


async def _both_ways(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    there: asyncio.StreamReader,
    back: asyncio.StreamWriter,
) -> None:
    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while piece := await source.read(PIECE_BYTES):
                sink.write(piece)
                await sink.drain()
        sink.close()

    try:
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))
    finally:
        back.transport.abort()


@contextlib.asynccontextmanager
async def proxying(proxy: Proxy, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """Serves on a free port of the loopback interface."""
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    proxy.tls = tls is not None
    try:
        yield proxy
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
