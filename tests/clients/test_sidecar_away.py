"""An application goes on without its sidecar, and finds back to it: both clients against a real one that is killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.driving import AsyncDriver, BlockingDriver, Driver
from tests.clients.restartable_sidecar import RestartableSidecar, restartable_sidecar
from turnout import AsyncClient, Client
from turnout.attempt import PlanAttempt

GENEROUS_SECONDS = 60.0


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RestartableSidecar]:
    with restartable_sidecar(tmp_path) as sidecar:
        yield sidecar


@pytest.fixture(params=["blocking", pytest.param("asyncio", marks=pytest.mark.full)])
async def client(request: pytest.FixtureRequest, real: RestartableSidecar) -> AsyncIterator[Driver]:
    driver: Driver
    if request.param == "blocking":
        driver = BlockingDriver(Client(real.address))
    else:
        driver = AsyncDriver(AsyncClient(real.address))
    yield driver
    await driver.close()


def own_call(attempt: PlanAttempt) -> str:
    """Calls the target as an application would."""
    path = "/messages" if attempt.wire == "anthropic" else "/chat/completions"
    body = {"model": attempt.model, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"anthropic-version": "2023-06-01"}
    answer = httpx.post(attempt.base_url + path, json=body, headers=headers, trust_env=False, timeout=30)
    answer.raise_for_status()
    attempt.usage(input_tokens=5, output_tokens=6)
    return attempt.target


async def until_fresh(client: Driver) -> None:
    """Waits until the sidecar answers again."""
    async with asyncio.timeout(GENEROUS_SECONDS):
        while (await client.plan(task="chat")).stale:  # noqa: ASYNC110 - the pace at which an application asks
            await asyncio.sleep(0.05)


async def test_plans_that_are_used_again_cost_the_sidecar_nothing(real: RestartableSidecar, client: Driver) -> None:
    real.start()

    called = {await client.call(own_call, task="chat") for _ in range(20)}

    assert called == {"north/m"}
    assert real.decision_count() == 1
    assert await client.flush(GENEROUS_SECONDS)
    (state, _) = (await client.status()).providers
    assert state.request_count == 20


async def test_a_failing_target_is_left_within_one_outcome(real: RestartableSidecar, client: Driver) -> None:
    real.start()
    for _ in range(3):
        await client.call(own_call, task="chat")
    real.fault("north", kind="error", status=429, retry_after_seconds=600)

    # The call that meets the failure goes on to the next target, and those after it never try the first.
    called = await client.call(own_call, task="chat")
    plans = [await client.plan(task="chat") for _ in range(3)]

    assert called == "south/m"
    assert [[candidate.target.provider for candidate in plan.candidates] for plan in plans] == [["south"]] * 3
    assert real.decision_count() == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_calls_go_on_without_the_sidecar_and_it_learns_of_them_when_it_is_back(
    real: RestartableSidecar, client: Driver, how: signal.Signals
) -> None:
    real.start()
    # A kept plan would outlast the sidecar, so each call wants another number of tokens.
    await client.call(own_call, task="chat", input_tokens=1)
    assert await client.flush(GENEROUS_SECONDS)
    real.kill(how)

    real.fault("north", kind="error", status=500)
    called = [await client.call(own_call, task="chat", input_tokens=2 + n) for n in range(3)]
    stale = await client.plan(task="chat", input_tokens=10)

    assert called == ["south/m"] * 3
    assert stale.stale
    # What was seen to fail goes last.
    assert [candidate.target.provider for candidate in stale.candidates] == ["south", "north"]
    assert client.pending_count() == 4
    assert client.unreported_count() == 0

    real.fault("north")
    real.start()
    await until_fresh(client)
    assert await client.flush(GENEROUS_SECONDS)

    counts = {state.provider: state.request_count for state in (await client.status()).providers}
    assert counts == {"north": 1, "south": 3}
    assert client.unreported_count() == 0


async def test_a_static_order_serves_an_application_that_starts_before_its_sidecar(real: RestartableSidecar) -> None:
    async with AsyncClient(real.address, fallback=["south/m", "north/m"]) as client:
        called = []

        async def call(attempt: PlanAttempt) -> None:
            called.append((attempt.target, attempt.base_url))
            if attempt.provider == "south":
                raise ConnectionRefusedError

        await client.call(call, task="chat")
        before = await client.plan(task="chat")
        real.start()
        async with asyncio.timeout(GENEROUS_SECONDS):
            while (await client.plan(task="chat")).stale:  # noqa: ASYNC110 - the pace at which an application asks
                await asyncio.sleep(0.05)
        assert await client.flush(GENEROUS_SECONDS)
        counts = {state.provider: state.request_count for state in (await client.status()).providers}

    # Where a target is called is the application's own knowledge then.
    assert called == [("south/m", ""), ("north/m", "")]
    assert before.stale
    assert before.decision_id == ""
    assert counts == {"north": 1, "south": 1}
