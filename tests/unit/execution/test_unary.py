"""Unary calls: answered whole, fetched as a stream where that helps to see silence."""

import pytest

from tests.unit.execution.scripted import (
    ABLE,
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
from turnout_server.core.chat import Finished, Part, Reasoning, SignatureDelta, Text, ToolCall, ToolCallDelta
from turnout_server.core.errors import AttemptsExhaustedError, DeadlineError, InvalidRequestError
from turnout_server.core.model import Capability, FailureKind, FinishReason, ReasoningEffort, RequestProfile, RouteQuery

END = [Finished(reason=FinishReason.STOP)]
SHORT = chat(max_output_tokens=100)


@in_virtual_time
async def test_answer_is_gathered_from_its_pieces() -> None:
    script: Script = [
        [thought("hm"), SignatureDelta(part_index=0, signature="sig")],
        [text("Hel", 1)],
        [text("lo", 1), ToolCallDelta(part_index=2, id="1", name="look", arguments_fragment="{")],
        [ToolCallDelta(part_index=2, arguments_fragment="}")],
        [Finished(reason=FinishReason.TOOL_CALLS)],
    ]
    world = World({"a/m": [script]})
    result = await world.executor.execute(asking(), chat())

    assert result.output.parts == (
        Part(content=Reasoning(text="hm"), signature="sig", origin_provider="a"),
        Part(content=Text(text="Hello")),
        Part(content=ToolCall(id="1", name="look", arguments_json="{}")),
    )
    assert result.output.finish_reason is FinishReason.TOOL_CALLS


@in_virtual_time
async def test_answer_that_broke_in_the_middle_is_fetched_anew_from_the_next_target() -> None:
    world = World({"a/m": [[[text("half")], fail(FailureKind.TRUNCATED)]], "b/m": [answer("whole")]})
    result = await world.executor.execute(asking(), chat())

    assert result.output.parts == (Part(content=Text(text="whole")),)
    assert str(result.target) == "b/m"


@pytest.mark.parametrize(
    ("limit", "effort", "streams"),
    [
        (255, None, False),
        (256, None, True),
        (None, None, True),
        (100, ReasoningEffort.LOW, True),
        (100, ReasoningEffort.NONE, False),
    ],
)
@in_virtual_time
async def test_provider_is_streamed_from_unless_the_answer_is_short_and_needs_no_reasoning(
    limit: int | None,
    effort: ReasoningEffort | None,
    streams: bool,  # noqa: FBT001  # a table's column
) -> None:
    world = World({"a/m": [answer("fine")]})
    await world.executor.execute(asking(), chat(max_output_tokens=limit, reasoning_effort=effort))

    assert streams is world.upstream.played[0].streaming


@in_virtual_time
async def test_target_that_cannot_stream_is_asked_for_the_whole_answer() -> None:
    world = World({spec("a/m", capabilities=ABLE - {Capability.STREAMING}): [answer("fine")]})
    await world.executor.execute(asking(), chat())

    assert not world.upstream.played[0].streaming


@in_virtual_time
async def test_target_that_cannot_stream_is_no_candidate_for_a_stream() -> None:
    world = World({spec("a/m", capabilities=ABLE - {Capability.STREAMING}): [answer("no")], "b/m": [answer("fine")]})
    await world.stream()

    assert ["b/m"] == world.names()


@in_virtual_time
async def test_short_answer_has_ten_seconds_in_all() -> None:
    world = World({"a/m": [[SILENCE]], "b/m": [answer("fine")]})
    result = await world.executor.execute(asking(), SHORT)

    assert result.attempts[0].failure is FailureKind.TIMEOUT
    assert result.attempts[0].latency_seconds == pytest.approx(10.0, abs=0.01)


@in_virtual_time
async def test_short_answer_of_a_slow_target_has_four_times_its_prediction() -> None:
    slow = spec("a/m", latency_prior_seconds=5.0)
    world = World({slow: [[19.0, [text("fine")], END]]})

    assert len((await world.executor.execute(asking(), SHORT)).attempts) == 1


@in_virtual_time
async def test_unary_answer_that_stalls_is_seen_long_before_the_deadline() -> None:
    world = World({"a/m": [[[text("half")], SILENCE]], "b/m": [answer("whole")]})
    result = await world.executor.execute(asking(deadline_seconds=600.0), chat())

    assert result.attempts[0].failure is FailureKind.STALLED
    assert world.now == pytest.approx(20.5)


@in_virtual_time
async def test_unary_call_out_of_time_says_so() -> None:
    world = World({"a/m": [[SILENCE]]})
    with pytest.raises(DeadlineError) as caught:
        await world.executor.execute(asking(deadline_seconds=2.0), chat())

    assert world.now == pytest.approx(1.96)
    assert caught.value.report.delivered_bytes == 0


@in_virtual_time
async def test_unary_call_never_shows_a_part_of_an_answer() -> None:
    world = World({"a/m": [[[text("half")], fail(FailureKind.STALLED)]]})
    with pytest.raises(AttemptsExhaustedError):
        await world.executor.execute(asking(), chat())


@in_virtual_time
async def test_profile_that_contradicts_the_input_is_refused_before_anything_is_decided() -> None:
    world = World({"a/m": [answer("fine")]})
    query = RouteQuery(profile=RequestProfile(max_output_tokens=5))
    with pytest.raises(InvalidRequestError, match=r"profile\.max_output_tokens"):
        await world.executor.execute(query, SHORT)

    assert [] == world.instruments.decisions


@in_virtual_time
async def test_wire_that_requires_an_output_limit_is_given_the_models_own() -> None:
    world = World({spec("a/m", wire="anthropic", max_output_tokens=8_000): [answer("fine")], "b/m": [answer("fine")]})
    await world.executor.execute(asking(), chat())
    await world.executor.execute(asking(), chat(max_output_tokens=300))
    await world.executor.execute(asking(force_target="b/m"), chat())

    assert [played.call.max_output_tokens for played in world.upstream.played] == [8_000, 300, None]


@in_virtual_time
async def test_output_limit_never_exceeds_what_the_model_can_do_or_its_window_leaves() -> None:
    small = spec("a/m", wire="anthropic", max_output_tokens=8_000, context_window_tokens=2_000)
    world = World({small: [answer("fine")]})
    await world.executor.execute(asking(), chat("x" * 4_000))
    await world.executor.execute(asking(), chat(max_output_tokens=500))
    roomy = World({spec("b/m", max_output_tokens=8_000): [answer("fine")]})
    await roomy.executor.execute(asking(), chat(max_output_tokens=9_000))

    limits = [played.call.max_output_tokens for played in (*world.upstream.played, *roomy.upstream.played)]
    assert limits == [1_000, 500, 8_000]
