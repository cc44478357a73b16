"""How a server is asked to read its configuration again: SIGHUP, where the system has it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

RELOAD_SIGNAL: signal.Signals | None = getattr(signal, "SIGHUP", None)
"""None on Windows: there a changed file is noticed like anywhere, but nobody can ask."""


def on_reload_signal(reload: Callable[[], object]) -> None:
    """Has `reload` called in the running loop at SIGHUP, for as long as the process lives.

    Without, it would end the process, whoever meant what by it.
    """
    if RELOAD_SIGNAL is None:
        return
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(RELOAD_SIGNAL, reload)
    except NotImplementedError:
        # A loop that takes no signals: Python's own handler passes them on.
        signal.signal(RELOAD_SIGNAL, lambda *_: loop.call_soon_threadsafe(reload))
