"""What one failure says of others: of the models behind the same address, and of the region that vendors share."""

import asyncio

import pytest

from tests.unit.execution.scripted import World, answer, asking, chat, fail, spec
from tests.virtual_time import in_virtual_time
from turnout_server.core.model import FailureKind

K = FailureKind


@pytest.mark.parametrize(
    ("failure", "order"),
    [
        (K.OVERLOADED, ["a/m", "c/m"]),
        # A limit is the key's, not the region's.
        (K.RATE_LIMITED, ["a/m", "b/m"]),
    ],
)
@in_virtual_time
async def test_after_a_fault_of_the_target_another_region_is_asked_first(
    failure: FailureKind, order: list[str]
) -> None:
    world = World(
        {
            spec("a/m", region="us"): [[fail(failure)]],
            spec("b/m", region="us"): [answer("fine")],
            spec("c/m", region="eu"): [answer("fine")],
        }
    )
    await world.executor.execute(asking(), chat())

    assert world.names() == order


@in_virtual_time
async def test_quick_retry_is_made_by_the_first_call_only_that_cannot_connect() -> None:
    world = World({"a/m": [[0.9, fail(K.CONNECTION)]], "b/m": [answer("fine")]})
    calls = []
    for _ in range(2):
        calls.append(asyncio.create_task(world.executor.execute(asking(), chat())))
        await asyncio.sleep(0.5)
    await asyncio.gather(*calls)

    assert world.names() == ["a/m", "a/m", "a/m", "b/m", "b/m"]


@in_virtual_time
async def test_calls_after_a_failure_to_connect_go_elsewhere_although_no_breaker_is_open() -> None:
    world = World({"a/m": [[fail(K.CONNECTION)]], "b/m": [answer("fine")]})
    await world.executor.execute(asking(), chat())
    world.upstream.played.clear()
    await world.executor.execute(asking(), chat())

    assert world.router.state.targets[0].endpoint.closed
    assert world.names() == ["b/m"]
