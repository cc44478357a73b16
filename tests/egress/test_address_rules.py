"""Where calls may go: what the configuration refuses, what is found only when a name is looked up, and redirects."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.egress.authority import Authority
from tests.egress.calling import PATIENCE_SECONDS, SPEAKER, answers, egress
from tests.wire.conftest import connection_of, secrets_of
from tests.wire.scripted_server import Head, ScriptedServer, json_answer, scripted_server
from tests.wire.speakers import hello, spec_of
from turnout_server.config.addresses import base_url_fault, proxy_url_fault
from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.certificates import tls_context
from turnout_server.providers.connecting import connect
from turnout_server.providers.upstream import HttpUpstream, wire_of

PRIVATE = (
    "http://127.0.0.1",
    "http://127.1",
    "http://2130706433",
    "http://0x7f000001",
    "http://0177.0.0.1",
    "http://0",
    "http://0.0.0.0",
    "http://localhost",
    "http://LocalHost.",
    "http://api.localhost",
    "http://10.1.2.3",
    "http://100.64.0.1",
    "http://100.100.100.200",
    "http://168.63.129.16",
    "http://169.254.169.254",
    "http://172.31.255.255",
    "http://192.0.0.8",
    "http://192.88.99.1",
    "http://192.168.0.1",
    "http://198.18.0.1",
    "http://224.0.0.1",
    "http://240.0.0.1",
    "http://255.255.255.255",
    "http://[::]",
    "http://[::1]",
    "http://[::ffff:127.0.0.1]",
    "http://[::ffff:7f00:1]",
    "http://[::127.0.0.1]",
    "http://[64:ff9b::127.0.0.1]",
    "http://[64:ff9b:1::8.8.8.8]",
    "http://[2002:7f00:1::]",
    "http://[2001::1]",
    "http://[100::1]",
    "http://[3fff::1]",
    "http://[5f00::1]",
    "http://[fc00::1]",
    "http://[fd00:ec2::254]",
    "http://[fe80::1]",
    "http://[fec0::1]",
    "http://[ff02::1]",
)


@pytest.mark.parametrize("url", PRIVATE)
def test_private_address_in_the_configuration_needs_leave(url: str) -> None:
    assert base_url_fault(f"{url}:8000/v1", allow_insecure=True, allow_private=False).startswith("a private, loopback")
    assert base_url_fault(f"{url}:8000/v1", allow_insecure=True, allow_private=True) == ""


@pytest.mark.parametrize("url", PRIVATE)
async def test_private_address_is_refused_when_it_is_connected_to_whatever_it_is_written_like(url: str) -> None:
    async with egress(allow_private=False) as out:
        error = await out.failure(f"{url}:9/v1")

    # Some forms are not taken at all, or mean nothing to this system's resolver; no socket is opened to any.
    assert not error.possibly_billed
    assert any(words in error.detail for words in ("allow_private is off", "could not be resolved", "not a valid URL"))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "https://api.example.com./v1",
        "https://8.8.8.8/v1",
        "https://[2606:4700:4700::1111]:8443/v1",
        "https://b\xfccher.example/v1",
        "https://localhost.example.com",
        "https://10.example.com",
    ],
)
def test_public_address_needs_no_leave(url: str) -> None:
    assert base_url_fault(url, allow_insecure=False, allow_private=False) == ""


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://api.example.com", "in the clear"),
        ("ftp://api.example.com", "must begin with https://"),
        ("api.example.com", "must begin with https://"),
        ("https://", "must begin with https://"),
        ("https://user:planted@api.example.com", "user or password"),
        ("https://planted@api.example.com", "user or password"),
        ("https://api.example.com/v1?key=planted", "query or fragment"),
        ("https://api.example.com/v1#planted", "query or fragment"),
        ("https://api.example.com:99999", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://api.example.com\\@127.0.0.1", "backslashes"),
        ("https://api.exa mple.com", "spaces"),
        ("https://api.exa\tmple.com", "control characters"),
        ("https://api.example.com/\x00", "control characters"),
    ],
)
def test_wrong_address_is_told_without_any_of_it(url: str, words: str) -> None:
    fault = base_url_fault(url, allow_insecure=False, allow_private=False)

    assert words in fault
    assert "planted" not in fault


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://proxy.example.com:3128", ""),
        ("https://turnout:planted%40x@10.0.0.1:3128/", ""),
        ("socks5://planted@proxy.example.com:1080", "must begin with http://"),
        ("proxy.example.com:3128", "must begin with http://"),
        ("http://:planted@:3128", "names no host"),
        ("http://proxy.example.com:planted", "not a URL"),
        ("http://proxy.example.com:3128/planted", "must end after"),
        ("http://pl%3Aanted:x@proxy.example.com", "colon"),
        ("http://planted word@proxy.example.com", "spaces"),
    ],
)
def test_wrong_address_of_a_proxy_is_told_without_its_password(url: str, words: str) -> None:
    fault = proxy_url_fault(url)

    assert words in fault if words else fault == ""
    assert "planted" not in fault


async def test_address_that_is_none_fails_the_call_and_nothing_else() -> None:
    async with egress() as out:
        error = await out.failure("https://exa\x01mple.com")

    assert FailureKind.PROTOCOL is error.kind
    assert not error.possibly_billed


# Names: what is checked is what is connected to.


class Answers(AbstractResolver):
    """Answers look-ups one after the other with these addresses; the last one again and again."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self._answers = list(answers)
        self.look_up_count = 0

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - the interface's
    ) -> list[ResolveResult]:
        self.look_up_count += 1
        addresses = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


