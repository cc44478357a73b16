"""The outermost edge of every RPC: whatever was raised becomes a status, and a fault of ours is logged once."""

from __future__ import annotations

from typing import Any, NoReturn

from grpc.aio import AbortError
from structlog.typing import FilteringBoundLogger

from turnout_server.api.instants import Instants
from turnout_server.api.status import BUG, row, status


class Failing:
    """Ends RPCs with errors."""

    __slots__ = ("_instants", "_log")

    def __init__(self, instants: Instants, log: FilteringBoundLogger) -> None:
        self._instants = instants
        self._log = log

    async def fail(self, context: Any, error: Exception) -> NoReturn:
        """Ends the RPC with the error's status and details. Never returns."""
        if isinstance(error, AbortError):
            raise error
        if row(error) is BUG:
            # The message of an unexpected error may quote anything, so that the caller is told none of it.
            self._log.error("api.bug", error=type(error).__name__, exc_info=error)
        answer = status(error, self._instants.offset())
        # What an abort brings replaces what was set before, the decision's id among it.
        told = {key for key, _ in answer.trailers}
        kept = tuple(pair for pair in context.trailing_metadata() or () if pair[0] not in told)
        await context.abort(answer.code, answer.message, (*answer.trailers, *kept))
        raise error  # abort raises; this is for the type checker
