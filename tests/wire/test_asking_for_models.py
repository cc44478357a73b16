"""How an endpoint is asked for its models by an active check: where, with which key, and what counts as an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest

from tests.wire.conftest import KEY
from tests.wire.scripted_server import Close, Script, ScriptedServer, json_answer, scripted_server
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import FailureKind, Target
from turnout_server.ports import UpstreamError
from turnout_server.providers.connection import ProviderConnection, SecretReference
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.upstream import build_upstreams


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as running:
        yield running


async def ask(url: str, *, provider: str = "openai", wire: str = "openai", path: str = "/v1") -> None:
    connection = ProviderConnection(
        provider=provider,
        wire=wire,
        dialect=dialect_of(provider, wire),
        credentials={"main": SecretReference(env="TEST_KEY")},
        allow_private=True,
    )
    spec = TargetSpec(target=Target(provider=provider, model="small"), base_url=url + path, wire=wire)
    upstream = build_upstreams([connection], Secrets([connection], environ={"TEST_KEY": KEY}))[provider]
    try:
        await upstream.ask_for_models(spec, "main")
    finally:
        await upstream.aclose()


def answer(status: int = 200) -> Script:
    return json_answer(orjson.dumps({"data": [{"id": "small"}]}), status=status)


@pytest.mark.parametrize(
    ("provider", "wire", "path", "expected"),
    [
        ("openai", "openai", "/v1", "/v1/models"),
        ("house", "openai", "/base/v1", "/base/v1/models"),
        ("anthropic", "anthropic", "/v1", "/v1/models?limit=1000"),
        ("google", "gemini", "/v1beta", "/v1beta/models?pageSize=1000"),
        ("ollama", "ollama", "", "/api/tags"),
        # Its list is for everybody: what needs the key is asked instead.
        ("openrouter", "openai", "/api/v1", "/api/v1/key"),
    ],
)
async def test_each_wire_is_asked_where_it_lists_its_models(
    server: ScriptedServer, provider: str, wire: str, path: str, expected: str
) -> None:
    server.scripts.append(answer())
    await ask(server.url, provider=provider, wire=wire, path=path)

    (request,) = server.requests
    assert (request.method, request.path) == ("GET", expected)
    assert KEY in " ".join(request.headers.values())


@pytest.mark.parametrize("status", [404, 405, 410, 501])
async def test_server_that_has_no_list_has_answered(server: ScriptedServer, status: int) -> None:
    server.scripts.append(answer(status))
    await ask(server.url)

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answer(401), FailureKind.AUTHENTICATION),
        (answer(429), FailureKind.RATE_LIMITED),
        (answer(500), FailureKind.SERVER_ERROR),
        ((Close(),), FailureKind.CONNECTION),
    ],
    ids=["wrong key", "too many requests", "fault", "closed"],
)
async def test_what_is_no_answer_fails_as_a_call_does(
    server: ScriptedServer, script: Script, kind: FailureKind
) -> None:
    server.scripts.append(script)
    with pytest.raises(UpstreamError) as caught:
        await ask(server.url)

    assert caught.value.kind is kind


async def test_server_that_is_not_there_cannot_be_connected_to() -> None:
    async with scripted_server() as gone:
        url = gone.url
    with pytest.raises(UpstreamError) as caught:
        await ask(url)

    assert caught.value.kind is FailureKind.CONNECTION