PERMITTED = "127.0.0.1"
"""Stands for a public address: the only one that may be connected to."""


def named(resolver: Answers, tls: ssl.SSLContext | None = None) -> HttpUpstream:
    connection = replace(connection_of(SPEAKER, allow_private=False), connect_timeout_seconds=PATIENCE_SECONDS)
    transport = connect(
        connection,
        tls=tls or tls_context(),
        resolver=lambda: resolver,
        permitted=lambda address: address == PERMITTED,
    )
    return HttpUpstream(wire_of("openai"), transport, secrets_of(connection), connection)


async def ask(upstream: HttpUpstream, url: str) -> None:
    spec = spec_of(SPEAKER, url)
    await upstream.complete(UpstreamCall(spec=spec, credential="main", chat=hello()))


@contextlib.asynccontextmanager
async def everywhere() -> AsyncIterator[tuple[ScriptedServer, list[str]]]:
    """A server on every loopback address; the list has those that were connected to."""
    state, reached = ScriptedServer(), list[str]()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(writer.get_extra_info("sockname")[0])
        task = asyncio.ensure_future(state.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "0.0.0.0", 0)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state, reached
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@pytest.mark.parametrize(
    "addresses", [("127.0.0.2", PERMITTED), (PERMITTED, "127.0.0.2"), ("::1", "127.0.0.3", "127.0.0.2", PERMITTED)]
)
async def test_of_several_answers_only_those_permitted_are_connected_to(addresses: tuple[str, ...]) -> None:
    async with everywhere() as (server, reached):
        answers(server)
        upstream = named(Answers(addresses))
        await ask(upstream, f"http://api.example.com:{server.port}")
        await upstream.aclose()

    assert reached == [PERMITTED]


async def test_name_with_only_private_answers_leads_nowhere() -> None:
    async with everywhere() as (server, reached):
        upstream = named(Answers(("127.0.0.2", "::1", "127.0.0.3")))
        with pytest.raises(UpstreamError, match="allow_private is off"):
            await ask(upstream, f"http://api.example.com:{server.port}")
        await upstream.aclose()

    assert reached == []


async def test_name_that_is_public_when_first_looked_up_and_private_then_leads_nowhere() -> None:
    resolver = Answers((PERMITTED,), ("127.0.0.2",))
    async with everywhere() as (server, reached):
        answers(server, 2)
        for expected in (contextlib.nullcontext(), pytest.raises(UpstreamError, match="allow_private is off")):
            # What was looked up is forgotten with the connections.
            upstream = named(resolver)
            with expected:
                await ask(upstream, f"http://api.example.com:{server.port}")
            await upstream.aclose()

    assert reached == [PERMITTED]
    # Once for each connection: there is no second look-up between the check and the connecting.
    assert resolver.look_up_count == 2


async def test_name_with_a_dot_at_its_end_is_certified_without_it(tmp_path: Path) -> None:
    authority = Authority("private")
    (tmp_path / "ca.pem").write_text(authority.pem)
    async with scripted_server(authority.server_side(tmp_path)) as server:
        answers(server)
        upstream = named(Answers((PERMITTED,)), tls_context(ca_file=str(tmp_path / "ca.pem")))
        await ask(upstream, f"https://api.example.com.:{server.port}")
        await upstream.aclose()

        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_a_failure_that_tells_nothing_of_where_to(server: ScriptedServer, status: int) -> None:
    location = f"http://127.0.0.2:{server.port}/elsewhere?token=planted"
    server.scripts.append([Head(status, (("location", location), ("content-type", "text/plain")), 0)])
    async with egress() as out:
        error = await out.failure(server.url)

    assert FailureKind.PROTOCOL is error.kind
    assert error.detail == f"HTTP {status}: a redirect, which is never followed: check the base URL"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "HTTP 404: nothing is said of a model: the base URL may be wrong"),
        (b"<html>404 page not found</html>", "HTTP 404: nothing is said of a model: the base URL may be wrong"),
        (b'{"detail":"Not Found"}', "HTTP 404: Not Found; nothing is said of a model: the base URL may be wrong"),
        (
            SPEAKER.error_body("model_not_found", "The model `gpt-9` does not exist"),
            "HTTP 404 (model_not_found): The model `gpt-9` does not exist",
        ),
        (b'{"error":{"message":"model \'small\' not found"}}', "HTTP 404: model 'small' not found"),
    ],
)
async def test_path_that_a_server_does_not_know_reads_like_a_wrong_base_url(
    server: ScriptedServer, body: bytes, expected: str
) -> None:
    server.scripts.append(json_answer(body, status=404))
    async with egress() as out:
        error = await out.failure(server.url)

    assert error.detail == expected
    assert FailureKind.MODEL_NOT_FOUND is error.kind


async def test_with_a_proxy_the_providers_name_is_not_looked_up_here() -> None:
    resolver = Answers((PERMITTED,))
    async with everywhere() as (server, _):
        answers(server)
        connection = replace(
            connection_of(SPEAKER, allow_private=False), proxy_url=f"http://proxy.example.com:{server.port}"
        )
        transport = connect(connection, tls=tls_context(), resolver=lambda: resolver, permitted=lambda _: False)
        upstream = HttpUpstream(wire_of("openai"), transport, secrets_of(connection), connection)
        spec = spec_of(SPEAKER, "http://intranet.example.com")
        await upstream.complete(UpstreamCall(spec=spec, credential="main", chat=hello()))
        await upstream.aclose()

    assert server.requests[0].path == "http://intranet.example.com/chat/completions"
    assert resolver.look_up_count == 1
