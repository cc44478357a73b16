"""A disk in memory that ends the world before any of its operations, or in the middle of one that writes."""

from __future__ import annotations

import errno
import itertools
from dataclasses import dataclass, field

FOLDER = "/kept"


class TheEndError(Exception):
    """The process died, or the power failed."""


@dataclass
class Content:
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


class FakeDisk:
    """Ends after `operations`, if that is given; `full` has every write fail after so many bytes."""

    def __init__(self, operations: int | None = None) -> None:
        self.operations = operations
        self.count = 0
        self.full = False
        self.files: dict[str, Content] = {}
        self.durable: dict[str, Content] = {}
        self._removed: set[str] = set()
        self._open: dict[int, Content] = {}
        self._handles = itertools.count(3)

    # What is there afterwards.

    def after_kill(self, operations: int | None = None) -> FakeDisk:
        """What the next process finds: everything that was written, whether synced or not."""
        return self._next({path: bytes(each.data) for path, each in self.files.items()}, operations)

    def after_power_loss(self, names: str) -> FakeDisk:
        """What is there at worst: what was synced, under the names that were "synced" or the "last" ones.

        Or else what was "removed" is gone, and what was renamed is not, since nothing says which comes first.
        """
        there = self.files if names == "last" else self.durable
        if names == "removed":
            there = {path: each for path, each in there.items() if path not in self._removed}
        return self._next({path: each.synced for path, each in there.items()}, None)

    @staticmethod
    def _next(files: dict[str, bytes], operations: int | None) -> FakeDisk:
        disk = FakeDisk(operations)
        disk.files = {path: Content(bytearray(data), data) for path, data in files.items()}
        disk.durable = dict(disk.files)
        return disk

    # The port.

    def names(self, folder: str) -> list[str]:
        return [path.removeprefix(f"{folder}/") for path in self.files]

    def read(self, path: str, most: int) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return bytes(self.files[path].data[:most])

    def create(self, path: str) -> int:
        self._tick()
        self.files[path] = Content()
        handle = next(self._handles)
        self._open[handle] = self.files[path]
        return handle

    def write(self, file: int, data: bytes) -> None:
        half = len(data) // 2
        if self.full or self._ends():
            self._open[file].data += data[:half]
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._tick()
        self._open[file].data += data

    def sync(self, file: int) -> None:
        self._tick()
        self._open[file].synced = bytes(self._open[file].data)

    def close(self, file: int) -> None:
        self._tick()
        del self._open[file]

    def replace(self, source: str, target: str) -> None:
        self._tick()
        self.files[target] = self.files.pop(source)

    def sync_folder(self, folder: str) -> None:
        self._tick()
        self.durable = {path: each for path, each in self.files.items() if path.startswith(folder)}
        self._removed.clear()

    def remove(self, path: str) -> None:
        self._tick()
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        del self.files[path]
        self._removed.add(path)

    def _ends(self) -> bool:
        return self.operations is not None and self.count >= self.operations

    def _tick(self) -> None:
        if self._ends():
            raise TheEndError
        self.count += 1
