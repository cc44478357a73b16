"""Calls that go by way of a proxy: through it, with its password, and what is told when it does not let them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from tests.egress.authority import Authority
from tests.egress.calling import answers, egress
from tests.egress.proxy import Proxy, proxying
from tests.wire.scripted_server import ScriptedServer, scripted_server
from turnout_server.core.model import FailureKind

PASSWORD = "planted-pa%s@word"
LOGIN = f"turn out:{PASSWORD}"
USERINFO = "turn%20out:planted-pa%25s%40word"


def with_login(proxy: Proxy, userinfo: str = USERINFO) -> str:
    return proxy.url.replace("://", f"://{userinfo}@")


async def through(folder: Path, *, proxy_over_tls: bool) -> tuple[Proxy, ScriptedServer]:
    """Calls a provider over TLS by way of a proxy that alone knows where it is; the provider is certified privately."""
    authority = Authority("private")
    ca_file = folder / "ca.pem"
    ca_file.write_text(authority.pem)
    tls = authority.server_side(folder)
    async with scripted_server(tls) as server, proxying(Proxy(LOGIN), tls if proxy_over_tls else None) as proxy:
        proxy.always_to = ("127.0.0.1", server.port)
        answers(server, 2)
        async with egress(allow_private=False, proxy_url=with_login(proxy), ca_file=str(ca_file)) as out:
            await out.call("https://api.example.com")
            await out.call("https://api.example.com")
        return proxy, server


@pytest.mark.parametrize("proxy_over_tls", [False, True])
async def test_call_goes_through_a_tunnel_of_the_proxy_and_the_tunnel_is_used_again(
    tmp_path: Path, *, proxy_over_tls: bool
) -> None:
    proxy, server = await through(tmp_path, proxy_over_tls=proxy_over_tls)

    assert proxy.asked == ["CONNECT api.example.com:443 HTTP/1.1"]
    assert [request.path for request in server.requests] == ["/chat/completions"] * 2
    assert "proxy-authorization" not in server.requests[0].headers


@pytest.mark.parametrize("proxy_over_tls", [False, True])
def test_tunnels_work_on_the_loop_that_serves(tmp_path: Path, *, proxy_over_tls: bool) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not there on this platform")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        proxy, server = runner.run(through(tmp_path, proxy_over_tls=proxy_over_tls))

    assert len(proxy.asked) == 1
    assert len(server.requests) == 2


async def test_certificate_inside_the_tunnel_is_checked(tmp_path: Path) -> None:
    tls = Authority("unknown").server_side(tmp_path)
    async with scripted_server(tls) as server, proxying(Proxy(always_to=("127.0.0.1", server.port))) as proxy:
        async with egress(proxy_url=proxy.url) as out:
            told = await out.connection_failure("https://api.example.com")

        assert server.requests == []
    assert "certificate is not trusted" in told


async def test_certificate_inside_the_tunnel_must_be_of_the_host_that_was_asked_for(tmp_path: Path) -> None:
    authority = Authority("private")
    (tmp_path / "ca.pem").write_text(authority.pem)
    tls = authority.server_side(tmp_path)
    async with scripted_server(tls) as server, proxying(Proxy(always_to=("127.0.0.1", server.port))) as proxy:
        async with egress(proxy_url=proxy.url, ca_file=str(tmp_path / "ca.pem")) as out:
            told = await out.connection_failure("https://other.example.com")

        assert server.requests == []
    assert "certificate is not trusted" in told


async def test_call_without_tls_is_handed_to_the_proxy_with_its_password() -> None:
    async with scripted_server() as server, proxying(Proxy(LOGIN, always_to=("127.0.0.1", server.port))) as proxy:
        answers(server)
        async with egress(allow_private=False, proxy_url=with_login(proxy)) as out:
            await out.call("http://api.example.com")

        assert proxy.asked == ["POST http://api.example.com/chat/completions HTTP/1.1"]
        assert "proxy-authorization" not in server.requests[0].headers


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_wrong_password_is_told_with_the_proxys_name_and_without_the_password(scheme: str) -> None:
    async with proxying(Proxy(LOGIN)) as proxy:
        async with egress(proxy_url=with_login(proxy, "turnout:planted-wrong")) as out:
            told = await out.connection_failure(f"{scheme}://api.example.com")

        assert told == f"the proxy {proxy.url} wants another user and password (HTTP 407): check proxy_url"


async def test_proxy_that_does_not_allow_the_host_is_told_with_its_name() -> None:
    async with proxying(Proxy(refusal=403)) as proxy:
        async with egress(proxy_url=with_login(proxy)) as out:
            told = await out.connection_failure("https://api.example.com")

        expected = f"the proxy {proxy.url} refused the connection (HTTP 403): it must allow the provider's host"
        assert told == expected


async def test_proxy_that_is_down_is_told_with_its_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with egress(proxy_url=f"http://{USERINFO}@127.0.0.1:{port}") as out:
        told = await out.connection_failure("https://api.example.com")

    assert told == f"the proxy http://127.0.0.1:{port} could not be reached"


async def test_proxy_whose_name_nobody_knows_is_told_with_its_name() -> None:
    async with egress(proxy_url=f"http://{USERINFO}@no-such-proxy.invalid:3128") as out:
        told = await out.connection_failure("https://api.example.com")

    expected = "the proxy http://no-such-proxy.invalid:3128 could not be reached: its name could not be resolved"
    assert told == expected


async def test_proxy_that_says_nothing_is_given_up_when_connecting_takes_too_long() -> None:
    async with proxying(Proxy(silent=True)) as proxy:
        async with egress(proxy_url=with_login(proxy), connect_timeout_seconds=0.1) as out:
            told = await out.connection_failure("https://api.example.com")

        assert told == f"the connection was not made in time, by way of the proxy {proxy.url}"


async def test_proxy_that_hangs_up_is_told_with_its_name() -> None:
    async with proxying(Proxy(closes=True)) as proxy:
        async with egress(proxy_url=with_login(proxy)) as out:
            error = await out.failure("https://api.example.com")

        assert FailureKind.CONNECTION is error.kind
        assert error.detail.endswith(f"by way of the proxy {proxy.url}")
        assert "planted" not in error.detail


async def test_certificate_of_the_proxy_itself_is_checked(tmp_path: Path) -> None:
    async with proxying(Proxy(), Authority("unknown").server_side(tmp_path)) as proxy:
        async with egress(proxy_url=proxy.url) as out:
            told = await out.connection_failure("https://api.example.com")

        assert proxy.asked == []
    assert proxy.url in told


async def test_own_certificate_goes_through_the_tunnel_to_the_provider(tmp_path: Path) -> None:
    authority, clients = Authority("private"), Authority("clients")
    (tmp_path / "ca.pem").write_text(authority.pem)
    (tmp_path / "client.pem").write_text(clients.issued("turnout"))
    tls: ssl.SSLContext = authority.server_side(tmp_path, clients=clients)
    async with scripted_server(tls) as server, proxying(Proxy(always_to=("127.0.0.1", server.port))) as proxy:
        answers(server)
        ca_file, own = str(tmp_path / "ca.pem"), str(tmp_path / "client.pem")
        async with egress(proxy_url=proxy.url, ca_file=ca_file, client_cert_file=own) as out:
            await out.call("https://api.example.com")

        assert len(server.requests) == 1
