"""Hedged calls in which something fails: who goes on, who is asked next, and what ends the call."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.execution.hedged import HEDGING, LATE, QUICK, SLOW, busy, drained, execute, hedged, in_flight, told
from tests.unit.execution.scripted import Script, World, answer, asking, chat, fail, refused, text
from tests.virtual_time import in_virtual_time
from turnout_server.core.call import AttemptStarted, Completed, Restarted
from turnout_server.core.errors import AllAttemptsRefusedError, ContentFilteredError, StreamInterruptedError
from turnout_server.core.fleet import Fleet
from turnout_server.core.hedging import HedgeResult
from turnout_server.core.model import FailureKind, MidStreamPolicy
from turnout_server.core.settings import FailoverSettings, Policy

K = FailureKind


@pytest.mark.parametrize("failure", [K.SERVER_ERROR, K.OVERLOADED, K.RATE_LIMITED, K.AUTHENTICATION, K.CONTEXT_LENGTH])
@in_virtual_time
async def test_first_that_fails_leaves_the_call_to_the_second(failure: FailureKind) -> None:
    world = hedged([2.0, fail(failure)], answer("fine", first_after=3.0), QUICK)

    assert told(await execute(world)) == [("a/m", failure, False), ("b/m", None, True)]
    assert world.now == pytest.approx(LATE + 3.0, abs=0.001)


@in_virtual_time
async def test_second_that_fails_leaves_the_call_to_the_first() -> None:
    world = hedged(SLOW, [0.5, fail(K.SERVER_ERROR)], QUICK)

    assert told(await execute(world)) == [("b/m", K.SERVER_ERROR, True), ("a/m", None, False)]
    assert world.instruments.hedges == [("a/m", HedgeResult.FAILED)]


@in_virtual_time
async def test_when_both_fail_the_rest_is_asked() -> None:
    world = hedged([2.0, fail(K.OVERLOADED)], [2.0, fail(K.OVERLOADED)], QUICK)

    assert told(await execute(world)) == [
        ("a/m", K.OVERLOADED, False),
        ("b/m", K.OVERLOADED, True),
        ("c/m", None, False),
    ]
    assert world.instruments.hedges == [("a/m", HedgeResult.FAILED)]


@in_virtual_time
async def test_provider_that_was_removed_meanwhile_is_still_the_second_of_calls_from_before() -> None:
    world = hedged(SLOW, QUICK)
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(1.0)
    world.executor.adopt({"a": world.upstream})
    world.router.adopt(Fleet(world.fleet.specs[:1]), world.router.configured.settings)
    result = await call

    assert told(result.attempts) == [("a/m", K.CANCELLED, False), ("b/m", None, True)]
    assert in_flight(world) == 0


@in_virtual_time
async def test_answer_that_breaks_after_it_won_is_begun_anew_by_the_rest_and_then_by_the_one_let_go() -> None:
    broken: Script = [0.5, [text("half")], fail(K.TRUNCATED)]
    world = World({"a/m": [answer("slow", first_after=1.9), SLOW], "b/m": [broken], "c/m": [[fail(K.OVERLOADED)]]})
    attempts = await execute(world, asking(hedge=True))

    assert told(attempts) == [("b/m", K.CANCELLED, True), ("a/m", None, False)]

    world = World({"a/m": [SLOW], "b/m": [broken], "c/m": [[fail(K.OVERLOADED)]]})
    attempts = await execute(world, asking(hedge=True))

    assert told(attempts) == [
        ("a/m", K.CANCELLED, False),
        ("b/m", K.TRUNCATED, True),
        ("c/m", K.OVERLOADED, False),
        ("a/m", None, False),
    ]


@in_virtual_time
async def test_first_that_was_silent_is_not_asked_again() -> None:
    broken: Script = [2.0, [text("half")], fail(K.TRUNCATED)]
    world = World({"a/m": [SLOW], "b/m": [broken, QUICK]}, policy=HEDGING)
    attempts = await execute(world)

    assert told(attempts) == [("a/m", K.CANCELLED, False), ("b/m", K.TRUNCATED, True), ("b/m", None, False)]


@in_virtual_time
async def test_stream_whose_winner_breaks_fails_as_any_other() -> None:
    world = hedged(SLOW, [0.5, [text("half")], fail(K.TRUNCATED)], QUICK)
    with pytest.raises(StreamInterruptedError) as caught:
        await world.stream()

    assert caught.value.report.delivered_bytes == 4
    assert told(caught.value.report.attempts) == [("a/m", K.CANCELLED, False), ("b/m", K.TRUNCATED, True)]


@in_virtual_time
async def test_stream_whose_winner_breaks_is_restarted_on_the_rest_and_not_hedged_again() -> None:
    broken: Script = [0.5, [text("half")], fail(K.TRUNCATED)]
    world = busy(hedged(SLOW, broken, answer("whole", first_after=4.0), QUICK))
    events = await world.stream(asking(mid_stream=MidStreamPolicy.RESTART))
    started = [event for event in events if isinstance(event, AttemptStarted)]
    restarted = next(event for event in events if isinstance(event, Restarted))

    assert [str(event.target) for event in started] == ["a/m", "b/m", "c/m"]
    assert restarted.discarded_attempt_id == started[1].attempt_id
    assert isinstance(events[-1], Completed)


@in_virtual_time
async def test_refusal_by_the_first_ends_the_call_and_the_second_is_let_go() -> None:
    world = hedged([2.0, fail(K.CONTENT_FILTERED)], answer("routed around", first_after=3.0))
    with pytest.raises(ContentFilteredError) as caught:
        await execute(world)

    assert told(caught.value.report.attempts) == [("b/m", K.CANCELLED, True), ("a/m", K.CONTENT_FILTERED, False)]
    assert world.now == pytest.approx(2.0)
    assert all(played.closed_at == pytest.approx(2.0) for played in world.upstream.played)


@in_virtual_time
async def test_refusal_by_the_first_leaves_the_call_to_the_second_where_the_policy_says_so() -> None:
    policy = Policy(hedge=True, failover_on_refusal=True)
    world = hedged([2.0, fail(K.CONTENT_FILTERED)], answer("fine", first_after=3.0), policy=policy)

    assert told(await execute(world)) == [("a/m", K.CONTENT_FILTERED, False), ("b/m", None, True)]


@in_virtual_time
async def test_refusal_by_the_second_leaves_the_call_to_the_first() -> None:
    world = hedged(SLOW, [0.5, fail(K.CONTENT_FILTERED)], QUICK)

    assert told(await execute(world)) == [("b/m", K.CONTENT_FILTERED, True), ("a/m", None, False)]


@in_virtual_time
async def test_refusal_by_the_second_is_not_routed_around_when_the_first_fails_too() -> None:
    world = hedged([5.0, fail(K.OVERLOADED)], [0.5, fail(K.CONTENT_FILTERED)], QUICK)
    with pytest.raises(ContentFilteredError) as caught:
        await execute(world)

    assert told(caught.value.report.attempts) == [("a/m", K.OVERLOADED, False), ("b/m", K.CONTENT_FILTERED, True)]
    assert "b/m answered CONTENT_FILTERED" in str(caught.value)
    assert in_flight(world) == 0


@in_virtual_time
async def test_key_that_was_refused_is_not_used_for_the_hedge() -> None:
    world = World({"a/m": [[1.0, refused(K.AUTHENTICATION)]], "a/n": [SLOW], "b/m": [QUICK]}, policy=HEDGING)

    assert told(await execute(world))[-1] == ("b/m", None, False)


@in_virtual_time
async def test_call_of_which_both_were_refused_is_told_the_shorter_wait_that_they_asked_for() -> None:
    scripts: list[Script] = [[2.0, refused(K.OVERLOADED, retry_after_seconds=seconds)] for seconds in (9.0, 30.0)]
    world = hedged(*scripts, failover=FailoverSettings(max_attempts=2))
    with pytest.raises(AllAttemptsRefusedError) as caught:
        await execute(world)

    assert len(caught.value.report.attempts) == 2
    assert caught.value.retry_after_seconds == 9.0


@in_virtual_time
async def test_restarted_stream_is_not_hedged_since_its_caller_has_seen_content() -> None:
    world = hedged([[text("half")], fail(K.TRUNCATED)], answer("whole", first_after=4.0), QUICK)
    await world.stream(asking(mid_stream=MidStreamPolicy.RESTART))

    assert world.names() == ["a/m", "b/m"]


@in_virtual_time
async def test_what_was_in_the_way_of_a_hedge_is_not_told_as_a_reason_for_how_the_call_ended() -> None:
    world = hedged([1.8, [text("half")], fail(K.TRUNCATED)], QUICK)
    call = asyncio.create_task(world.stream())
    await asyncio.sleep(1.0)
    drained(world)
    with pytest.raises(StreamInterruptedError) as caught:
        await call

    assert world.instruments.hedges == [("a/m", HedgeResult.NOBODY)]
    assert list(caught.value.report.rejections) == []
