"""Who asks: callers that a listener can tell apart never have the same name, nor each other's answers."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from types import SimpleNamespace

import grpc

from tests.api.sidecar import HELLO, LOCAL, running
from tests.certificates import NEEDS_OPENSSL, self_signed, signed
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server.api.principals import Identity, asking, principal, who
from turnout_server.api.tls import Tls
from turnout_server.core.model import Caller


def name(tenant: str, *identities: bytes, token: str = "") -> str:
    context = SimpleNamespace(peer_identities=lambda: identities or None)
    before = asking.set(Identity(token=token))
    try:
        return principal(context, Caller(tenant=tenant, user="any"))
    finally:
        asking.reset(before)


def test_tenants_tokens_and_certificates_tell_callers_apart_and_users_and_order_do_not() -> None:
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
        name("acme", token="one"),
        name("acme", token="two"),
        name("acme", b"one", token="one"),
        name("", token="acme"),
        name("acme0:one"),
    ]

    assert all(one != other for one, other in itertools.combinations(names, 2))
    assert name("acme", b"two", b"one") == name("acme", b"one", b"two")


@NEEDS_OPENSSL
async def test_callers_with_certificates_of_their_own_never_share_an_id(tmp_path: Path) -> None:
    server = self_signed(tmp_path, "server")
    callers = [signed(server, tmp_path, host, f"DNS:{host}.example") for host in ("one", "two")]
    tls = Tls(certificate=server.cert, key=server.key, client_authority=server.cert)
    joined = []
    async with running(settings=dataclasses.replace(LOCAL, tls=tls)) as sidecar:
        for own in (*callers, callers[0]):
            credentials = grpc.ssl_channel_credentials(server.cert, own.key, own.cert)
            async with grpc.aio.secure_channel(sidecar.bound.address, credentials) as channel:
                request = pb.ExecuteRequest(input=HELLO, request_id="order-7", caller=pb.Caller(tenant="acme"))
                answer = await router_pb2_grpc.RouterServiceStub(channel).Execute(request, timeout=60)
            joined.append(answer.joined)

    assert joined == [False, False, True]
    assert len(sidecar.upstream.calls) == 2


def test_who_changes_something_is_said_for_people_without_a_secret() -> None:
    def said(*identities: bytes, token: str = "", peer: str = "unix:") -> str:
        context = SimpleNamespace(peer_identities=lambda: identities or None, peer=lambda: peer)
        before = asking.set(Identity(token=token))
        try:
            return who(context)
        finally:
            asking.reset(before)

    assert said() == "somebody without a token, from unix:"
    assert said(token="file /run/secrets/admin") == "token of file /run/secrets/admin, from unix:"
    assert said(b"b.example", b"a.example", peer="ipv6:%5B::1%5D:7") == (
        "certificate of a.example, b.example, from ipv6:[::1]:7"
    )
    assert said(b"a.example", token="environment variable ADMIN") == "token of environment variable ADMIN, from unix:"
