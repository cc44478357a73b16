"""A provider that falls silent under load: everybody is saved by the healthy one, and nobody waits for its trial."""

import asyncio

import pytest

from tests.unit.execution.scripted import SILENCE, Script, World, answer, asking, chat, fail, spec
from tests.virtual_time import in_virtual_time
from turnout_server.core.call import CallEvent, Completed
from turnout_server.core.errors import AttemptsExhaustedError, TurnoutError
from turnout_server.core.model import BreakerState, FailureKind, Priority, Usage
from turnout_server.core.tokens import OUTPUT_TOKENS

SILENT: Script = [SILENCE]


def breaker_state(world: World, index: int = 0) -> BreakerState:
    return world.router.state.targets[index].breaker.state(world.now)


@pytest.mark.full
@in_virtual_time
async def test_thousand_streams_caught_by_one_silent_provider_are_all_answered_by_the_healthy_one() -> None:
    world = World({"silent/m": [SILENT], "healthy/m": [answer("fine")]})
    results: list[list[CallEvent]] = await asyncio.gather(*(world.stream() for _ in range(1000)))

    completed = [events[-1] for events in results if isinstance(events[-1], Completed)]
    assert len(completed) == 1000
    assert {str(event.target) for event in completed} == {"healthy/m"}
    assert world.names().count("silent/m") <= 1000
    assert world.now == pytest.approx(10.5)


@in_virtual_time
async def test_thousand_unary_calls_caught_by_one_silent_provider_are_all_answered_by_the_healthy_one() -> None:
    world = World({"silent/m": [SILENT], "healthy/m": [answer("fine")]})
    results = await asyncio.gather(*(world.executor.execute(asking(), chat()) for _ in range(1000)))

    assert {str(result.target) for result in results} == {"healthy/m"}


@in_virtual_time
async def test_thousand_calls_with_little_time_are_saved_by_the_60_percent_rule() -> None:
    world = World({"silent/m": [SILENT], "healthy/m": [answer("fine")]})
    results = await asyncio.gather(*(world.executor.execute(asking(deadline_seconds=4.0), chat()) for _ in range(1000)))

    assert {str(result.target) for result in results} == {"healthy/m"}
    assert world.now < 4.0


@in_virtual_time
async def test_calls_that_come_while_a_provider_is_silent_are_sent_elsewhere() -> None:
    world = World({"silent/m": [SILENT], "healthy/m": [answer("fine")]})

    async def call_at(seconds: float) -> None:
        await asyncio.sleep(seconds)
        await world.executor.execute(asking(), chat())

    await asyncio.gather(*(call_at(i * 0.1) for i in range(200)))

    assert world.names().count("silent/m") < 40


async def silenced(world: World) -> None:
    """Lets the first target time out often enough for its breaker to open."""
    for _ in range(3):
        await world.executor.execute(asking(), chat())
    assert breaker_state(world) is BreakerState.OPEN


@in_virtual_time
async def test_target_that_silence_closed_is_tried_off_the_callers_path() -> None:
    world = World({"a/m": [SILENT, SILENT, SILENT, answer("x")], "b/m": [answer("fine")]})
    await silenced(world)
    await asyncio.sleep(6.0)
    began = world.now
    result = await world.executor.execute(asking(), chat())
    await asyncio.sleep(1.0)
    trial = [played for played in world.upstream.played if played.name == "a/m"][3]

    assert str(result.target) == "b/m"
    assert len(result.attempts) == 1
    assert world.now - began == pytest.approx(1.5)
    assert trial.call.max_output_tokens == 1
    assert trial.began_at == began


@pytest.mark.parametrize("end", [answer("x"), [fail(FailureKind.INVALID_REQUEST)]], ids=["answer", "refusal"])
@in_virtual_time
async def test_trials_that_get_an_answer_bring_the_target_back(end: Script) -> None:
    world = World({"a/m": [SILENT, SILENT, SILENT, end, end, answer("x")], "b/m": [answer("fine")]})
    await silenced(world)
    await asyncio.sleep(6.0)
    # Two trials are needed, and one call is enough to have both made.
    await world.executor.execute(asking(), chat())
    await asyncio.sleep(2.0)

    assert breaker_state(world) is BreakerState.CLOSED
    assert str((await world.executor.execute(asking(), chat())).target) == "a/m"


@in_virtual_time
async def test_trial_that_meets_silence_keeps_the_target_closed_off_and_delays_nobody() -> None:
    world = World({"a/m": [SILENT], "b/m": [answer("fine")]})
    await silenced(world)
    await asyncio.sleep(6.0)
    began = world.now
    await world.executor.execute(asking(), chat())

    assert world.now - began == pytest.approx(0.5)
    await asyncio.sleep(11.0)
    assert breaker_state(world) is BreakerState.OPEN
    assert world.instruments.attempts[-1].failure is FailureKind.TIMEOUT


@in_virtual_time
async def test_one_trial_runs_at_a_time_however_many_calls_want_it() -> None:
    world = World({"a/m": [SILENT], "b/m": [answer("fine")]})
    await silenced(world)
    await asyncio.sleep(6.0)
    before = world.names().count("a/m")
    await asyncio.gather(*(world.executor.execute(asking(), chat()) for _ in range(50)))

    assert world.names().count("a/m") - before == 1


@in_virtual_time
async def test_only_target_is_tried_by_the_call_itself() -> None:
    world = World({"a/m": [SILENT, SILENT, SILENT, answer("back")]})
    for _ in range(3):
        with pytest.raises(AttemptsExhaustedError):
            await world.executor.execute(asking(), chat())
    await asyncio.sleep(6.0)
    result = await world.executor.execute(asking(), chat())

    assert str(result.target) == "a/m"


@in_virtual_time
async def test_second_call_is_told_to_wait_while_the_only_targets_trial_runs() -> None:
    world = World({"a/m": [SILENT, SILENT, SILENT, answer("back")]})
    for _ in range(3):
        with pytest.raises(AttemptsExhaustedError):
            await world.executor.execute(asking(), chat())
    await asyncio.sleep(6.0)
    results = await asyncio.gather(
        *(world.executor.execute(asking(priority=Priority.HIGH), chat()) for _ in range(5)), return_exceptions=True
    )

    assert sum(isinstance(result, TurnoutError) for result in results) == 4


@in_virtual_time
async def test_trials_end_with_the_executor() -> None:
    world = World({"a/m": [SILENT], spec("b/m"): [answer("fine")]})
    await silenced(world)
    await asyncio.sleep(6.0)
    await world.executor.execute(asking(), chat())
    before = world.now
    await world.executor.aclose()

    assert world.now == before
    assert world.upstream.played[-1].closed_at is not None or world.upstream.played[-2].closed_at is not None
    assert [target.in_flight for target in world.router.state.targets] == [0, 0]


@in_virtual_time
async def test_trial_off_the_callers_path_teaches_no_length_of_answers() -> None:
    one_token = answer("x", usage=Usage(input_tokens=8, output_tokens=1))
    world = World({"a/m": [SILENT, SILENT, SILENT, one_token], "b/m": [answer("fine")]})
    await silenced(world)
    await asyncio.sleep(6.0)
    await world.executor.execute(asking(), chat())
    await asyncio.sleep(1.0)

    assert "a/m" in world.names()[-2:]
    assert OUTPUT_TOKENS == world.router.state.lengths.expected("", "a", "m")
