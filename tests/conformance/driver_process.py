"""A running driver: operations go in as JSON lines, replies come back in any order."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

KEPT = (
    "HOME",
    "PATH",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "JAVA_HOME",
    "GOPATH",
    "GOCACHE",
    "GOFLAGS",
    "NODE_EXTRA_CA_CERTS",
    "VIRTUAL_ENV",
)
"""Of whoever runs the suite: enough for a toolchain to find itself, and none of Turnout's own variables."""

END_SECONDS = 10.0
KEPT_LINES = 40

Reply = dict[str, Any]


class DriverGone(Exception):  # noqa: N818 - it is what happened
    """The driver ended, or wrote what is no reply; the text has the last lines of its stderr."""


class DriverProcess:
    """One process of a driver; a context manager that ends it. `start` sends an operation, its future has the reply."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        self._process = subprocess.Popen(  # noqa: S603 - what the repository's own driver.json says
            command,
            cwd=folder,
            env={**kept, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Reply]] = {}
        self._errors: deque[str] = deque(maxlen=KEPT_LINES)
        self._gone = ""
        self._readers = [
            threading.Thread(target=self._read_errors, daemon=True),
            threading.Thread(target=self._read_replies, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return not self._gone and self._process.poll() is None

    def start(self, op: str, **fields: Any) -> tuple[int, Future[Reply]]:
        """Sends an operation; returns its id, and its reply as it comes. Raises `DriverGone`."""
        number = next(self._ids)
        future: Future[Reply] = Future()
        with self._lock:
            if self._gone:
                raise DriverGone(self._gone)
            self._waiting[number] = future
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps({"id": number, "op": op, **fields}).encode() + b"\n")
                self._process.stdin.flush()
            except OSError:
                del self._waiting[number]
                raise DriverGone(self._told("its input is closed")) from None
        return number, future

    def ask(self, op: str, seconds: float, **fields: Any) -> Reply:
        """Sends an operation and waits for its reply. Raises `DriverGone`, or TimeoutError."""
        return self.start(op, **fields)[1].result(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends it: closing its input is its sign; one that does not heed it is killed."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(END_SECONDS)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _read_replies(self) -> None:
        assert self._process.stdout is not None
        why = "it ended"
        for line in self._process.stdout:
            try:
                reply = json.loads(line)
                number = reply.pop("id")
                if not isinstance(number, int) or reply.keys() not in ({"result"}, {"error"}):
                    raise ValueError  # noqa: TRY301 - one sentence for whatever is wrong with a line
            except (ValueError, KeyError, AttributeError):
                why = f"it wrote what is no reply: {line[:300]!r}"
                break
            with self._lock:
                future = self._waiting.pop(number, None)
            if future is None:
                why = f"it replied to {number}, which was not asked, or a second time"
                break
            future.set_result(reply)
        if why != "it ended":
            # Nobody reads what it writes any more; its last words on stderr are all there when it has ended.
            self._process.kill()
        self._readers[0].join(END_SECONDS)
        with self._lock:
            self._gone = self._told(why)
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(DriverGone(self._gone))

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.append(line.decode(errors="replace").rstrip())

    def _told(self, why: str) -> str:
        return "\n".join([f"the driver cannot be asked any more: {why}", *self._errors])
