"""Portkey's gateway, where it is installed, configured with what its documentation has for reliability.

Its configuration comes with each request, in a header.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any, Self

import openai

from bench.failover.asking import BUDGET_SECONDS, RETRIES, ask_openai
from bench.failover.judging import Told
from bench.failover.litellm import KEY, STREAM_SECONDS
from bench.failover.processes import ROOT, Providers, free_port, served, started
from bench.failover.rows import GOOD, Row

VARIABLE = "TURNOUT_BENCH_PORTKEY"
FOLDER = ROOT / ".venv-rivals" / "portkey"
PACKAGE = Path("node_modules/@portkey-ai/gateway")
FALLBACK = "fallback"
MILLISECONDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Portkey:
    """The gateway of one folder that npm installed it into."""

    folder: Path
    version: str
    case: str = "portkey"

    @classmethod
    def found(cls) -> Self | None:
        """Returns the one that the variable names, else the one that RIVALS=1 sets up; None where there is none."""
        folder = Path(os.environ.get(VARIABLE, FOLDER))
        package = folder / PACKAGE / "package.json"
        if which("node") is None or not package.exists():
            return None
        return cls(folder=folder, version=str(json.loads(package.read_text(encoding="utf-8"))["version"]))

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"Portkey {self.version}"

    def plays(self, row: Row) -> bool:
        """Whether a row says anything of it."""
        del row
        return True

    def configuration(self, providers: Providers, rows: Sequence[Row]) -> dict[str, Any]:
        """Returns what comes with the first of these rows; with the others it is the same but for the address."""
        return self.config_of(providers, rows[0])

    def config_of(self, providers: Providers, row: Row | None) -> dict[str, Any]:
        """Returns the configuration that comes with the call of a row; None: with a call that meets no fault."""
        fallback = _target(providers.url(GOOD, GOOD, f"{self.case}-{FALLBACK}"))
        if row is None:
            return fallback
        url = providers.url(row.fault.name, row.place, f"{self.case}-{row.key}")
        seconds = STREAM_SECONDS if row.streamed else BUDGET_SECONDS
        retry = {"attempts": RETRIES, "use_retry_after_header": True}
        return {
            "strategy": {"mode": "fallback"},
            "request_timeout": round(seconds * MILLISECONDS),
            "targets": [_target(url) | {"retry": retry}, fallback],
        }

    @asynccontextmanager
    async def running(self, providers: Providers, rows: Sequence[Row]) -> AsyncIterator[Running]:
        """Starts the gateway, and ends it."""
        del rows
        port, package = free_port(), self.folder / PACKAGE
        command = [str(which("node")), str(package / "build" / "start-server.js"), f"--port={port}", "--headless"]
        with (
            tempfile.TemporaryDirectory() as folder,
            started(command, {"NODE_ENV": "production"}, log=Path(folder) / "log", folder=package) as process,
        ):
            url = f"http://127.0.0.1:{port}"
            await served(url, process, Path(folder) / "log")
            async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=None) as client:
                yield Running(self, client, providers, process.pid)


class Running:
    """The gateway while it runs."""

    def __init__(self, portkey: Portkey, client: openai.AsyncOpenAI, providers: Providers, pid: int) -> None:
        self._portkey = portkey
        self._client = client
        self._providers = providers
        self._pid = pid

    async def ask(self, row: Row) -> Told:
        """Makes the call of a row."""
        return await self._ask(row, streamed=row.streamed)

    async def ask_well(self) -> Told:
        """Makes a call that meets no fault."""
        return await self._ask(None, streamed=True)

    async def _ask(self, row: Row | None, *, streamed: bool) -> Told:
        headers = {"x-portkey-config": json.dumps(self._portkey.config_of(self._providers, row))}
        return await ask_openai(self._client, "m", streamed=streamed, headers=headers)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._pid


def _target(url: str) -> dict[str, Any]:
    return {"provider": "openai", "api_key": KEY, "custom_host": url}
