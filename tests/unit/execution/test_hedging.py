"""Hedging over whole calls: when a second target is asked, which one, how often, and what the caller sees."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from tests.unit.execution.hedged import HEDGING, LATE, QUICK, SLOW, SOON, busy, drained, execute, hedged, suspect, told
from tests.unit.execution.scripted import HEAD, SILENCE, World, answer, asking, chat, fail, spec, text, words_of
from tests.virtual_time import in_virtual_time
from turnout_server.core.call import AttemptDeltas, AttemptRecord, AttemptStarted, CallEvent, Completed
from turnout_server.core.chat import Finished
from turnout_server.core.events import EventName
from turnout_server.core.hedging import HedgeResult
from turnout_server.core.model import Caller, Capability, FailureKind, FinishReason, Priority, ReasoningEffort
from turnout_server.core.settings import FailoverSettings, Limits, Policy
from turnout_server.ports import UpstreamEvent

K = FailureKind


def kinds(events: list[CallEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


@in_virtual_time
async def test_second_is_asked_when_the_first_is_late_and_its_answer_counts() -> None:
    world = hedged(SLOW, QUICK)
    result = await world.executor.execute(asking(), chat())

    assert words_of_result(result) == "quick"
    assert str(result.target) == "b/m"
    assert told(result.attempts) == [("a/m", K.CANCELLED, False), ("b/m", None, True)]
    first, second = world.upstream.played
    assert second.began_at == SOON
    assert first.closed_at == pytest.approx(LATE + 0.5, abs=0.001)
    assert world.now == pytest.approx(LATE + 0.5, abs=0.001)


def words_of_result(result: object) -> str:
    return "".join(part.content.text for part in result.output.parts)  # type: ignore[attr-defined]  # a CallResult


@in_virtual_time
async def test_first_whose_content_comes_first_after_all_keeps_the_call() -> None:
    world = hedged(answer("slow", first_after=1.8), QUICK)
    result = await world.executor.execute(asking(), chat())

    assert words_of_result(result) == "slow"
    assert told(result.attempts) == [("b/m", K.CANCELLED, True), ("a/m", None, False)]
    assert [played.closed_at for played in world.upstream.played] == [pytest.approx(1.8)] * 2


@in_virtual_time
async def test_first_that_begins_in_time_is_alone() -> None:
    world = hedged(answer("fine", first_after=1.4), QUICK)

    assert told(await execute(world)) == [("a/m", None, False)]
    assert world.names() == ["a/m"]


@in_virtual_time
async def test_with_twenty_first_tokens_measured_it_is_late_after_their_95th_percentile() -> None:
    world = World({"a/m": [*[answer("fine", first_after=0.2)] * 20, SLOW], "b/m": [QUICK]}, policy=HEDGING)
    for _ in range(20):
        await execute(world)
    began_at = world.now
    attempts = await execute(world)

    assert told(attempts)[-1] == ("b/m", None, True)
    assert world.upstream.played[-1].began_at - began_at == pytest.approx(0.2, abs=0.001)
    assert attempts[-1].retry_reason == ("hedge: a/m had no content within 0.2 s, the p95 of its time to first token")


@pytest.mark.parametrize(
    ("policy", "options", "calls"),
    [
        (Policy(), {}, 1),
        (Policy(), {"hedge": True}, 2),
        (HEDGING, {"hedge": False}, 1),
        (HEDGING, {"priority": Priority.LOW}, 1),
        (HEDGING, {"priority": Priority.HIGH}, 2),
        (HEDGING, {"allow_fallback": False}, 1),
        (HEDGING, {"force_target": "a/m"}, 1),
    ],
)
@in_virtual_time
async def test_who_is_hedged(policy: Policy, options: dict[str, object], calls: int) -> None:
    world = hedged(SLOW, QUICK, policy=policy)
    await execute(world, asking(**options))  # type: ignore[arg-type]  # options of a request

    assert len(world.names()) == calls
    assert len(world.instruments.hedges) == calls - 1


@in_virtual_time
async def test_what_would_be_asked_without_streaming_is_streamed_so_that_lateness_shows() -> None:
    world = hedged(SLOW, QUICK)
    await world.executor.execute(asking(), chat(max_output_tokens=10))

    assert [played.streaming for played in world.upstream.played] == [True, True]


@in_virtual_time
async def test_target_that_cannot_stream_is_late_after_one_and_a_half_times_the_whole() -> None:
    whole = spec("a/m", capabilities=frozenset(), seconds_per_output_token_prior=0.02)
    world = World({whole: [answer("slow", first_after=30.0)], "b/m": [QUICK]}, policy=HEDGING)
    await world.executor.execute(asking(), chat(max_output_tokens=100))

    assert [played.streaming for played in world.upstream.played] == [False, True]
    assert world.upstream.played[1].began_at == pytest.approx(1.5 * 3.0, abs=0.01)


@pytest.mark.parametrize("effort", [ReasoningEffort.HIGH, None])
@in_virtual_time
async def test_thinking_is_no_lateness_until_it_was_measured(effort: ReasoningEffort | None) -> None:
    capabilities = frozenset({Capability.STREAMING, Capability.THINKING})
    thinker = spec("a/m", silent_thinking=effort is None, capabilities=capabilities)
    world = World({thinker: [SLOW], "b/m": [QUICK]}, policy=HEDGING)
    await world.executor.execute(asking(), chat(reasoning_effort=effort))

    assert world.names() == ["a/m"]


@in_virtual_time
async def test_content_that_has_begun_is_never_hedged() -> None:
    world = hedged([HEAD_AND_WORD, 8.0, [Finished(reason=FinishReason.STOP)]], QUICK)

    assert told(await execute(world)) == [("a/m", None, False)]


HEAD_AND_WORD: Sequence[UpstreamEvent] = [HEAD, text("word")]


@in_virtual_time
async def test_attempt_after_a_failover_is_hedged_too() -> None:
    world = hedged([fail(K.OVERLOADED)], [SILENCE], [3.0, fail(K.OVERLOADED)], SLOW)
    attempts = await execute(world)

    assert told(attempts) == [
        ("a/m", K.OVERLOADED, False),
        ("c/m", K.OVERLOADED, True),
        ("b/m", K.TIMEOUT, False),
        ("d/m", None, False),
    ]


@in_virtual_time
async def test_no_call_is_hedged_twice() -> None:
    world = busy(hedged([2.0, fail(K.OVERLOADED)], [0.2, fail(K.OVERLOADED)], SLOW, QUICK))

    assert told(await execute(world)) == [
        ("b/m", K.OVERLOADED, True),
        ("a/m", K.OVERLOADED, False),
        ("c/m", None, False),
    ]


@in_virtual_time
async def test_where_both_have_content_at_once_the_first_keeps_the_call() -> None:
    world = hedged([SILENCE], QUICK)
    await execute(world)
    late = world.upstream.played[1].began_at
    world = hedged(answer("both", first_after=late + 0.5), QUICK)

    assert told(await execute(world)) == [("b/m", K.CANCELLED, True), ("a/m", None, False)]


def half_open(world: World) -> None:
    gate = world.router.state.targets[1].breaker
    gate._open(K.SERVER_ERROR, world.now, busy=False)
    gate.reopen_at = world.now


def ramping(world: World) -> None:
    gate = world.router.state.targets[1].breaker
    gate._open(K.SERVER_ERROR, world.now, busy=True)
    gate._opened_at, gate._closed_at = None, world.now


@pytest.mark.parametrize("trouble", [half_open, ramping, suspect, drained])
@in_virtual_time
async def test_nobody_is_asked_as_the_second_who_is_not_known_to_be_well(trouble: object) -> None:
    world = hedged(SLOW, QUICK)
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(1.0)
    trouble(world)  # type: ignore[operator]  # one of those above
    result = await call

    assert told(result.attempts) == [("a/m", None, False)]
    assert world.instruments.hedges == [("a/m", HedgeResult.NOBODY)]


@in_virtual_time
async def test_next_best_is_asked_where_the_best_other_is_not_known_to_be_well() -> None:
    world = hedged(SLOW, QUICK, QUICK)
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(1.0)
    suspect(world)
    result = await call

    assert told(result.attempts) == [("a/m", K.CANCELLED, False), ("c/m", None, True)]


@in_virtual_time
async def test_full_target_gets_no_hedge() -> None:
    full = spec("b/m", max_concurrency=1)
    world = World({"a/m": [SLOW], full: [answer("busy", first_after=9.0)]}, policy=HEDGING)
    busy = asyncio.create_task(execute(world, asking(force_target="b/m")))
    await asyncio.sleep(0)
    attempts = await execute(world)

    assert told(attempts) == [("a/m", None, False)]
    await busy


@in_virtual_time
async def test_another_provider_is_asked_before_another_model_of_the_late_one() -> None:
    world = World({"a/m": [SLOW], "a/n": [QUICK], "b/m": [QUICK]}, policy=HEDGING)

    assert told(await execute(world))[-1] == ("b/m", None, True)


@in_virtual_time
async def test_stream_tells_of_both_attempts_and_brings_the_winners_pieces_only() -> None:
    world = hedged(SLOW, answer("Hel", "lo"))
    events = await world.stream()
    first, second = (event for event in events if isinstance(event, AttemptStarted))
    deltas = [event for event in events if isinstance(event, AttemptDeltas)]
    completed = events[-1]

    assert kinds(events) == [
        "Decision",
        "AttemptStarted",
        "AttemptStarted",
        "AttemptDeltas",
        "AttemptDeltas",
        "Completed",
    ]
    assert (first.hedge, second.hedge) == (False, True)
    assert {event.attempt_id for event in deltas} == {second.attempt_id}
    assert words_of([delta for event in deltas for delta in event.deltas]) == "Hello"
    assert isinstance(completed, Completed)
    assert str(completed.target) == "b/m"
    assert told(completed.attempts) == [("a/m", K.CANCELLED, False), ("b/m", None, True)]


@in_virtual_time
async def test_pieces_of_a_first_that_wins_carry_its_own_id() -> None:
    world = hedged(answer("slow", first_after=1.8), QUICK)
    events = await world.stream()
    first = next(event for event in events if isinstance(event, AttemptStarted))

    assert [event.attempt_id for event in events if isinstance(event, AttemptDeltas)] == [first.attempt_id]


@in_virtual_time
async def test_second_is_not_sent_where_the_first_began_while_the_caller_was_told_of_it() -> None:
    world = hedged(answer("slow", first_after=1.8), QUICK)
    events = []
    async with aclosing(world.executor.execute_stream(asking(), chat())) as stream:
        async for event in stream:
            events.append(event)
            if isinstance(event, AttemptStarted) and event.hedge:
                await asyncio.sleep(2.0)
    completed = events[-1]
    assert isinstance(completed, Completed)
    unsent = completed.attempts[0]

    assert world.names() == ["a/m"]
    assert told(completed.attempts) == [("b/m", K.CANCELLED, True), ("a/m", None, False)]
    assert (unsent.cost_nano_usd, unsent.possibly_billed) == (0, False)


@in_virtual_time
async def test_second_is_sent_where_the_first_failed_while_the_caller_was_told_of_it() -> None:
    world = hedged([1.8, fail(K.OVERLOADED)], QUICK)
    async with aclosing(world.executor.execute_stream(asking(), chat())) as stream:
        async for event in stream:
            if isinstance(event, AttemptStarted) and event.hedge:
                await asyncio.sleep(2.0)

    assert isinstance(event, Completed)
    assert told(event.attempts) == [("a/m", K.OVERLOADED, False), ("b/m", None, True)]


@in_virtual_time
async def test_of_two_thousand_calls_at_most_five_in_a_hundred_are_hedged() -> None:
    # Each is slower than those whose end is known: whatever was measured, it is late.
    worse = [answer("slow", first_after=1.6 + 0.005 * n) for n in range(2000)]
    world = World({"a/m": worse, "b/m": [QUICK]}, policy=HEDGING)
    calls: list[asyncio.Task[tuple[AttemptRecord, ...]]] = []
    for _ in range(2000):
        calls.append(asyncio.create_task(execute(world)))
        await asyncio.sleep(0.05)
    answered = await asyncio.gather(*calls)
    hedges = sum(any(attempt.hedge for attempt in attempts) for attempts in answered)

    assert 60 <= hedges <= 100
    assert [event.name for event in world.events].count(EventName.HEDGED) == hedges


@in_virtual_time
async def test_hedges_come_out_of_the_retry_budget() -> None:
    world = hedged(SLOW, QUICK, failover=FailoverSettings(retry_budget_floor=0, retry_budget_ratio=0.0))

    assert told(await execute(world)) == [("a/m", None, False)]
    assert world.instruments.hedges == [("a/m", HedgeResult.NOT_ALLOWED)]


@in_virtual_time
async def test_hedge_leaves_one_retry_less() -> None:
    world = hedged(SLOW, QUICK)
    before = world.router.state.retry_budget.remaining(world.now)
    await execute(world)

    assert before - world.router.state.retry_budget.remaining(world.now) == 1


@in_virtual_time
async def test_calls_that_are_not_hedged_give_no_room_to_those_that_are() -> None:
    world = hedged(SLOW, QUICK)
    await asyncio.gather(*(execute(world, asking(hedge=hedge)) for hedge in [*[False] * 40, *[True] * 3]))

    assert [result for _, result in world.instruments.hedges].count(HedgeResult.WON) == 1


@in_virtual_time
async def test_call_with_one_attempt_is_not_hedged() -> None:
    world = hedged(SLOW, QUICK, failover=FailoverSettings(max_attempts=1))

    assert told(await execute(world)) == [("a/m", None, False)]


@in_virtual_time
async def test_trial_of_a_half_open_first_is_hedged_by_its_prediction() -> None:
    world = World({"a/m": [*[answer("fine", first_after=0.2)] * 20, SLOW], "b/m": [QUICK]}, policy=HEDGING)
    for _ in range(20):
        await execute(world)
    gate = world.router.state.targets[0].breaker
    gate._open(K.SERVER_ERROR, world.now, busy=False)
    gate.reopen_at = world.now
    attempts = await execute(world, replace(asking(), request_id="trial"))

    assert told(attempts) == [("a/m", K.CANCELLED, False), ("b/m", None, True)]
    assert attempts[-1].retry_reason.endswith("1.5 times the time predicted")


@pytest.mark.parametrize(("limit_usd", "calls"), [(0.0029, 1), (0.003, 2)])
@pytest.mark.parametrize("whose", ["request", "policy", "tier"])
@in_virtual_time
async def test_both_together_can_cost_no_more_than_one_request_may(whose: str, limit_usd: float, calls: int) -> None:
    limits = Limits(max_cost_usd=limit_usd if whose == "policy" else None)
    world = hedged(SLOW, QUICK, policy=Policy(hedge=True, limits=limits))
    if whose == "tier":
        routing = replace(world.router.configured.settings.routing, tiers={"small": limit_usd})
        world.router.adopt(world.fleet, replace(world.router.configured.settings, routing=routing))
    query = asking(max_cost_usd=limit_usd if whose == "request" else None)
    caller = Caller(tier="small" if whose == "tier" else "")
    # The first may cost 0.002067 USD, and an answer of the 400 tokens that are expected 0.000867.
    result = await world.executor.execute(replace(query, caller=caller), chat(max_output_tokens=1000))

    assert len(result.attempts) == calls
    assert [played.call.max_output_tokens for played in world.upstream.played] == [1000, 433][:calls]
