"""A way to a sidecar that can be cut, and can lead to another one: what a restart looks like from outside."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Relay:
    """Passes connections on to `target`, "host:port"; without one it hangs up."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends every connection that there is."""
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:
                return
            target = self.target
            host, _, port = target.rpartition(":")
            try:
                sidecar = socket.create_connection((host, int(port)))
            except (OSError, ValueError):
                caller.close()
                continue
            self._open |= {caller, sidecar}
            if self.target != target:
                # It leads elsewhere since, and who cut it may not have seen this one.
                self.cut()
            for one, other in ((caller, sidecar), (sidecar, caller)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.discard(one)
        one.close()


@contextlib.contextmanager
def relay(target: str) -> Iterator[Relay]:
    """Listens on a free port while the block runs."""
    between = Relay(target)
    try:
        yield between
    finally:
        between.close()
