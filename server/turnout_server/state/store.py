"""The files of one sidecar's state: FILE, the snapshot, and FILE.journal-N, what happened since.

A snapshot is written beside the old one and takes its place in one step. Before it is begun, another journal is; once
it is there, older journals are removed. Whenever that is cut short, the files that are there say everything between
them: lines are numbered, of each thing the last one counts, and what is settled is noted as the sum that an account has
come to, so that no line can count twice. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from turnout_server.state.disk import Disk
from turnout_server.state.files import (
    Body,
    UnusableError,
    journal_heading,
    journal_line,
    read_journal,
    read_snapshot,
    snapshot_heading,
)
from turnout_server.state.lines import Entry, decode, encode
from turnout_server.state.set_aside import JOURNAL, set_aside

READ_MAXIMUM_BYTES = 256 * 1024 * 1024
"""A file larger than this is none of ours."""

Reader = Callable[[bytes], Body]

_NEW = ".new"


class SetAside(NamedTuple):
    """A file that could not be used: where it is now, and why."""

    path: str
    aside: str
    reason: str


@dataclass(slots=True)
class Loaded:
    """What the files said. `unread` counts lines that are damaged, or about nothing that is known here."""

    entries: list[Entry] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    unread: int = 0


class Store:
    """The files at `path`, for one process. `load` first, then `begin_journal`."""

    def __init__(self, path: str, disk: Disk) -> None:
        self._path = path
        self._folder, self._name = os.path.split(path)
        self._disk = disk
        self._generation = 0
        self._journal: int | None = None
        self._torn = False
        self.journal_bytes = 0
        """The size of the journal that is written, its heading apart."""

    def load(self, now_wall: float) -> Loaded:
        """Returns what is there, in the order in which it was written; sets aside what is unusable. Raises OSError."""
        found = Loaded()
        snapshot = self._read(self._path, read_snapshot, found, now_wall)
        bodies = [] if snapshot is None else [snapshot]
        for number in self._journals():
            self._generation = max(self._generation, number)
            body = self._read(self._journal_path(number), read_journal, found, now_wall)
            if body is not None and not (body.lines or body.damaged or body.torn):
                # Of a process that ended before it had anything to say; many may have, one after the other.
                with contextlib.suppress(OSError):
                    self._disk.remove(self._journal_path(number))
            elif body is not None:
                bodies.append(body)
        for body in bodies:
            found.unread += body.damaged
            for text in body.lines:
                entry = decode(text, body.version)
                if entry is None:
                    found.unread += 1
                else:
                    found.entries.append(entry)
        found.entries.sort(key=lambda entry: entry.number)
        return found

    def begin_journal(self) -> None:
        """Begins another journal, which is written from now on. Raises OSError; the one before is written on then."""
        generation = self._generation + 1
        path = self._journal_path(generation)
        file = self._disk.create(path)
        try:
            self._disk.write(file, journal_heading())
            if self._journal is not None:
                self._disk.sync(self._journal)
            self._disk.sync_folder(self._folder or ".")
        except OSError:
            self._disk.close(file)
            with contextlib.suppress(OSError):
                self._disk.remove(path)
            raise
        self._close_journal()
        self._journal, self._generation = file, generation
        self.journal_bytes, self._torn = 0, False

    def append(self, entries: Iterable[Entry]) -> None:
        """Writes lines to the journal: then they outlive the process. Raises OSError; some may be there then."""
        assert self._journal is not None
        data = b"".join(journal_line(text) for text in map(encode, entries) if text)
        if self._torn:
            # What follows a line that has no end is a line of its own.
            data = b"\n" + data
        try:
            self._disk.write(self._journal, data)
        except OSError:
            self._torn = True
            raise
        self._torn = False
        self.journal_bytes += len(data)

    def sync(self) -> None:
        """Has the journal outlive the loss of power. Raises OSError."""
        assert self._journal is not None
        self._disk.sync(self._journal)

    def write_snapshot(self, chunks: Sequence[bytes]) -> None:
        """Puts a snapshot in the place of the one before, and removes journals that it makes needless. Raises OSError.

        Of the present journal everything may be in the snapshot or not, of those before everything must be.
        """
        new = self._path + _NEW
        file = self._disk.create(new)
        try:
            try:
                self._disk.write(file, snapshot_heading(chunks))
                for chunk in chunks:
                    self._disk.write(file, chunk)
                self._disk.sync(file)
            finally:
                self._disk.close(file)
            self._disk.replace(new, self._path)
        except OSError:
            # On a full disk it has the room that the journal needs.
            with contextlib.suppress(OSError):
                self._disk.remove(new)
            raise
        self._disk.sync_folder(self._folder or ".")
        self._remove_journals(before=self._generation)

    def close(self) -> None:
        """Closes the journal, and removes it where it says nothing."""
        empty = self._journal is not None and not self.journal_bytes
        self._close_journal()
        if empty:
            with contextlib.suppress(OSError):
                self._disk.remove(self._journal_path(self._generation))

    def _remove_journals(self, *, before: int) -> None:
        for number in self._journals():
            if number < before:
                # One that stays for now is removed after the next snapshot, and counts for nothing until then.
                with contextlib.suppress(OSError):
                    self._disk.remove(self._journal_path(number))

    def _close_journal(self) -> None:
        if self._journal is not None:
            with contextlib.suppress(OSError):
                self._disk.close(self._journal)
            self._journal = None

    def _journals(self) -> list[int]:
        prefix = self._name + JOURNAL
        ends = [name.removeprefix(prefix) for name in self._disk.names(self._folder or ".") if name.startswith(prefix)]
        return sorted(int(end) for end in ends if end.isascii() and end.isdigit())

    def _journal_path(self, number: int) -> str:
        return f"{self._path}{JOURNAL}{number}"

    def _read(self, path: str, read: Reader, found: Loaded, now_wall: float) -> Body | None:
        try:
            return read(self._disk.read(path, READ_MAXIMUM_BYTES))
        except FileNotFoundError:
            return None
        except UnusableError as error:
            reason = str(error)
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
        found.set_aside.append(SetAside(path, set_aside(self._disk, path, now_wall), reason))
        return None
