"""A whole answer told as a stream: what a caller of a stream gets where the answer is there already."""

from __future__ import annotations

from collections.abc import Iterator

from turnout_server.core.call import AttemptDeltas, AttemptStarted, CallEvent, CallResult, Completed
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

PIECE_CHARACTERS = 64 * 1024
"""Callers' libraries take messages of a few MiB, so that longer texts come in pieces."""


def replayed(result: CallResult) -> Iterator[CallEvent]:
    """Yields the events of a stream that brings this answer: no attempt where nothing was called for it."""
    yield result.decision
    attempt_id = ""
    if result.attempts:
        attempt_id = result.attempts[-1].attempt_id
        yield AttemptStarted(attempt_id=attempt_id, target=result.target)
    for index, part in enumerate(result.output.parts):
        for delta in _deltas(index, part):
            yield AttemptDeltas(attempt_id=attempt_id, deltas=(delta,))
    yield Completed(
        target=result.target,
        finish_reason=result.output.finish_reason,
        attempts=result.attempts,
        usage=result.usage,
        cost_nano_usd=result.cost_nano_usd,
        cached=result.cached,
        joined=result.joined,
        model=result.output.model,
        response_id=result.output.response_id,
        notices=result.notices,
    )


def _deltas(index: int, part: Part) -> Iterator[Delta]:
    match part.content:
        case Text(text=text):
            for piece in _pieces(text):
                yield TextDelta(part_index=index, text=piece)
        case Reasoning() as reasoning:
            for piece in _pieces(reasoning.text):
                yield ReasoningDelta(part_index=index, text=piece)
            if reasoning.redacted_data is not None:
                yield ReasoningDelta(part_index=index, redacted_data=reasoning.redacted_data)
        case ToolCall() as call:
            yield ToolCallDelta(part_index=index, id=call.id, name=call.name)
            for piece in _pieces(call.arguments_json):
                yield ToolCallDelta(part_index=index, arguments_fragment=piece)
        case _:
            # Models answer with nothing else.
            pass
    if part.signature:
        yield SignatureDelta(part_index=index, signature=part.signature)


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE_CHARACTERS):
        yield text[start : start + PIECE_CHARACTERS]
