"""The outermost edge of every RPC: whatever was raised becomes a status, and a fault of ours is logged once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NoReturn

from grpc.aio import AbortError
from structlog.typing import FilteringBoundLogger

from turnout_server.api.instants import Instants
from turnout_server.api.status import BUG, row, status
from turnout_server.core.errors import SidecarOverloadedError

LOG_EVERY_SECONDS = 10.0
"""An overload has a line in the log this often: many have no other, since they are refused before they are read."""


class Failing:
    """Ends RPCs with errors."""

    __slots__ = ("_clock", "_instants", "_log", "_overloaded_at", "_overloaded_count")

    def __init__(
        self, instants: Instants, log: FilteringBoundLogger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._instants = instants
        self._log = log
        self._clock = clock
        self._overloaded_at: float | None = None
        self._overloaded_count = 0

    async def fail(self, context: Any, error: Exception) -> NoReturn:
        """Ends the RPC with the error's status and details. Never returns."""
        if isinstance(error, AbortError):
            raise error
        if row(error) is BUG:
            # The message of an unexpected error may quote anything, so that the caller is told none of it.
            self._log.error("api.bug", error=type(error).__name__, exc_info=error)
        if isinstance(error, SidecarOverloadedError):
            self._tell_of_overload(error)
        answer = status(error, self._instants.offset())
        # What an abort brings replaces what was set before, the decision's id among it.
        told = {key for key, _ in answer.trailers}
        kept = tuple(pair for pair in context.trailing_metadata() or () if pair[0] not in told)
        await context.abort(answer.code, answer.message, (*answer.trailers, *kept))
        raise error  # abort raises; this is for the type checker

    def _tell_of_overload(self, error: SidecarOverloadedError) -> None:
        """Logs why there was no room, the first time and then once in a while, with how many there were since."""
        self._overloaded_count += 1
        now = self._clock()
        if self._overloaded_at is None or now - self._overloaded_at >= LOG_EVERY_SECONDS:
            self._log.warning("api.overloaded", refusal=error.message, refused_count=self._overloaded_count)
            self._overloaded_at, self._overloaded_count = now, 0
