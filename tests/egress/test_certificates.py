"""Private authorities and client certificates: what is trusted, what is shown, and files that change meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.egress.authority import Authority
from tests.egress.calling import SPEAKER, answers, egress
from tests.wire.conftest import KEY
from tests.wire.scripted_server import Head, ScriptedServer, Wait, scripted_server
from tests.wire.speakers import hello, spec_of
from turnout_server.ports import UpstreamCall
from turnout_server.providers.certificates import ca_fault, client_cert_fault


class Clock:
    """Seconds that pass when the test says so: enough for another look at files."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self) -> None:
        self.now += 2.0


NO_CERTIFICATE = "it holds no PEM certificate"


def split(pem: str) -> tuple[str, str]:
    """Certificate and key of a PEM text."""
    certificate, begin, key = pem.partition("-----BEGIN PRIVATE KEY-----")
    return certificate, begin + key


def locked(key: str) -> str:
    """The same key with a pass phrase."""
    read = serialization.load_pem_private_key(key.encode(), None)
    encryption = serialization.BestAvailableEncryption(b"planted")
    return read.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


def secure(server: ScriptedServer) -> str:
    return server.url.replace("http:", "https:")


async def test_expired_certificate_of_a_provider_is_not_trusted(tmp_path: Path) -> None:
    authority = Authority("private")
    (tmp_path / "ca.pem").write_text(authority.pem)
    async with scripted_server(authority.server_side(tmp_path, days=-1)) as server:
        async with egress(ca_file=str(tmp_path / "ca.pem")) as out:
            told = await out.connection_failure(secure(server))

        assert server.requests == []
    assert "certificate is not trusted" in told


async def test_authorities_of_the_operator_replace_the_usual_ones_and_change_with_their_file(tmp_path: Path) -> None:
    clock, old, new = Clock(), Authority("old"), Authority("new")
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(old.pem)
    async with (
        scripted_server(old.server_side(tmp_path)) as before,
        scripted_server(new.server_side(tmp_path)) as after,
        egress(ca_file=str(ca_file), clock=clock) as out,
    ):
        answers(before)
        answers(after)
        await out.call(secure(before))
        assert "certificate is not trusted" in await out.connection_failure(secure(after))
        ca_file.write_text(new.pem)
        clock.pass_by()
        await out.call(secure(after))

        # The old authority is out, and so is the connection that was made with it.
        assert "certificate is not trusted" in await out.connection_failure(secure(before))
        assert len(before.requests) == 1
    assert out.faults == []


async def test_rotated_client_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    clock, authority, clients = Clock(), Authority("private"), Authority("clients")
    (tmp_path / "ca.pem").write_text(authority.pem)
    own = tmp_path / "client.pem"
    own.write_text(clients.issued("turnout", days=-1))
    ca_file = str(tmp_path / "ca.pem")
    async with (
        scripted_server(authority.server_side(tmp_path, clients=clients)) as server,
        egress(clock=clock, ca_file=ca_file, client_cert_file=str(own)) as out,
    ):
        expired = await out.failure(secure(server))
        own.write_text(clients.issued("turnout"))
        clock.pass_by()
        answers(server)
        await out.call(secure(server))

        assert str(expired.kind) == "CONNECTION"
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{certificate}{key}", ""),
        ("{key}{certificate}", ""),
        ("{certificate}", "it must hold a PEM certificate and its key, without a pass phrase"),
        ("{key}", "it must hold a PEM certificate and its key, without a pass phrase"),
        ("{certificate}{other_key}", "the key is not that of the certificate"),
        ("{certificate}{locked_key}", "it must hold a PEM certificate and its key, without a pass phrase"),
        ("planted", "it must hold a PEM certificate and its key, without a pass phrase"),
    ],
)
def test_file_with_an_own_certificate_is_checked_before_it_is_used(tmp_path: Path, content: str, expected: str) -> None:
    authority = Authority("private")
    certificate, key = split(authority.issued("turnout"))
    path = tmp_path / "own.pem"
    path.write_text(
        content.format(
            certificate=certificate,
            key=key,
            other_key=split(authority.issued("other"))[1],
            locked_key=locked(key),
        )
    )
    fault = client_cert_fault(str(path))

    assert fault == (f"{path} cannot be used: {expected}" if expected else "")
    assert ca_fault(str(path)) == ("" if "{certificate}" in content else f"{path} cannot be used: {NO_CERTIFICATE}")


async def test_provider_that_demands_a_certificate_refuses_who_has_none(tmp_path: Path) -> None:
    authority = Authority("private")
    (tmp_path / "ca.pem").write_text(authority.pem)
    async with scripted_server(authority.server_side(tmp_path, clients=authority)) as server:
        async with egress(ca_file=str(tmp_path / "ca.pem")) as out:
            error = await out.failure(secure(server))

        assert server.requests == []
    assert str(error.kind) == "CONNECTION"


@pytest.mark.parametrize("replacement", ["half a certificate", None])
async def test_file_that_becomes_wrong_or_goes_away_leaves_in_use_what_was_loaded(
    tmp_path: Path, replacement: str | None
) -> None:
    clock, authority = Clock(), Authority("private")
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(authority.pem)
    async with (
        scripted_server(authority.server_side(tmp_path)) as server,
        egress(ca_file=str(ca_file), clock=clock) as out,
    ):
        answers(server, 3)
        await out.call(secure(server))
        if replacement is None:
            ca_file.unlink()
        else:
            ca_file.write_text(replacement)
        for _ in range(2):
            clock.pass_by()
            await out.call(secure(server))

        assert server.connections == 1
    expected = f"certificate file {ca_file} cannot be used: it holds no PEM certificate; what was loaded before stays"
    assert [fault.removesuffix(" in use") for fault in out.faults] == ([] if replacement is None else [expected])


async def test_answer_under_way_ends_on_the_connection_it_began_on(tmp_path: Path) -> None:
    clock, authority, go = Clock(), Authority("private"), asyncio.Event()
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(authority.pem)
    async with (
        scripted_server(authority.server_side(tmp_path)) as server,
        egress(ca_file=str(ca_file), clock=clock) as out,
    ):
        first, *rest = SPEAKER.text_stream(["x", "y"])
        server.scripts.append([Head(), first, Wait(go), *rest])
        call = UpstreamCall(spec=spec_of(SPEAKER, secure(server)), credential="main", chat=hello())
        stream = out.upstream.stream(call)
        await anext(stream)
        ca_file.write_text(authority.pem + Authority("another").pem)
        clock.pass_by()
        answers(server)
        await out.call(secure(server))
        go.set()
        rest_of_it = [event async for batch in stream for event in batch]
        async with asyncio.timeout(30):
            await server.peer_closed.wait()

        assert rest_of_it
        assert [request.connection for request in server.requests] == [1, 2]
    assert KEY not in str(out.faults)
