"""A way to the sidecar that can break: passes bytes on between a client and what it calls, until it is told to cut."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Self

_BLOCK_BYTES = 1 << 16
_RESET = struct.pack("ii", 1, 0)


class Relay:
    """Listens on a free port of the loopback and passes on to `target` ("host:port"); a context manager."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._server = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._swallowed: set[socket.socket] = set()
        self._accepting = True
        self._ended = False
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> str:
        """Where clients call."""
        return f"127.0.0.1:{self._server.getsockname()[1]}"

    def cut(self) -> None:
        """Resets every connection there is; new ones are passed on."""
        with self._lock:
            cut, self._open = self._open, set()
            self._swallowed.clear()
        for one in cut:
            _reset(one)

    def swallow(self) -> None:
        """Takes from every connection there is whatever comes, and gives nothing on; new ones are passed on."""
        with self._lock:
            self._swallowed |= self._open

    def accept(self, *, accepting: bool) -> None:
        """Says whether new connections are passed on, or reset at once."""
        self._accepting = accepting

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        # A thread that waits in accept is not woken by closing alone.
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def _serve(self) -> None:
        while not self._ended:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            if not self._accepting:
                _reset(caller)
                continue
            try:
                called = socket.create_connection(self._target, timeout=30)
                called.settimeout(None)
            except OSError:
                _reset(caller)
                continue
            with self._lock:
                self._open |= {caller, called}
            for source, sink in ((caller, called), (called, caller)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while block := source.recv(_BLOCK_BYTES):
                if source not in self._swallowed:
                    sink.sendall(block)
        except OSError:
            pass  # one of the two has gone, or was cut
        with self._lock:
            if source in self._swallowed:
                return  # nor does either side hear that the other has gone, until all is cut
            gone = {source, sink} & self._open
            self._open -= gone
        for one in gone:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    # Closing alone would wait for a thread that reads; shutting down wakes it.
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RD)
    one.close()
