"""Opens the files of a sidecar's state at its start, and puts back what they say."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from turnout_server.core.keeping import Aged, Memory
from turnout_server.core.kept import CredentialLine, Since
from turnout_server.state.disk import Disk
from turnout_server.state.key_digests import KeyDigests
from turnout_server.state.lock import FileLock, LockedError
from turnout_server.state.store import Loaded, Store


class KeepingError(Exception):
    """State cannot be kept where the operator wants it to be; the message says what is in the way and what to do."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Files that are this process's, what they said, and the number of their last line."""

    store: Store
    lock: FileLock
    loaded: Loaded
    last_number: int


def opened(path: str, disk: Disk, now_wall: float) -> Opened:
    """Returns the files at a path, with a journal begun. Raises KeepingError."""
    lock = FileLock(f"{path}.lock")
    try:
        lock.take()
    except LockedError as error:
        raise KeepingError(
            f"{path} is in use by process {error.holder or 'unknown'}: each sidecar needs a file of its own"
        ) from None
    except OSError as error:
        raise KeepingError(f"{path}.lock cannot be locked: {error.strerror or error}") from None
    store = Store(path, disk)
    with contextlib.ExitStack() as stack:
        stack.callback(lock.release)
        try:
            loaded = store.load(now_wall)
            store.begin_journal()
        except OSError as error:
            raise KeepingError(
                f"{error.filename or path} cannot be used: {error.strerror or error}; give the sidecar's user the "
                "right to write in its folder, and make room"
            ) from None
        stack.pop_all()
    return Opened(store, lock, loaded, max((entry.number for entry in loaded.entries), default=0))


def resume(
    path: str,
    loaded: Loaded,
    memory: Memory,
    digests: KeyDigests,
    *,
    now: float,
    now_wall: float,
    log: FilteringBoundLogger,
) -> None:
    """Puts back what was read, and tells what came back and what could not be used."""
    for of, aside, reason in loaded.set_aside:
        log.warning("state.set_aside", file=of, reason=reason, now=aside)
    if loaded.unread:
        log.warning("state.unread", file=path, line_count=loaded.unread)
    if not loaded.entries:
        return
    lines = [
        Aged(entry.line, Since.made(entry.at_wall, now=now, now_wall=now_wall))
        for entry in loaded.entries
        if not (isinstance(entry.line, CredentialLine) and digests.differs(entry.line))
    ]
    resumed = memory.resume(lines, now=now, now_wall=now_wall)
    log.info(
        "state.resumed",
        file=path,
        age_seconds=round(max(0.0, now_wall - max(entry.at_wall for entry in loaded.entries)), 1),
        target_count=len(resumed.targets),
        budget_count=len(resumed.budgets),
        dropped_count=resumed.dropped,
    )
