"""How a server learns that it should stop, on every platform: inside its event loop, never in the middle of work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
FIRST_PROCESS = 1
"""Of a container. Linux drops signals to it that it has no handler for."""
BY_SIGNAL = 128
"""With a signal's number added, what shells and container engines show for an end by it."""


def on_stop_signal(stop: Callable[[], object]) -> Callable[[], None]:
    """Has `stop` called in the running loop at SIGTERM and SIGINT; returns what gives both back to the system.

    After that a signal ends the process as it always does, or with 128 and its number where it is the first one of a
    container: such a process has no usual end by a signal.
    """
    loop = asyncio.get_running_loop()
    try:
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, stop)
    except NotImplementedError:
        # Windows: its loops take no signals, so Python's own handler passes them on.
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))

    def give_back() -> None:
        if os.getpid() == FIRST_PROCESS:
            for number in STOP_SIGNALS:
                loop.add_signal_handler(number, os._exit, BY_SIGNAL + number)
            return
        for number in STOP_SIGNALS:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    return give_back
