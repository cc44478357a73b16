"""Keeps the state of a running sidecar on disk: what is settled within a tenth of a second, everything now and then.

On the event loop lines are taken, a few at a time, so that nobody waits for it; encoding, writing and syncing happen in
threads. A disk that fails makes nothing else fail: what could not be written is written later, and told until then.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from turnout_server.core.keeping import Memory
from turnout_server.core.kept import Line
from turnout_server.state.disk import Disk, RealDisk
from turnout_server.state.key_digests import KeyDigests, SecretOf
from turnout_server.state.lines import Entry, encode
from turnout_server.state.opening import KeepingError, Opened, opened, resume
from turnout_server.state.store import Store
from turnout_server.state.unwritten import Unwritten

__all__ = ["Keeper", "KeepingError", "KeepingReading"]

JOURNAL_EVERY_SECONDS = 0.1
"""How often what is new is written: what the end of the process can lose."""
SYNC_EVERY_SECONDS = 1.0
"""How often the journal is synced: what the loss of power can lose, with what the disk takes for it."""
JOURNAL_MAXIMUM_BYTES = 4 * 1024 * 1024
"""A journal of this size asks for a snapshot before its time."""
JOURNAL_LIMIT_BYTES = 4 * JOURNAL_MAXIMUM_BYTES
"""Where no snapshot can be written, nothing more is journaled beyond this."""
LOOK_EVERY_SECONDS = 0.5
"""How often the journal's size is looked at."""
TURN_SECONDS = 0.002
"""For how long lines are taken before others have their turn."""
RETRY_SECONDS = 5.0
"""How long after a failure a snapshot that was asked for before its time is tried again, at the earliest."""


class KeepingReading(NamedTuple):
    """How keeping goes, for those who watch; `age_seconds` is that of the last snapshot, None before the first."""

    age_seconds: float | None
    failures: int
    journal_bytes: int


