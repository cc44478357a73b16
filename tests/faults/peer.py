"""One connection as a faulty provider sees it: it can do to a socket whatever networks and servers do to it."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass

MAX_HEAD_BYTES = 64 * 1024
_HANDSHAKE = b"\x16"


class PeerGoneError(Exception):
    """The other side closed the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """The other side of one connection. Every wait ends with PeerGoneError when it goes away."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.written = 0

    async def request(self) -> Request:
        """Reads the next request. To a TLS handshake it says, in the clear, that it is none, as servers do."""
        try:
            head = await self._reader.readexactly(1)
            if head == _HANDSHAKE:
                await self.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                raise PeerGoneError
            head += await self._reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            method, path, _ = first.split(" ", 2)
            pairs = (line.partition(":") for line in lines if line)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        except (ConnectionError, asyncio.IncompleteReadError):
            raise PeerGoneError from None
        return Request(method=method, path=path, headers=headers, body=body)

    async def write(self, data: bytes) -> None:
        """Writes, and waits until the other side has taken most of it."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            raise PeerGoneError from None
        self.written += len(data)

    async def head(self, status: int, content_type: str, *headers: tuple[str, str], length: int | None = None) -> None:
        """Writes status line and headers; the body is chunked where no length is given."""
        framing = ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        lines = [f"{name}: {value}" for name, value in (("content-type", content_type), *headers, framing)]
        await self.write("\r\n".join([f"HTTP/1.1 {status} Answer", *lines, "", ""]).encode("latin-1"))

    async def chunk(self, data: bytes) -> None:
        """Writes one chunk of a body without length."""
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def end_chunks(self) -> None:
        """Ends a body without length, as HTTP wants it."""
        await self.write(b"0\r\n\r\n")

    async def pause(self, seconds: float) -> None:
        """Waits, and notices at once when the other side goes."""
        try:
            async with asyncio.timeout(seconds):
                await self.gone()
        except TimeoutError:
            return
        raise PeerGoneError

    async def gone(self) -> None:
        """Returns when the other side has closed the connection; what it still says is not listened to."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            return

    def reset(self) -> None:
        """Ends the connection with RST, as a crashed server or a firewall does."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def half_close(self) -> None:
        """Ends our direction with FIN, and goes on listening."""
        self._writer.write_eof()

    def close(self) -> None:
        """Ends the connection with FIN."""
        self._writer.close()
