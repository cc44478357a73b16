"""What health, history and credentials learn from the calls that are made here."""

import asyncio

import pytest

from tests.unit.execution.scripted import HEAD, SILENCE, World, answer, asking, chat, fail, refused, spec, text
from tests.virtual_time import in_virtual_time
from turnout_server.core.chat import Finished
from turnout_server.core.errors import AttemptsExhaustedError, CallError, DeadlineError
from turnout_server.core.fleet import CredentialSpec
from turnout_server.core.history import DecisionFilter, DecisionResult
from turnout_server.core.model import (
    BreakerState,
    FailureKind,
    FinishReason,
    RateLimitBucket,
    RateLimitReading,
    RequestProfile,
    RouteQuery,
    Usage,
)
from turnout_server.core.settings import FailoverSettings, Policy
from turnout_server.ports import ResponseHead

K = FailureKind


@in_virtual_time
async def test_failures_of_three_calls_open_the_breaker_and_later_calls_go_elsewhere() -> None:
    world = World({"a/m": [[1.0, fail(K.OVERLOADED)]], "b/m": [answer("fine")]})
    for _ in range(5):
        await world.executor.execute(asking(), chat())

    assert world.names().count("a/m") == 3


@in_virtual_time
async def test_several_failures_of_one_call_count_once_against_the_breaker() -> None:
    world = World({"a/m": [[1.0, fail(K.OVERLOADED)]]})
    with pytest.raises(AttemptsExhaustedError):
        await world.executor.execute(asking(), chat())

    assert world.names().count("a/m") == 4
    assert world.router.state.targets[0].breaker.state(world.now) is BreakerState.CLOSED


@in_virtual_time
async def test_first_content_of_one_call_tells_that_the_target_is_not_silent() -> None:
    silent = World({"a/m": [[SILENCE]], "b/m": [answer("fine")]})
    alive = World({"a/m": [[1.0, [text("so")], SILENCE], [SILENCE]], "b/m": [answer("fine")]})
    calls = [asyncio.create_task(w.executor.execute(asking(), chat())) for w in (silent, alive) for _ in range(8)]
    await asyncio.sleep(4.0)

    assert silent.router.state.targets[0].suspect(4.0)
    assert not alive.router.state.targets[0].suspect(4.0)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)


@in_virtual_time
async def test_target_whose_calls_all_wait_is_suspect_before_any_timeout_fires() -> None:
    world = World({"a/m": [[SILENCE]], "b/m": [answer("fine")]})
    calls = [asyncio.create_task(world.executor.execute(asking(), chat())) for _ in range(8)]
    await asyncio.sleep(9.0)
    result = await world.executor.execute(asking(), chat())

    assert str(result.target) == "b/m"
    await asyncio.gather(*calls)


@in_virtual_time
async def test_rate_limit_headers_of_an_answer_are_heeded() -> None:
    empty = RateLimitReading(requests=RateLimitBucket(limit=10, remaining=0, reset_seconds=30.0))
    head = ResponseHead(http_status=200, rate_limit=empty)
    world = World({"a/m": [[[head, text("fine"), Finished(reason=FinishReason.STOP)]]], "b/m": [answer("other")]})
    await world.executor.execute(asking(), chat())
    await world.executor.execute(asking(), chat())

    assert world.names() == ["a/m", "b/m"]


@in_virtual_time
async def test_refused_key_cools_alone_and_the_other_key_is_used() -> None:
    keys = (CredentialSpec(label="first"), CredentialSpec(label="second"))
    world = World(
        {
            spec("a/m", credentials=keys, needs_credential=True): [
                [refused(K.RATE_LIMITED, retry_after_seconds=60.0)],
                answer("fine"),
            ]
        }
    )
    await world.executor.execute(asking(), chat())
    await world.executor.execute(asking(), chat())

    assert [played.call.credential for played in world.upstream.played] == ["first", "second", "second"]


@in_virtual_time
async def test_history_holds_the_first_decision_with_all_attempts_of_the_call() -> None:
    world = World({"a/m": [[fail(K.OVERLOADED)]], "b/m": [answer("fine")]})
    query = RouteQuery(profile=RequestProfile(task="chat"), deadline_seconds=100.0)
    result = await world.executor.execute(query, chat())
    (record,) = world.router.looking_back.decisions(DecisionFilter(), page_size=10).records

    assert record.decision == result.decision
    assert record.result is DecisionResult.OK
    assert [attempt.outcome.failure for attempt in record.attempts] == [K.OVERLOADED, None]
    assert [attempt.outcome.attempt_id for attempt in record.attempts] == [a.attempt_id for a in result.attempts]
    assert {attempt.outcome.task for attempt in record.attempts} == {"chat"}


@in_virtual_time
async def test_token_ratio_is_learned_from_what_providers_report() -> None:
    usage = Usage(input_tokens=2_000, output_tokens=10)
    world = World({"a/m": [answer("fine", usage=usage)]})
    for _ in range(20):
        await world.executor.execute(asking(), chat("x" * 4_000))

    target = world.router.configured.fleet.specs[0].target
    assert world.router.targets.tokens_per_byte(target) == pytest.approx(0.5, abs=0.02)


@in_virtual_time
async def test_policys_own_failover_block_replaces_the_global_one() -> None:
    policy = Policy(failover=FailoverSettings(request_timeout_seconds=5.0, first_token_timeout_seconds=100.0))
    world = World({"a/m": [[SILENCE]]}, policy=policy)
    with pytest.raises(DeadlineError):
        await world.executor.execute(asking(deadline_seconds=None), chat())

    assert world.now == pytest.approx(4.9)


@in_virtual_time
async def test_only_the_call_that_ran_out_of_time_is_told_so_and_the_target_is_not_blamed_for_impatience() -> None:
    world = World({"a/m": [[0.9, [text("a")], 5.0, [text("b")]]]})
    for _ in range(20):
        with pytest.raises(DeadlineError):
            await world.stream(asking(deadline_seconds=2.0))

    assert world.router.state.targets[0].breaker.state(world.now) is BreakerState.CLOSED


@pytest.mark.parametrize("head", [[HEAD], []], ids=["head alone", "nothing"])
@in_virtual_time
async def test_silence_that_callers_deadlines_cut_short_is_held_against_the_target(head: list[ResponseHead]) -> None:
    world = World({"a/m": [[head, SILENCE] if head else [SILENCE]]})
    for _ in range(3):
        with pytest.raises(CallError):
            await world.stream(asking(deadline_seconds=8.0))

    assert world.router.state.targets[0].breaker.opened_by is K.TIMEOUT
