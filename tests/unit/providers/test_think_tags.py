"""Thinking between tags, in whatever pieces it comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.providers.openai.think_tags import ThinkTags


def told(pieces: list[str]) -> tuple[str, str]:
    """Returns thinking and answer."""
    tags = ThinkTags()
    out = [piece for text in pieces for piece in tags.feed(text)] + tags.rest()
    return "".join(text for thinks, text in out if thinks), "".join(text for thinks, text in out if not thinks)


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("<think>Hm.</think>Yes.", "Hm.", "Yes."),
        ("\n<think>\nHm.\n</think>\n\nYes.", "Hm.\n", "Yes."),
        ("Yes.", "", "Yes."),
        ("  Yes.", "", "  Yes."),
        ("<thinking>Yes.", "", "<thinking>Yes."),
        ("A <think>tag</think> in an answer.", "", "A <think>tag</think> in an answer."),
        ("<think>Hm.</think>A <think>tag</think>.", "Hm.", "A <think>tag</think>."),
        ("<think></think>Yes.", "", "Yes."),
        ("<think>if a </b> then", "if a </b> then", ""),
        ("<think>cut off </thi", "cut off </thi", ""),
        ("<thi", "", "<thi"),
        ("", "", ""),
    ],
)
def test_thinking_is_told_from_the_answer(text: str, thinking: str, answer: str) -> None:
    assert (thinking, answer) == told([text])


def test_nothing_is_held_back_that_cannot_become_a_tag() -> None:
    tags = ThinkTags()

    assert [(False, "Y")] == tags.feed("Y")
    assert [(False, "<")] == tags.feed("<")


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<th", "ink>", "</", " ", "\n", "<", "a", "Hm"]), max_size=12),
    st.data(),
)
def test_pieces_mean_the_same_as_the_whole(words: list[str], data: st.DataObject) -> None:
    text = "".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))

    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    assert told([text]) == told(pieces)


@given(st.text(alphabet="<think/> ab\n", max_size=40))
def test_no_character_of_an_answer_is_lost_or_made(text: str) -> None:
    thinking, answer = told([text])

    bare = text.replace("<think>", "", 1).replace("</think>", "", 1)
    kept = {"".join((thinking + answer).split())}
    assert kept <= {"".join(text.split()), "".join(text.replace("<think>", "", 1).split()), "".join(bare.split())}
