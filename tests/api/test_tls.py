"""TLS on the main listener, with and without certificates of clients."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest

from tests.api.sidecar import LOCAL, running
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server.api.server import Tls

OPENSSL = shutil.which("openssl")

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl makes the certificates and is not on this machine")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[bytes, bytes]:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [str(OPENSSL), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command, *names], check=True, capture_output=True)  # noqa: S603  # our own arguments
    return key.read_bytes(), cert.read_bytes()


async def answered(address: str, credentials: grpc.ChannelCredentials) -> bool:
    async with grpc.aio.secure_channel(address, credentials) as channel:
        answer = await router_pb2_grpc.RouterServiceStub(channel).Route(pb.RouteRequest(), timeout=5)
    return bool(answer.decision.candidates)


async def test_a_caller_that_trusts_the_certificate_is_answered(certificate: tuple[bytes, bytes]) -> None:
    key, cert = certificate
    async with running(settings=dataclasses.replace(LOCAL, tls=Tls(certificate=cert, key=key))) as sidecar:
        assert await answered(sidecar.bound.address, grpc.ssl_channel_credentials(cert))


async def test_a_client_authority_makes_client_certificates_required(certificate: tuple[bytes, bytes]) -> None:
    key, cert = certificate
    tls = Tls(certificate=cert, key=key, client_authority=cert)
    async with running(settings=dataclasses.replace(LOCAL, tls=tls)) as sidecar:
        assert await answered(sidecar.bound.address, grpc.ssl_channel_credentials(cert, key, cert))

        with pytest.raises(grpc.aio.AioRpcError):
            await answered(sidecar.bound.address, grpc.ssl_channel_credentials(cert))


def test_keys_never_show_in_a_repr() -> None:
    assert "secret" not in repr(Tls(certificate=b"secret", key=b"secret"))
