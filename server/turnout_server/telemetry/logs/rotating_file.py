"""A file of lines that never grows beyond a bound and that nobody but its owner can read.

It is two files: the one that is written, and the one before it, `NAME.1`. When the first has half of the bound it takes
the second one's place, in one step, and a new one is begun. All of this blocks: it is for a thread of its own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # pragma: no cover - there is none on Windows
    fcntl = None  # type: ignore[assignment]  # looked at before it is used

MODE = 0o600
SUFFIX = ".1"
FREE_BYTES = 1024 * 1024
"""With less room than this on the disk it makes no sense to begin."""

_FLAGS = (
    os.O_RDWR
    | os.O_APPEND
    | os.O_CREAT
    # Not through a link to somewhere else, and not waiting for the other end of a pipe.
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class RotatingFileError(Exception):
    """The file cannot be written; the message says why, and what to do."""


def free_bytes(folder: Path) -> int:
    """Returns how much the disk of a folder still takes; where the system does not tell, enough."""
    if not hasattr(os, "statvfs"):
        return FREE_BYTES
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def file_fault(path: str, free: Callable[[Path], int] = free_bytes) -> str:
    """Returns what is wrong with a file that is to be written, "" for nothing; creates nothing."""
    file = Path(path)
    folder = file.parent
    if not folder.is_dir():
        return f"folder {folder} does not exist; create it"
    if file.is_symlink() or (file.exists() and not file.is_file()):
        return f"{file} is not a regular file; name one"
    if not os.access(file if file.exists() else folder, os.W_OK):
        return f"{file} cannot be written; give the sidecar's user the right to"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"folder {folder} cannot be written, and the file is renamed there; give the sidecar's user the right to"
    left = free(folder)
    return f"the disk of {folder} has {left} bytes left; make room" if left < FREE_BYTES else ""


class Written(NamedTuple):
    """How many lines were written, and why not all of them; "" where they were."""

    line_count: int
    fault: str = ""


class RotatingFile:
    """Opened by `open`, written by one thread, closed by `close`; `max_bytes` is for both files together."""

    def __init__(self, path: str, max_bytes: int) -> None:
        self._path = path
        self._half = max_bytes // 2
        self._file: int | None = None
        self._size = 0
        self._torn = False
        """The last line has no end."""

    def open(self) -> None:
        """Opens the file, or goes on with the one that is there. Raises RotatingFileError."""
        fault = file_fault(self._path)
        if fault:
            raise RotatingFileError(fault)
        try:
            self._open()
            older = Path(self._path + SUFFIX)
            if older.exists() and older.stat().st_size > self._half:
                # It was written under a larger bound.
                older.unlink()
        except OSError as error:
            raise RotatingFileError(f"{self._path} cannot be written: {error.strerror or error}") from None

    def bound(self, max_bytes: int) -> None:
        """Takes another bound, from the next lines on."""
        self._half = max_bytes // 2

    def write(self, lines: Sequence[bytes]) -> Written:
        """Appends lines, each with its end; none of them may be longer than half of the bound.

        Never raises: what could not be written is told, and leaves nothing behind.
        """
        written = 0
        chunk: list[bytes] = []
        size = 0
        try:
            self._look_after()
            for line in lines:
                if self._size + size + len(line) > self._half:
                    self._append(b"".join(chunk))
                    written += len(chunk)
                    chunk, size = [], 0
                    self._rotate()
                chunk.append(line)
                size += len(line)
            self._append(b"".join(chunk))
        except (OSError, RotatingFileError) as error:
            return Written(written, str(getattr(error, "strerror", None) or error))
        return Written(len(lines))

    def close(self) -> None:
        """Closes the file; it can be opened again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        file = os.open(self._path, _FLAGS, MODE)
        try:
            self._size = _taken(file, self._path)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        self._torn = bool(self._size) and _last_byte(file, self._size) != b"\n"

    def _look_after(self) -> None:
        """Begins anew where the file was moved or deleted, or could not be opened before."""
        if self._file is not None:
            own = os.fstat(self._file)
            try:
                there = Path(self._path).lstat()
            except FileNotFoundError:
                there = None
            if there is not None and (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino):
                return
            self.close()
        self._open()

    def _rotate(self) -> None:
        if not self._size:
            return
        self.close()
        if self._size > self._half:
            # It was written under a larger bound.
            Path(self._path).unlink()
        else:
            Path(self._path).replace(self._path + SUFFIX)
        self._open()

    def _append(self, data: bytes) -> None:
        assert self._file is not None
        if not data:
            return
        if self._torn:
            # A process that died, or a disk that was full, left half a line: the next one is whole.
            data = b"\n" + data
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            try:
                os.ftruncate(self._file, self._size)
            except OSError:
                self._torn = True
            raise
        self._torn = False
        self._size += len(data)


def _taken(file: int, path: str) -> int:
    """Makes an opened file the own one of this process; returns its size. Raises RotatingFileError or OSError."""
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise RotatingFileError(f"{path} is not a regular file; name one")
    if stat.S_IMODE(found.st_mode) != MODE and hasattr(os, "fchmod"):
        os.fchmod(file, MODE)
    if fcntl is not None:
        _lock(file, path)
    return found.st_size


def _lock(file: int, path: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RotatingFileError(f"{path} is written by another process; give each sidecar a file of its own") from None


def _last_byte(file: int, size: int) -> bytes:
    os.lseek(file, size - 1, os.SEEK_SET)
    return os.read(file, 1)
