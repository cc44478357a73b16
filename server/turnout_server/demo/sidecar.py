"""The sidecar of the demonstration: `turnout serve` as a process of its own, with an environment of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

_COMMAND = (sys.executable, "-c", "from turnout_server.main import main; main()", "serve", "-c")
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0
_KEPT_LINES = 20
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
"""Windows knows no SIGKILL, and its SIGTERM leaves nothing to do after it."""
_PASSED_ON = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "SYSTEMROOT", "TMPDIR", "VIRTUAL_ENV")
"""Nothing else of the environment reaches the sidecar: no key, no proxy, no setting of the person at the terminal."""

LogLine = Mapping[str, Any]


class SidecarError(Exception):
    """The sidecar did not start; the text says what it said last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the sidecar listens."""

    grpc: str
    metrics: str


class Sidecar:
    """The process. `on_log` gets each line of its log, parsed."""

    def __init__(self, configuration: Path, secrets: Mapping[str, str], on_log: Callable[[LogLine], None]) -> None:
        self._configuration = configuration
        self._environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | dict(secrets)
        self._on_log = on_log
        self._last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def process_id(self) -> int:
        """The process's id, 0 before it has started."""
        return 0 if self._process is None else self._process.pid

    async def start(self) -> Addresses:
        """Starts it and returns where it listens. Raises SidecarError where it does not come up."""
        self._process = process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            str(self._configuration),
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        self._reader = asyncio.create_task(self._read_log(process.stderr), name="sidecar-log")
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _START_SECONDS)
            bound = orjson.loads(line)
            return Addresses(grpc=bound["grpc"][0], metrics=bound.get("metrics") or "")
        except (TimeoutError, orjson.JSONDecodeError, KeyError, IndexError):
            await self.stop()
            raise SidecarError(self._story("the sidecar did not come up")) from None

    def early_end(self) -> str:
        """Returns what to say of a process that has ended by itself, "" while it runs."""
        if self._process is None or self._process.returncode is None:
            return ""
        return self._story(f"the sidecar ended by itself with code {self._process.returncode}")

    async def stop(self) -> int:
        """Asks it to stop, waits, and returns its exit code."""
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            _send(process, signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                _send(process, _KILL)
        if self._reader is not None:
            await self._reader
        code = await process.wait()
        # Windows has no signals: the process is ended with the number as its code.
        return 0 if code == int(signal.SIGTERM) else code

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            text = line.decode(errors="replace").rstrip()
            self._last_lines.append(text)
            try:
                found = orjson.loads(text)
            except orjson.JSONDecodeError:
                continue
            if isinstance(found, dict):
                self._on_log(found)

    def _story(self, what: str) -> str:
        said = "\n  ".join(self._last_lines)
        return f"{what}; it said last:\n  {said}" if said else f"{what}, and said nothing"


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Sends a signal without asking first how the process is: asking would take its exit code from the event loop."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)
