"""What only the asyncio client has to do: tell the end of a call from the end of a task, and keep to its loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from tests.clients.scripted_sidecar import Hang, ScriptedSidecar, Serving
from turnout import AsyncClient
from turnout.errors import TransportError
from turnout.v1 import router_pb2 as pb

GENEROUS_SECONDS = 60.0
DECISION = pb.ExecuteStreamResponse(decision=pb.Decision(decision_id="d"))
TARGET = pb.Target(provider="openai", model="gpt")


@pytest.fixture
async def sidecar() -> AsyncIterator[ScriptedSidecar]:
    scripted = ScriptedSidecar()
    with Serving(scripted):
        yield scripted


async def arrived(sidecar: ScriptedSidecar) -> None:
    async with asyncio.timeout(GENEROUS_SECONDS):
        while not sidecar.calls:  # noqa: ASYNC110 - they come in threads of their own
            await asyncio.sleep(0.01)


async def execute(client: AsyncClient) -> None:
    await client.execute("Hi")


async def stream(client: AsyncClient) -> None:
    async with client.stream("Hi") as events:
        async for _ in events:
            pass


async def watch(client: AsyncClient) -> None:
    async for _ in client.watch_status():
        pass


CALLS = {"Execute": execute, "ExecuteStream": stream, "WatchProviderStatus": watch}
Calling = Callable[[AsyncClient], Coroutine[Any, Any, None]]


@pytest.mark.parametrize(("method", "call"), CALLS.items())
async def test_closing_the_client_is_an_error_of_its_calls_and_not_the_end_of_their_tasks(
    sidecar: ScriptedSidecar, method: str, call: Calling
) -> None:
    sidecar.will(method, Hang())
    client = AsyncClient(sidecar.address)
    calling = asyncio.create_task(call(client))
    await arrived(sidecar)

    await client.close()

    with pytest.raises(TransportError, match="closed"):
        await asyncio.wait_for(calling, GENEROUS_SECONDS)


@pytest.mark.parametrize(("method", "call"), CALLS.items())
async def test_a_task_that_is_cancelled_is_cancelled(sidecar: ScriptedSidecar, method: str, call: Calling) -> None:
    sidecar.will(method, Hang())
    async with AsyncClient(sidecar.address) as client:
        calling = asyncio.create_task(call(client))
        await arrived(sidecar)

        calling.cancel()

        await asyncio.wait({calling}, timeout=GENEROUS_SECONDS)
        assert calling.cancelled()
        assert await asyncio.to_thread(sidecar.ended.wait, GENEROUS_SECONDS)


async def test_another_task_can_end_a_stream_that_is_being_read(sidecar: ScriptedSidecar) -> None:
    sidecar.will("ExecuteStream", [DECISION, Hang()])
    first_seen = asyncio.Event()
    async with AsyncClient(sidecar.address) as client:
        events = client.stream("Hi")

        async def read() -> None:
            async for _ in events:
                first_seen.set()

        reading = asyncio.create_task(read())
        await first_seen.wait()
        await events.aclose()

        with pytest.raises(TransportError, match="closed"):
            await asyncio.wait_for(reading, GENEROUS_SECONDS)
        assert await asyncio.to_thread(sidecar.ended.wait, GENEROUS_SECONDS)


def test_another_loop_is_told_that_the_client_belongs_to_the_first(sidecar: ScriptedSidecar) -> None:
    sidecar.will("Route", *(pb.RouteResponse() for _ in range(2)))
    client = AsyncClient(sidecar.address)

    async def twice() -> None:
        await client.route()
        await client.route()

    asyncio.run(twice())
    with pytest.raises(RuntimeError, match="make one for each loop"):
        asyncio.run(twice())


async def test_a_loop_that_stood_still_has_its_plan_all_the_same(sidecar: ScriptedSidecar) -> None:
    response = pb.RouteResponse(decision=pb.Decision(decision_id="d", candidates=[pb.Candidate(target=TARGET)]))
    sidecar.will("Route", response, response)
    sidecar.will("ReportOutcome", Hang(), Hang(), Hang())
    async with AsyncClient(sidecar.address) as client:
        for attempt in await client.plan(task="chat"):
            with attempt:
                attempt.failed(pb.FAILURE_KIND_OVERLOADED)
            break
        # A second is what the next plan may take, for there is one to fall back on; the report has half of it.
        asyncio.get_running_loop().call_later(0.1, time.sleep, 1.5)

        plan = await client.plan(task="chat")

    assert plan.decision_id == "d"
