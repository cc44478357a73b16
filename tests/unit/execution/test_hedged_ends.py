"""How hedged calls end otherwise, and what is told, kept and charged of both attempts."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.core.budgets import budget
from tests.unit.execution.hedged import LATE, QUICK, SLOW, Clinging, execute, hedged, in_flight, told
from tests.unit.execution.scripted import NOTHING, SILENCE, OwnTime, World, answer, asking, chat, text
from tests.virtual_time import in_virtual_time
from turnout_server.core.call import AttemptDeltas, AttemptStarted
from turnout_server.core.errors import DeadlineError
from turnout_server.core.events import EventName
from turnout_server.core.hedging import HedgeResult
from turnout_server.core.history import DecisionFilter
from turnout_server.core.model import FailureKind, UsageSource
from turnout_server.core.summaries import StatisticsQuery
from turnout_server.execution.attempt import CLOSE_SECONDS

K = FailureKind


@pytest.mark.parametrize("at", [1.0, LATE + 0.2])
@in_virtual_time
async def test_caller_who_goes_away_closes_both(at: float) -> None:
    world = hedged([SILENCE], [SILENCE])
    call = asyncio.create_task(world.executor.execute(asking(), chat()))
    await asyncio.sleep(at)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert [played.closed_at for played in world.upstream.played] == [at] * (1 if at < LATE else 2)
    assert {attempt.failure for attempt in world.instruments.attempts} == {K.CANCELLED}
    assert in_flight(world) == 0


@pytest.mark.parametrize("until", ["hedge", "deltas"])
@in_virtual_time
async def test_closing_a_stream_closes_both(until: str) -> None:
    world = hedged([SILENCE], [0.5, [text("word")], SILENCE])
    events = world.executor.execute_stream(asking(), chat())
    async for event in events:
        if isinstance(event, AttemptDeltas) or (isinstance(event, AttemptStarted) and event.hedge and until == "hedge"):
            break
    await events.aclose()

    assert all(played.closed_at is not None for played in world.upstream.played)
    assert [attempt.failure for attempt in world.instruments.attempts] == [K.CANCELLED] * 2
    assert in_flight(world) == 0


@in_virtual_time
async def test_deadline_holds_for_both() -> None:
    world = hedged([SILENCE], [SILENCE])
    with pytest.raises(DeadlineError) as caught:
        await execute(world, asking(deadline_seconds=4.0))

    assert world.now <= 4.0
    assert all(attempt.failure in {K.CANCELLED, K.TIMEOUT} for attempt in caught.value.report.attempts)
    assert [attempt.hedge for attempt in caught.value.report.attempts].count(True) == 1
    assert in_flight(world) == 0
    assert world.instruments.hedges == [("a/m", HedgeResult.DROPPED)]


@in_virtual_time
async def test_fault_of_our_own_ends_both_and_is_not_hidden() -> None:
    class Broken:
        def stream(self, call: object) -> object:  # noqa: ARG002  # the port's name
            raise KeyError("bug")

        async def aclose(self) -> None:
            pass

    world = hedged(SLOW, QUICK)
    world.executor.adopt({"a": world.upstream, "b": Broken()})  # type: ignore[dict-item]  # a broken port
    with pytest.raises(KeyError):
        await execute(world)

    assert in_flight(world) == 0
    assert all(played.closed_at is not None for played in world.upstream.played)


@in_virtual_time
async def test_one_let_go_may_have_been_billed_and_its_cost_is_estimated() -> None:
    world = hedged(SLOW, QUICK)
    lost, won = await execute(world)

    assert lost.possibly_billed
    assert lost.usage is not None
    assert lost.usage.source is UsageSource.ESTIMATED
    assert lost.cost_nano_usd is not None
    assert lost.cost_nano_usd > 0
    assert lost.detail == "was let go: b/m had content first"
    assert won.failure is None


@in_virtual_time
async def test_history_event_and_metric_tell_of_the_hedge() -> None:
    world = hedged(SLOW, QUICK)
    result = await world.executor.execute(asking(), chat())
    record = world.router.looking_back.decision(result.decision.decision_id)
    (event,) = world.events

    assert [attempt.outcome.hedge for attempt in record.attempts] == [False, True]
    assert record.attempts[1].outcome.retry_reason.startswith("hedge: a/m had no content within 1.5 s")
    assert event.name is EventName.HEDGED
    assert event.fields == {
        "second": "b/m",
        "waited_seconds": 1.5,
        "measure": "1.5 times the time predicted",
        "decision_id": result.decision.decision_id,
    }
    assert world.instruments.hedges == [("a/m", HedgeResult.WON)]
    assert world.instruments.failovers == []


@pytest.mark.parametrize("first_after", [1.8, 5.0])
@in_virtual_time
async def test_hedge_counts_as_no_move_to_another_target(first_after: float) -> None:
    world = hedged(answer("slow", first_after=first_after), QUICK)
    await execute(world)
    (whole,) = world.router.looking_back.statistics(StatisticsQuery()).groups

    assert (whole.sums.attempts.total, whole.sums.moved_count) == (2, 0)
    assert len(world.router.looking_back.decisions(DecisionFilter()).records) == 1


@in_virtual_time
async def test_overhead_of_a_hedged_call_is_not_what_it_waited() -> None:
    world = hedged(SLOW, QUICK)
    own_time = OwnTime()
    await execute(world)

    assert own_time.seconds == NOTHING


@in_virtual_time
async def test_overhead_of_a_hedged_call_is_not_what_the_loser_takes_to_close() -> None:
    world = hedged(SLOW, QUICK)
    world.executor.adopt({"a": Clinging(CLOSE_SECONDS / 2), "b": world.upstream})  # type: ignore[dict-item]  # as much as is needed
    own_time = OwnTime()
    await execute(world)

    assert own_time.seconds == NOTHING


@in_virtual_time
async def test_being_let_go_is_held_against_a_target_only_where_it_was_silent_for_very_long() -> None:
    late, silent = hedged(SLOW, QUICK), hedged([SILENCE], answer("fine", first_after=3.0))
    for world in (late, silent):
        for _ in range(3):
            await execute(world)
            await asyncio.sleep(60.0)

    assert late.router.state.targets[0].breaker.closed
    assert silent.router.state.targets[0].breaker.opened_by is K.TIMEOUT


def sums(world: World) -> tuple[int, int]:
    (account,) = world.router.budgets.reports()[0].accounts
    return account.spent, account.reserved


@pytest.mark.parametrize("first_after", [1.8, 5.0])
@in_virtual_time
async def test_budget_reserves_for_both_and_settles_both(first_after: float) -> None:
    world = hedged(answer("slow", first_after=first_after), QUICK, budgets=(budget(limit=10**10),))
    call = asyncio.create_task(world.executor.execute(asking(), chat(max_output_tokens=1000)))
    await asyncio.sleep(1.0)
    _, for_one = sums(world)
    await asyncio.sleep(0.6)
    spent, for_both = sums(world)
    result = await call

    assert (spent, for_both) == (0, 2 * for_one)
    assert sums(world) == (sum(attempt.cost_nano_usd or 0 for attempt in result.attempts), 0)


@in_virtual_time
async def test_budget_with_room_for_one_attempt_only_has_none_for_a_hedge() -> None:
    world = hedged(SLOW, QUICK, budgets=(budget(limit=67 * 1000 + 1000 * 2000 + 10),))
    result = await world.executor.execute(asking(), chat(max_output_tokens=1000))

    assert told(result.attempts) == [("a/m", None, False)]


@in_virtual_time
async def test_slow_close_of_the_one_let_go_does_not_hold_up_the_answer() -> None:
    world = hedged(SLOW, QUICK)
    world.executor.adopt({"a": Clinging(0.9), "b": world.upstream})  # type: ignore[dict-item]  # as much as is needed
    came = [(type(event), world.now) async for event in world.executor.execute_stream(asking(), chat())]

    assert next(at for kind, at in came if kind is AttemptDeltas) == pytest.approx(LATE + 0.5, abs=0.001)
    assert in_flight(world) == 0


@in_virtual_time
async def test_one_that_does_not_let_go_of_its_connection_is_left_to_itself_after_a_second() -> None:
    world, clinging = hedged(SLOW, QUICK), Clinging(30.0)
    world.executor.adopt({"a": clinging, "b": world.upstream})  # type: ignore[dict-item]  # as much as is needed
    await execute(world)

    assert world.now == pytest.approx(LATE + 0.5 + CLOSE_SECONDS, abs=0.001)

    world.executor.adopt({"a": world.upstream, "b": world.upstream})
    await asyncio.sleep(60.0)

    assert clinging.closed


@in_virtual_time
async def test_caller_who_goes_away_while_the_one_let_go_is_closed_leaves_nothing_behind() -> None:
    world, clinging = hedged(SLOW, QUICK), Clinging(0.9)
    world.executor.adopt({"a": clinging, "b": world.upstream})  # type: ignore[dict-item]  # as much as is needed
    call = asyncio.create_task(execute(world))
    await asyncio.sleep(LATE + 0.8)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    world.executor.adopt({"a": world.upstream, "b": world.upstream})
    await asyncio.sleep(1.0)

    assert clinging.closed
    assert in_flight(world) == 0
