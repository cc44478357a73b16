"""What each attempt used and cost, reported or estimated, billed or not."""

import pytest

from tests.unit.execution.scripted import (
    HEAD,
    NOTHING,
    OwnTime,
    Script,
    World,
    answer,
    asking,
    chat,
    fail,
    refused,
    spec,
    text,
)
from tests.virtual_time import in_virtual_time
from turnout_server.core.call import Completed
from turnout_server.core.chat import Finished, UsageReported
from turnout_server.core.errors import AllAttemptsRefusedError, AttemptsExhaustedError, StreamInterruptedError
from turnout_server.core.model import FailureKind, FinishReason, MidStreamPolicy, Usage, UsageSource

K = FailureKind
USAGE = Usage(input_tokens=100, output_tokens=50)
END = [Finished(reason=FinishReason.STOP)]


@in_virtual_time
async def test_reported_usage_is_priced_by_the_catalog() -> None:
    world = World({"a/m": [answer("fine", usage=USAGE)]})
    result = await world.executor.execute(asking(), chat())

    assert result.usage == USAGE
    assert result.cost_nano_usd == 100 * 1_000 + 50 * 2_000


@in_virtual_time
async def test_later_usage_replaces_earlier() -> None:
    early = Usage(input_tokens=100, output_tokens=1)
    world = World({"a/m": [[[UsageReported(usage=early)], [text("fine")], [*END, UsageReported(usage=USAGE)]]]})
    result = await world.executor.execute(asking(), chat())

    assert result.usage == USAGE


@in_virtual_time
async def test_cost_that_the_provider_states_wins_over_the_catalog() -> None:
    world = World({"a/m": [[[text("fine")], [*END, UsageReported(usage=USAGE, cost_usd=0.5)]]]})
    result = await world.executor.execute(asking(), chat())

    assert result.cost_nano_usd == 500_000_000


@in_virtual_time
async def test_usage_that_was_not_reported_is_estimated_from_what_was_sent_and_received() -> None:
    world = World({"a/m": [answer("y" * 400)]})
    result = await world.executor.execute(asking(), chat("x" * 4_000))

    assert result.usage == Usage(input_tokens=1_000, output_tokens=100, source=UsageSource.ESTIMATED)
    assert result.cost_nano_usd == 1_000 * 1_000 + 100 * 2_000


@in_virtual_time
async def test_half_reported_usage_is_completed_by_estimate() -> None:
    half = Usage(input_tokens=100)
    world = World({"a/m": [[[UsageReported(usage=half)], [text("y" * 40)], fail(K.TRUNCATED)]]})
    with pytest.raises(StreamInterruptedError) as caught:
        await world.stream()

    assert caught.value.report.usage == Usage(input_tokens=100, output_tokens=10, source=UsageSource.ESTIMATED)


@in_virtual_time
async def test_each_attempt_has_its_own_usage_and_the_answer_only_that_of_its_own() -> None:
    world = World(
        {
            "a/m": [[[text("y" * 40)], fail(K.TRUNCATED)]],
            "b/m": [answer("fine", usage=USAGE)],
        }
    )
    result = await world.executor.execute(asking(), chat("x" * 400))

    assert result.usage == USAGE
    assert [attempt.usage for attempt in result.attempts] == [
        Usage(input_tokens=100, output_tokens=10, source=UsageSource.ESTIMATED),
        USAGE,
    ]
    assert [attempt.cost_nano_usd for attempt in result.attempts] == [120_000, 200_000]


@in_virtual_time
async def test_failed_call_reports_the_sum_of_its_attempts() -> None:
    broken: Script = [[text("y" * 40)], fail(K.TRUNCATED)]
    world = World({"a/m": [broken], "b/m": [[fail(K.TIMEOUT)]]})
    with pytest.raises(AttemptsExhaustedError) as caught:
        await world.stream(asking(mid_stream=MidStreamPolicy.RESTART), chat("x" * 400))

    total = sum(attempt.cost_nano_usd or 0 for attempt in caught.value.report.attempts)
    assert total == caught.value.report.cost_nano_usd
    assert caught.value.report.usage == Usage(input_tokens=200, output_tokens=10, source=UsageSource.ESTIMATED)


@in_virtual_time
async def test_attempt_that_cannot_have_been_billed_costs_nothing_and_used_nothing() -> None:
    world = World({"a/m": [[refused(K.RATE_LIMITED, retry_after_seconds=3000.0)]]})
    with pytest.raises(AllAttemptsRefusedError) as caught:
        await world.executor.execute(asking(), chat())

    attempt = caught.value.report.attempts[0]
    assert (attempt.usage, attempt.cost_nano_usd, attempt.possibly_billed) == (None, 0, False)


