"""How keys are checked at providers: by their lists of models, else by one small call; real connections throughout."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count

import orjson
import pytest

from tests.wire.conftest import KEY
from tests.wire.scripted_server import Hang, Script, ScriptedServer, json_answer, scripted_server
from tests.wire.speakers import OpenAISpeaker
from turnout_server.core.fleet import Price, TargetSpec
from turnout_server.core.model import Target
from turnout_server.providers.connection import ProviderConnection, SecretReference
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.key_check import KeyCheck, KeyOutcome, KeyReport, is_listed
from turnout_server.providers.secrets import Secrets


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as running:
        yield running


def listing(*names: str) -> Script:
    return json_answer(orjson.dumps({"object": "list", "data": [{"id": name} for name in names]}))


async def reports_of(
    server: ScriptedServer,
    *scripts: Script,
    provider: str = "openai",
    wire: str = "openai",
    path: str = "/v1",
    models: tuple[str, ...] = ("small",),
    labels: tuple[str, ...] = ("main",),
    timeout_seconds: float = 5.0,
) -> tuple[KeyReport, ...]:
    server.scripts += scripts
    connection = ProviderConnection(
        provider=provider,
        wire=wire,
        dialect=dialect_of(provider, wire),
        credentials={label: SecretReference(env="TEST_KEY") for label in labels},
        allow_private=True,
    )
    specs = [
        TargetSpec(
            target=Target(provider=provider, model=model),
            base_url=server.url + path,
            wire=wire,
            price=Price(input_per_million=1, output_per_million=100 - place),
        )
        for place, model in enumerate(models)
    ]
    ticks = count()
    asking = KeyCheck(
        secrets=Secrets([connection], environ={"TEST_KEY": KEY}),
        clock=lambda: float(next(ticks)),
        timeout_seconds=timeout_seconds,
        max_output_tokens=7,
    )
    return await asking.all([connection], specs)


@pytest.mark.parametrize(
    ("provider", "wire", "path", "expected", "body"),
    [
        ("openai", "openai", "/v1", "/v1/models", {"data": [{"id": "small"}]}),
        ("anthropic", "anthropic", "/v1", "/v1/models?limit=1000", {"data": [{"id": "small"}]}),
        ("google", "gemini", "/v1beta", "/v1beta/models?pageSize=1000", {"models": [{"name": "models/small"}]}),
        ("ollama", "ollama", "", "/api/tags", {"models": [{"name": "small:latest"}]}),
    ],
)
async def test_list_of_models_is_asked_for_with_the_key(  # noqa: PLR0917 - one table
    server: ScriptedServer, provider: str, wire: str, path: str, expected: str, body: object
) -> None:
    (report,) = await reports_of(server, json_answer(orjson.dumps(body)), provider=provider, wire=wire, path=path)

    assert [("GET", expected)] == [(request.method, request.path) for request in server.requests]
    assert any(KEY in value for value in server.requests[0].headers.values())
    assert (KeyOutcome.OK, 1, (), 1.0) == (report.outcome, report.listed_count, report.unlisted_models, report.seconds)


async def test_models_that_the_list_lacks_are_named(server: ScriptedServer) -> None:
    (report,) = await reports_of(server, listing("small-2026-01-01", "other"), models=("small", "large"))

    assert (KeyOutcome.OK, ("large",)) == (report.outcome, report.unlisted_models)


async def test_list_that_needs_no_key_is_asked_for_after_the_key(server: ScriptedServer) -> None:
    await reports_of(server, json_answer(b'{"data":{}}'), listing("small"), provider="openrouter", path="/api/v1")

    assert ["/api/v1/key", "/api/v1/models"] == [request.path for request in server.requests]


async def test_server_without_a_list_gets_one_small_call_to_its_cheapest_model(server: ScriptedServer) -> None:
    no_list = json_answer(b"{}", status=404)
    (report,) = await reports_of(
        server, no_list, json_answer(OpenAISpeaker().whole_text("ok")), models=("dear", "cheap"), provider="local"
    )

    body = orjson.loads(server.requests[1].body)
    assert ("/v1/chat/completions", "cheap", 7) == (server.requests[1].path, body["model"], body["max_tokens"])
    assert (KeyOutcome.OK, None) == (report.outcome, report.listed_count)


async def test_list_for_everybody_says_nothing_of_the_key(server: ScriptedServer) -> None:
    refused = json_answer(b"{}", status=401)
    (report,) = await reports_of(server, listing("small"), listing("small"), refused, provider="local")

    assert [True, False, True] == ["authorization" in request.headers for request in server.requests]
    assert KeyOutcome.KEY_REFUSED is report.outcome


async def test_list_that_is_closed_without_the_key_proves_it(server: ScriptedServer) -> None:
    (report,) = await reports_of(server, listing("small"), json_answer(b"{}", status=401), provider="local")

    assert (KeyOutcome.OK, 1) == (report.outcome, report.listed_count)


@pytest.mark.parametrize(
    ("status", "code", "expected", "good"),
    [
        (401, "invalid_api_key", KeyOutcome.KEY_REFUSED, False),
        (403, "", KeyOutcome.KEY_REFUSED, False),
        (429, "insufficient_quota", KeyOutcome.NO_CREDIT, False),
        (429, "", KeyOutcome.BUSY, True),
        (503, "", KeyOutcome.BUSY, True),
        (500, "", KeyOutcome.FAILED, False),
    ],
)
async def test_refusal_is_told_in_the_words_of_a_check(
    server: ScriptedServer, status: int, code: str, expected: KeyOutcome, *, good: bool
) -> None:
    body = orjson.dumps({"error": {"message": "m", "code": code or None}})
    (report,) = await reports_of(server, json_answer(body, status=status))

    assert (expected, good) == (report.outcome, report.outcome.good)
    assert KEY not in report.detail


async def test_every_key_is_checked_by_itself(server: ScriptedServer) -> None:
    reports = await reports_of(server, listing("small"), json_answer(b"{}", status=401), labels=("one", "two"))

    assert {"one", "two"} == {report.credential for report in reports}
    assert {KeyOutcome.OK, KeyOutcome.KEY_REFUSED} == {report.outcome for report in reports}


async def test_provider_without_keys_is_asked_without_one(server: ScriptedServer) -> None:
    (report,) = await reports_of(server, listing("small"), labels=(), provider="local")

    assert (KeyOutcome.OK, "") == (report.outcome, report.credential)
    assert "authorization" not in server.requests[0].headers


async def test_silent_server_is_unreachable_when_the_time_is_over(server: ScriptedServer) -> None:
    (report,) = await reports_of(server, (Hang(),), timeout_seconds=0.05)

    assert (KeyOutcome.UNREACHABLE, "no answer within 0.05 s") == (report.outcome, report.detail)


@pytest.mark.parametrize("body", [b"[]", b'{"data": 1}', b'{"data": [1, {"id": 2}]}', b"{}"])
async def test_list_of_another_shape_names_no_model(server: ScriptedServer, body: bytes) -> None:
    (report,) = await reports_of(server, json_answer(body))

    assert (KeyOutcome.OK, None, ()) == (report.outcome, report.listed_count, report.unlisted_models)


@pytest.mark.parametrize(
    ("model", "name", "expected"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929", True),
        ("codestral-latest", "codestral-2508", True),
        ("llama3.2", "llama3.2:latest", True),
        ("llama3.2", "llama3x2", False),
    ],
)
def test_dated_and_latest_names_are_the_same_model(model: str, name: str, *, expected: bool) -> None:
    assert expected is is_listed(model, frozenset({name}))
