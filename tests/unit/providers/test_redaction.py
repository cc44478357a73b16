from __future__ import annotations

import tracemalloc

import pytest

from turnout_server.core.chat import ChatInput, Message, Part, Role, Text, ToolCall, ToolResult
from turnout_server.providers.redaction import safe_message


def chat_of(*parts: Part) -> ChatInput:
    return ChatInput(messages=(Message(role=Role.USER, parts=parts),))


PROMPT = chat_of(Part(content=Text(text="the quick brown fox jumps over supercalifragilistic dogs")))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("max_tokens: must be at most 4096", "max_tokens: must be at most 4096"),
        ("'the quick brown fox' is not allowed", "'…' is not allowed"),
        ("no supercalifragilistic please", "no … please"),
        ("line one\nline two\x00", "line one line two"),
        ("your key sk-abcdef123456 is wrong", "your key … is wrong"),
        ("key AIzaSyD-abc_123456 is blocked", "key … is blocked"),
        ("provided: sk***gA.", "provided: …."),
        ("account <ak-f94zcrj6ax1111> waits", "account <…> waits"),
        ("token eyJhbGciOiJIUzI1.eyJzdWIi.c2ln ended", "token … ended"),
        ("Authorization: Bearer abc.def", "Authorization: …"),
        ("hash 0123456789abcdef0123456789abcdef", "hash …"),
        ("the secret is hunter2-prod", "the secret is …"),
    ],
)
def test_quotations_and_keys_are_left_out(message: str, expected: str) -> None:
    assert expected == safe_message(message, chat=PROMPT, secret="hunter2-prod")


def test_tool_arguments_and_results_are_part_of_the_prompt() -> None:
    chat = chat_of(
        Part(content=ToolCall(id="1", name="f", arguments_json='{"city": "Llanfairpwllgwyngyll"}')),
        Part(content=ToolResult(tool_call_id="1", content=(Part(content=Text(text="rain all the week")),))),
    )

    assert "… and …" == safe_message("Llanfairpwllgwyngyll and rain all the week", chat=chat)


def test_long_messages_are_cut() -> None:
    assert 300 == len(safe_message("word " * 500, chat=None))


def test_messages_about_prompts_too_long_to_look_through_are_not_shown() -> None:
    chat = chat_of(Part(content=Text(text="where does it stop? " * 30_000)), Part(content=Text(text="hunter2zz")))
    message = "the prompt is too long: hunter2zz"
    tracemalloc.start()
    try:
        shown = safe_message(message, chat=chat)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert "" == shown
    # Looking for quotations in all of it makes a list of its 120,000 words first.
    assert peak_bytes < 2_000_000
