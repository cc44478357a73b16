"""A request id stands for one call: joined while it runs, answered for ten minutes, never mixed between callers."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import math
from collections.abc import Awaitable
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.budgets import budget
from tests.unit.execution.scripted import SILENCE, World, answer, asking, chat, fail, text, words_of
from tests.virtual_time import in_virtual_time, run
from turnout_server.core.call import AttemptDeltas, CallEvent, CallResult, Completed
from turnout_server.core.chat import ChatInput, Text
from turnout_server.core.decision import Decision
from turnout_server.core.errors import AttemptsExhaustedError, DeadlineError, RequestIdReusedError
from turnout_server.core.model import FailureKind, RouteQuery
from turnout_server.execution.answering import Answering
from turnout_server.execution.once import KEPT_SECONDS, Once


def front(world: World, **bounds: int) -> Answering:
    return Answering(world.executor, world.router, clock=world.loop.clock, once=Once(world.loop.clock, **bounds))


def named(request_id: str = "order-7", deadline_seconds: float | None = 300.0, **options: object) -> RouteQuery:
    return dataclasses.replace(asking(deadline_seconds, **options), request_id=request_id)


def started(awaitable: Awaitable[CallResult]) -> asyncio.Task[CallResult]:
    return asyncio.ensure_future(awaitable)


def said(result: CallResult) -> str:
    return "".join(part.content.text for part in result.output.parts if isinstance(part.content, Text))


async def streamed(answering: Answering, query: RouteQuery, asked: ChatInput, principal: str = "p") -> list[CallEvent]:
    async with aclosing(answering.execute_stream(query, asked, principal=principal)) as events:
        return [event async for event in events]


@in_virtual_time
async def test_requests_of_one_id_share_one_call_and_get_its_answer() -> None:
    world = World({"a/m": [answer("once", first_after=5.0), answer("twice")]})
    answering = front(world)
    decided: list[str] = []

    def note(decision: Decision) -> None:
        decided.append(decision.decision_id)

    first = started(answering.execute(named(), chat(), principal="p", on_decision=note))
    await asyncio.sleep(1.0)
    second = started(answering.execute(named(), chat(), principal="p", on_decision=note))
    results = [await first, await second]
    results.append(await answering.execute(named(), chat(), principal="p", on_decision=note))

    assert [said(result) for result in results] == ["once"] * 3
    assert [result.joined for result in results] == [False, True, True]
    assert len(world.names()) == 1
    assert set(decided) == {results[0].decision.decision_id}
    assert len(decided) == 3
    assert answering.once.joined_count == 2


@in_virtual_time
async def test_history_budget_and_metrics_count_the_call_once() -> None:
    world = World({"a/m": [answer("once")]}, budgets=(budget(limit=10**12),))
    answering = front(world)
    results = [await answering.execute(named(), chat(), principal="p") for _ in range(3)]
    spent = world.router.budgets.reports()[0].accounts[0]

    assert {result.cost_nano_usd for result in results} == {spent.spent}
    assert spent.reserved == 0
    assert len(world.instruments.decisions) == len(world.instruments.attempts) == 1
    assert len(world.router.state.history) == 1


@in_virtual_time
async def test_one_that_leaves_ends_nothing_and_the_last_one_ends_the_call() -> None:
    world = World({"a/m": [[1.0, [text("on the way")], SILENCE]]})
    answering = front(world)
    tasks = [started(answering.execute(named(), chat(), principal="p")) for _ in range(3)]
    await asyncio.sleep(2.0)
    for task in tasks[:2]:
        task.cancel()
    await asyncio.sleep(1.0)
    still_open = world.upstream.played[0].closed_at is None
    tasks[2].cancel()
    await asyncio.wait(tasks)

    assert still_open
    assert world.upstream.played[0].closed_at == 3.0
    assert all(task.cancelled() for task in tasks)
    assert world.router.state.targets[0].in_flight == 0


@in_virtual_time
async def test_the_first_one_may_leave_while_the_others_wait_for_its_call() -> None:
    world = World({"a/m": [answer("whole", first_after=5.0)]})
    answering = front(world)
    first = started(answering.execute(named(), chat(), principal="p"))
    await asyncio.sleep(1.0)
    second = started(answering.execute(named(), chat(), principal="p"))
    await asyncio.sleep(1.0)
    first.cancel()

    assert said(await second) == "whole"
    assert len(world.names()) == 1


@in_virtual_time
async def test_an_id_whose_call_was_given_up_is_free_at_once() -> None:
    world = World({"a/m": [[SILENCE], answer("anew")]})
    answering = front(world)
    first = started(answering.execute(named(), chat(), principal="p"))
    await asyncio.sleep(1.0)
    first.cancel()
    second = started(answering.execute(named(), chat("another"), principal="p"))

    assert said(await second) == "anew"
    assert first.cancelled()


@in_virtual_time
async def test_another_payload_is_refused_while_the_first_runs_and_for_ten_minutes_after() -> None:
    world = World({"a/m": [answer("fine", first_after=5.0)]})
    answering = front(world)
    first = started(answering.execute(named(), chat("one"), principal="p"))
    await asyncio.sleep(1.0)
    with pytest.raises(RequestIdReusedError, match='request_id "order-7"') as caught:
        await answering.execute(named(), chat("two"), principal="p")
    await first
    with pytest.raises(RequestIdReusedError):
        await answering.execute(named(), chat("two"), principal="p")
    await asyncio.sleep(KEPT_SECONDS)
    last = await answering.execute(named(), chat("two"), principal="p")

    assert not caught.value.running
    assert not last.joined
    assert len(world.names()) == 2


OTHERS: dict[str, tuple[RouteQuery, ChatInput]] = {
    "a limit": (named(max_cost_usd=3.0), chat()),
    "a session": (dataclasses.replace(named(), session_id="s"), chat()),
    "an output limit": (named(), chat(max_output_tokens=5)),
    "a temperature": (named(), chat(temperature=0.5)),
    "a stop": (named(), chat(stop=("x",))),
    "an option of a provider": (named(), chat(provider_options={"a": {"k": 1}})),
    "a word": (named(), chat("hello.")),
}


@pytest.mark.parametrize("what", OTHERS)
@in_virtual_time
async def test_whatever_differs_in_the_request_makes_another_payload(what: str) -> None:
    world = World({"a/m": [answer("fine")]})
    answering = front(world)
    await answering.execute(named(), chat(), principal="p")
    query, asked = OTHERS[what]
    with pytest.raises(RequestIdReusedError):
        await answering.execute(query, asked, principal="p")


@in_virtual_time
async def test_the_time_that_is_left_makes_no_other_payload() -> None:
    world = World({"a/m": [answer("fine")]})
    answering = front(world)
    await answering.execute(named(deadline_seconds=100.0), chat(), principal="p")

    assert (await answering.execute(named(deadline_seconds=None), chat(), principal="p")).joined


@in_virtual_time
async def test_callers_never_get_the_answers_of_others() -> None:
    world = World({"a/m": [answer("for p"), answer("for q")]})
    answering = front(world)
    results = [await answering.execute(named(), chat(), principal=who) for who in ("p", "q")]

    assert [said(result) for result in results] == ["for p", "for q"]
    assert not any(result.joined for result in results)


@in_virtual_time
async def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    world = World({"a/m": [[3.0, fail(FailureKind.INVALID_REQUEST)], answer("better")]})
    answering = front(world)
    tasks = [started(answering.execute(named(), chat(), principal="p")) for _ in range(2)]
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    again = await answering.execute(named(), chat("mended"), principal="p")

    assert [type(error).__name__ for error in errors] == ["ProviderRejectedRequestError"] * 2
    assert said(again) == "better"
    assert not again.joined


@in_virtual_time
async def test_one_who_joins_waits_no_longer_than_its_own_deadline() -> None:
    world = World({"a/m": [answer("late", first_after=9.0)]})
    answering = front(world)
    first = started(answering.execute(named(), chat(), principal="p"))
    await asyncio.sleep(1.0)
    with pytest.raises(DeadlineError, match="earlier request") as caught:
        await answering.execute(named(deadline_seconds=2.0), chat(), principal="p")
    ended_at = world.now
    result = await first

    assert ended_at == pytest.approx(2.96)
    assert caught.value.decision_id == result.decision.decision_id
    assert said(result) == "late"


@in_virtual_time
async def test_one_with_time_left_makes_the_call_anew_when_the_first_ones_time_is_over() -> None:
    world = World({"a/m": [[SILENCE], answer("in time")]})
    answering = front(world)
    short = started(answering.execute(named(deadline_seconds=2.0), chat(), principal="p"))
    await asyncio.sleep(0.5)
    long = started(answering.execute(named(deadline_seconds=100.0), chat(), principal="p"))
    outcomes = await asyncio.gather(short, long, return_exceptions=True)

    assert isinstance(outcomes[0], DeadlineError)
    assert isinstance(outcomes[1], CallResult)
    assert said(outcomes[1]) == "in time"
    assert not outcomes[1].joined
    assert len(world.names()) == 2


@in_virtual_time
async def test_what_is_kept_is_bounded_in_bytes_and_the_oldest_goes_first() -> None:
    world = World({"a/m": [answer("x" * 2_000)]})
    answering = front(world, kept_bytes=60_000)
    for number in range(20):
        await answering.execute(named(f"id-{number}"), chat(), principal="p")
    held = answering.once.size_bytes
    newest = await answering.execute(named("id-19"), chat(), principal="p")
    oldest = await answering.execute(named("id-0"), chat(), principal="p")

    assert 0 < held <= 60_000
    assert 0 < len(answering.once) < 20
    assert newest.joined
    assert not oldest.joined


@in_virtual_time
async def test_what_was_kept_long_enough_is_forgotten_though_nobody_asks() -> None:
    world = World({"a/m": [answer("fine")]})
    answering = front(world)
    await answering.execute(named(), chat(), principal="p")
    await asyncio.sleep(KEPT_SECONDS)
    answering.expire()

    assert len(answering.once) == 0
    assert answering.once.size_bytes == 0


@in_virtual_time
async def test_an_answer_too_large_to_keep_is_given_to_those_who_wait_and_forgotten() -> None:
    world = World({"a/m": [answer("x" * 9_000)]})
    answering = front(world, kept_bytes=5_000)
    results = await asyncio.gather(*(answering.execute(named(), chat(), principal="p") for _ in range(2)))

    assert [result.joined for result in results] == [False, True]
    assert len(answering.once) == 0


@in_virtual_time
async def test_an_id_of_a_running_stream_is_refused_to_everybody_else() -> None:
    world = World({"a/m": [answer("fine", first_after=5.0)]})
    answering = front(world)
    stream = asyncio.ensure_future(streamed(answering, named(), chat()))
    await asyncio.sleep(1.0)
    with pytest.raises(RequestIdReusedError) as of_stream:
        await streamed(answering, named(), chat())
    with pytest.raises(RequestIdReusedError) as of_unary:
        await answering.execute(named(), chat(), principal="p")
    events = await stream

    assert of_stream.value.running
    assert of_unary.value.running
    assert isinstance(events[-1], Completed)


@in_virtual_time
async def test_an_id_of_a_stream_that_ended_is_for_the_same_request_only() -> None:
    world = World({"a/m": [answer("fine")]})
    answering = front(world)
    await streamed(answering, named(), chat())
    await streamed(answering, named(), chat())
    with pytest.raises(RequestIdReusedError) as caught:
        await streamed(answering, named(), chat("another"))

    assert not caught.value.running
    # The answer of a stream is not kept.
    assert len(world.names()) == 2


@pytest.mark.parametrize("ends", ["broken", "closed"])
@in_virtual_time
async def test_an_id_of_a_stream_that_was_not_completed_is_free(ends: str) -> None:
    world = World({"a/m": [[[text("half")], 1.0, fail(FailureKind.TRUNCATED)], answer("whole")]})
    answering = front(world)
    if ends == "broken":
        with pytest.raises(Exception, match="broke"):
            await streamed(answering, named(), chat())
    else:
        async with aclosing(answering.execute_stream(named(), chat(), principal="p")) as events:
            async for event in events:
                if isinstance(event, AttemptDeltas):
                    break
    again = await streamed(answering, named(), chat("another"))

    assert isinstance(again[-1], Completed)


@pytest.mark.parametrize("when", ["running", "done"])
@in_virtual_time
async def test_a_stream_gets_the_answer_of_a_unary_call_of_its_id(when: str) -> None:
    world = World({"a/m": [answer("the ", "whole", first_after=5.0)]})
    answering = front(world)
    unary = started(answering.execute(named(), chat(), principal="p"))
    await asyncio.sleep(9.0 if when == "done" else 1.0)
    events = await streamed(answering, named(), chat())
    result = await unary
    deltas = [delta for event in events if isinstance(event, AttemptDeltas) for delta in event.deltas]

    assert events[0] == result.decision
    assert words_of(deltas) == "the whole"
    assert isinstance(events[-1], Completed)
    assert events[-1].joined
    assert events[-1].attempts == result.attempts
    assert len(world.names()) == 1


@in_virtual_time
async def test_a_stream_fails_with_the_unary_call_that_it_waited_for() -> None:
    world = World({"a/m": [[3.0, fail(FailureKind.TRUNCATED)]]})
    answering = front(world)
    unary = started(answering.execute(named(), chat(), principal="p"))
    await asyncio.sleep(1.0)
    with pytest.raises(AttemptsExhaustedError):
        await streamed(answering, named(), chat())
    with pytest.raises(AttemptsExhaustedError):
        await unary


@dataclasses.dataclass(frozen=True)
class Visit:
    """One caller: when it comes, how long it may wait, and when it leaves of itself."""

    comes_at: float
    deadline_seconds: float
    leaves_after: float
    streams: bool


MOMENTS = st.integers(0, 40).map(lambda tenths: tenths / 10)
VISITS = st.lists(
    st.builds(
        Visit,
        comes_at=MOMENTS,
        deadline_seconds=st.integers(1, 60).map(lambda tenths: tenths / 10),
        leaves_after=st.integers(1, 60).map(lambda tenths: tenths / 10),
        streams=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


async def visit(world: World, answering: Answering, caller: Visit) -> tuple[str, float]:
    """What became of one caller, and after how many seconds."""
    await asyncio.sleep(caller.comes_at)
    end = await end_of(answering, caller)
    return end, world.now - caller.comes_at


async def end_of(answering: Answering, caller: Visit) -> str:
    query = named(deadline_seconds=caller.deadline_seconds)
    try:
        async with asyncio.timeout(caller.leaves_after):
            if caller.streams:
                (*_, last) = await streamed(answering, query, chat())
                assert isinstance(last, Completed)
            else:
                assert said(await answering.execute(query, chat(), principal="p")) == "whole"
    except TimeoutError:
        return "left"
    except DeadlineError:
        return "late"
    except RequestIdReusedError as error:
        return "refused" if error.running else "wrong"
    return "answered"


async def all_visits(callers: list[Visit], seconds: float) -> None:
    world = World({"a/m": [answer("whole", first_after=seconds)]}, budgets=(budget(limit=10**12),))
    answering = front(world)
    visits = await asyncio.gather(*(visit(world, answering, caller) for caller in callers))
    ends, waits = [end for end, _ in visits], [waited for _, waited in visits]
    settled = world.router.budgets.reports()[0].accounts
    # One that is still open is closed never.
    played = [(each.began_at, math.inf if each.closed_at is None else each.closed_at) for each in world.upstream.played]

    # Nobody is told of another payload, and nobody is late before its time is over.
    assert "wrong" not in ends
    for end, caller, waited in zip(ends, callers, waits, strict=True):
        reserve = max(0.02 * caller.deadline_seconds, 0.02)
        assert end != "late" or waited >= caller.deadline_seconds - reserve - 1e-9
    if len(callers) == 1 and callers[0].leaves_after > seconds < callers[0].deadline_seconds - 0.1:
        assert ends == ["answered"]
    # One call at a time, each closed, and nothing is left of any of them.
    assert all(closed <= world.now for _, closed in played)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(played))
    assert world.router.state.targets[0].in_flight == 0
    assert all(account.reserved == 0 for account in settled)
    assert answering.once._running == {}
    # What was answered once is not made again, unless nothing is kept of it: the answer of a stream.
    unary = [end for end, caller in zip(ends, callers, strict=True) if end == "answered" and not caller.streams]
    made = len([each for each in world.instruments.attempts if each.failure is None])
    assert made <= max(1, ends.count("answered") - len(unary) + 1)


@given(callers=VISITS, seconds=st.integers(1, 30).map(lambda tenths: tenths / 10))
def test_whoever_comes_and_goes_there_is_one_call_at_a_time_and_nothing_is_left_of_it(
    callers: list[Visit], seconds: float
) -> None:
    run(all_visits(callers, seconds))


@in_virtual_time
async def test_requests_without_an_id_are_each_made() -> None:
    world = World({"a/m": [answer("fine")]})
    answering = front(world)
    for _ in range(2):
        await answering.execute(asking(), chat(), principal="p")

    assert len(world.names()) == 2
    assert len(answering.once) == 0
