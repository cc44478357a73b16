"""Starts real sidecars fast: a process that has read all the code, and forks one that is a sidecar when it is asked.

`python -m tests.restart.nursery`: "start FILE" on stdin begins one, whose line on stdout says where it listens; "reap"
waits until it is gone. What a sidecar logs goes to stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.cli.processes import environment

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 60


class Sidecar:
    """One that runs, as its first line told."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.pid: int = told["pid"]
        self.address: str = told["grpc"][0]
        self.loaded: list[str] = told["loaded"]
        """Modules of what is kept that every sidecar loads."""


class Nursery:
    """The process that starts them, one at a time."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def start(self, file: str) -> Sidecar:
        return Sidecar(json.loads(await self._asked(f"start {file}")))

    async def kill(self, sidecar: Sidecar) -> None:
        """Kills a sidecar, and returns once it is gone."""
        os.kill(sidecar.pid, signal.SIGKILL)

        assert json.loads(await self._asked("reap")) == -signal.SIGKILL

    async def stop(self, sidecar: Sidecar) -> None:
        """Stops a sidecar as an operator does."""
        os.kill(sidecar.pid, signal.SIGTERM)

        assert json.loads(await self._asked("reap")) == 0

    async def _asked(self, command: str) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command.encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), WAIT_SECONDS)

        assert line, "the sidecar could not be started"

        return line


@contextlib.asynccontextmanager
async def nursery(log: Path) -> AsyncIterator[Nursery]:
    """A nursery whose sidecars log to a file."""
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.restart.nursery", stdin=PIPE, stdout=PIPE, stderr=stderr,
            cwd=ROOT, env=environment(),
        )  # fmt: skip
        try:
            yield Nursery(process)
        finally:
            # The end of its input is its own end.
            assert process.stdin is not None
            process.stdin.close()
            await asyncio.wait_for(process.wait(), WAIT_SECONDS)


def main() -> None:
    from turnout_server import app  # noqa: PLC0415 - what takes the time, once
    from turnout_server.config.load import load  # noqa: PLC0415 - likewise

    loaded = [name for name in sys.modules if name.startswith("turnout_server.state") or name.endswith("core.kept")]
    from turnout_server.state import keeper  # noqa: PLC0415 - likewise

    del keeper
    gc.collect()
    gc.freeze()
    child = 0
    for command in iter(sys.stdin.readline, ""):
        word, _, file = command.strip().partition(" ")
        if word == "start":
            child = os.fork()
            if not child:
                sys.stdin.close()
                app.run(load(file), dict(os.environ), announce=partial(_announce, loaded), json_logs=True)
                os._exit(0)
        else:
            _, status = os.waitpid(child, 0)
            sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
            sys.stdout.flush()


def _announce(loaded: list[str], line: str) -> None:
    sys.stdout.write(json.dumps(json.loads(line) | {"pid": os.getpid(), "loaded": loaded}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
