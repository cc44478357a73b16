"""Connecting and hanging up, to tell what is in the way: real servers, and no request to any."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.egress.authority import Authority
from tests.egress.calling import PATIENCE_SECONDS, SPEAKER
from tests.egress.proxy import Proxy, proxying
from tests.wire.conftest import connection_of
from tests.wire.scripted_server import ScriptedServer, scripted_server
from turnout_server.providers.certificates import tls_context
from turnout_server.providers.dialling import Dialler


async def dialled(
    url: str, *, ca_file: str = "", connect_timeout_seconds: float = PATIENCE_SECONDS, **changes: object
) -> str:
    connection = replace(connection_of(SPEAKER), connect_timeout_seconds=connect_timeout_seconds, **changes)  # type: ignore[arg-type]
    return await Dialler(connection, tls_context(ca_file=ca_file)).dial(url)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


async def test_server_that_is_there_is_reached_without_a_request(server: ScriptedServer) -> None:
    assert await dialled(f"{server.url}/v1") == ""
    async with asyncio.timeout(30):
        await server.peer_closed.wait()

    assert (server.connections, server.requests) == (1, [])


async def test_certificate_is_looked_at_too(tmp_path: Path) -> None:
    authority = Authority("private")
    (tmp_path / "ca.pem").write_text(authority.pem)
    async with scripted_server(authority.server_side(tmp_path)) as server:
        url = f"https://127.0.0.1:{server.port}"

        assert await dialled(url) == "the server's certificate is not trusted"
        assert await dialled(url, ca_file=str(tmp_path / "ca.pem")) == ""


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:PORT", "the connection could not be made"),
        ("https://no-such-host.invalid", "the host name could not be resolved"),
    ],
)
async def test_what_is_in_the_way_is_told(url: str, expected: str) -> None:
    assert await dialled(url.replace("PORT", str(closed_port()))) == expected


async def test_private_address_is_not_dialled(server: ScriptedServer) -> None:
    told = await dialled(server.url, allow_private=False)

    assert told == "the provider's address is private, loopback or link-local, and allow_private is off"
    assert server.connections == 0


async def test_server_that_does_not_answer_is_given_up() -> None:
    held = asyncio.Event()

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.close()

    mute = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with mute:
        port = mute.sockets[0].getsockname()[1]
        told = await dialled(f"https://127.0.0.1:{port}", connect_timeout_seconds=0.05)
        held.set()

    assert told == "the connection was not made in time"


async def test_with_a_proxy_the_proxy_is_dialled(server: ScriptedServer) -> None:
    async with proxying(Proxy()) as proxy:
        assert await dialled("https://no-such-host.invalid", allow_private=False, proxy_url=proxy.url) == ""
        assert proxy.asked == []
    port = closed_port()
    told = await dialled(server.url, proxy_url=f"http://turnout:planted@127.0.0.1:{port}")

    assert told == f"the proxy http://127.0.0.1:{port} could not be reached: the connection could not be made"
