"""A listener as an operator has it: certificate and tokens in files, which change while the sidecar runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import grpc
import pytest

from tests.api.sidecar import reason
from tests.certificates import NEEDS_OPENSSL, Pair, self_signed
from tests.unit.config.loading import loaded
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server.app import running
from turnout_server.config.faults import ConfigurationError
from turnout_server.listening import Listening

FIRST, SECOND = "planted-first-token-01", "planted-second-token-1"
WAIT_SECONDS = 60
CONFIGURATION = """
listen:
  address: "127.0.0.1:0"
  tls: {{cert_file: {folder}/cert.pem, key_file: {folder}/key.pem}}
  auth: {{tokens: [{{token_file: {folder}/token, role: admin}}]}}
health: {{address: ""}}
metrics: {{address: "127.0.0.1:0"}}
"""


def swap(folder: Path, pair: Pair, token: str, version: int) -> None:
    """Puts certificate and token there as the kubelet does: a folder of files, then one rename of the link to it."""
    files = folder / f"..{version}"
    files.mkdir()
    pair.put(files)
    (files / "token").write_text(token)
    (folder / "..new").symlink_to(files.name)
    os.replace(folder / "..new", folder / "..data")  # noqa: PTH105 - the kubelet's own call
    for name in ("cert.pem", "key.pem", "token"):
        with contextlib.suppress(FileExistsError):
            (folder / name).symlink_to(f"..data/{name}")


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Listening]:
    text = CONFIGURATION.format(folder=folder)
    async with running(loaded(folder, text), {}, listener_files_every_seconds=0.05) as listening:
        yield listening


async def ask(listening: Listening, pair: Pair, token: str) -> str:
    """Asks over a new connection; returns what came of it."""
    credentials = grpc.ssl_channel_credentials(pair.cert)
    async with grpc.aio.secure_channel(listening.grpc[0], credentials) as channel:
        sent = (("authorization", f"Bearer {token}"),)
        request = pb.ProviderStatusRequest()
        try:
            await router_pb2_grpc.RouterServiceStub(channel).ProviderStatus(request, timeout=30, metadata=sent)
        except grpc.aio.AioRpcError as error:
            return "no connection" if error.code() is grpc.StatusCode.UNAVAILABLE else reason(error)
    return "ok"


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await look():  # noqa: ASYNC110 - nothing tells of it: files are looked at now and then
            await asyncio.sleep(0.02)


async def metrics(listening: Listening) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://{listening.metrics}/metrics") as answer:
        return await answer.text()


@NEEDS_OPENSSL
async def test_certificate_and_token_are_those_of_their_files_now(tmp_path: Path) -> None:
    first, second = self_signed(tmp_path, "first"), self_signed(tmp_path, "second")
    swap(tmp_path, first, FIRST, 1)
    async with serving(tmp_path) as listening:
        assert await ask(listening, first, FIRST) == "ok"
        swap(tmp_path, second, SECOND, 2)

        async def both_taken() -> bool:
            return await ask(listening, second, SECOND) == "ok"

        await until(both_taken)
        assert await ask(listening, first, SECOND) == "no connection"
        assert await ask(listening, second, FIRST) == "UNAUTHENTICATED"
        told = await metrics(listening)

    assert 'turnout_listener_reloads_total{result="renewed",what="certificate"} 1.0' in told
    assert 'turnout_listener_reloads_total{result="renewed",what="token"} 1.0' in told
    assert 'turnout_listener_refused_total{reason="unauthenticated"}' in told
    assert "turnout_listener_certificate_expiry_timestamp_seconds" in told
    assert "planted" not in told


@NEEDS_OPENSSL
async def test_a_bad_pair_and_a_bad_token_leave_those_before(tmp_path: Path) -> None:
    first, second = self_signed(tmp_path, "first"), self_signed(tmp_path, "second")
    swap(tmp_path, first, FIRST, 1)
    async with serving(tmp_path) as listening:
        swap(tmp_path, Pair(second.cert_file, first.key_file), "short", 2)

        async def both_refused() -> bool:
            told = await metrics(listening)
            return told.count('{result="refused",what="certificate"} 1.0') + told.count(
                '{result="refused",what="token"} 1.0'
            ) == 2  # fmt: skip

        await until(both_refused)
        assert await ask(listening, first, FIRST) == "ok"


@NEEDS_OPENSSL
async def test_a_bad_pair_at_start_is_told_before_anything_is_served(tmp_path: Path) -> None:
    first, second = self_signed(tmp_path, "first"), self_signed(tmp_path, "second")
    swap(tmp_path, Pair(second.cert_file, first.key_file), FIRST, 1)
    with pytest.raises(ConfigurationError, match=r"listen.tls.key_file: .* is not that of the certificate"):
        async with serving(tmp_path):
            raise AssertionError("it serves")
