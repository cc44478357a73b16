"""Joins pieces of an answer that came together into fewer messages.

A message costs about the same however little it holds, and most of what an event of a stream costs at all. What one
read from a provider's socket brought is shown at once in any case: joined, it is the same answer in fewer messages. So
where the sidecar or its caller is slower than providers for a moment, what has piled up costs less and not more.
Nothing is ever held back for what a later read may bring.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from turnout_server.core.chat import Delta, ReasoningDelta, TextDelta, ToolCallDelta

MOST_CHARACTERS = 16 * 1024
"""Of text that several pieces are joined to. A single piece that is longer stays as it is."""


def joined(deltas: Sequence[Delta]) -> Iterator[Delta]:
    """Yields the deltas in order, neighbours of the same part and kind as one.

    A tool call's fragments join the piece before them, which may be the one with its id and name. Opaque data and
    signatures stay alone.
    """
    if len(deltas) == 1:
        yield deltas[0]
        return
    run: list[Delta] = []
    pieces: list[str] = []
    characters = 0
    for delta in deltas:
        text = _joinable(delta, run[0] if run else None)
        if text is not None and run and characters + len(text) <= MOST_CHARACTERS:
            run.append(delta)
            pieces.append(text)
            characters += len(text)
            continue
        if run:
            yield _one(run, pieces)
        run, pieces = [delta], [_text(delta)]
        characters = len(pieces[0])
    if run:
        yield _one(run, pieces)


def _joinable(delta: Delta, first: Delta | None) -> str | None:
    """Returns the text by which `first` would be longer; None where the two are not to be joined."""
    if first is None or type(delta) is not type(first) or delta.part_index != first.part_index:
        return None
    match delta:
        case TextDelta(text=text):
            return text
        case ReasoningDelta(text=text, redacted_data=None) if _is_readable(first):
            return text
        case ToolCallDelta(id="", name="", arguments_fragment=fragment):
            return fragment
        case _:
            return None


def _is_readable(delta: Delta) -> bool:
    return isinstance(delta, ReasoningDelta) and delta.redacted_data is None


def _text(delta: Delta) -> str:
    match delta:
        case TextDelta(text=text) | ReasoningDelta(text=text) | ToolCallDelta(arguments_fragment=text):
            return text
        case _:
            return ""


def _one(run: list[Delta], pieces: list[str]) -> Delta:
    first = run[0]
    if len(run) == 1:
        return first
    match first:
        case ToolCallDelta():
            return ToolCallDelta(
                part_index=first.part_index, id=first.id, name=first.name, arguments_fragment="".join(pieces)
            )
        case ReasoningDelta():
            return ReasoningDelta(part_index=first.part_index, text="".join(pieces))
        case _:
            return TextDelta(part_index=first.part_index, text="".join(pieces))
