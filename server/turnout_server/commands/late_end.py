"""A sidecar that has stopped, and is held up by what nobody needs any more."""

from __future__ import annotations

import os
import sys
import threading

from turnout_server.commands.exits import Exit

WAIT_SECONDS = 1.0
"""The usual end takes milliseconds."""


def end_soon() -> None:
    """Ends the process with 0 in a second, if it has not ended by itself.

    To be called when all is written and closed. A host name that is being looked up cannot be given up: the event loop,
    and Python, wait for the thread that does it, which takes as long as the resolver's own limits where no name server
    answers. That may be longer than a container is given for all of its end.
    """
    timer = threading.Timer(WAIT_SECONDS, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(Exit.OK)
