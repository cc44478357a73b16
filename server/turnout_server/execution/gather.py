"""Puts the pieces of a stream together again: what a unary answer is made of."""

from __future__ import annotations

from collections.abc import Iterable

from turnout_server.core.call import CallResult, Completed
from turnout_server.core.chat import (
    ChatOutput,
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
from turnout_server.core.decision import Decision

FRAGMENTS_MAXIMUM = 1024
"""So many short fragments are joined into one: by itself each takes some 60 bytes, however short it is."""


class _Fragments:
    """A text that grows by short fragments, in memory little more than the text itself; each joined at most twice."""

    __slots__ = ("_joined", "_last")

    def __init__(self) -> None:
        self._joined: list[str] = []
        self._last: list[str] = []

    def append(self, fragment: str) -> None:
        """Adds a fragment."""
        self._last.append(fragment)
        if len(self._last) >= FRAGMENTS_MAXIMUM:
            self._joined.append("".join(self._last))
            self._last.clear()

    def __str__(self) -> str:
        return "".join([*self._joined, *self._last])


class _Piece:
    """One part while it grows."""

    __slots__ = ("arguments", "id", "kind", "name", "redacted", "signature", "texts")

    def __init__(self) -> None:
        self.kind: type[TextDelta | ReasoningDelta | ToolCallDelta] | None = None
        self.texts = _Fragments()
        self.id = ""
        self.name = ""
        self.arguments = _Fragments()
        self.redacted: list[bytes] = []
        self.signature: list[str] = []


class Gatherer:
    """Takes deltas in order, gives parts in the order of their index. Fragments of different parts may alternate."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: dict[int, _Piece] = {}

    def add(self, deltas: Iterable[Delta]) -> None:
        """Takes further deltas."""
        for delta in deltas:
            piece = self._pieces.get(delta.part_index)
            if piece is None:
                piece = self._pieces[delta.part_index] = _Piece()
            match delta:
                case TextDelta():
                    piece.kind = TextDelta
                    piece.texts.append(delta.text)
                case ReasoningDelta():
                    piece.kind = ReasoningDelta
                    piece.texts.append(delta.text)
                    if delta.redacted_data is not None:
                        piece.redacted.append(delta.redacted_data)
                case ToolCallDelta():
                    piece.kind = ToolCallDelta
                    piece.id = piece.id or delta.id
                    piece.name = piece.name or delta.name
                    piece.arguments.append(delta.arguments_fragment)
                case SignatureDelta():
                    piece.signature.append(delta.signature)

    def clear(self) -> None:
        """Forgets everything: the answer begins anew."""
        self._pieces.clear()

    def parts(self, provider: str) -> tuple[Part, ...]:
        """Returns the parts so far; what carries a signature names `provider` as its origin."""
        return tuple(
            Part(
                content=_content(piece),
                signature="".join(piece.signature),
                origin_provider=provider if piece.signature or piece.redacted else "",
            )
            for _, piece in sorted(self._pieces.items())
        )


def _content(piece: _Piece) -> Text | Reasoning | ToolCall:
    text = str(piece.texts)
    if piece.kind is ToolCallDelta:
        return ToolCall(id=piece.id, name=piece.name, arguments_json=str(piece.arguments))
    if piece.kind is ReasoningDelta:
        return Reasoning(text=text, redacted_data=b"".join(piece.redacted) if piece.redacted else None)
    if piece.kind is None:
        # A signature alone: the vendor hides the thinking that it belongs to.
        return Reasoning()
    return Text(text=text)


def result_of(completed: Completed, decision: Decision, gathered: Gatherer) -> CallResult:
    """Returns what a stream came to as a whole answer, of its end and what was gathered on the way."""
    return CallResult(
        output=ChatOutput(
            parts=gathered.parts(completed.target.provider),
            finish_reason=completed.finish_reason,
            model=completed.model,
            response_id=completed.response_id,
        ),
        target=completed.target,
        decision=decision,
        attempts=completed.attempts,
        usage=completed.usage,
        cost_nano_usd=completed.cost_nano_usd,
        cached=completed.cached,
        joined=completed.joined,
        notices=completed.notices,
    )
