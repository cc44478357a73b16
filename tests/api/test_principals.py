"""Who asks: callers that a listener can tell apart never have the same name, nor each other's answers."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from tests.api.sidecar import HELLO, LOCAL, running
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server.api.principals import principal
from turnout_server.api.server import Tls
from turnout_server.core.model import Caller

OPENSSL = shutil.which("openssl")


def name(tenant: str, *identities: bytes) -> str:
    context = SimpleNamespace(peer_identities=lambda: identities or None)
    return principal(context, Caller(tenant=tenant, user="any"))


def test_tenants_and_certificates_tell_callers_apart_and_users_and_order_do_not() -> None:
    names = [
        name(""),
        name("acme"),
        name("acme", b"one"),
        name("acme", b"two"),
        name("acme", b"one", b"two"),
        name("other", b"one"),
        name("acme\0one"),
        name("4:acme\0one"),
        name("", b"4:acme", b"one"),
    ]

    assert all(one != other for one, other in itertools.combinations(names, 2))
    assert name("acme", b"two", b"one") == name("acme", b"one", b"two")


def certificate(folder: Path, host: str) -> tuple[bytes, bytes]:
    key, cert = folder / f"{host}.key", folder / f"{host}.pem"
    command = [str(OPENSSL), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "1", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host},IP:127.0.0.1"]
    subprocess.run(  # noqa: S603  # our own arguments
        [*command, *names, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True
    )
    return key.read_bytes(), cert.read_bytes()


@pytest.mark.skipif(OPENSSL is None, reason="openssl makes the certificates and is not on this machine")
async def test_callers_with_certificates_of_their_own_never_share_an_id(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path, "localhost")
    callers = [certificate(tmp_path, host) for host in ("one.example", "two.example")]
    tls = Tls(certificate=cert, key=key, client_authority=b"".join(own for _, own in callers))
    joined = []
    async with running(settings=dataclasses.replace(LOCAL, tls=tls)) as sidecar:
        for own_key, own_cert in (*callers, callers[0]):
            credentials = grpc.ssl_channel_credentials(cert, own_key, own_cert)
            async with grpc.aio.secure_channel(sidecar.bound.address, credentials) as channel:
                request = pb.ExecuteRequest(input=HELLO, request_id="order-7", caller=pb.Caller(tenant="acme"))
                answer = await router_pb2_grpc.RouterServiceStub(channel).Execute(request, timeout=10)
            joined.append(answer.joined)

    assert joined == [False, False, True]
    assert len(sidecar.upstream.calls) == 2
