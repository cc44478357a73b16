"""TLS to the sidecar, on a real socket with a certificate of the test's own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from tests.clients.scripted_sidecar import ScriptedSidecar
from turnout import AsyncClient, Client, Tls
from turnout.errors import UnreachableError
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(
    OPENSSL is None, reason="openssl makes the test's certificate and is not on this machine"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    folder = tmp_path_factory.mktemp("tls")
    command = f"{OPENSSL} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=sidecar"
    subprocess.run(  # noqa: S603 - our own command
        [*command.split(), "-addext", "subjectAltName=DNS:sidecar.test", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return Path(folder, "cert.pem").read_bytes(), Path(folder, "key.pem").read_bytes()


@pytest.fixture
def sidecar(certificate: tuple[bytes, bytes]) -> Iterator[ScriptedSidecar]:
    scripted = ScriptedSidecar()
    scripted.will("ProviderStatus", pb.ProviderStatusResponse())
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    router_pb2_grpc.add_RouterServiceServicer_to_server(scripted, server)
    cert, key = certificate
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
    scripted.address = f"127.0.0.1:{port}"
    server.start()
    yield scripted
    server.stop(grace=None).wait()


def test_a_trusted_sidecar_is_called(sidecar: ScriptedSidecar, certificate: tuple[bytes, bytes]) -> None:
    with Client(sidecar.address, tls=Tls(ca=certificate[0], server_name="sidecar.test"), token="t") as client:
        client.status()

    assert sidecar.calls[0].metadata["authorization"] == "Bearer t"


async def test_a_trusted_sidecar_is_called_from_asyncio(
    sidecar: ScriptedSidecar, certificate: tuple[bytes, bytes]
) -> None:
    async with AsyncClient(sidecar.address, tls=Tls(ca=certificate[0], server_name="sidecar.test")) as client:
        await client.status()

    assert sidecar.methods() == ["ProviderStatus"]


def test_a_sidecar_that_nobody_vouches_for_is_not_called(sidecar: ScriptedSidecar) -> None:
    with Client(sidecar.address, tls=Tls(), max_retry_count=0) as client, pytest.raises(UnreachableError):
        client.status()

    assert sidecar.calls == []
