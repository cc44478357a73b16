"""Deadlines, first-token limits and idle gaps, on a real loop whose clock jumps."""

import asyncio

import pytest

from tests.unit.execution.scripted import (
    HEAD,
    PING,
    SILENCE,
    Script,
    World,
    answer,
    asking,
    chat,
    fail,
    spec,
    text,
    thought,
)
from tests.virtual_time import in_virtual_time
from turnout_server.core.call import AttemptDeltas, AttemptStarted, Completed
from turnout_server.core.chat import Finished
from turnout_server.core.errors import AttemptsExhaustedError, DeadlineError, StreamInterruptedError
from turnout_server.core.model import BreakerState, FailureKind, FinishReason, Priority, ReasoningEffort
from turnout_server.core.settings import FailoverSettings

END = [Finished(reason=FinishReason.STOP)]


def failures(error: AttemptsExhaustedError | DeadlineError | StreamInterruptedError) -> list[FailureKind | None]:
    return [attempt.failure for attempt in error.report.attempts]


@in_virtual_time
async def test_silent_target_is_given_up_after_ten_seconds_and_the_next_answers() -> None:
    world = World({"a/m": [[SILENCE]], "b/m": [answer("fine")]})
    completed = (await world.stream())[-1]

    assert isinstance(completed, Completed)
    assert completed.attempts[0].failure is FailureKind.TIMEOUT
    assert completed.attempts[0].latency_seconds == pytest.approx(10.0)
    assert world.now == pytest.approx(10.5)


@in_virtual_time
async def test_slow_target_has_four_times_its_predicted_first_token() -> None:
    slow = spec("a/m", latency_prior_seconds=5.0)
    world = World({slow: [[19.0, [text("fine")], END]]})

    assert isinstance((await world.stream())[-1], Completed)


@pytest.mark.parametrize("silence", [179.0, 181.0])
@in_virtual_time
async def test_silent_thinker_has_180_seconds(silence: float) -> None:
    world = World({spec("a/m", silent_thinking=True): [[silence, [text("fine")], END]], "b/m": [answer("other")]})
    completed = (await world.stream(asking(deadline_seconds=600.0)))[-1]

    assert isinstance(completed, Completed)
    assert len(completed.attempts) == (1 if silence < 180 else 2)


@pytest.mark.parametrize(("effort", "attempts"), [(ReasoningEffort.HIGH, 1), (None, 2)])
@in_virtual_time
async def test_reasoning_effort_gives_180_seconds(effort: ReasoningEffort | None, attempts: int) -> None:
    world = World({"a/m": [[170.0, [text("fine")], END]], "b/m": [answer("other")]})
    completed = (await world.stream(asking(deadline_seconds=600.0), chat(reasoning_effort=effort)))[-1]

    assert isinstance(completed, Completed)
    assert attempts == len(completed.attempts)


@in_virtual_time
async def test_pings_and_role_chunks_do_not_put_off_the_limit_to_the_first_token() -> None:
    pings = [step for _ in range(30) for step in (1.0, [PING])]
    world = World({"a/m": [[[HEAD], *pings]], "b/m": [answer("fine")]})
    completed = (await world.stream())[-1]

    assert isinstance(completed, Completed)
    assert completed.attempts[0].failure is FailureKind.TIMEOUT
    assert completed.attempts[0].latency_seconds == pytest.approx(10.0)


@in_virtual_time
async def test_pings_reset_the_idle_gap() -> None:
    pings = [step for _ in range(10) for step in (19.0, [PING])]
    world = World({"a/m": [[[text("a")], *pings, [text("b")], END]]})

    assert isinstance((await world.stream())[-1], Completed)


@in_virtual_time
async def test_stream_that_falls_silent_for_20_seconds_is_stalled() -> None:
    world = World({"a/m": [[[text("a")], 5.0, [text("b")], SILENCE]]})
    with pytest.raises(StreamInterruptedError) as caught:
        await world.stream()

    assert failures(caught.value) == [FailureKind.STALLED]
    assert world.now == pytest.approx(25.0)


@in_virtual_time
async def test_silence_after_a_role_chunk_is_a_stall_before_the_first_token_is_due() -> None:
    slow = spec("a/m", latency_prior_seconds=30.0)
    world = World({slow: [[1.0, [HEAD, PING], SILENCE]], "b/m": [answer("fine")]})
    completed = (await world.stream(asking(priority=Priority.LOW)))[-1]

    assert isinstance(completed, Completed)
    assert completed.attempts[0].failure is FailureKind.STALLED
    assert completed.attempts[0].latency_seconds == pytest.approx(21.0)


@in_virtual_time
async def test_thinking_model_may_pause_for_180_seconds_until_its_answer_begins() -> None:
    world = World({"a/m": [[[thought("hm")], 170.0, [text("so")], END]]})

    assert isinstance((await world.stream(None, chat(reasoning_effort=ReasoningEffort.LOW)))[-1], Completed)


@in_virtual_time
async def test_thinking_model_may_pause_for_20_seconds_once_its_answer_has_begun() -> None:
    world = World({"a/m": [[[thought("hm")], [text("so")], 21.0, [text("late")], END]]})
    with pytest.raises(StreamInterruptedError) as caught:
        await world.stream(None, chat(reasoning_effort=ReasoningEffort.LOW))

    assert failures(caught.value) == [FailureKind.STALLED]


@in_virtual_time
async def test_silent_target_costs_60_percent_of_the_time_left_while_another_remains() -> None:
    world = World({"a/m": [[SILENCE]], "b/m": [[SILENCE]], "c/m": [answer("fine")]})
    completed = (await world.stream(asking(deadline_seconds=10.0)))[-1]

    assert isinstance(completed, Completed)
    assert [5.88, 2.352, 0.5] == pytest.approx([attempt.latency_seconds for attempt in completed.attempts])


