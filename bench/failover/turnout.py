"""Turnout: `turnout serve` as operators run it, with its defaults; each row has a provider of its own."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.failover.asking import ask_turnout
from bench.failover.judging import Told
from bench.failover.processes import BIN, Providers, started
from bench.failover.rows import GOOD, Row
from turnout import AsyncClient
from turnout.v1 import router_pb2 as pb

FALLBACK = "fallback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turnout:
    """The sidecar. With `restarts`, streams that break are begun anew, which the operator or the caller may choose."""

    restarts: bool = False

    @property
    def name(self) -> str:
        """What the tables call it."""
        return "Turnout, RESTART" if self.restarts else "Turnout"

    @property
    def case(self) -> str:
        """A word under which the provider counts its requests."""
        return "turnout-restart" if self.restarts else "turnout"

    def plays(self, row: Row) -> bool:
        """Whether a row says anything of it: whether streams restart changes nothing before content."""
        return not self.restarts or row.breaks_in_the_middle

    def configuration(self, providers: Providers, rows: Sequence[Row]) -> dict[str, Any]:
        """Returns the whole file: providers, the order of preference, and where to listen."""
        addresses = {row.key: providers.url(row.fault.name, row.place, f"{self.case}-{row.key}") for row in rows}
        addresses[FALLBACK] = providers.url(GOOD, GOOD, f"{self.case}-{FALLBACK}")
        return {
            "listen": {"address": "127.0.0.1:0"},
            "health": {"address": ""},
            "metrics": {"address": ""},
            "telemetry": {"log_level": "warning"},
            "providers": {name: _provider(url) for name, url in addresses.items()},
            "routing": {"provider_order": list(addresses), "policies": {"default": {"strategy": "PRIORITY"}}},
            "drain_seconds": 1,
        }

    @asynccontextmanager
    async def running(self, providers: Providers, rows: Sequence[Row]) -> AsyncIterator[Running]:
        """Starts the sidecar, and ends it."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "turnout.yaml"
            file.write_text(json.dumps(self.configuration(providers, rows)), encoding="utf-8")
            command = [str(BIN / "turnout"), "serve", "-c", str(file)]
            with started(command, {}, log=Path(folder) / "log", stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError((Path(folder) / "log").read_text(encoding="utf-8"))
                async with AsyncClient(json.loads(line)["grpc"][0], max_retry_count=0) as client:
                    yield Running(client, process.pid, restarts=self.restarts)


class Running:
    """The sidecar while it runs."""

    def __init__(self, client: AsyncClient, pid: int, *, restarts: bool) -> None:
        self._client = client
        self._pid = pid
        self._mid_stream = pb.MID_STREAM_POLICY_RESTART if restarts else pb.MID_STREAM_POLICY_FAIL

    async def ask(self, row: Row) -> Told:
        """Makes the call of a row."""
        return await self._ask((row.key, FALLBACK), streamed=row.streamed)

    async def ask_well(self) -> Told:
        """Makes a call that meets no fault."""
        return await self._ask((FALLBACK,), streamed=True)

    async def _ask(self, providers: tuple[str, ...], *, streamed: bool) -> Told:
        return await ask_turnout(self._client, providers, streamed=streamed, mid_stream=self._mid_stream)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._pid


def version() -> str:
    """Returns the version of what is measured."""
    return importlib.metadata.version("turnout")


def _provider(url: str) -> dict[str, Any]:
    return {
        "wire": "openai",
        "base_url": url,
        "allow_insecure": True,
        "allow_private": True,
        "models": [
            {
                "name": "m",
                "context_window_tokens": 128_000,
                "max_output_tokens": 8192,
                "capabilities": ["STREAMING"],
                "quality": 80,
                "price": {"input_per_million_usd": 1, "output_per_million_usd": 2},
            }
        ],
    }
