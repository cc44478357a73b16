"""What the end of the process still sends: all exporters at once, within what the stop has left.

A Pod that stops is killed 30 s after it was told to, whatever it is doing; calls may use up 25 of them (drain_seconds).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, Self

FLUSH_SECONDS = 3.0
"""At most, for a collector that is slow."""
LEAST_SECONDS = 0.5
"""Even where everything else has taken longer than it should: a collector that is well needs less."""
AFTER_DRAIN_SECONDS = 3.5
"""Counted from `drain_seconds` after the stop began, which leaves 1.5 of the 5 s that a Pod is to have beyond them."""


class Exporting(Protocol):
    """Sends what it has until it is closed, and then what is left for `flush_seconds` at most."""

    flush_seconds: float

    async def aclose(self) -> None:
        """Sends what is left, and lets go of the collector."""
        ...


class Flushing:
    """An asynchronous context manager that closes all exporters at its end. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._exporters: list[Exporting] = []
        self._ends_at: float | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def add(self, exporter: Exporting) -> None:
        """Closes this one too."""
        self._exporters.append(exporter)

    def stopping(self, drain_seconds: float) -> None:
        """Tells that the process stops from now on, and for how long calls may go on."""
        self._ends_at = self._clock() + drain_seconds + AFTER_DRAIN_SECONDS

    def seconds(self) -> float:
        """Returns how long there is to send what is left."""
        if self._ends_at is None:
            return FLUSH_SECONDS
        return min(FLUSH_SECONDS, max(LEAST_SECONDS, self._ends_at - self._clock()))

    async def aclose(self) -> None:
        """Closes all exporters at once."""
        seconds = self.seconds()
        for exporter in self._exporters:
            exporter.flush_seconds = seconds
        await asyncio.gather(*(exporter.aclose() for exporter in self._exporters))