class Keeper:
    """Of one router's state. `start` before the first call, `begin` when it serves, `aclose` after the last call.

    `secret_of` returns our key of a provider and label, None where it is not at hand: only so that what is known
    against a key is not held against another one of the same label.
    """

    def __init__(
        self,
        path: str,
        memory: Memory,
        *,
        interval_seconds: float,
        clock: Callable[[], float],
        wall: Callable[[], float],
        log: FilteringBoundLogger,
        secret_of: SecretOf,
        disk: Disk | None = None,
    ) -> None:
        self._path = path
        self._memory = memory
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._wall = wall
        self._log = log
        self._disk = disk or RealDisk()
        self._digests = KeyDigests(secret_of)
        self._unwritten = Unwritten(memory, self._digests, clock=clock, wall=wall)
        self._opened: Opened | None = None
        self._stopping: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._journal_lock = asyncio.Lock()
        self._snapshot_lock = asyncio.Lock()
        self._unsynced_since: float | None = None
        self._written_at: float | None = None
        self._rotated = False
        self._faults: dict[str, str] = {}
        self._failures = 0
        self.on_event = self._unwritten.on_event
        """Takes what happened: what is known of its subject is written with the next lines of the journal."""

    # Before the first call.

    def start(self) -> None:
        """Puts back what was kept, and begins to keep. Blocks, which nobody minds yet. Raises KeepingError."""
        self._opened = found = opened(self._path, self._disk, self._wall())
        self._unwritten.last_number = found.last_number
        now, now_wall = self._clock(), self._wall()
        resume(self._path, found.loaded, self._memory, self._digests, now=now, now_wall=now_wall, log=self._log)
        # It may be large, and is of no more use.
        found.loaded.entries.clear()
        self._memory.note_settled()

    # While it serves.

    def begin(self) -> None:
        """Begins to write now and then, until `aclose`."""
        self._stopping = stopping = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(stopping))

    def read(self) -> KeepingReading:
        """Returns how keeping goes."""
        age = None if self._written_at is None else self._clock() - self._written_at
        size = 0 if self._opened is None else self._opened.store.journal_bytes
        return KeepingReading(age, self._failures, size)

    @property
    def _store(self) -> Store:
        assert self._opened is not None
        return self._opened.store

    async def flush(self) -> None:
        """Writes what is new to the journal."""
        async with self._journal_lock:
            await self._flush()

    async def snapshot(self) -> bool:
        """Writes everything, in the place of what was there; tells whether it could."""
        async with self._snapshot_lock:
            try:
                await self._write_snapshot()
            except OSError as error:
                self._failed("snapshot", error)
                return False
            self._written_at = self._clock()
            self._rotated = False
            self._well("snapshot")
            return True

    # After the last call.

    async def aclose(self) -> None:
        """Writes everything a last time, and lets go of the files."""
        if self._opened is None:
            return
        if self._stopping is not None and self._task is not None:
            self._stopping.set_result(None)
            await self._task
        await self._outermost(self.flush())
        await self._outermost(self.snapshot())
        await asyncio.to_thread(self._store.close)
        self._opened.lock.release()
        self._opened = None

    async def _run(self, stopping: asyncio.Future[None]) -> None:
        await asyncio.gather(
            self._outermost(self._journal_until(stopping)), self._outermost(self._snapshot_until(stopping))
        )

    async def _outermost(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Exception:  # noqa: BLE001 - nobody waits for it, and what keeps must not stop what serves
            self._log.exception("state.keeping_failed", file=self._path)

    async def _journal_until(self, stopping: asyncio.Future[None]) -> None:
        while not await _done_within(stopping, JOURNAL_EVERY_SECONDS):
            await self.flush()

    async def _snapshot_until(self, stopping: asyncio.Future[None]) -> None:
        # The first at once: it says whether one can be written, and what was read from several files is in one again.
        while not stopping.done():
            began_at = self._clock()
            await self.snapshot()
            while (passed := self._clock() - began_at) < self._interval_seconds:
                if passed >= RETRY_SECONDS and self._store.journal_bytes > JOURNAL_MAXIMUM_BYTES:
                    break
                if await _done_within(stopping, min(LOOK_EVERY_SECONDS, self._interval_seconds - passed)):
                    return

    async def _flush(self) -> None:
        self._unwritten.collect()
        sync = self._unsynced_since is not None and self._clock() - self._unsynced_since >= SYNC_EVERY_SECONDS
        if not (self._unwritten or sync):
            return
        entries = self._unwritten.take()
        try:
            if self._store.journal_bytes > JOURNAL_LIMIT_BYTES:
                raise OSError(errno.EFBIG, "the journal is full, and no snapshot could be written that would empty it")  # noqa: TRY301 - told like any other
            if entries:
                await asyncio.to_thread(self._store.append, list(entries.values()))
                if self._unsynced_since is None:
                    self._unsynced_since = self._clock()
            if sync:
                await asyncio.to_thread(self._store.sync)
                self._unsynced_since = None
        except OSError as error:
            self._unwritten.give_back(entries)
            self._failed("journal", error)
        else:
            self._well("journal")

    async def _write_snapshot(self) -> None:
        async with self._journal_lock:
            await self._flush()
            # Where no snapshot followed the last one begun, it goes on: there are never more than two.
            if not self._rotated:
                await asyncio.to_thread(self._store.begin_journal)
                self._rotated = True
        chunks: list[bytes] = []
        now_wall = self._wall()
        lines = self._memory.kept(self._clock(), now_wall)
        while entries := self._take_turn(lines, now_wall):
            chunks.append(await asyncio.to_thread(_encoded, entries))
        await asyncio.to_thread(self._store.write_snapshot, chunks)

    def _take_turn(self, lines: Iterator[Line], at_wall: float) -> list[Entry]:
        """Returns as many lines as can be taken in the time of one turn; none where there are no more."""
        # What was charged before gets a lower number than the lines that it is in, what is charged later a higher one.
        self._unwritten.collect()
        until = self._clock() + TURN_SECONDS
        entries: list[Entry] = []
        for line in lines:
            entries.append(self._unwritten.numbered(line, at_wall))
            if self._clock() >= until:
                break
        return entries

    def _failed(self, what: str, error: OSError) -> None:
        """Tells of a fault once, and counts it each time."""
        self._failures += 1
        fault = error.strerror or str(error)
        if self._faults.get(what) != fault:
            self._faults[what] = fault
            self._log.warning("state.not_kept", what=what, file=self._path, fault=fault)

    def _well(self, what: str) -> None:
        if self._faults.pop(what, None) is not None:
            self._log.info("state.kept_again", what=what, file=self._path)


def _encoded(entries: list[Entry]) -> bytes:
    return b"".join(map(encode, entries))


async def _done_within(future: asyncio.Future[None], seconds: float) -> bool:
    # Ten times a second: cheaper than a task for each, which `wait_for` makes.
    await asyncio.wait((future,), timeout=seconds)
    return future.done()
