"""Blocks of reasoning: collected from a stream, and sent back as they were."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.chat import Part, Reasoning
from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamError
from turnout_server.providers.dialects import ReasoningBack
from turnout_server.providers.openai.reasoning import ReasoningBlocks, put_back

CLAUDE: dict[str, Any] = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}


def sent_back(pieces: list[dict[str, Any]], *, repeats: bool = False) -> tuple[str, list[dict[str, Any]]]:
    """Returns the readable text, and the blocks as they go back with it."""
    blocks = ReasoningBlocks(repeats=repeats)
    text = "".join(blocks.add([piece]) for piece in pieces)
    part = Part(content=Reasoning(text=text), signature=blocks.signature(only_text=True), origin_provider="x")
    entry: dict[str, Any] = {"role": "assistant"}
    put_back(entry, [part], ReasoningBack.DETAILS)
    return text, entry["reasoning_details"]


def test_pieces_of_one_block_become_one_with_the_signature_that_came_last() -> None:
    pieces = [{**CLAUDE, "text": "Let"}, {**CLAUDE, "text": " me see."}, {**CLAUDE, "signature": "Et8B"}]

    text, back = sent_back(pieces)

    assert "Let me see." == text
    assert [{**CLAUDE, "text": "Let me see.", "signature": "Et8B"}] == back


def test_blocks_of_several_kinds_go_back_in_their_order() -> None:
    summary = {"type": "reasoning.summary", "summary": "It thought.", "id": "rs_1", "index": 0}
    sealed = {"type": "reasoning.encrypted", "data": "b3BhcXVl", "id": "rs_1", "index": 0}
    other = {"type": "reasoning.encrypted", "data": "b3RoZXI=", "id": "rs_2", "index": 0}

    text, back = sent_back([summary, sealed, other])

    assert "It thought." == text
    assert [summary, sealed, other] == back


def test_what_seals_a_block_counts_once_and_keeps_its_name() -> None:
    sealed = {"type": "reasoning.encrypted", "data": "b3BhcXVl", "id": "rs_1", "index": 0}

    assert ("", [sealed]) == sent_back([sealed, {**sealed, "id": None}, {**sealed, "data": None}])


def test_text_stands_in_the_part_and_not_in_its_signature_again() -> None:
    blocks = ReasoningBlocks()
    blocks.add([{**CLAUDE, "text": "Hm."}])

    assert "Hm." not in blocks.signature(only_text=True)
    assert "Hm." in blocks.signature(only_text=False)


def test_several_texts_are_kept_apart() -> None:
    first, second = {**CLAUDE, "text": "One."}, {**CLAUDE, "text": "Two.", "index": 1}

    assert ("One.Two.", [first, second]) == sent_back([first, second])


def test_vendor_that_repeats_itself_is_heard_once() -> None:
    pieces = [{**CLAUDE, "text": text} for text in ("The", "The user", "The user asks.")]

    assert "The user asks." == sent_back(pieces, repeats=True)[0]
    assert "TheThe userThe user asks." == sent_back(pieces)[0]


def test_vendor_that_may_repeat_itself_but_does_not_is_heard_whole() -> None:
    pieces = [{**CLAUDE, "text": text} for text in ("The user", " is asking how I am.", " Fine.")]

    assert "The user is asking how I am. Fine." == sent_back(pieces, repeats=True)[0]


@given(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=9))
def test_every_text_comes_back_as_it_came(texts: list[str]) -> None:
    text, back = sent_back([{**CLAUDE, "text": piece} for piece in texts])

    assert "".join(texts) == text == back[0]["text"]


@pytest.mark.parametrize("signature", ["c2ln", "{}", "[1]", ""])
def test_signature_that_is_none_of_ours_is_the_callers_fault(signature: str) -> None:
    part = Part(content=Reasoning(text="Hm."), signature=signature, origin_provider="x")

    with pytest.raises(UpstreamError) as caught:
        put_back({}, [part], ReasoningBack.DETAILS)

    assert FailureKind.INVALID_REQUEST is caught.value.kind
    assert "c2ln" not in str(caught.value)


def test_nothing_to_send_back_leaves_the_turn_alone() -> None:
    entry: dict[str, Any] = {"content": "Yes."}

    put_back(entry, [], ReasoningBack.DETAILS)

    assert {"content": "Yes."} == entry
    assert "" == ReasoningBlocks().signature(only_text=True)
