"""Streams: what is shown when, and that none ends as if it were whole when it is not."""

import pytest

from tests.unit.execution.scripted import (
    HEAD,
    HELLO,
    PING,
    SILENCE,
    Script,
    Step,
    World,
    answer,
    asking,
    fail,
    text,
    thought,
    words_of,
)
from tests.virtual_time import in_virtual_time
from turnout_server.core.call import (
    AttemptDeltas,
    AttemptStarted,
    CallEvent,
    Completed,
    Restarted,
)
from turnout_server.core.chat import Delta, Finished, SignatureDelta, ToolCallDelta, UsageReported
from turnout_server.core.decision import Decision
from turnout_server.core.errors import (
    AttemptsExhaustedError,
    ContentFilteredError,
    DeadlineError,
    StreamInterruptedError,
)
from turnout_server.core.model import FailureKind, FinishReason, MidStreamPolicy, Target, Usage
from turnout_server.core.settings import Policy

RESTART = MidStreamPolicy.RESTART


def shown(events: list[CallEvent]) -> str:
    """What a caller who heeds Restart holds in the end."""
    words = ""
    for event in events:
        match event:
            case AttemptDeltas():
                words += words_of(event.deltas)
            case Restarted():
                words = ""
            case _:
                pass
    return words


def kinds(events: list[CallEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


@in_virtual_time
async def test_stream_is_decision_then_attempt_then_deltas_then_completion() -> None:
    world = World({"a/m": [answer("Hel", "lo")]})
    events = await world.stream()

    assert ["Decision", "AttemptStarted", "AttemptDeltas", "AttemptDeltas", "Completed"] == kinds(events)
    assert shown(events) == "Hello"
    completed = events[-1]
    assert isinstance(completed, Completed)
    assert completed.target == Target("a", "m")
    assert (completed.model, completed.response_id) == ("served-model", "response-1")
    assert completed.finish_reason is FinishReason.STOP


@in_virtual_time
async def test_decision_and_attempt_come_at_once_long_before_any_content() -> None:
    world = World({"a/m": [answer("late", first_after=9.0)]})
    came = [(type(event), world.now) async for event in world.executor.execute_stream(asking(), HELLO)]

    assert (Decision, 0.0) == came[0]
    assert (AttemptStarted, 0.0) == came[1]
    assert (AttemptDeltas, 9.0) == came[2]


@pytest.mark.parametrize(
    "before",
    [
        [[HEAD]],
        [[HEAD, PING], [PING]],
        [[HEAD, SignatureDelta(part_index=0, signature="s")]],
        [[HEAD, text("")]],
    ],
    ids=["head", "pings", "signature", "empty text"],
)
@in_virtual_time
async def test_failure_before_the_first_content_is_hidden_by_failover(before: list[Step]) -> None:
    broken: Script = [*before, fail(FailureKind.OVERLOADED, http_status=200)]
    world = World({"a/m": [broken], "b/m": [answer("fine")]})
    events = await world.stream()

    assert ["Decision", "AttemptStarted", "AttemptStarted", "AttemptDeltas", "Completed"] == kinds(events)
    assert shown(events) == "fine"


@pytest.mark.parametrize(
    "content",
    [text("a"), thought("hm"), ToolCallDelta(part_index=0, id="1", name="look")],
    ids=["text", "reasoning", "tool call"],
)
@in_virtual_time
async def test_after_content_a_broken_stream_fails_with_what_was_delivered(content: Delta) -> None:
    world = World({"a/m": [[[HEAD, content], fail(FailureKind.TRUNCATED)]], "b/m": [answer("fine")]})
    with pytest.raises(StreamInterruptedError) as caught:
        await world.stream()

    assert ["a/m"] == world.names()
    assert caught.value.report.delivered_bytes > 0
    assert [FailureKind.TRUNCATED] == [attempt.failure for attempt in caught.value.report.attempts]


@in_virtual_time
async def test_restart_tells_to_forget_and_begins_anew_on_the_next_target() -> None:
    world = World({"a/m": [[[text("wrong")], fail(FailureKind.TRUNCATED)]], "b/m": [answer("right")]})
    events = await world.stream(asking(mid_stream=RESTART))
    started = [event for event in events if isinstance(event, AttemptStarted)]
    restarted = next(event for event in events if isinstance(event, Restarted))

    assert kinds(events) == [
        "Decision",
        "AttemptStarted",
        "AttemptDeltas",
        "Restarted",
        "AttemptStarted",
        "AttemptDeltas",
        "Completed",
    ]
    assert restarted.discarded_attempt_id == started[0].attempt_id
    assert restarted.failure is FailureKind.TRUNCATED
    assert shown(events) == "right"


@in_virtual_time
async def test_restart_comes_from_the_policy_where_the_request_says_nothing() -> None:
    world = World(
        {"a/m": [[[text("wrong")], fail(FailureKind.TRUNCATED)]], "b/m": [answer("right")]},
        policy=Policy(mid_stream=RESTART),
    )

    assert shown(await world.stream()) == "right"


@in_virtual_time
async def test_request_that_says_fail_overrides_a_policy_that_says_restart() -> None:
    world = World(
        {"a/m": [[[text("wrong")], fail(FailureKind.TRUNCATED)]], "b/m": [answer("right")]},
        policy=Policy(mid_stream=RESTART),
    )
    with pytest.raises(StreamInterruptedError):
        await world.stream(asking(mid_stream=MidStreamPolicy.FAIL))


@in_virtual_time
async def test_restart_never_begins_anew_on_the_same_target() -> None:
    world = World({"a/m": [[[text("wrong")], fail(FailureKind.CONNECTION)], answer("right")]})
    with pytest.raises(StreamInterruptedError):
        await world.stream(asking(mid_stream=RESTART))

    assert ["a/m"] == world.names()


@in_virtual_time
async def test_after_a_restart_deltas_are_held_back_again_until_content() -> None:
    world = World(
        {
            "a/m": [[[text("wrong")], fail(FailureKind.TRUNCATED)]],
            "b/m": [[[SignatureDelta(part_index=0, signature="s")], fail(FailureKind.OVERLOADED)]],
            "c/m": [answer("right")],
        }
    )
    events = await world.stream(asking(mid_stream=RESTART))

    assert kinds(events)[3:] == ["Restarted", "AttemptStarted", "AttemptStarted", "AttemptDeltas", "Completed"]


@in_virtual_time
async def test_failed_call_after_a_restart_says_that_the_caller_holds_nothing() -> None:
    world = World(
        {"a/m": [[[text("wrong")], fail(FailureKind.TRUNCATED)]], "b/m": [[fail(FailureKind.TIMEOUT)]]},
    )
    with pytest.raises(AttemptsExhaustedError) as caught:
        await world.stream(asking(mid_stream=RESTART))

    assert caught.value.report.delivered_bytes == 0
    assert [FailureKind.TRUNCATED, FailureKind.TIMEOUT] == [a.failure for a in caught.value.report.attempts]


@in_virtual_time
async def test_stream_that_just_ends_is_truncated_and_never_complete() -> None:
    world = World({"a/m": [[[HEAD, text("half")]]]})
    with pytest.raises(StreamInterruptedError) as caught:
        await world.stream()

    assert caught.value.report.attempts[0].failure is FailureKind.TRUNCATED


@in_virtual_time
async def test_stream_is_complete_two_seconds_after_its_finish_reason() -> None:
    world = World({"a/m": [[[text("all")], [Finished(reason=FinishReason.STOP)], SILENCE]]})
    events = await world.stream()

    assert isinstance(events[-1], Completed)
    assert world.now == 2.0


@in_virtual_time
async def test_usage_that_comes_after_the_finish_reason_is_waited_for() -> None:
    usage = Usage(input_tokens=7, output_tokens=3)
    world = World({"a/m": [[[text("all")], [Finished(reason=FinishReason.LENGTH)], 1.9, [UsageReported(usage=usage)]]]})
    completed = (await world.stream())[-1]

    assert isinstance(completed, Completed)
    assert completed.usage == usage
    assert completed.finish_reason is FinishReason.LENGTH


@in_virtual_time
async def test_connection_that_breaks_after_the_finish_reason_changes_nothing() -> None:
    world = World({"a/m": [[[text("all")], [Finished(reason=FinishReason.STOP)], fail(FailureKind.CONNECTION)]]})
    events = await world.stream()

    assert isinstance(events[-1], Completed)
    assert events[-1].attempts[0].failure is None


@in_virtual_time
async def test_refusal_before_any_output_is_an_error_and_asks_nobody_else() -> None:
    world = World({"a/m": [[[HEAD, Finished(reason=FinishReason.CONTENT_FILTER)]]], "b/m": [answer("fine")]})
    with pytest.raises(ContentFilteredError):
        await world.stream()

    assert ["a/m"] == world.names()


@in_virtual_time
async def test_refusal_goes_to_the_next_target_where_the_policy_says_so() -> None:
    world = World(
        {"a/m": [[fail(FailureKind.CONTENT_FILTERED)]], "b/m": [answer("fine")]},
        policy=Policy(failover_on_refusal=True),
    )

    assert shown(await world.stream()) == "fine"


@pytest.mark.parametrize(
    "end",
    [[Finished(reason=FinishReason.CONTENT_FILTER)], fail(FailureKind.CONTENT_FILTERED)],
    ids=["finish reason", "error"],
)
@in_virtual_time
async def test_refusal_after_output_began_is_a_finish_reason(end: Step) -> None:
    world = World({"a/m": [[[text("so far")], end]]})
    completed = (await world.stream())[-1]

    assert isinstance(completed, Completed)
    assert completed.finish_reason is FinishReason.CONTENT_FILTER


@in_virtual_time
async def test_too_much_before_any_content_is_a_protocol_failure_and_means_failover() -> None:
    flood = [[SignatureDelta(part_index=0, signature="s")]] * 65
    world = World({"a/m": [flood], "b/m": [answer("fine")]})
    events = await world.stream()
    completed = events[-1]

    assert isinstance(completed, Completed)
    assert completed.attempts[0].failure is FailureKind.PROTOCOL
    assert shown(events) == "fine"


@in_virtual_time
async def test_any_number_of_pings_is_no_flood() -> None:
    world = World({"a/m": [[*([[PING]] * 500), *answer("fine")]]})

    assert shown(await world.stream()) == "fine"


@in_virtual_time
async def test_answer_without_any_content_is_complete_when_its_end_is_proper() -> None:
    world = World({"a/m": [[[HEAD, text(""), Finished(reason=FinishReason.STOP)]]]})
    events = await world.stream()

    assert isinstance(events[-1], Completed)
    assert shown(events) == ""


@in_virtual_time
async def test_stream_longer_than_the_callers_deadline_ends_with_what_was_delivered() -> None:
    words = [step for _ in range(100) for step in (1.0, [text("word ")])]
    world = World({"a/m": [words]})
    with pytest.raises(DeadlineError) as caught:
        await world.stream(asking(deadline_seconds=10.0))

    assert world.now == pytest.approx(9.8)
    assert caught.value.report.delivered_bytes == 45
    assert caught.value.report.attempts[0].failure is FailureKind.CANCELLED


@in_virtual_time
async def test_stream_ends_after_1800_seconds_whatever_the_deadline() -> None:
    words = [step for _ in range(1000) for step in ([text("word ")], 10.0)]
    world = World({"a/m": [words]})
    with pytest.raises(DeadlineError):
        await world.stream(asking(deadline_seconds=7200.0))

    assert world.now == pytest.approx(1800.0)
