"""Answers and their pieces, kind by kind."""

import pytest

from turnout.v1 import router_pb2 as pb
from turnout_server.api.answers import Answers
from turnout_server.api.call_answers import call_failure, chat_output, stream_responses
from turnout_server.core.call import AttemptDeltas, AttemptRecord, CallReport, Restarted
from turnout_server.core.chat import (
    ChatOutput,
    Delta,
    Media,
    MediaKind,
    Part,
    Reasoning,
    ReasoningDelta,
    SignatureDelta,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from turnout_server.core.decision import Rejection
from turnout_server.core.model import DecisionDetail, FailureKind, FinishReason, RejectionReason, Target, Usage


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        (TextDelta(part_index=0, text="x"), pb.Delta(part_index=0, attempt_id="a", text="x")),
        (
            ToolCallDelta(part_index=1, id="c", name="f", arguments_fragment="{"),
            pb.Delta(
                part_index=1, attempt_id="a", tool_call=pb.ToolCallDelta(id="c", name="f", arguments_fragment="{")
            ),
        ),
        (
            ReasoningDelta(part_index=2, redacted_data=b"z"),
            pb.Delta(part_index=2, attempt_id="a", reasoning=pb.Reasoning(redacted_data=b"z")),
        ),
        (SignatureDelta(part_index=3, signature="s"), pb.Delta(part_index=3, attempt_id="a", signature="s")),
    ],
    ids=["text", "tool_call", "reasoning", "signature"],
)
def test_every_kind_of_delta_is_written(delta: Delta, expected: pb.Delta) -> None:
    event = AttemptDeltas(attempt_id="a", deltas=(delta,))
    [message] = stream_responses(event, Answers(), DecisionDetail.BASIC)

    assert expected == message.delta


def test_deltas_that_came_together_are_joined_in_their_order() -> None:
    deltas = (*(TextDelta(part_index=0, text=t) for t in "abc"), TextDelta(part_index=1, text="d"))
    event = AttemptDeltas(attempt_id="a", deltas=deltas)
    messages = list(stream_responses(event, Answers(), DecisionDetail.BASIC))

    assert [(message.delta.part_index, message.delta.text) for message in messages] == [(0, "abc"), (1, "d")]


def test_a_restart_names_the_attempt_to_forget() -> None:
    event = Restarted(discarded_attempt_id="a", failure=FailureKind.STALLED)
    [message] = stream_responses(event, Answers(), DecisionDetail.BASIC)

    assert message.restart == pb.Restart(discarded_attempt_id="a", failure=pb.FAILURE_KIND_STALLED)


def test_every_kind_of_part_is_written() -> None:
    output = ChatOutput(
        parts=(
            Part(content=Reasoning(text="hm"), signature="s", origin_provider="anthropic"),
            Part(content=Text(text="")),
            Part(content=ToolCall(id="c", name="f", arguments_json="{}")),
            Part(content=Media(kind=MediaKind.IMAGE, media_type="image/png", data=b"x")),
            Part(content=Media(kind=MediaKind.AUDIO, url="https://x/y")),
        ),
        finish_reason=FinishReason.TOOL_CALLS,
        model="m",
        response_id="r",
    )

    expected = pb.ChatOutput(
        parts=[
            pb.Part(reasoning=pb.Reasoning(text="hm"), signature="s", origin_provider="anthropic"),
            pb.Part(text=""),
            pb.Part(tool_call=pb.ToolCall(id="c", name="f", arguments_json="{}")),
            pb.Part(image=pb.Image(data=b"x", media_type="image/png")),
            pb.Part(audio=pb.Audio(url="https://x/y")),
        ],
        finish_reason=pb.FINISH_REASON_TOOL_CALLS,
        model="m",
        response_id="r",
    )

    assert expected == chat_output(output)


def test_what_is_unknown_of_an_attempt_stays_absent() -> None:
    record = AttemptRecord(target=Target("p", "m"), attempt_id="a", started_at_wall=1.0, usage=Usage(output_tokens=0))
    [attempt] = call_failure(CallReport(attempts=(record,)), offset=0.0).attempts

    assert not attempt.HasField("cost_usd")
    assert not attempt.HasField("latency")
    assert not attempt.usage.HasField("input_tokens")
    assert attempt.usage.HasField("output_tokens")


def test_the_report_within_the_stream_leaves_nothing_out() -> None:
    rejections = tuple(Rejection(Target("p", f"m{i}"), (RejectionReason.DRAINED,), "x" * 300) for i in range(100))
    failure = call_failure(CallReport(rejections=rejections, delivered_bytes=7), offset=0.0)

    assert len(failure.rejections) == 100
    assert not failure.truncated
    assert failure.delivered_bytes == 7
