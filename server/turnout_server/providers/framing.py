"""How a streamed answer is cut into events: what every framing has in common."""

from __future__ import annotations

from typing import Protocol

MAX_EVENT_BYTES = 1024 * 1024


class EventTooLargeError(Exception):
    """One event is larger than `MAX_EVENT_BYTES`."""


class Splitter(Protocol):
    """Collects the chunks of one streamed answer and gives back its events, however the chunks fell."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Returns the data of the events that this chunk completes, in order; EventTooLargeError past the limit."""
        ...

    def rest(self) -> bytes | None:
        """Returns the data of a last event that only its end mark is missing from; None where there is none."""
        ...
