"""Active checks through both clients, against a real server in this process."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.api.sidecar import SPECS, ScriptedUpstream, Sidecar, running
from turnout import AsyncClient, Client
from turnout.errors import NotFoundError
from turnout.v1 import admin_pb2
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import Target

GENEROUS_SECONDS = 60
TARGETS = (Target("alpha", "large", "eu"), Target("alpha", "large", "us"), Target("beta", "m@2024"))
WORLD = tuple(dataclasses.replace(SPECS[0], target=target, name=str(target)) for target in TARGETS)
Check = Callable[..., Awaitable[Any]]


class Listed(ScriptedUpstream):
    """Lists its models."""

    async def ask_for_models(self, spec: TargetSpec, credential: str) -> None:
        del spec, credential


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    listed = Listed()
    async with running(specs=WORLD, upstreams={"alpha": listed, "beta": listed}) as started:
        yield started


@pytest.fixture(params=["blocking", "asyncio"])
async def check(request: pytest.FixtureRequest, sidecar: Sidecar) -> AsyncIterator[Check]:
    if request.param == "asyncio":
        async with AsyncClient(sidecar.bound.address) as client:
            yield lambda *names: client.check_health(*names, timeout_seconds=GENEROUS_SECONDS)
        return
    with Client(sidecar.bound.address) as blocking:
        yield lambda *names: asyncio.to_thread(blocking.check_health, *names, timeout_seconds=GENEROUS_SECONDS)


def what(results: tuple[admin_pb2.CheckResult, ...]) -> list[tuple[str, str, str, bool]]:
    return [(each.target.provider, each.target.model, each.target.endpoint, each.ok) for each in results]


async def test_names_stand_for_targets_and_providers_for_their_endpoints(check: Check) -> None:
    assert what(await check("alpha")) == [("alpha", "", "eu", True), ("alpha", "", "us", True)]
    assert what(await check("alpha/large@us")) == [("alpha", "large", "us", True)]
    assert what(await check("alpha/large")) == [("alpha", "large", "eu", True), ("alpha", "large", "us", True)]
    assert what(await check("beta/m@2024")) == [("beta", "m@2024", "", True)]
    assert len(await check()) == 3


@pytest.mark.parametrize("name", ["gamma", "alpha/small"])
async def test_a_name_of_nothing_is_not_found(check: Check, name: str) -> None:
    with pytest.raises(NotFoundError):
        await check(name)


async def test_no_name_at_all_is_a_mistake(check: Check) -> None:
    with pytest.raises(ValueError, match="names nothing"):
        await check("")
