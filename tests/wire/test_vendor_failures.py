"""What each vendor's refusals become, played by a real server through the upstream.

A fixture is one answer: `body` (or `text`) comes with a status other than 200, `whole` and `events` hide an error
inside HTTP 200. Its `basis` is "published" where that body stands at `source`, with accounts and keys blanked out and
headers added from the vendor's documentation. It is "composed" where it was put together from the codes, words and
shapes that the vendor's documentation or the report at `source` speaks of.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.wire.conftest import KEY, secrets_of
from tests.wire.scripted_server import Head, Script, ScriptedServer, json_answer, scripted_server
from tests.wire.speakers import hello
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import FailureKind, RateLimitBucket, Target
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.certificates import tls_context
from turnout_server.providers.connecting import connect
from turnout_server.providers.connection import ProviderConnection, SecretReference
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.upstream import HttpUpstream, wire_of
from turnout_server.providers.vendor_failures import BY_VENDOR

FIXTURES = Path(__file__).parent / "fixtures"
NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
WIRES: Mapping[str, str] = {"anthropic": "anthropic", "google": "gemini", "ollama": "ollama"}
"""All others speak the openai wire."""

Fixture = dict[str, Any]


def fixtures(*having: str) -> list[Any]:
    found = []
    for path in sorted(FIXTURES.glob("*/*.json")):
        fixture = orjson.loads(path.read_bytes())
        if any(name in fixture for name in having):
            found.append(pytest.param(path.parent.name, fixture, id=f"{path.parent.name}-{path.stem}"))
    return found


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as running:
        yield running


async def play(upstream: HttpUpstream, call: UpstreamCall, *, stream: bool) -> None:
    if stream:
        async for _ in upstream.stream(call):
            pass
    else:
        await upstream.complete(call)


async def failed(vendor: str, server: ScriptedServer, script: Script, *, stream: bool, wire: str = "") -> UpstreamError:
    wire = wire or WIRES.get(vendor, "openai")
    connection = ProviderConnection(
        provider=vendor,
        wire=wire,
        dialect=dialect_of(vendor, wire),
        credentials={"main": SecretReference(env="TEST_KEY")},
        allow_private=True,
    )
    upstream = HttpUpstream(
        wire_of(wire), connect(connection, tls=tls_context()), secrets_of(connection), connection, wall=lambda: NOW
    )
    spec = TargetSpec(
        target=Target(provider=vendor, model="a-model"), base_url=server.url, wire=wire, max_output_tokens=100
    )
    call = UpstreamCall(spec=spec, credential="main", chat=hello(), max_output_tokens=100)
    server.scripts.append(script)
    try:
        with pytest.raises(UpstreamError) as caught:
            await play(upstream, call, stream=stream)
    finally:
        await upstream.aclose()
    return caught.value


def bucket_of(stated: Mapping[str, Any] | None) -> RateLimitBucket | None:
    return None if stated is None else RateLimitBucket(**stated)


def check(fixture: Fixture, error: UpstreamError) -> None:
    expected = fixture["expected"]
    reading = error.rate_limit

    assert FailureKind(expected["kind"]) is error.kind
    assert fixture["status"] == error.http_status
    assert expected.get("retry_after_seconds") == error.retry_after_seconds
    assert bucket_of(expected.get("requests")) == (reading and reading.requests)
    assert bucket_of(expected.get("tokens")) == (reading and reading.tokens)
    assert KEY not in str(error)


def refusal(fixture: Fixture) -> Script:
    headers = tuple(fixture.get("headers", {}).items())
    if "text" in fixture:
        text = fixture["text"].encode()
        return (Head(fixture["status"], (("content-type", "text/html"), *headers), len(text)), text)
    return json_answer(orjson.dumps(fixture["body"]), status=fixture["status"], headers=headers)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("vendor", "fixture"), fixtures("body", "text"))
async def test_refusal_is_what_the_vendor_means_by_it(
    vendor: str, fixture: Fixture, server: ScriptedServer, *, stream: bool
) -> None:
    error = await failed(vendor, server, refusal(fixture), stream=stream)

    check(fixture, error)


@pytest.mark.parametrize(("vendor", "fixture"), fixtures("whole"))
async def test_error_hidden_in_a_whole_answer_is_a_failure(
    vendor: str, fixture: Fixture, server: ScriptedServer
) -> None:
    error = await failed(vendor, server, json_answer(orjson.dumps(fixture["whole"])), stream=False)

    check(fixture, error)


@pytest.mark.parametrize(("vendor", "fixture"), fixtures("whole"))
async def test_error_hidden_in_json_instead_of_a_stream_is_a_failure(
    vendor: str, fixture: Fixture, server: ScriptedServer
) -> None:
    error = await failed(vendor, server, json_answer(orjson.dumps(fixture["whole"])), stream=True)

    check(fixture, error)


@pytest.mark.parametrize(("vendor", "fixture"), fixtures("events"))
async def test_error_hidden_in_a_stream_is_a_failure(vendor: str, fixture: Fixture, server: ScriptedServer) -> None:
    if WIRES.get(vendor) == "ollama":
        head, events = (
            Head(headers=(("content-type", "application/x-ndjson"),)),
            [orjson.dumps(event) + b"\n" for event in fixture["events"]],
        )
    else:
        head, events = Head(), [b"data: " + orjson.dumps(event) + b"\n\n" for event in fixture["events"]]

    error = await failed(vendor, server, (head, *events), stream=True)

    check(fixture, error)
    assert error.possibly_billed


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_vendor_on_another_wire_keeps_its_own_errors(server: ScriptedServer, *, stream: bool) -> None:
    event = orjson.dumps({"type": "error", "error": {"type": "api_error", "message": "insufficient balance (1008)"}})
    script = (Head(), b"data: " + event + b"\n\n") if stream else json_answer(event)

    error = await failed("minimax", server, script, stream=stream, wire="anthropic")

    assert FailureKind.QUOTA_EXHAUSTED is error.kind


@pytest.mark.parametrize("vendor", BY_VENDOR)
def test_every_vendor_of_the_tables_has_fixtures(vendor: str) -> None:
    assert len(list((FIXTURES / vendor).glob("*.json"))) >= 9


@pytest.mark.parametrize(("vendor", "fixture"), fixtures("source"))
def test_every_fixture_says_what_it_rests_on(vendor: str, fixture: Fixture) -> None:
    assert fixture["source"].startswith("https://"), vendor
    assert fixture["basis"] in {"published", "composed"}
