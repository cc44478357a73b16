"""Draining, undraining and resetting through both clients, against a real server in this process."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.api.sidecar import SPECS, Sidecar, running
from turnout import AsyncClient, Client
from turnout.answer import target_name
from turnout.errors import ConflictError, ErrorDetails, NotFoundError
from turnout.v1 import admin_pb2 as pb
from turnout_server.core.events import EventName
from turnout_server.core.model import Target

GENEROUS_SECONDS = 60
# One model at two endpoints, and one whose own name has the sign of an endpoint.
TARGETS = (
    Target("alpha", "large", "eu"),
    Target("alpha", "large", "us"),
    Target("alpha", "large@2024"),
    Target("alpha", "small", "eu"),
    Target("beta", "large"),
)
WORLD = tuple(dataclasses.replace(SPECS[0], target=target, name=str(target)) for target in TARGETS)
Method = Callable[..., Awaitable[Any]]


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    async with running(specs=WORLD) as started:
        yield started


@pytest.fixture(params=["blocking", "asyncio"])
async def do(request: pytest.FixtureRequest, sidecar: Sidecar) -> AsyncIterator[Method]:
    """Calls a method of either client by its name."""
    if request.param == "asyncio":
        async with AsyncClient(sidecar.bound.address) as client:
            yield lambda method, *args: getattr(client, method)(*args, timeout_seconds=GENEROUS_SECONDS)
        return
    with Client(sidecar.bound.address) as blocking:
        yield lambda method, *args: asyncio.to_thread(
            getattr(blocking, method), *args, timeout_seconds=GENEROUS_SECONDS
        )


def drained(sidecar: Sidecar) -> list[str]:
    return [str(target.spec.target) for target in sidecar.router.state.targets if target.drained]


async def test_a_model_means_all_of_its_endpoints_and_a_target_one(sidecar: Sidecar, do: Method) -> None:
    provider = await do("drain", "alpha/large")
    model = drained(sidecar)
    await do("undrain", "alpha/large@us")
    one_less = drained(sidecar)
    await do("drain", "alpha/large@2024")
    await do("undrain", "alpha/large")

    assert provider.provider == "alpha"
    assert list(provider.drained_targets) == model == ["alpha/large@eu", "alpha/large@us"]
    assert one_less == ["alpha/large@eu"]
    assert drained(sidecar) == ["alpha/large@2024"]


async def test_a_provider_is_drained_and_undrained_whole(sidecar: Sidecar, do: Method) -> None:
    await do("drain", "beta/large")
    assert (await do("drain", "alpha")).drained
    whole = drained(sidecar)
    assert not (await do("undrain", "alpha")).drained

    assert whole == [str(target) for target in TARGETS]
    assert drained(sidecar) == ["beta/large"]


async def test_reset_returns_what_was_reset(sidecar: Sidecar, do: Method) -> None:
    for name, wanted in (
        ("alpha/large@us", ["alpha/large@us"]),
        ("alpha/large", ["alpha/large@eu", "alpha/large@us"]),
        ("alpha/large@2024", ["alpha/large@2024"]),
        ("beta", ["beta/large"]),
    ):
        assert [target_name(each) for each in await do("reset_health", name)] == wanted
    assert [target_name(each) for each in await do("reset_health")] == [str(target) for target in TARGETS]
    assert len([event for event in sidecar.events if event.name is EventName.HEALTH_RESET]) == 5


@pytest.mark.parametrize("method", ["drain", "undrain", "reset_health"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [("gamma", "UNKNOWN_PROVIDER"), ("alpha/medium", "UNKNOWN_TARGET"), ("alpha/large@ue", "UNKNOWN_TARGET")],
)
async def test_a_name_of_nothing_is_not_found(
    sidecar: Sidecar, do: Method, method: str, name: str, reason: str
) -> None:
    await do("drain", "alpha/small@eu")
    with pytest.raises(NotFoundError) as caught:
        await do(method, name)

    assert caught.value.reason == reason
    assert drained(sidecar) == ["alpha/small@eu"]


async def test_what_is_not_drained_is_undrained_without_a_change(sidecar: Sidecar, do: Method) -> None:
    assert (await do("undrain", "alpha/large@us")).provider == "alpha"
    assert (await do("undrain", "alpha")).provider == "alpha"
    assert not sidecar.events


@pytest.mark.parametrize("name", ["", "/large"])
async def test_no_name_is_a_mistake_of_the_caller(do: Method, name: str) -> None:
    with pytest.raises(ValueError, match='give "provider"'):
        await do("drain", name)


async def test_of_changes_at_the_same_time_none_is_lost(sidecar: Sidecar, do: Method) -> None:
    names = [str(target) for target in TARGETS[:4]]
    await asyncio.gather(*(do("drain", name) for name in names))
    all_drained = drained(sidecar)
    await asyncio.gather(*(do("undrain", name) for name in names[1:]))

    assert all_drained == names
    assert drained(sidecar) == names[:1]


async def test_somebody_who_is_always_faster_ends_the_tries(
    sidecar: Sidecar, do: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[str] = []
    changed = sidecar.router.administration.__class__.change_drains

    def overtaken(self: Any, name: str, wanted: Any, *, etag: str = "", by: str) -> Any:
        if etag:
            # Somebody else has been here between reading and changing.
            changes.append(etag)
            other = TARGETS[3] if len(changes) % 2 else TARGETS[2]
            changed(self, name, wanted._replace(targets=frozenset({other})), by="somebody else")
        return changed(self, name, wanted, etag=etag, by=by)

    monkeypatch.setattr(sidecar.router.administration.__class__, "change_drains", overtaken)
    with pytest.raises(ConflictError) as caught:
        await do("drain", "alpha/large@us")

    assert caught.value.reason == "STALE_ETAG"
    assert len(changes) == 10
    assert "alpha/large@us" not in drained(sidecar)


def test_an_error_of_another_kind_is_not_taken_for_a_stale_one() -> None:
    from turnout import administration  # noqa: PLC0415 - what clients load when they need it

    assert administration.is_stale(ConflictError("x", ErrorDetails(reason="STALE_ETAG")))
    assert not administration.is_stale(ConflictError("x", ErrorDetails(reason="STALE_CHECKPOINT")))
    assert administration.targets_request(pb.RegisteredProvider(provider="a"), "a/m", drained=False) is None
