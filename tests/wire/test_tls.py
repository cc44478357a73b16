"""Encrypted connections: whom they trust, how they show who we are, and how long they may take."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from tests.wire.conftest import connection_of, secrets_of
from tests.wire.scripted_server import ScriptedServer, json_answer, scripted_server
from tests.wire.speakers import Speaker, hello, spec_of
from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.upstream import build_upstreams

LOOPBACK = str(Path(__file__).parent / "fixtures" / "loopback.pem")
"""A self-signed certificate for 127.0.0.1 and its key, of no use anywhere else."""


def server_side(*, asks_for_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOOPBACK)
    if asks_for_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(LOOPBACK)
    return context


async def call(speaker: Speaker, server: ScriptedServer, **changes: object) -> None:
    connection = replace(connection_of(speaker), **changes)  # type: ignore[arg-type]
    upstream = build_upstreams([connection], secrets_of(connection))[connection.provider]
    server.scripts.append(json_answer(speaker.whole_text("x")))
    url = server.url.replace("http:", "https:")
    try:
        await upstream.complete(UpstreamCall(spec=spec_of(speaker, url), credential="main", chat=hello()))
    finally:
        await upstream.aclose()


async def test_operators_authority_is_trusted(speaker: Speaker) -> None:
    async with scripted_server(server_side()) as server:
        await call(speaker, server, ca_file=LOOPBACK)

        assert 1 == len(server.requests)


async def test_unknown_authority_is_not_trusted_and_nothing_is_sent(speaker: Speaker) -> None:
    async with scripted_server(server_side()) as server:
        with pytest.raises(UpstreamError, match="certificate") as caught:
            await call(speaker, server)

        assert [] == server.requests
    assert FailureKind.CONNECTION is caught.value.kind
    assert not caught.value.possibly_billed


async def test_client_certificate_is_shown_to_who_asks(speaker: Speaker) -> None:
    async with scripted_server(server_side(asks_for_certificate=True)) as server:
        await call(speaker, server, ca_file=LOOPBACK, client_cert_file=LOOPBACK)

        assert 1 == len(server.requests)


async def test_connection_that_is_not_made_in_time_is_given_up(speaker: Speaker) -> None:
    left = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(-1)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        left.set()

    mute = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with mute:
        port = mute.sockets[0].getsockname()[1]
        silent = ScriptedServer(port=port)
        with pytest.raises(UpstreamError) as caught:
            await call(speaker, silent, connect_timeout_seconds=0.1)
        await left.wait()

    assert FailureKind.CONNECTION is caught.value.kind
    assert not caught.value.possibly_billed
