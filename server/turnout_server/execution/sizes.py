"""How much memory what is kept of an answer takes: estimates, since a bound needs no more than that."""

from __future__ import annotations

from turnout_server.core.call import CallResult
from turnout_server.core.chat import ChatOutput, Part, Reasoning, Text, ToolCall
from turnout_server.core.history import ATTEMPT_BYTES, RECORD_BYTES, decision_bytes

PART_BYTES = 400
CHARACTER_BYTES = 4
"""The most that a character takes in CPython: one that is not of the first 65,536 makes all of its text so wide."""


def output_bytes(output: ChatOutput) -> int:
    """Returns at most what an answer takes."""
    return len(output.model) + len(output.response_id) + sum(_part_bytes(part) for part in output.parts)


def result_bytes(result: CallResult) -> int:
    """Returns what a call's result takes, its decision and attempts included."""
    details = sum(len(record.detail) + len(record.attempt_id) for record in result.attempts)
    attempts = ATTEMPT_BYTES * len(result.attempts) + details
    return output_bytes(result.output) + RECORD_BYTES + decision_bytes(result.decision) + attempts


def _part_bytes(part: Part) -> int:
    match part.content:
        case Text(text=text):
            size = _text_bytes(text)
        case Reasoning() as reasoning:
            size = _text_bytes(reasoning.text) + len(reasoning.redacted_data or b"")
        case ToolCall() as call:
            size = len(call.id) + len(call.name) + _text_bytes(call.arguments_json)
        case _:
            size = 0
    return PART_BYTES + len(part.signature) + size


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else CHARACTER_BYTES * len(text)
