"""A real sidecar on its way out with everything an operator can ask for at once, and no secret in anything it says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cli.processes import configuration, serving
from tests.egress.authority import Authority
from tests.egress.calling import SPEAKER
from tests.egress.proxy import Proxy, proxying
from tests.wire.scripted_server import json_answer, scripted_server
from turnout import AllAttemptsRefusedError, AsyncClient

HEADERS = "x-gateway-key: planted-header-0123456789\n"
TOKEN = "planted-token-0123456789"


async def test_everything_works_together_and_no_secret_is_told(tmp_path: Path) -> None:
    authority, clients = Authority("private"), Authority("clients")
    (tmp_path / "ca.pem").write_text(authority.pem)
    (tmp_path / "client.pem").write_text(clients.issued("turnout"))
    (tmp_path / "headers").write_text(HEADERS)
    requests = tmp_path / "requests.jsonl"
    tls = authority.server_side(tmp_path, clients=clients)
    async with scripted_server(tls) as provider, proxying(Proxy("turnout:planted-password")) as proxy:
        proxy.always_to = ("127.0.0.1", provider.port)
        closing = (("connection", "close"),)
        provider.scripts.append(json_answer(SPEAKER.whole_text("Hello"), headers=closing))
        file = configuration(
            tmp_path,
            f"""
providers:
  house:
    wire: openai
    base_url: https://api.example.com/v1
    ca_file: {tmp_path}/ca.pem
    client_cert_file: {tmp_path}/client.pem
    headers_from_file: {tmp_path}/headers
    token: {{command: [sh, -c, "echo {TOKEN}"]}}
    models: [{{name: small}}]
failover: {{connect_timeout_seconds: 60}}
telemetry: {{log_level: debug, request_log: {{file: {requests}, content: true}}}}
""",
        )
        env = {"TURNOUT_PROVIDERS__HOUSE__PROXY_URL": proxy.url.replace("://", "://turnout:planted-password@")}
        serve = serving(["serve", "-c", file, "--json"], env)
        server = await asyncio.to_thread(serve.__enter__)
        try:
            async with AsyncClient(server.address, max_retry_count=0) as client:
                answer = await client.ask("Hi")
                # From now on the password is wrong.
                proxy.login = "turnout:another"
                with pytest.raises(AllAttemptsRefusedError) as caught:
                    await client.ask("Hi")
        finally:
            await asyncio.to_thread(serve.__exit__, None, None, None)

    (sent,) = provider.requests
    assert answer.text == "Hello"
    assert sent.headers["authorization"] == f"Bearer {TOKEN}"
    assert sent.headers["x-gateway-key"] == "planted-header-0123456789"
    assert set(proxy.asked) == {"CONNECT api.example.com:443 HTTP/1.1"}
    detail = f"the proxy {proxy.url} wants another user and password (HTTP 407): check proxy_url"
    assert {attempt.detail for attempt in caught.value.attempts} == {detail}
    said = "".join(server.log) + requests.read_text() + repr(caught.value) + str(server.line)
    assert "407" in said
    assert "planted" not in said
