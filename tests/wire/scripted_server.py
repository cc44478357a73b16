"""A local HTTP server that does exactly what a script says: chunk boundaries, cuts, resets and silences."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and headers. `length`: a content length; None: chunked transfer; -1: until the connection closes."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "text/event-stream"),)
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Until the test sets the event."""

    event: asyncio.Event


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset (RST), not closed."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing more comes, until the other side closes."""


@dataclass(frozen=True, slots=True)
class Close:
    """The connection is closed (FIN) without the end of the body."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes as they are, no framing."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Early:
    """First of a script: it is played before the body of the request is read, and the body never is."""


Step = Head | bytes | Wait | Reset | Hang | Close | Raw | Early
Script = Sequence[Step]


@dataclass(slots=True)
class Recorded:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass(slots=True)
class ScriptedServer:
    """Answers each request with the next script."""

    scripts: list[Script] = field(default_factory=list)
    requests: list[Recorded] = field(default_factory=list)
    connections: int = 0
    requested: asyncio.Event = field(default_factory=asyncio.Event)
    peer_closed: asyncio.Event = field(default_factory=asyncio.Event)
    written: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = self.connections
        try:
            while await self._serve_one(connection, reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.peer_closed.set()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve_one(self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        early = bool(self.scripts) and isinstance(next(iter(self.scripts[0]), None), Early)
        request = await _read_request(reader, connection, with_body=not early)
        if request is None:
            self.peer_closed.set()
            return False
        self.requests.append(request)
        self.requested.set()
        script = self.scripts.pop(0)
        chunked = False
        for step in script:
            if isinstance(step, Head):
                chunked = step.length is None
            if isinstance(step, (Reset, Close, Hang)):
                await self._end(step, reader, writer)
                return False
            await self._write(step, writer, chunked=chunked)
            await writer.drain()
            # Each step is a packet of its own: the loop turns, so that the other side can read it alone.
            await asyncio.sleep(0.001)
        if chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _write(
        self, step: Head | bytes | Wait | Raw | Early, writer: asyncio.StreamWriter, *, chunked: bool
    ) -> None:
        match step:
            case Head():
                writer.write(_head(step))
            case bytes():
                writer.write(b"%x\r\n%b\r\n" % (len(step), step) if chunked else step)
                self.written += len(step)
            case Raw(data=data):
                writer.write(data)
            case Wait(event=event):
                await event.wait()

    async def _end(
        self, step: Reset | Close | Hang, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await writer.drain()
        if isinstance(step, Reset):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif isinstance(step, Hang):
            await reader.read()
            self.peer_closed.set()


def _head(head: Head) -> bytes:
    lines = [f"HTTP/1.1 {head.status} Scripted", *(f"{name}: {value}" for name, value in head.headers)]
    if head.length is None:
        lines.append("transfer-encoding: chunked")
    elif head.length >= 0:
        lines.append(f"content-length: {head.length}")
    else:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _read_request(reader: asyncio.StreamReader, connection: int, *, with_body: bool) -> Recorded | None:
    line = await reader.readline()
    if not line:
        return None
    method, path, _ = line.decode().split(" ", 2)
    headers: dict[str, str] = {}
    while (line := (await reader.readline()).strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0"))) if with_body else b""
    return Recorded(method=method, path=path, headers=headers, body=body, connection=connection)


@contextlib.asynccontextmanager
async def scripted_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedServer]:
    """Serves on a free port of the loopback interface."""
    state = ScriptedServer()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(state.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def json_answer(body: bytes, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Script:
    """A whole answer of JSON."""
    return (Head(status, (("content-type", "application/json"), *headers), len(body)), body)
