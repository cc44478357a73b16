"""Joining changes how many messages an answer comes in, and nothing of the answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.api.joining import MOST_CHARACTERS, joined
from turnout_server.core.chat import Delta, ReasoningDelta, SignatureDelta, TextDelta, ToolCallDelta
from turnout_server.execution.accounting import delta_bytes
from turnout_server.execution.gather import Gatherer

parts = st.integers(0, 2)
words = st.sampled_from(["", "a", "Où ", "夜行 \U0001f682", "x" * 9000])
deltas = st.one_of(
    st.builds(TextDelta, part_index=parts, text=words),
    st.builds(ReasoningDelta, part_index=parts, text=words),
    st.builds(ReasoningDelta, part_index=parts, text=st.just(""), redacted_data=st.sampled_from([b"", b"sealed"])),
    st.builds(ToolCallDelta, part_index=parts, id=st.just("c"), name=st.just("look_up"), arguments_fragment=words),
    st.builds(ToolCallDelta, part_index=parts, arguments_fragment=words),
    st.builds(SignatureDelta, part_index=parts, signature=st.just("s")),
)


def pieces(came: list[Delta]) -> list[tuple[object, ...]]:
    """What came, in order, letter by letter."""
    told: list[tuple[object, ...]] = []
    for delta in came:
        part, kind = delta.part_index, type(delta)
        match delta:
            case TextDelta(text=text):
                told += [(part, kind, letter) for letter in text]
            case ReasoningDelta(text=text, redacted_data=data):
                told += [(part, kind, letter) for letter in text]
                told += [] if data is None else [(part, kind, data)]
            case ToolCallDelta():
                told += [(part, kind, delta.id, delta.name)] if delta.id else []
                told += [(part, kind, letter) for letter in delta.arguments_fragment]
            case SignatureDelta(signature=signature):
                told.append((part, kind, signature))
    return told


@given(came=st.lists(deltas, max_size=12))
def test_joined_pieces_are_the_same_answer_in_the_same_order(came: list[Delta]) -> None:
    shown = list(joined(came))

    assert pieces(came) == pieces(shown)
    assert sum(map(delta_bytes, came)) == sum(map(delta_bytes, shown))
    # Only what a single piece brought is longer.
    longest = max((len(text_of(delta)) for delta in came), default=0)
    assert all(len(text_of(delta)) <= max(MOST_CHARACTERS, longest) for delta in shown)


@given(came=st.lists(st.builds(TextDelta, part_index=parts, text=words), min_size=1, max_size=12))
def test_gathered_it_is_the_same(came: list[Delta]) -> None:
    apart, together = Gatherer(), Gatherer()
    apart.add(came)
    together.add(list(joined(came)))

    assert apart.parts("") == together.parts("")


def text_of(delta: Delta) -> str:
    match delta:
        case TextDelta(text=text) | ReasoningDelta(text=text) | ToolCallDelta(arguments_fragment=text):
            return text
        case _:
            return ""


def text(value: str, part_index: int = 0) -> TextDelta:
    return TextDelta(part_index=part_index, text=value)


def fragment(value: str, call_id: str = "", part_index: int = 1) -> ToolCallDelta:
    name = "look_up" if call_id else ""
    return ToolCallDelta(part_index=part_index, id=call_id, name=name, arguments_fragment=value)


SEALED = ReasoningDelta(part_index=0, redacted_data=b"sealed")
SIGNED = SignatureDelta(part_index=0, signature="s")
THOUGHT = ReasoningDelta(part_index=0, text="hm")


@pytest.mark.parametrize(
    ("came", "expected"),
    [
        ([], []),
        ([text("a")], [text("a")]),
        ([text("a"), text("b"), text("c")], [text("abc")]),
        ([text("a"), text("b", 1), text("c")], [text("a"), text("b", 1), text("c")]),
        ([fragment("{", "c"), fragment('"a":'), fragment("1}")], [fragment('{"a":1}', "c")]),
        ([fragment("{}", "c"), fragment("{}", "d")], [fragment("{}", "c"), fragment("{}", "d")]),
        ([fragment("1", "", 1), fragment("2", "", 2)], [fragment("1", "", 1), fragment("2", "", 2)]),
        ([THOUGHT, THOUGHT, text("a")], [ReasoningDelta(part_index=0, text="hmhm"), text("a")]),
        ([THOUGHT, SEALED, THOUGHT], [THOUGHT, SEALED, THOUGHT]),
        ([SEALED, SEALED, SIGNED, SIGNED], [SEALED, SEALED, SIGNED, SIGNED]),
        ([text("x" * MOST_CHARACTERS), text("y")], [text("x" * MOST_CHARACTERS), text("y")]),
    ],
)
def test_neighbours_of_a_kind_and_part_are_joined_and_nothing_else(came: list[Delta], expected: list[Delta]) -> None:
    assert expected == list(joined(came))
