"""The few things that are done with files here, as a port: so that a test can end the world between any two of them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Protocol

MODE = 0o600

_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)


class Disk(Protocol):
    """Files by their paths. Everything blocks, and raises OSError."""

    def names(self, folder: str) -> list[str]:
        """Returns what is in a folder."""
        ...

    def read(self, path: str, most: int) -> bytes:
        """Returns a regular file's content; raises OSError where it is something else, or larger than `most` bytes."""
        ...

    def create(self, path: str) -> int:
        """Begins a file that its owner alone can read, in place of one that is there; returns its handle."""
        ...

    def write(self, file: int, data: bytes) -> None:
        """Writes all of it at the end; after an error a part may be there."""
        ...

    def sync(self, file: int) -> None:
        """Has what was written outlive the loss of power."""
        ...

    def close(self, file: int) -> None:
        """Closes a handle."""
        ...

    def replace(self, source: str, target: str) -> None:
        """Gives a file another name, in one step; a file of that name is gone."""
        ...

    def sync_folder(self, folder: str) -> None:
        """Has the names in a folder outlive the loss of power."""
        ...

    def remove(self, path: str) -> None:
        """Removes a file."""
        ...


class RealDisk:
    """The disk of this machine. Links are not followed: a name is the file itself, which is replaced as a whole."""

    def names(self, folder: str) -> list[str]:
        """Returns what is in a folder."""
        return os.listdir(folder)  # noqa: PTH208 - names are what is asked for

    def read(self, path: str, most: int) -> bytes:
        """Returns a regular file's content."""
        file = os.open(path, _READ | _BINARY)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file", path)
            if found.st_size > most:
                raise OSError(errno.EFBIG, f"it has {found.st_size} bytes, more than {most}", path)
            with os.fdopen(file, "rb", closefd=False) as stream:
                return stream.read(most)
        finally:
            os.close(file)

    def create(self, path: str) -> int:
        """Begins a file, in place of one that is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - as all here
        return os.open(path, _WRITE | _BINARY, MODE)

    def write(self, file: int, data: bytes) -> None:
        """Writes all of it at the end."""
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]

    def sync(self, file: int) -> None:
        """Has what was written outlive the loss of power."""
        os.fsync(file)

    def close(self, file: int) -> None:
        """Closes a handle."""
        os.close(file)

    def replace(self, source: str, target: str) -> None:
        """Gives a file another name."""
        os.replace(source, target)  # noqa: PTH105 - as all here

    def sync_folder(self, folder: str) -> None:
        """Has the names in a folder outlive the loss of power; not every system can."""
        if os.name == "nt":
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, path: str) -> None:
        """Removes a file."""
        os.unlink(path)  # noqa: PTH108 - as all here
