"""One process for one snapshot file: two would overwrite each other's, and forget what the other has spent."""

from __future__ import annotations

import os

try:
    import fcntl
except ImportError:  # pragma: no cover - there is none on Windows
    fcntl = None  # type: ignore[assignment]  # looked at before it is used

MODE = 0o600
_PID_MAXIMUM = 20

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class LockedError(Exception):
    """Another process has the file; `holder` is its id, as far as it could be read."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


class FileLock:
    """Held from `take` to `release`, or to the end of the process, however that comes. The file itself stays."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None

    def take(self) -> None:
        """Takes it at once. Raises LockedError where somebody else has it, OSError where it cannot be made."""
        file = os.open(self._path, _FLAGS, MODE)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()}\n".encode())
        except BlockingIOError:
            holder = os.read(file, _PID_MAXIMUM).decode(errors="replace").strip()
            os.close(file)
            raise LockedError(holder) from None
        except BaseException:
            os.close(file)
            raise
        self._file = file

    def release(self) -> None:
        """Gives it back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
