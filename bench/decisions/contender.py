"""What a contender is: something that gets calls, and makes attempts at the providers until each call has its end."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from bench.decisions.calls import Planned


class End(Enum):
    """How a call ended."""

    ANSWERED = auto()
    BROKEN = auto()
    """A stream that broke, or outlasted its time, after the caller had seen some: nobody can repair that unseen."""
    FAILED = auto()


class Contender(Protocol):
    """One sidecar's worth of a way to choose and to go on."""

    async def call(self, planned: Planned) -> End:
        """Carries out one call; it has `calls.DEADLINE_SECONDS`. Never raises."""
        ...

    async def aclose(self) -> None:
        """Ends what still runs."""
        ...
