"""Finds the thinking in an answer, wherever a vendor puts it, and what of it must go back with the next turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout_server.providers.dialects import Dialect, ReasoningBack
from turnout_server.providers.openai.reasoning import UNSIGNED_BLOCKS, ReasoningBlocks, marked
from turnout_server.providers.openai.think_tags import Pieces, ThinkTags


class Thinking:
    """The thinking of one answer so far. `apart`: there is none in the content from here on."""

    __slots__ = ("_back", "_blocks", "_elsewhere", "_in_fields", "_signature", "_tags", "apart")

    def __init__(self, dialect: Dialect) -> None:
        self._back = dialect.reasoning_back
        self._blocks: ReasoningBlocks | None = None
        if self._back is ReasoningBack.DETAILS:
            self._blocks = ReasoningBlocks(repeats=dialect.repeats_reasoning)
        self._tags = ThinkTags() if dialect.think_tags else None
        self.apart = self._tags is None
        self._in_fields = False
        self._elsewhere = False
        self._signature = ""

    def read(self, delta: Mapping[str, Any]) -> Any:
        """Returns the thinking that stands in fields of its own."""
        if self._blocks is not None:
            details = delta.get("reasoning_details")
            if details:
                new = self._blocks.add(details)
                if any(block.get("text") or block.get("summary") for block in details):
                    self._in_fields = True
                    return new
        plain = delta.get("reasoning_content") or delta.get("reasoning")
        if plain:
            self._in_fields = self._elsewhere = True
        return plain

    def read_chunk(self, chunk: Mapping[str, Any]) -> str:
        """Returns the thinking of one chunk of a content that is a list."""
        if chunk.get("type") != "thinking":
            return ""
        self._signature = chunk.get("signature") or self._signature
        thinking = chunk.get("thinking") or ""
        if not isinstance(thinking, str):
            thinking = "".join(piece.get("text") or "" for piece in thinking)
        if thinking:
            self._in_fields = self._elsewhere = True
        return thinking

    def split(self, text: str) -> Pieces:
        """Returns the content without the thinking in it, which stands apart."""
        if self._tags is None:
            return [(False, text)]
        pieces = self._without_repetition(self._tags.feed(text))
        self.apart = self._tags.over
        return pieces

    def rest(self) -> Pieces:
        """Returns what of the content was held back: the answer is complete."""
        return [] if self._tags is None else self._without_repetition(self._tags.rest())

    def signature(self, maker: str = "") -> str:
        """Returns what marks the thinking as the vendor's own, to be sent back; "" where it wants none back.

        `maker` is whose model it is, where the vendor has those of many.
        """
        if self._blocks is not None:
            blocks = self._blocks.signature(only_text=not self._elsewhere)
            blocks = blocks or (UNSIGNED_BLOCKS if self._elsewhere else "")
            return marked(blocks, maker) if blocks else ""
        if self._back is ReasoningBack.NOT or not self._elsewhere:
            return ""
        return self._signature or self._back.value

    def _without_repetition(self, pieces: Pieces) -> Pieces:
        if self._in_fields:
            # MiniMax sends the same thinking twice, once in a field.
            return [piece for piece in pieces if not piece[0]]
        self._elsewhere = self._elsewhere or any(thinks for thinks, _ in pieces)
        return pieces
