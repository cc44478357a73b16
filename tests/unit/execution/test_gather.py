"""Pieces of a stream put together again."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.chat import (
    Delta,
    Part,
    Reasoning,
    ReasoningDelta,
    SignatureDelta,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from turnout_server.execution.gather import Gatherer


def gathered(*deltas: Delta) -> tuple[Part, ...]:
    gatherer = Gatherer()
    gatherer.add(deltas)
    return gatherer.parts("anthropic")


def test_text_fragments_become_one_part() -> None:
    parts = gathered(TextDelta(part_index=0, text="Hel"), TextDelta(part_index=0, text="lo"))

    assert (Part(content=Text(text="Hello")),) == parts


def test_fragments_of_parallel_tool_calls_are_kept_apart() -> None:
    parts = gathered(
        ToolCallDelta(part_index=1, id="b", name="second", arguments_fragment="{"),
        ToolCallDelta(part_index=0, id="a", name="first", arguments_fragment='{"x"'),
        ToolCallDelta(part_index=1, arguments_fragment="}"),
        ToolCallDelta(part_index=0, arguments_fragment=":1}"),
    )

    assert (
        Part(content=ToolCall(id="a", name="first", arguments_json='{"x":1}')),
        Part(content=ToolCall(id="b", name="second", arguments_json="{}")),
    ) == parts


def test_signed_reasoning_names_the_provider_it_must_go_back_to() -> None:
    parts = gathered(
        ReasoningDelta(part_index=0, text="hm"),
        SignatureDelta(part_index=0, signature="sig"),
        TextDelta(part_index=1, text="42"),
    )

    assert (
        Part(content=Reasoning(text="hm"), signature="sig", origin_provider="anthropic"),
        Part(content=Text(text="42")),
    ) == parts


def test_redacted_reasoning_names_the_provider_it_must_go_back_to() -> None:
    parts = gathered(ReasoningDelta(part_index=0, redacted_data=b"opaque"))

    assert (Part(content=Reasoning(redacted_data=b"opaque"), origin_provider="anthropic"),) == parts


def test_cleared_gatherer_holds_nothing_of_the_discarded_answer() -> None:
    gatherer = Gatherer()
    gatherer.add([TextDelta(part_index=3, text="gone")])
    gatherer.clear()
    gatherer.add([TextDelta(part_index=0, text="new")])

    assert gatherer.parts("p") == (Part(content=Text(text="new")),)


@given(st.lists(st.tuples(st.integers(0, 4), st.text(max_size=5)), max_size=50))
def test_nothing_is_lost_however_the_text_is_cut(pieces: list[tuple[int, str]]) -> None:
    parts = gathered(*(TextDelta(part_index=index, text=text) for index, text in pieces))
    expected = ["".join(text for at, text in pieces if at == index) for index in sorted({index for index, _ in pieces})]

    assert expected == [part.content.text for part in parts if isinstance(part.content, Text)]


def test_short_fragments_take_little_more_memory_than_their_text() -> None:
    count = 20_000
    gatherer = Gatherer()
    tracemalloc.start()

    for i in range(count):
        gatherer.add((TextDelta(part_index=0, text=f"{i % 10}abc"),))
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # Each by itself, they would take fifteen times as much.
    assert held_bytes < 4 * 4 * count
    assert "".join(f"{i % 10}abc" for i in range(count)) == gatherer.parts("p")[0].content.text  # type: ignore[union-attr]
