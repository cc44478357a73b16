"""What is held back until content comes, and how much of it."""

import pytest

from turnout_server.core.chat import Delta, ReasoningDelta, SignatureDelta, TextDelta, ToolCallDelta
from turnout_server.core.model import FailureKind
from turnout_server.core.settings import FailoverSettings
from turnout_server.execution.commit import CommitBuffer
from turnout_server.ports import UpstreamError

EMPTY = TextDelta(part_index=0, text="")
SIGNATURE = SignatureDelta(part_index=0, signature="s" * 1024)


@pytest.mark.parametrize(
    "content",
    [
        TextDelta(part_index=0, text="a"),
        ToolCallDelta(part_index=0, id="1", name="look"),
        ReasoningDelta(part_index=0, text="hm"),
        ReasoningDelta(part_index=0, redacted_data=b"x"),
    ],
    ids=["text", "tool call", "reasoning", "redacted reasoning"],
)
def test_text_tool_call_and_reasoning_commit(content: Delta) -> None:
    buffer = CommitBuffer(FailoverSettings())

    assert buffer.add([EMPTY]) == ()
    assert buffer.add([content]) == (EMPTY, content)
    assert buffer.add([EMPTY]) == (EMPTY,)


@pytest.mark.parametrize("held", [EMPTY, SIGNATURE, ReasoningDelta(part_index=0)], ids=lambda held: type(held).__name__)
def test_pieces_without_content_are_held_back(held: Delta) -> None:
    buffer = CommitBuffer(FailoverSettings())

    assert buffer.add([held]) == ()
    assert not buffer.committed
    assert buffer.release() == (held,)


def test_64_pieces_are_held_and_the_65th_is_a_protocol_failure() -> None:
    buffer = CommitBuffer(FailoverSettings())
    for _ in range(64):
        buffer.add([EMPTY])

    with pytest.raises(UpstreamError) as caught:
        buffer.add([EMPTY])

    assert caught.value.kind is FailureKind.PROTOCOL


def test_256_kib_are_held_and_more_is_a_protocol_failure() -> None:
    buffer = CommitBuffer(FailoverSettings(precommit_max_events=1000))
    for _ in range(256):
        buffer.add([SIGNATURE])

    with pytest.raises(UpstreamError) as caught:
        buffer.add([SIGNATURE])

    assert caught.value.kind is FailureKind.PROTOCOL
