"""Writes a line for each call to a file, beside the event loop: a call never waits for a disk, and never fails for one.

What cannot be kept up with is dropped, counted, and told in the file where the lines are missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from time import sleep
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.telemetry.logs.request_lines import RequestRecord, dropped_line, request_line

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from turnout_server.telemetry.logs.rotating_file import RotatingFile

QUEUE_LINES = 10_000
QUEUE_BYTES = 32 * 1024 * 1024
"""What calls that are not written yet may hold, where content is logged; beyond, a line is written without it."""
RECORD_BYTES = 4096
"""What a call without content holds, rounded up."""
GATHER_SECONDS = 0.1
"""Lines wait for so long at most, so that many are written at once."""
TELL_SECONDS = 60.0
"""How often the log tells that lines are missing."""
TOO_MANY = "more calls at once than the disk took"
FLUSH_SECONDS = 5.0
"""How long a stop waits for a disk."""


class _Entry(NamedTuple):
    """A line to be written; `missing` is how many lines it stands for, 0 for one of a call."""

    line: bytes
    missing: int = 0


class RequestLog:
    """Takes records from the event loop with `add` and writes them in a thread of its own: `start`, then `close` once.

    `content` says whether records should bring prompts and answers. `secrets` returns credentials of our own, which
    are never written. `clock` is monotonic seconds, `wall` seconds since the epoch.
    """

    def __init__(
        self,
        file: RotatingFile,
        *,
        content: bool,
        log: FilteringBoundLogger,
        clock: Callable[[], float],
        wall: Callable[[], float],
        secrets: Callable[[], Iterable[str]] = tuple,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self._file = file
        self._log = log
        self._clock = clock
        self._wall = wall
        self._secrets = secrets
        self._gather_seconds = gather_seconds
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._stopping = threading.Event()
        self._waiting: list[RequestRecord] = []
        self._waiting_bytes = 0
        self._untold = 0
        """Lines that are missing and that the file does not tell of yet."""
        self._refused = 0
        """Lines that there was no room for since the writer last looked."""
        self._told_at: float | None = None
        self._next: RotatingFile | None = None
        """The file that takes the place of the present one with the next lines."""
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self.content = content
        self.written_count = 0
        """Lines that were written."""
        self.dropped_count = 0
        """Lines that were not: too many at once, or a disk that takes none."""

    def start(self) -> None:
        """Begins to write."""
        self._thread.start()

    def add(self, record: RequestRecord, content_bytes: int = 0) -> None:
        """Takes a record to be written; returns at once. `content_bytes` is what it holds of prompt and answer."""
        size = RECORD_BYTES + content_bytes
        with self._lock:
            if len(self._waiting) >= QUEUE_LINES:
                self.dropped_count += 1
                self._refused += 1
                return
            if self._waiting_bytes + size > QUEUE_BYTES:
                record, size = record.without_content(), RECORD_BYTES
            self._waiting.append(record)
            self._waiting_bytes += size
        self._some.set()

    def move(self, file: RotatingFile) -> None:
        """Goes on in another file, which is open; returns at once."""
        with self._lock:
            before, self._next = self._next, file
        if before is not None:
            before.close()
        self._some.set()

    def bound(self, max_bytes: int) -> None:
        """Takes another bound for the files, from the next lines on."""
        self._file.bound(max_bytes)

    def close(self) -> None:
        """Writes what waits, for at most 5 s, and closes the file. Blocks."""
        self._stopping.set()
        self._some.set()
        self._thread.join(FLUSH_SECONDS)
        if self._thread.is_alive():
            with self._lock:
                left = len(self._waiting)
                self._drop(left)
            self._log.warning("request_log.unfinished", dropped_count=left)

    def _run(self) -> None:
        while True:
            self._some.wait()
            if not self._stopping.is_set():
                self._stopping.wait(self._gather_seconds)
            self._some.clear()
            # Looked at before the records are: what is added after that is not written any more.
            last = self._stopping.is_set()
            # What waits is of the file that is left.
            self._write_waiting()
            self._go_on()
            if last:
                break
        self._file.close()

    def _go_on(self) -> None:
        with self._lock:
            following, self._next = self._next, None
        if following is not None:
            self._file.close()
            self._file = following

    def _write_waiting(self) -> None:
        with self._lock:
            records, self._waiting = self._waiting, []
            self._waiting_bytes = 0
            before, after = self._untold, self._refused
            self._untold, self._refused = before + after, 0
        secrets = tuple(self._secrets()) if records else ()
        entries = [_Entry(line) for record in records if (line := self._line(record, secrets))]
        # What the disk did not take came before these, and what there was no room for came after.
        for count, place in ((before, 0), (after, len(entries) + 1)):
            if count:
                entries.insert(place, _Entry(dropped_line(count, self._wall()), count))
        if not entries:
            return
        written = self._file.write([entry.line for entry in entries])
        done, left = entries[: written.line_count], entries[written.line_count :]
        told = sum(entry.missing for entry in done)
        self.written_count += sum(not entry.missing for entry in done)
        with self._lock:
            self._untold -= told
            self._drop(sum(not entry.missing for entry in left))
        if written.fault or told:
            self._tell(written.fault or TOO_MANY)

    def _line(self, record: RequestRecord, secrets: tuple[str, ...]) -> bytes:
        try:
            return request_line(record, secrets)
        except Exception as error:  # noqa: BLE001  # one record must not end the thread
            self._log.error("request_log.bug", error=type(error).__name__)
            with self._lock:
                self._drop(1)
            return b""
        finally:
            if record.chat is not None:
                # Patterns are looked for in long texts: the event loop goes first.
                sleep(0)

    def _drop(self, count: int) -> None:
        self.dropped_count += count
        self._untold += count

    def _tell(self, fault: str) -> None:
        now = self._clock()
        if self._told_at is None or now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            self._log.warning("request_log.dropped", reason=fault, dropped_count=self.dropped_count)
