"""A caller who goes away: the provider's connection closes at once, and nothing is left behind."""

import asyncio

import pytest

from tests.unit.execution.scripted import SILENCE, World, answer, asking, chat, fail, refused, text
from tests.virtual_time import in_virtual_time
from turnout_server.core.call import AttemptDeltas, AttemptStarted, Restarted
from turnout_server.core.model import FailureKind, MidStreamPolicy


def in_flight(world: World) -> list[int]:
    return [target.in_flight for target in world.router.state.targets]


@in_virtual_time
async def test_cancelled_unary_call_closes_the_providers_connection() -> None:
    world = World({"a/m": [[SILENCE]]})
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(3.0)

    assert in_flight(world) == [1]
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert world.upstream.played[0].closed_at == 3.0
    assert in_flight(world) == [0]
    assert [FailureKind.CANCELLED] == [attempt.failure for attempt in world.instruments.attempts]


@in_virtual_time
async def test_cancelled_call_without_streaming_closes_the_providers_connection() -> None:
    world = World({"a/m": [[SILENCE]]})
    call = asyncio.create_task(world.executor.execute(asking(), chat(max_output_tokens=10)))
    await asyncio.sleep(3.0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert world.upstream.played[0].closed_at == 3.0
    assert in_flight(world) == [0]


@in_virtual_time
async def test_closing_a_stream_between_deltas_closes_the_providers_connection() -> None:
    world = World({"a/m": [[[text("a")], 1.0, [text("b")], SILENCE]]})
    events = world.executor.execute_stream(asking(), chat())
    async for event in events:
        if isinstance(event, AttemptDeltas):
            break
    await events.aclose()

    assert [FailureKind.CANCELLED] == [attempt.failure for attempt in world.instruments.attempts]
    assert world.upstream.played[0].closed_at == 0.0
    assert in_flight(world) == [0]


@in_virtual_time
async def test_closing_a_stream_before_anything_was_sent_bills_nothing() -> None:
    world = World({"a/m": [answer("fine")]})
    events = world.executor.execute_stream(asking(), chat())
    async for event in events:
        if isinstance(event, AttemptStarted):
            break
    await events.aclose()

    assert [] == world.names()
    assert in_flight(world) == [0]
    assert [(0, False)] == [(a.cost_nano_usd, a.possibly_billed) for a in world.instruments.attempts]


@in_virtual_time
async def test_closing_a_stream_after_the_decision_calls_nobody() -> None:
    world = World({"a/m": [answer("fine")]})
    events = world.executor.execute_stream(asking(), chat())
    await anext(events)
    await events.aclose()

    assert [] == world.names()
    assert in_flight(world) == [0]


@in_virtual_time
async def test_failed_attempt_closes_its_connection_before_the_next_begins() -> None:
    world = World({"a/m": [[SILENCE]], "b/m": [answer("fine")]})
    await world.stream()

    first, second = world.upstream.played
    assert first.closed_at == second.began_at == pytest.approx(10.0)


@in_virtual_time
async def test_cancelled_waiter_leaves_its_place_to_another() -> None:
    world = World({"a/m": [[refused(retry_after_seconds=5.0)], [refused(retry_after_seconds=5.0)], answer("fine")]})
    waiter = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(1.0)
    waiter.cancel()
    await asyncio.wait([waiter])

    assert not world.executor._waiting


@in_virtual_time
async def test_callers_going_away_are_not_held_against_the_target() -> None:
    world = World({"a/m": [[SILENCE]]})
    for _ in range(20):
        call = asyncio.create_task(world.executor.execute(asking(), chat()))
        await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.wait([call])

    assert world.router.state.targets[0].breaker.admits(world.now)


@in_virtual_time
async def test_caller_who_goes_away_at_a_restart_leaves_nothing_in_flight() -> None:
    world = World({"a/m": [[[text("a")], fail(FailureKind.TRUNCATED)]], "b/m": [answer("b")]})
    events = world.executor.execute_stream(asking(mid_stream=MidStreamPolicy.RESTART), chat())
    async for event in events:
        if isinstance(event, Restarted):
            break
    await events.aclose()

    assert in_flight(world) == [0, 0]
    assert world.names() == ["a/m"]


@in_virtual_time
async def test_fault_of_our_own_ends_the_attempt_and_is_not_hidden() -> None:
    class Broken:
        def stream(self, call: object) -> object:  # noqa: ARG002  # the port's name
            raise KeyError("bug")

        async def aclose(self) -> None:
            pass

    world = World({"a/m": [[fail(FailureKind.TIMEOUT)]]})
    world.executor.adopt({"a": Broken()})  # type: ignore[dict-item]  # a broken port
    with pytest.raises(KeyError):
        await world.executor.execute(asking(), chat())

    assert in_flight(world) == [0]
    assert [FailureKind.UNKNOWN] == [attempt.failure for attempt in world.instruments.attempts]
