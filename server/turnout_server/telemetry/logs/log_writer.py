"""Lines to a file descriptor, written by a thread: whoever logs never waits for whoever reads.

A pipe whose reader has stopped takes 64 KiB and then nothing. Written from the event loop, the next line would hold up
every call for as long as that lasts.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections import deque

HELD_BYTES_MAXIMUM = 1024 * 1024
"""So much waits for a reader: some 3,000 lines. Beyond that new lines are dropped, and counted."""
WRITTEN_AT_ONCE_BYTES = 64 * 1024
DRAIN_SECONDS = 1.0
"""For so long the end of the process waits for a reader."""


def stderr_writer() -> LogWriter:
    """Returns a writer to stderr; to nobody, where the process was started without one."""
    return LogWriter(os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else sys.stderr.fileno())


class LogWriter:
    """A text stream for `logging`; one handler's lock guards `write`. The thread begins with the first line."""

    def __init__(self, descriptor: int, *, held_bytes_maximum: int = HELD_BYTES_MAXIMUM) -> None:
        self._descriptor = descriptor
        self._held_bytes_maximum = held_bytes_maximum
        self._lines: deque[bytes] = deque()
        self._held_bytes = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._untold = 0
        self.dropped_count = 0
        """Lines for which there was no room, or that could not be written."""

    def write(self, text: str) -> int:
        """Takes a line; returns at once. Where too much waits already, the line is dropped."""
        data = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._held_bytes + len(data) > self._held_bytes_maximum:
                self._drop(1)
                return len(text)
            self._held_bytes += len(data)
            self._lines.append(data)
            if self._thread is None:
                # One that a reader holds up must not hold up the end of the process.
                self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Does nothing: a line is written as soon as its reader lets it."""

    def isatty(self) -> bool:
        """Whether a terminal reads it."""
        return os.isatty(self._descriptor)

    def drain(self, seconds: float = DRAIN_SECONDS) -> bool:
        """Waits until all is written, or the time is over; returns whether all is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._held_bytes, seconds)

    def newly_dropped(self) -> int:
        """Returns how many lines were dropped since it was asked last, as soon as there is room to tell of them."""
        with self._changed:
            if self._held_bytes > self._held_bytes_maximum // 2:
                return 0
            untold, self._untold = self._untold, 0
            return untold

    def _drop(self, count: int) -> None:
        self.dropped_count += count
        self._untold += count

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                few, size = [], 0
                while self._lines and size < WRITTEN_AT_ONCE_BYTES:
                    few.append(self._lines.popleft())
                    size += len(few[-1])
            written = self._write(b"".join(few))
            with self._changed:
                self._held_bytes -= size
                if not written:
                    self._drop(len(few))
                self._changed.notify_all()

    def _write(self, data: bytes) -> bool:
        """Writes all of it, however long that takes; False where nobody can read it, or there is no room."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                # Whoever started us has made its end one that does not wait.
                select.select([], [self._descriptor], [])
            except OSError:
                return False
        return True
