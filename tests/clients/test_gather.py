"""A stream's events become one answer, whatever way they are cut and however often they begin again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.errors import ContractError
from turnout.gather import Gatherer
from turnout.v1 import router_pb2 as pb

TARGET = pb.Target(provider="anthropic", model="claude")
COMPLETION = pb.ExecuteStreamResponse(
    completion=pb.Completion(
        target=TARGET, finish_reason=pb.FINISH_REASON_TOOL_CALLS, model="claude-1", response_id="r"
    )
)


def delta(part_index: int = 0, attempt_id: str = "a", **content: object) -> pb.ExecuteStreamResponse:
    piece = pb.Delta(part_index=part_index, attempt_id=attempt_id, **content)  # type: ignore[arg-type] # one of four
    return pb.ExecuteStreamResponse(delta=piece)


def call(**content: str) -> pb.ToolCallDelta:
    return pb.ToolCallDelta(**content)


def gathered(*events: pb.ExecuteStreamResponse) -> Gatherer:
    gatherer = Gatherer()
    for event in events:
        gatherer.add(event)
    return gatherer


def attempt(attempt_id: str, provider: str, *, hedge: bool = False) -> pb.ExecuteStreamResponse:
    started = pb.AttemptStarted(attempt_id=attempt_id, target=pb.Target(provider=provider, model="m"), hedge=hedge)
    return pb.ExecuteStreamResponse(attempt=started)


def restart(attempt_id: str) -> pb.ExecuteStreamResponse:
    return pb.ExecuteStreamResponse(restart=pb.Restart(discarded_attempt_id=attempt_id))


def test_parts_of_all_kinds_are_put_together_in_order_of_their_index() -> None:
    events = [
        delta(0, reasoning=pb.Reasoning(text="Let me ")),
        delta(0, reasoning=pb.Reasoning(text="think")),
        delta(0, signature="sig-"),
        delta(0, signature="nature"),
        delta(1, text="Hel"),
        delta(2, tool_call=call(id="call-1", name="add", arguments_fragment='{"a"')),
        delta(1, text="lo"),
        delta(3, tool_call=call(id="call-2", name="sub", arguments_fragment="{}")),
        delta(2, tool_call=call(arguments_fragment=": 1}")),
        COMPLETION,
    ]

    answer = gathered(*events).answer()

    assert answer.parts == (
        pb.Part(reasoning=pb.Reasoning(text="Let me think"), signature="sig-nature", origin_provider="anthropic"),
        pb.Part(text="Hello"),
        pb.Part(tool_call=pb.ToolCall(id="call-1", name="add", arguments_json='{"a": 1}')),
        pb.Part(tool_call=pb.ToolCall(id="call-2", name="sub", arguments_json="{}")),
    )
    assert (answer.text, answer.reasoning) == ("Hello", "Let me think")
    assert [tool_call.id for tool_call in answer.tool_calls] == ["call-1", "call-2"]
    assert (answer.model, answer.response_id) == ("claude-1", "r")


def test_redacted_thinking_goes_back_to_the_provider_it_came_from() -> None:
    answer = gathered(delta(0, reasoning=pb.Reasoning(redacted_data=b"\x00opaque")), COMPLETION).answer()

    assert answer.parts == (pb.Part(reasoning=pb.Reasoning(redacted_data=b"\x00opaque"), origin_provider="anthropic"),)


def test_signature_of_a_text_part_stays_with_it() -> None:
    answer = gathered(delta(0, text="Hi"), delta(0, signature="s"), COMPLETION).answer()

    assert answer.parts == (pb.Part(text="Hi", signature="s", origin_provider="anthropic"),)


def test_the_answer_is_the_next_requests_assistant_turn() -> None:
    answer = gathered(delta(0, text="Hi"), COMPLETION).answer()

    assert answer.message == pb.Message(role=pb.ROLE_ASSISTANT, parts=[pb.Part(text="Hi")])


def test_restart_forgets_parts_of_every_kind() -> None:
    gatherer = gathered(
        delta(0, text="Wrong"),
        delta(1, tool_call=call(id="call-1", name="add", arguments_fragment="{")),
        restart("a"),
        delta(0, "b", tool_call=call(id="call-2", name="sub", arguments_fragment="{}")),
        COMPLETION,
    )

    assert gatherer.answer().parts == (pb.Part(tool_call=pb.ToolCall(id="call-2", name="sub", arguments_json="{}")),)


def test_restart_may_come_more_than_once() -> None:
    gatherer = gathered(
        delta(attempt_id="a", text="One"),
        restart("a"),
        delta(attempt_id="b", text="Two"),
        restart("b"),
        delta(attempt_id="c", text="Three"),
        COMPLETION,
    )

    assert gatherer.answer().text == "Three"


def test_late_pieces_of_a_discarded_attempt_are_dropped() -> None:
    gatherer = gathered(delta(attempt_id="a", text="Wrong"), restart("a"), delta(attempt_id="b", text="Right"))

    shown = gatherer.add(delta(attempt_id="a", text=" late"))

    assert not shown
    assert gatherer.text == "Right"


def test_restart_of_an_attempt_without_content_keeps_the_answer() -> None:
    gatherer = gathered(delta(attempt_id="b", text="Right"), restart("a"), COMPLETION)

    assert gatherer.answer().text == "Right"


def test_content_counts_as_delivered_even_after_a_restart() -> None:
    gatherer = gathered(delta(text="Wrong"), restart("a"))

    assert gatherer.has_content
    assert gatherer.text == ""


def test_decision_and_attempt_are_no_content() -> None:
    events = [
        pb.ExecuteStreamResponse(decision=pb.Decision(decision_id="d")),
        pb.ExecuteStreamResponse(attempt=pb.AttemptStarted(attempt_id="a", target=TARGET)),
    ]

    gatherer = gathered(*events)

    assert not gatherer.has_content
    assert gatherer.target == TARGET


def test_no_completion_is_no_answer() -> None:
    with pytest.raises(ContractError, match="without its completion"):
        gathered(delta(text="Hel")).answer()


def test_pieces_of_two_attempts_without_a_restart_break_the_contract() -> None:
    with pytest.raises(ContractError, match="two attempts"):
        gathered(delta(attempt_id="a", text="Hel"), delta(attempt_id="b", text="lo"))


def test_a_part_that_changes_its_kind_breaks_the_contract() -> None:
    with pytest.raises(ContractError, match="part 0"):
        gathered(delta(0, text="Hel"), delta(0, tool_call=call(id="c")))


def test_content_after_completion_breaks_the_contract() -> None:
    with pytest.raises(ContractError, match="after its completion"):
        gathered(delta(text="Hello"), COMPLETION, delta(text="!"))


def test_kinds_of_a_newer_contract_are_skipped() -> None:
    gatherer = gathered(pb.ExecuteStreamResponse(), delta(5), delta(0, text="Hello"), COMPLETION)

    assert gatherer.answer().text == "Hello"


def test_an_empty_answer_is_complete() -> None:
    assert gathered(COMPLETION).answer().parts == ()


def test_the_content_is_not_in_the_repr_of_an_answer() -> None:
    answer = gathered(delta(text="planted secret"), COMPLETION).answer()

    assert "planted" not in repr(answer)


@given(st.lists(st.text(max_size=5), max_size=8), st.lists(st.lists(st.text(max_size=5), max_size=4), max_size=3))
def test_any_cutting_and_any_restarts_give_the_last_attempts_text(pieces: list[str], lost: list[list[str]]) -> None:
    gatherer = Gatherer()
    for place, wrong in enumerate(lost):
        for piece in wrong:
            gatherer.add(delta(attempt_id=f"lost-{place}", text=piece))
        gatherer.add(restart(f"lost-{place}"))
    for piece in pieces:
        gatherer.add(delta(attempt_id="last", text=piece))
    gatherer.add(COMPLETION)

    assert gatherer.answer().text == "".join(pieces)


@pytest.mark.parametrize(("quicker", "answers"), [("first", "north"), ("second", "south")])
def test_target_of_a_hedged_stream_is_the_one_whose_piece_comes_first(quicker: str, answers: str) -> None:
    waiting = gathered(attempt("first", "north"), attempt("second", "south", hedge=True))
    assert waiting.target is not None
    begun = gathered(attempt("first", "north"), attempt("second", "south", hedge=True), delta(0, quicker, text="Hi"))
    assert begun.target is not None

    assert waiting.target.provider == "north"
    assert begun.target.provider == answers
    assert begun.text == "Hi"
