"""Chance that is drawn once and used twice, so that what two decisions do otherwise is not the dice's doing.

`Recorded` hands out what another generator draws and remembers it; `Replayed` hands the same out again, and draws for
itself only where more is asked for.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Recorded(Random):
    """Draws from another generator: whoever uses this one gets what they would have got from that one."""

    def __init__(self, source: Random) -> None:
        super().__init__(0)
        self._source = source
        self._drawn: list[float] = []

    def begin(self) -> None:
        """Forgets what was drawn so far."""
        self._drawn = []

    @property
    def drawn(self) -> Sequence[float]:
        """What was drawn with `random` since it began."""
        return self._drawn

    def random(self) -> float:
        """Returns the source's next number."""
        number = self._source.random()
        self._drawn.append(number)
        return number

    def getrandbits(self, k: int, /) -> int:
        """Returns the source's next bits. Not remembered: decisions draw none."""
        return self._source.getrandbits(k)


class Replayed(Random):
    """Hands out what was drawn, from the first on; its own numbers after the last."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._left: list[float] = []

    def begin(self, drawn: Sequence[float]) -> None:
        """Begins with these."""
        self._left = list(reversed(drawn))

    def random(self) -> float:
        """Returns the next number."""
        return self._left.pop() if self._left else super().random()
