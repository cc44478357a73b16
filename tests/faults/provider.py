"""A provider that speaks all four wires over raw sockets, and commits whatever fault it is told to by the path.

The base URL says what happens to a request: `http://HOST:PORT/FAULT/CASE` (and `/v1` for openai and anthropic), where
FAULT is a name of `playing.PLAYS`, with a number where it takes one (`slow_headers=0.5`, `error_status=500`), and CASE
any word under which requests are counted: one process plays any number of faults at a time, and keeps no mode. A
request streams or not as its wire says. `url_of` also makes the addresses of faults that need no server's doing:
`refused`, `dns`, `tls_plain` (an https URL where plain HTTP is spoken) and `tls_untrusted` (a certificate that nobody
signed).

As a process: `python -m tests.faults.provider --port 0` prints one line of JSON with its URL and the names of the
faults, and serves until it is stopped. `GET /counts` tells, by `FAULT/CASE`, requests, connections, bytes written, and
how many requests the other side gave up; `DELETE /counts` forgets them. From Python: `async with FaultyProvider()`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import ssl
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.faults import vendors
from tests.faults.peer import MAX_HEAD_BYTES, Peer, PeerGoneError, Request
from tests.faults.playing import PLAYS, Asked

ADDRESS_FAULTS = ("refused", "dns", "tls_plain", "tls_untrusted")
"""Faults of the address alone: `url_of` knows them, no request comes."""
EXCHANGES_KEPT = 10_000
BODY_BYTES_KEPT = 64 * 1024

_CERTIFICATE = Path(__file__).parents[1] / "wire" / "fixtures" / "loopback.pem"


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and what became of it; moments are seconds of the monotonic clock."""

    fault: str
    case: str
    wire: str
    stream: bool
    connection: int
    body: bytes
    """As it came, its first 64 KiB."""
    path: str
    began_at: float
    over_at: float | None = None
    """When the fault had been played, or the other side had gone."""
    gone: bool = False
    """The other side closed the connection before the fault had been played to its end."""
    written: int = 0


@dataclass(slots=True, kw_only=True)
class Counts:
    """What came to one case of a fault."""

    requests: int = 0
    connections: set[int] = field(default_factory=set)
    open: int = 0
    """Requests that are being answered."""
    gone: int = 0
    """Requests that the other side gave up."""
    written: int = 0


class FaultyProvider:
    """Listens while its block runs, in the clear and with an untrusted certificate, on free ports of the loopback."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host = host
        self._port = port
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused: socket.socket | None = None
        self.url = ""
        self.tls_url = ""
        self.connections = 0
        self.open_connections = 0
        self.exchanges: deque[Exchange] = deque(maxlen=EXCHANGES_KEPT)
        self.counts: dict[str, Counts] = {}

    async def __aenter__(self) -> Self:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(_CERTIFICATE)
        for port, context in ((self._port, None), (0, tls)):
            self._servers.append(
                await asyncio.start_server(self._accept, self._host, port, ssl=context, limit=MAX_HEAD_BYTES)
            )
        plain, secure = (server.sockets[0].getsockname()[1] for server in self._servers)
        self.url = f"http://{self._host}:{plain}"
        self.tls_url = f"https://{self._host}:{secure}"
        # Bound and not listening: refuses for as long as it is held, and nobody else is given the port.
        self._refused = socket.socket()
        self._refused.bind((self._host, 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()
        if self._refused is not None:
            self._refused.close()

    def url_of(self, fault: str, wire: str, case: str = "any") -> str:
        """Returns the base URL under which that fault is met by a client of the wire."""
        assert self._refused is not None
        addresses = {
            "refused": f"http://{self._host}:{self._refused.getsockname()[1]}",
            "dns": "http://no-such-host.invalid",
            "tls_plain": self.url.replace("http:", "https:"),
            "tls_untrusted": self.tls_url,
        }
        return vendors.base_url(addresses.get(fault, self.url), wire, f"{fault}/{case}")

    def of_case(self, case: str) -> list[Exchange]:
        """Returns the requests of a case, in the order in which they came."""
        return [exchange for exchange in self.exchanges if exchange.case == case]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        number = self.connections
        peer = Peer(reader, writer)
        request_count = 0
        try:
            goes_on = True
            while goes_on:
                request = await peer.request()
                request_count += 1
                goes_on = await self._answer(peer, request, number, request_count)
        except (PeerGoneError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            self.open_connections -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await writer.wait_closed()

    async def _answer(self, peer: Peer, request: Request, connection: int, request_on_connection: int) -> bool:
        if request.path == "/counts":
            return await self._tell_counts(peer, request)
        _, place, case, *_ = (*request.path.split("/", 3), "", "")
        fault, _, number = place.partition("=")
        wire = vendors.wire_of(request.path)
        play = PLAYS.get(fault)
        if not wire or play is None:
            await peer.head(404, "text/plain", length=0)
            return True
        stream = ":streamGenerateContent" in request.path or json.loads(request.body).get("stream", wire == "ollama")
        exchange = Exchange(
            fault=fault,
            case=case,
            wire=wire,
            stream=stream and ":generateContent" not in request.path,
            connection=connection,
            body=request.body[:BODY_BYTES_KEPT],
            path=request.path,
            began_at=time.monotonic(),
        )
        self.exchanges.append(exchange)
        counts = self.counts.setdefault(f"{place}/{case}", Counts())
        counts.requests += 1
        counts.connections.add(connection)
        counts.open += 1
        written = peer.written
        try:
            return await play(
                peer,
                Asked(
                    wire=wire,
                    stream=exchange.stream,
                    amount=float(number) if number else None,
                    request_on_connection=request_on_connection,
                ),
            )
        except PeerGoneError:
            exchange.gone = True
            counts.gone += 1
            return False
        finally:
            exchange.over_at = time.monotonic()
            exchange.written = peer.written - written
            counts.written += exchange.written
            counts.open -= 1

    async def _tell_counts(self, peer: Peer, request: Request) -> bool:
        if request.method == "DELETE":
            self.counts.clear()
            self.exchanges.clear()
        told: Mapping[str, object] = {
            place: {
                "requests": counts.requests,
                "connections": len(counts.connections),
                "open": counts.open,
                "gone": counts.gone,
                "written": counts.written,
            }
            for place, counts in self.counts.items()
        }
        body = json.dumps(told).encode()
        await peer.head(200, "application/json", length=len(body))
        await peer.write(body)
        return True


async def _serve_alone(host: str, port: int) -> None:
    async with FaultyProvider(host=host, port=port) as provider:
        line = {
            "event": "listening",
            "url": provider.url,
            "tls_url": provider.tls_url,
            "refused_url": provider.url_of("refused", "ollama").rpartition("/refused")[0],
            "faults": [*PLAYS, *ADDRESS_FAULTS],
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description="A provider that commits the fault that the path names.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default=0, type=int)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_alone(given.host, given.port))


if __name__ == "__main__":
    main()
