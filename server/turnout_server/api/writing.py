"""Writing to a caller that may have gone away."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from turnout_server.execution.waits import waits_of_call


class CallerGoneError(Exception):
    """The caller went away while it was written to."""


async def written(writing: Awaitable[Any]) -> None:
    """Waits until something is written to a stream. Raises CallerGoneError."""
    waits = waits_of_call.get()
    try:
        await (writing if waits is None else waits.around(writing))
    except Exception as error:
        # A write has no other way to fail, and gRPC's own type for it is private.
        raise CallerGoneError from error
