"""TLS on the main listener: whom it lets in, and what becomes of a certificate that is replaced while it runs."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from pathlib import Path

import grpc
import pytest

from tests.api.sidecar import ANSWER, HELLO, LOCAL, everywhere, first_delta, reason, running
from tests.certificates import NEEDS_OPENSSL, Pair, self_signed, signed
from turnout.v1 import admin_pb2, admin_pb2_grpc, router_pb2_grpc
from turnout.v1 import router_pb2 as pb
from turnout_server.api import tls
from turnout_server.api.principals import Identity, Role
from turnout_server.api.sockets import UnixSocket
from turnout_server.api.tls import Tls
from turnout_server.api.tokens import Token, Tokens

pytestmark = NEEDS_OPENSSL

TOKEN = "planted-admin-token-01"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def server(folder: Path) -> Pair:
    return self_signed(folder, "server")


@pytest.fixture(scope="module")
def other(folder: Path) -> Pair:
    return self_signed(folder, "other")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Pair:
    return self_signed(folder, "authority")


@pytest.fixture(scope="module")
def client(folder: Path, authority: Pair) -> Pair:
    return signed(authority, folder, "client", "DNS:app.example")


def of(pair: Pair, authority: Pair | None = None) -> Tls:
    return Tls(certificate=pair.cert, key=pair.key, client_authority=authority.cert if authority else None)


def trusting(pair: Pair, own: Pair | None = None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(pair.cert, own.key if own else None, own.cert if own else None)


async def ask(channel: grpc.aio.Channel, token: str = "") -> pb.RouteResponse:
    sent = (("authorization", f"Bearer {token}"),) if token else ()
    return await router_pb2_grpc.RouterServiceStub(channel).Route(pb.RouteRequest(), timeout=30, metadata=sent)


async def answered(address: str, credentials: grpc.ChannelCredentials, token: str = "") -> bool:
    """Whether a new connection is answered; a refused handshake is no answer."""
    async with grpc.aio.secure_channel(address, credentials) as channel:
        try:
            return bool((await ask(channel, token)).decision.candidates)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False


async def test_a_caller_that_trusts_the_certificate_is_answered_and_no_other(server: Pair, other: Pair) -> None:
    async with running(settings=dataclasses.replace(LOCAL, tls=of(server))) as sidecar:
        assert await answered(sidecar.bound.address, trusting(server))
        assert not await answered(sidecar.bound.address, trusting(other))
        # Nor is anybody who speaks in the clear.
        async with grpc.aio.insecure_channel(sidecar.bound.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(channel)


async def test_new_connections_see_a_renewed_certificate_and_running_ones_go_on(server: Pair, other: Pair) -> None:
    async with running(settings=dataclasses.replace(LOCAL, tls=of(server))) as sidecar:
        address = sidecar.bound.address
        async with grpc.aio.secure_channel(address, trusting(server)) as before:
            await ask(before)
            sidecar.server.renew(of(other))

            assert await answered(address, trusting(other))
            assert not await answered(address, trusting(server))
            await ask(before)


async def test_a_pair_that_grpc_cannot_use_leaves_the_one_before(server: Pair, other: Pair) -> None:
    async with running(settings=dataclasses.replace(LOCAL, tls=of(server))) as sidecar:
        sidecar.server.renew(Tls(certificate=server.cert, key=other.key))

        assert await answered(sidecar.bound.address, trusting(server))
        sidecar.server.renew(of(other))
        assert await answered(sidecar.bound.address, trusting(other))


def test_what_was_before_is_not_freed_while_somebody_takes_it_into_use(
    server: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("turnout_server.api.tls.time.sleep", waited.append)
    handshakes = tls.Handshakes(of(server))

    assert handshakes._fetch() is None
    assert waited == []
    handshakes.renew(of(server))
    assert handshakes._fetch() is not None
    assert waited == [tls.SETTLE_SECONDS]
    assert handshakes._fetch() is None


async def test_versions_before_tls_1_2_are_refused(server: Pair) -> None:
    async with running(settings=dataclasses.replace(LOCAL, tls=of(server))) as sidecar:
        answers = {version: await hello(sidecar.bound.address, version) for version in (1, 2, 3)}

    # TLS 1.0 and 1.1 are hung up on; TLS 1.2 gets the server's first message: a handshake record.
    assert answers == {1: b"", 2: b"", 3: b"\x16"}


async def hello(address: str, version: int) -> bytes:
    """Sends the first message of TLS 1.0 to 1.2 (1 to 3); returns the kind of the answer, empty for none."""
    suites = bytes.fromhex("c02bc02fc009c013c00ac014002f0035")
    curves = bytes.fromhex("000a000400020017000b00020100")
    signatures = bytes.fromhex("000d00080006040304010804")
    extensions = curves + signatures
    body = bytes([3, version]) + bytes(32) + b"\0" + len(suites).to_bytes(2) + suites + b"\1\0"
    body += len(extensions).to_bytes(2) + extensions
    message = b"\1" + len(body).to_bytes(3) + body
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), family=socket.AF_INET)
    try:
        writer.write(b"\x16\3\1" + len(message).to_bytes(2) + message)
        return await reader.read(1)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_client_authority_lets_in_whom_it_vouches_for(
    server: Pair, authority: Pair, client: Pair, other: Pair
) -> None:
    async with running(settings=dataclasses.replace(LOCAL, tls=of(server, authority))) as sidecar:
        address = sidecar.bound.address

        assert await answered(address, trusting(server, client))
        assert not await answered(address, trusting(server))
        assert not await answered(address, trusting(server, other))


async def test_a_renewed_client_authority_counts_for_new_connections(
    server: Pair, authority: Pair, client: Pair, other: Pair
) -> None:
    async with running(settings=dataclasses.replace(LOCAL, tls=of(server, authority))) as sidecar:
        address = sidecar.bound.address
        sidecar.server.renew(of(server, other))

        assert await answered(address, trusting(server, other))
        assert not await answered(address, trusting(server, client))


async def test_a_client_certificate_gives_role_call(
    server: Pair, authority: Pair, client: Pair, tmp_path: Path
) -> None:
    beside = UnixSocket(path=str(tmp_path / "t.sock"))
    settings = dataclasses.replace(LOCAL, tls=of(server, authority), socket=beside)
    async with running(settings=settings) as sidecar:
        request = admin_pb2.ClearHistoryRequest()
        async with grpc.aio.secure_channel(sidecar.bound.address, trusting(server, client)) as channel:
            admin = admin_pb2_grpc.AdminServiceStub(channel)
            await admin.ListDecisions(admin_pb2.ListDecisionsRequest())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await admin.ClearHistory(request)
        async with grpc.aio.insecure_channel(f"unix:{beside.path}") as channel:
            # On this machine, nobody is asked for a certificate.
            await admin_pb2_grpc.AdminServiceStub(channel).ClearHistory(request)

    assert reason(caught.value) == "PERMISSION_DENIED"


async def test_certificates_and_tokens_go_together(server: Pair, authority: Pair, client: Pair, tmp_path: Path) -> None:
    valid = Tokens([Token(text=TOKEN, identity=Identity(role=Role.ADMIN, token="one"))])
    beside = UnixSocket(path=str(tmp_path / "t.sock"))
    settings = dataclasses.replace(LOCAL, tls=of(server, authority), socket=beside, tokens=valid)
    async with running(settings=settings) as sidecar:
        address, own = sidecar.bound.address, trusting(server, client)

        # The certificate alone is enough for calls; a token that comes with it must be right, and gives its role.
        assert await answered(address, own)
        with pytest.raises(grpc.aio.AioRpcError) as wrong:
            await answered(address, own, "planted-wrong-token-01")
        async with grpc.aio.secure_channel(address, own) as channel:
            sent = (("authorization", f"Bearer {TOKEN}"),)
            admin = admin_pb2_grpc.AdminServiceStub(channel)
            await admin.ClearHistory(admin_pb2.ClearHistoryRequest(), metadata=sent)
        # The token alone does not make a connection.
        assert not await answered(address, trusting(server), TOKEN)
        async with grpc.aio.insecure_channel(f"unix:{beside.path}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as missing:
                await ask(channel)
            await ask(channel, TOKEN)

    assert [reason(wrong.value), reason(missing.value)] == ["UNAUTHENTICATED"] * 2


async def test_a_running_stream_outlives_a_renewal(server: Pair, other: Pair) -> None:
    waiting = asyncio.Event()
    scripts = everywhere(ANSWER[0], ANSWER[1], waiting, *ANSWER[2:])
    async with (
        running(settings=dataclasses.replace(LOCAL, tls=of(server)), scripts=scripts) as sidecar,
        grpc.aio.secure_channel(sidecar.bound.address, trusting(server)) as channel,
    ):
        stream = router_pb2_grpc.RouterServiceStub(channel).ExecuteStream(pb.ExecuteStreamRequest(input=HELLO))
        await first_delta(stream)
        sidecar.server.renew(of(other))
        assert await answered(sidecar.bound.address, trusting(other))
        waiting.set()
        last = [message async for message in stream][-1]

    assert last.WhichOneof("event") == "completion"


def test_keys_never_show_in_a_repr() -> None:
    assert "secret" not in repr(Tls(certificate=b"secret", key=b"secret"))
