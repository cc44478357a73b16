"""An event loop that takes all of gRPC's wake-ups at once.

gRPC's thread tells the event loop of everything that is done (a message written, a request come) by one byte through a
pair of sockets, and each time that the loop is woken gRPC reads one byte, though it then takes all that is done. So
after a moment in which the loop did not run, bytes stay behind: the loop is woken for each of them again, one a round.
278 of them fill the socket, and gRPC's thread waits in its write from then on: one thing done is told for each round of
the loop, whatever comes in has to queue behind all others, and a plan beside 200 streams took 0.3 to 1 s instead of 5
ms until the sidecar had nothing to do for a moment. Here the bytes are read together, before gRPC looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

_GRPCS = "_handle_events"
"""What gRPC calls what it does when it is woken. Under another name it would be left to itself; a test tells so."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Returns what makes event loops for the sidecar; None: as Python does, where there is no uvloop."""
    try:
        import uvloop  # noqa: PLC0415 - there is none on every platform
    except ImportError:
        return None

    class WokenOnce(uvloop.Loop):
        """A loop of uvloop that reads gRPC's wake-ups together."""

        def add_reader(  # type: ignore[override]  # of whatever arguments
            self, fd: Any, callback: Callable[..., object], *arguments: Any
        ) -> None:
            """Watches a file descriptor, as every loop does."""
            if isinstance(fd, socket.socket) and is_grpcs(callback):
                callback = partial(woken, fd, callback)
            super().add_reader(fd, callback, *arguments)

    return WokenOnce


def is_grpcs(callback: Callable[..., object]) -> bool:
    """Whether that is what gRPC does when it is woken."""
    return isinstance(callback, partial) and getattr(callback.func, "__name__", "") == _GRPCS


def woken(source: socket.socket, callback: Callable[..., object], *arguments: object) -> None:
    """Reads all wake-ups but the one that the callback reads, and calls it.

    Whatever a byte stands for was put where the callback finds it before the byte was written, so that none is lost.
    """
    count = pending_bytes(source)
    if count > 1:
        # Somebody else's loop may have been quicker.
        with contextlib.suppress(BlockingIOError):
            source.recv(count - 1)
    callback(*arguments)


def pending_bytes(source: socket.socket) -> int:
    """Returns how many bytes can be read at once; not on Windows, where there is no uvloop either."""
    import fcntl  # noqa: PLC0415  # as above
    import termios  # noqa: PLC0415

    count = array("i", [0])
    fcntl.ioctl(source.fileno(), termios.FIONREAD, count)
    return count[0]