@in_virtual_time
async def test_last_allowed_attempt_gets_all_the_time_that_is_left() -> None:
    world = World(
        {"a/m": [[SILENCE]], "b/m": [[3.5, [text("fine")], END]], "c/m": [answer("no")]},
        failover=FailoverSettings(max_attempts=2),
    )
    completed = (await world.stream(asking(deadline_seconds=10.0)))[-1]

    assert isinstance(completed, Completed)
    assert world.names() == ["a/m", "b/m"]


@in_virtual_time
async def test_last_candidate_gets_all_the_time_that_is_left() -> None:
    world = World({"a/m": [[8.0, [text("fine")], END]]})

    assert isinstance((await world.stream(asking(deadline_seconds=9.0)))[-1], Completed)


@in_virtual_time
async def test_call_ends_two_percent_before_the_callers_deadline() -> None:
    world = World({"a/m": [[SILENCE]]})
    with pytest.raises(DeadlineError) as caught:
        await world.stream(asking(deadline_seconds=5.0))

    assert world.now == pytest.approx(4.9)
    assert failures(caught.value) == [FailureKind.CANCELLED]


@in_virtual_time
async def test_call_ends_at_least_20_milliseconds_before_the_callers_deadline() -> None:
    world = World({spec("a/m", latency_prior_seconds=0.01): [[SILENCE]]})
    with pytest.raises(DeadlineError):
        await world.stream(asking(deadline_seconds=0.2))

    assert world.now == pytest.approx(0.18)


@in_virtual_time
async def test_call_without_a_deadline_has_600_seconds() -> None:
    words = [step for _ in range(1000) for step in ([text("word ")], 10.0)]
    world = World({"a/m": [words]})
    with pytest.raises(DeadlineError):
        await world.stream(asking(deadline_seconds=None))

    assert world.now == pytest.approx(588.0)


@in_virtual_time
async def test_target_given_up_for_the_others_before_it_was_late_is_not_blamed() -> None:
    slow = spec("a/m", latency_prior_seconds=8.0)
    world = World({slow: [[SILENCE]], "b/m": [answer("fine")]})
    for _ in range(5):
        completed = (await world.stream(asking(deadline_seconds=12.0, priority=Priority.LOW)))[-1]

        assert isinstance(completed, Completed)
        assert completed.attempts[0].failure is FailureKind.TIMEOUT

    assert world.router.state.targets[0].breaker.state(world.now) is BreakerState.CLOSED


@in_virtual_time
async def test_target_given_up_for_the_others_after_three_times_its_p95_is_blamed() -> None:
    world = World({"a/m": [[SILENCE]], "b/m": [answer("fine")]})
    for _ in range(3):
        await world.stream(asking(deadline_seconds=12.0))

    assert world.router.state.targets[0].breaker.state(world.now) is BreakerState.OPEN


@in_virtual_time
async def test_slow_caller_is_no_idle_provider() -> None:
    words = [[text("word ")] for _ in range(5)]
    world = World({"a/m": [[*words, END]]})
    seen = []
    async for event in world.executor.execute_stream(asking(deadline_seconds=3600.0), chat()):
        seen.append(event)
        if isinstance(event, AttemptDeltas):
            await asyncio.sleep(60.0)

    assert isinstance(seen[-1], Completed)


@in_virtual_time
async def test_caller_slow_to_take_the_attempts_announcement_costs_the_target_nothing() -> None:
    world = World({"a/m": [[9.0, [text("fine")], END]]})
    seen = []
    async for event in world.executor.execute_stream(asking(deadline_seconds=3600.0), chat()):
        seen.append(event)
        if isinstance(event, AttemptStarted):
            await asyncio.sleep(60.0)

    assert isinstance(seen[-1], Completed)
    assert seen[-1].attempts[0].latency_seconds == pytest.approx(9.0)


@in_virtual_time
async def test_slow_caller_slows_the_provider() -> None:
    words = [[text("word ")] for _ in range(50)]
    world = World({"a/m": [[*words, END]]})
    pulled = []
    async for event in world.executor.execute_stream(asking(), chat()):
        if isinstance(event, AttemptDeltas):
            pulled.append(world.upstream.pulled)
            await asyncio.sleep(1.0)

    assert list(range(1, 51)) == pulled


@pytest.mark.parametrize("script", [[SILENCE], [[HEAD, PING], SILENCE]], ids=["silence", "stall"])
@in_virtual_time
async def test_silent_target_is_never_tried_twice_in_a_call(script: Script) -> None:
    world = World({"a/m": [script]})
    with pytest.raises(AttemptsExhaustedError):
        await world.stream()

    assert ["a/m"] == world.names()


@in_virtual_time
async def test_target_that_was_silent_is_not_chosen_again_after_another_failed() -> None:
    world = World({"a/m": [[SILENCE]], "b/m": [[fail(FailureKind.OVERLOADED)]]})
    with pytest.raises(AttemptsExhaustedError):
        await world.stream()

    assert "a/m" not in world.names()[1:]


@in_virtual_time
async def test_operators_own_limits_hold() -> None:
    settings = FailoverSettings(first_token_timeout_seconds=3.0, idle_timeout_seconds=4.0)
    world = World({"a/m": [[SILENCE]], "b/m": [[[text("a")], SILENCE]]}, failover=settings)
    with pytest.raises(StreamInterruptedError):
        await world.stream()

    assert world.now == pytest.approx(7.0)
