"""Local servers are asked for their models while other configurations are taken: no answer is taken for another's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog

from tests.unit.config.loading import loaded
from tests.virtual_time import in_virtual_time
from turnout_server.config.build import Parts
from turnout_server.config.schema import Configuration
from turnout_server.local_models import LocalModels, local_servers


class Server:
    """Lists its models when it is let."""

    def __init__(self, *models: str) -> None:
        self.models = list(models)
        self.let = asyncio.Event()
        self.let.set()
        self.asked = asyncio.Event()

    async def get(self, url: str, credential: str) -> object:  # noqa: ARG002 - the same for all
        self.asked.set()
        await self.let.wait()
        return {"models": [{"name": name} for name in self.models]}

    async def post(self, url: str, credential: str, body: Mapping[str, object]) -> object:  # noqa: ARG002 - likewise
        return {}


def configuration(folder: Path, drain_seconds: int = 1, **ports: int) -> Configuration:
    allowed = "allow_insecure: true, allow_private: true"
    blocks = (
        f"{name}: {{wire: ollama, base_url: 'http://127.0.0.1:{port}', {allowed}}}" for name, port in ports.items()
    )
    return loaded(folder, f"{{drain_seconds: {drain_seconds}, providers: {{{', '.join(blocks)}}}}}").configuration


def names(parts: Parts) -> list[str]:
    return [spec.name for spec in parts.fleet.specs]


@in_virtual_time
async def test_answer_of_a_server_that_was_taken_out_meanwhile_is_not_used(tmp_path: Path) -> None:
    a, b = Server("old"), Server("new")
    adopted: list[Parts] = []
    models = LocalModels(configuration(tmp_path, a=1), {}, {"a": a}, adopt=adopted.append, log=structlog.get_logger())
    a.let.clear()
    look = asyncio.create_task(models.first_look())
    await a.asked.wait()
    other = configuration(tmp_path, a=2)
    servers = local_servers(other, {})
    found = await models.found_for(servers, {"a": b})
    models.follow(other, servers, {"a": b}, found)
    a.let.set()
    await look

    assert [row.name for row in found["a"]] == ["new"]
    assert adopted == []


@in_virtual_time
async def test_answer_of_a_server_that_stays_is_used_with_the_configuration_of_then(tmp_path: Path) -> None:
    a = Server("old")
    adopted: list[Parts] = []
    models = LocalModels(configuration(tmp_path, a=1), {}, {"a": a}, adopt=adopted.append, log=structlog.get_logger())
    await models.first_look()
    a.let.clear()
    a.asked.clear()
    a.models.append("newer")
    look = asyncio.create_task(models.first_look())
    await a.asked.wait()
    b = Server("b")
    other = configuration(tmp_path, a=1, b=2)
    servers = local_servers(other, {})
    found = await models.found_for(servers, {"a": a, "b": b})
    models.follow(other, servers, {"a": a, "b": b}, found)
    a.let.set()
    await look

    assert {name: [row.name for row in rows] for name, rows in found.items()} == {"a": ["old"], "b": ["b"]}
    assert [names(parts) for parts in adopted] == [["a/old"], ["a/newer", "a/old", "b/b"]]


@in_virtual_time
async def test_what_was_found_while_another_configuration_was_built_is_known_of_those_that_stay(tmp_path: Path) -> None:
    a = Server("one")
    models = LocalModels(configuration(tmp_path, a=1), {}, {"a": a}, adopt=lambda _: None, log=structlog.get_logger())
    await models.first_look()

    assert list(models.known_for(local_servers(configuration(tmp_path, 2, a=1), {}))) == ["a"]
    assert list(models.known_for(local_servers(configuration(tmp_path, 2, a=3), {}))) == []
    assert list(models.known_for(())) == []


@in_virtual_time
async def test_model_that_one_look_does_not_find_stays_and_goes_with_the_second(tmp_path: Path) -> None:
    a = Server("one", "two")
    adopted: list[list[str]] = []
    models = LocalModels(
        configuration(tmp_path, a=1),
        {},
        {"a": a},
        adopt=lambda it: adopted.append(names(it)),
        log=structlog.get_logger(),
    )
    await models.first_look()
    watching = asyncio.create_task(models.watch())
    a.models.clear()
    await asyncio.sleep(31.0)
    a.models.extend(("one", "two", "three"))
    await asyncio.sleep(10.0)
    back = list(adopted)
    a.models.remove("two")
    await asyncio.sleep(30.0)
    missed_once = len(adopted)
    await asyncio.sleep(10.0)
    watching.cancel()

    assert back == [["a/one", "a/two"], ["a/one", "a/three", "a/two"]]
    assert missed_once == 2
    assert adopted[2:] == [["a/one", "a/three"]]
