"""A local server's models are found when the sidecar runs, and a dead one keeps nobody waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from tests.virtual_time import run, virtual_loop
from tests.wire.test_same_as_ollama_sdk import library
from turnout import AsyncClient
from turnout.v1 import router_pb2 as pb
from turnout_server.app import running
from turnout_server.config.build import Parts, build
from turnout_server.config.load import load
from turnout_server.core.model import Capability
from turnout_server.local_models import FIRST_LOOK_SECONDS, LocalModels
from turnout_server.providers.ollama.discovery import FoundModel, find_models
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.simulated.provider import ProviderSettings, WireName
from turnout_server.providers.simulated.server import SimulatedServer
from turnout_server.providers.upstream import HttpUpstream, build_upstreams

LOCAL = ProviderSettings(wire=WireName.OLLAMA, models=("small", "large"), context_window_tokens=16_384)


def configured(folder: Path, text: str = "") -> str:
    file = folder / "turnout.yaml"
    file.write_text(
        "{listen: {address: '127.0.0.1:0'}, health: {address: ''}, metrics: {address: ''}, "
        f"providers: {{ollama: {{{text}}}}}}}"
    )
    return str(file)


def upstream_of(file: str, environ: dict[str, str]) -> HttpUpstream:
    parts = build(load(file, environ).configuration, environ)
    return build_upstreams(parts.connections, Secrets(parts.connections, environ=environ))["ollama"]


async def test_models_of_a_server_are_found_with_window_and_abilities(tmp_path: Path) -> None:
    async with SimulatedServer({"local": LOCAL}) as server:
        upstream = upstream_of(configured(tmp_path), {"OLLAMA_HOST": server.base_url("local")})
        found = await find_models(upstream, server.base_url("local"), "")
        await upstream.aclose()

    abilities = frozenset({"completion", "tools", "thinking"})
    assert [
        FoundModel(name=name, context_window_tokens=16_384, abilities=abilities) for name in ("large", "small")
    ] == list(found)


async def test_sidecar_calls_a_model_that_nobody_configured(tmp_path: Path) -> None:
    async with SimulatedServer({"local": LOCAL}) as server:
        environ = {"OLLAMA_HOST": server.base_url("local")}
        async with (
            running(load(configured(tmp_path), environ), environ) as listening,
            AsyncClient(listening.grpc[0]) as client,
        ):
            answer = await client.execute("Say hello.", options=pb.RoutingOptions(force_target="ollama/large"))
            status = await client.status()

    assert answer.text
    assert {"small", "large"} == {t.target.model for p in status.providers for t in p.targets}


async def test_models_that_appear_later_are_taken_up_and_rows_of_the_operator_lie_over_them(tmp_path: Path) -> None:
    async with SimulatedServer({"local": LOCAL}) as server:
        environ = {"OLLAMA_HOST": server.base_url("local")}
        file = configured(tmp_path, "models: [{name: small, quality: 33}]")
        adopted: list[Parts] = []
        upstream = upstream_of(file, environ)
        models = LocalModels(
            load(file, environ).configuration,
            environ,
            {"ollama": upstream},
            adopt=adopted.append,
            log=structlog.get_logger(),
        )
        await models.first_look()
        await models.first_look()
        server.change("local", models=("small", "large", "new"))
        await models.first_look()
        await upstream.aclose()

    first, second = adopted
    assert {"ollama/small", "ollama/large"} == {s.name for s in first.fleet.specs}
    assert {"ollama/small", "ollama/large", "ollama/new"} == {s.name for s in second.fleet.specs}
    small = next(s for s in second.fleet.specs if s.name == "ollama/small")
    assert (33.0, 16_384) == (small.quality, small.context_window_tokens)
    assert {Capability.TOOLS, Capability.THINKING, Capability.STREAMING} <= small.capabilities
    assert small.price is not None
    assert 0 == small.price.input_per_million


class Silent:
    """A server that takes requests and never answers."""

    async def get(self, url: str, credential: str) -> object:
        del url, credential
        return await asyncio.get_running_loop().create_future()

    async def post(self, url: str, credential: str, body: Mapping[str, object]) -> object:
        raise AssertionError(f"nothing was listed: {url} {credential} {body}")


def test_first_look_waits_half_a_second_for_a_server_that_does_not_answer(tmp_path: Path) -> None:
    environ = {"OLLAMA_HOST": "127.0.0.1:9"}

    async def first_look() -> float:
        configuration = load(configured(tmp_path), environ).configuration
        adopted: list[Parts] = []
        models = LocalModels(
            configuration, environ, {"ollama": Silent()}, adopt=adopted.append, log=structlog.get_logger()
        )
        await models.first_look()
        assert [] == adopted
        return virtual_loop().time()

    assert FIRST_LOOK_SECONDS == run(first_look())


async def test_server_that_does_not_answer_does_not_keep_the_sidecar_from_starting(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    hanging = await asyncio.start_server(silent, "127.0.0.1", 0)
    environ = {"OLLAMA_HOST": f"127.0.0.1:{hanging.sockets[0].getsockname()[1]}"}
    async with (
        running(load(configured(tmp_path), environ), environ) as listening,
        AsyncClient(listening.grpc[0]) as client,
    ):
        status = await client.status()
    hanging.close()

    assert 0 == status.aggregate.target_count


async def test_ollamas_library_lists_shows_and_chats_with_the_simulated_server() -> None:
    async with SimulatedServer({"local": LOCAL}) as server, library(server.base_url("local")) as client:
        listed = await client.list()
        shown = await client.show("small")
        messages: Any = [{"role": "user", "content": "Hello"}]
        whole = await client.chat(model="small", messages=messages)
        streamed = [part async for part in await client.chat(model="small", messages=messages, stream=True)]

    assert ["small:latest", "large:latest"] == [model.model for model in listed.models]
    assert ["completion", "tools", "thinking"] == shown.capabilities
    assert whole.message.content
    assert streamed[-1].done
    assert "".join(part.message.content or "" for part in streamed)