@in_virtual_time
async def test_attempt_that_brought_content_may_have_been_billed_whatever_its_error_says() -> None:
    world = World({"a/m": [[[text("half")], refused(K.OVERLOADED)]]})
    with pytest.raises(StreamInterruptedError) as caught:
        await world.stream()

    assert caught.value.report.attempts[0].possibly_billed


@in_virtual_time
async def test_unknown_price_is_an_unknown_cost() -> None:
    world = World({spec("a/m", price=None): [answer("fine", usage=USAGE)]})
    result = await world.executor.execute(asking(), chat())

    assert result.cost_nano_usd is None


@in_virtual_time
async def test_sum_with_an_unknown_part_is_unknown() -> None:
    broken: Script = [[text("half")], fail(K.TRUNCATED)]
    world = World({spec("a/m", price=None): [broken], "b/m": [[fail(K.TIMEOUT)]]})
    with pytest.raises(AttemptsExhaustedError) as caught:
        await world.executor.execute(asking(), chat())

    assert caught.value.report.cost_nano_usd is None


@in_virtual_time
async def test_attempts_tell_when_they_began_how_long_they_took_and_when_content_came() -> None:
    world = World({"a/m": [[1.0, [HEAD], fail(K.OVERLOADED)]], "b/m": [[2.0, [text("fine")], 3.0, END]]})
    completed = (await world.stream())[-1]

    assert isinstance(completed, Completed)
    first, second = completed.attempts
    assert (first.latency_seconds, first.time_to_first_token_seconds, first.http_status) == (1.0, None, 200)
    assert (second.latency_seconds, second.time_to_first_token_seconds) == (5.0, 2.0)
    assert second.started_at_wall - first.started_at_wall == pytest.approx(1.0)


@in_virtual_time
async def test_overhead_leaves_out_what_was_spent_waiting() -> None:
    world = World({"a/m": [[3.0, fail(K.CONNECTION)]], "b/m": [answer("fine", first_after=2.0)]})
    own_time = OwnTime()
    await world.stream()

    assert own_time.seconds == NOTHING


@in_virtual_time
async def test_overhead_of_failed_calls_leaves_out_pauses_too() -> None:
    world = World({"a/m": [[0.1, fail(K.CONNECTION)]]})
    own_time = OwnTime()
    with pytest.raises(AttemptsExhaustedError):
        await world.stream()

    assert world.now > 0.2
    assert own_time.seconds == NOTHING


@in_virtual_time
async def test_stream_that_was_cut_is_charged_for_what_came_and_not_for_the_count_of_its_beginning() -> None:
    early = Usage(input_tokens=100, output_tokens=1, cached_input_tokens=60)
    world = World({"a/m": [[[UsageReported(usage=early)], [text("y" * 400)], fail(K.TRUNCATED)]]})
    with pytest.raises(StreamInterruptedError) as caught:
        await world.stream()

    assert caught.value.report.usage == Usage(
        input_tokens=100, output_tokens=100, cached_input_tokens=60, source=UsageSource.ESTIMATED
    )


@in_virtual_time
async def test_count_that_is_larger_than_what_came_stands_in_a_stream_that_was_cut() -> None:
    thought = Usage(input_tokens=100, output_tokens=5000, reasoning_tokens=4990)
    world = World({"a/m": [[[text("y" * 40)], [UsageReported(usage=thought)], fail(K.TRUNCATED)]]})
    with pytest.raises(StreamInterruptedError) as caught:
        await world.stream()

    assert caught.value.report.usage == Usage(
        input_tokens=100, output_tokens=5000, reasoning_tokens=4990, source=UsageSource.ESTIMATED
    )


@in_virtual_time
async def test_complete_answer_of_few_counted_tokens_is_what_the_provider_says() -> None:
    few = Usage(input_tokens=100, output_tokens=1)
    world = World({"a/m": [answer("y" * 400, usage=few)]})
    result = await world.executor.execute(asking(), chat())

    assert few == result.usage


@in_virtual_time
async def test_history_tells_of_an_attempt_whether_it_can_have_been_billed_and_why_it_was_made() -> None:
    world = World({"a/m": [[refused(K.RATE_LIMITED, retry_after_seconds=3000.0)]], "b/m": [answer("fine")]})
    result = await world.executor.execute(asking(), chat())
    first, second = (kept.outcome for kept in world.router.looking_back.decision(result.decision.decision_id).attempts)

    assert [(False, ""), (True, result.attempts[1].retry_reason)] == [
        (first.possibly_billed, first.retry_reason),
        (second.possibly_billed, second.retry_reason),
    ]
    assert second.retry_reason
