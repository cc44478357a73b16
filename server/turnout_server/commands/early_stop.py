"""A sidecar that is told to stop before it is ready: what a container does with a Pod that is deleted at once."""

from __future__ import annotations

import os
import signal
from types import FrameType

from turnout_server.commands.exits import Exit


def stop_while_starting() -> None:
    """Has SIGTERM end the process with 0 until somebody else takes the signal over.

    The first process of a container has no usual end by a signal: without a handler Linux drops it, and the container
    goes on starting until it is killed. Nothing has been opened yet that would have to be closed.
    """
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    # Not by an exception: it would rise from the middle of an import, which might take it for its own.
    os._exit(Exit.OK)
