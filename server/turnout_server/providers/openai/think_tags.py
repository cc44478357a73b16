"""Tells thinking from answer where a model writes both into one text: `<think>` thinking `</think>` answer.

Only at the beginning of an answer: a later tag is something the answer talks about. White space before and after each
tag belongs to neither.
"""

from __future__ import annotations

from enum import Enum, auto

OPEN = "<think>"
CLOSE = "</think>"

Pieces = list[tuple[bool, str]]
"""Pieces of text, and for each whether it is thinking."""


class _Place(Enum):
    BEFORE = auto()
    THINKING = auto()
    BETWEEN = auto()
    ANSWER = auto()


class ThinkTags:
    """Reads one answer, whatever pieces it comes in. What may yet become a tag is held back, up to `rest`."""

    __slots__ = ("_held", "_place", "_thought")

    def __init__(self) -> None:
        self._held = ""
        self._place = _Place.BEFORE
        self._thought = False

    @property
    def over(self) -> bool:
        """Whether everything from here on is answer."""
        return self._place is _Place.ANSWER

    def feed(self, text: str) -> Pieces:
        """Returns what the text brings."""
        if self._place is _Place.ANSWER:
            return [(False, text)]
        self._held += text
        pieces: Pieces = []
        if self._place is _Place.BEFORE:
            self._before(pieces)
        if self._place is _Place.THINKING:
            self._think(pieces)
        if self._place is _Place.BETWEEN:
            answer = self._held.lstrip()
            if answer:
                self._answer(answer, pieces)
            else:
                self._held = ""
        return pieces

    def rest(self) -> Pieces:
        """Returns what is still held back: the answer is complete."""
        held, self._held = self._held, ""
        return [(self._place is _Place.THINKING, held)] if held else []

    def _before(self, pieces: Pieces) -> None:
        start = self._held.lstrip()
        if start.startswith(OPEN):
            self._held = start[len(OPEN) :]
            self._place = _Place.THINKING
        elif not OPEN.startswith(start):
            self._answer(self._held, pieces)

    def _think(self, pieces: Pieces) -> None:
        if not self._thought:
            self._held = self._held.lstrip()
        thinking, close, after = self._held.partition(CLOSE)
        if close:
            self._held = after
            self._place = _Place.BETWEEN
        else:
            kept = _held_back(thinking)
            self._held = thinking[len(thinking) - kept :]
            thinking = thinking[: len(thinking) - kept]
        if thinking:
            self._thought = True
            pieces.append((True, thinking))

    def _answer(self, text: str, pieces: Pieces) -> None:
        self._place = _Place.ANSWER
        self._held = ""
        pieces.append((False, text))


def _held_back(text: str) -> int:
    """Returns how many characters at the end may be the beginning of the closing tag."""
    return next((n for n in range(min(len(CLOSE) - 1, len(text)), 0, -1) if CLOSE.startswith(text[-n:])), 0)
