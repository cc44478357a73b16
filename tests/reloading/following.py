"""A whole sidecar in this process that follows a file, looked at often, and what it said so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog.testing

from turnout import AsyncClient
from turnout.v1 import router_pb2_grpc
from turnout_server.app import running
from turnout_server.config.load import load

EVERY_SECONDS = 0.05
LONG_SECONDS = 60.0
"""For what takes a tenth of a second: the machine may be busy."""

NO_PORTS = "{listen: {address: '127.0.0.1:0'}, health: {address: ''}, metrics: {address: ''}, drain_seconds: 5"


def provider(name: str, base_url: str, *, wire: str = "openai", more: str = "") -> str:
    """One entry of the providers block, with one model that costs something."""
    price = "price: {input_per_million_usd: 1, output_per_million_usd: 2}"
    model = f"{{name: small, context_window_tokens: 100000, max_output_tokens: 4000, quality: 80, {price}}}"
    model = model.replace("quality", "capabilities: [STREAMING], quality")
    allowed = "allow_insecure: true, allow_private: true"
    return f"{name}: {{wire: {wire}, base_url: '{base_url}', {allowed}, models: [{model}]{more}}}"


def written(*providers: str, more: str = "") -> str:
    """A configuration file."""
    return f"{NO_PORTS}, providers: {{{', '.join(providers)}}}{more}}}"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG_SECONDS):
        while not holds():  # noqa: ASYNC110 - what is waited for is told by no event
            await asyncio.sleep(0.005)


@dataclass
class Following:
    file: Path
    client: AsyncClient
    stub: router_pb2_grpc.RouterServiceAsyncStub
    """For whoever must not be helped by the client's retries."""
    log: list[MutableMapping[str, Any]]
    asked: asyncio.Event

    def lines(self, *events: str) -> list[MutableMapping[str, Any]]:
        return [line for line in list(self.log) if line["event"] in events]

    async def look(self) -> MutableMapping[str, Any]:
        """Asks for a look and returns what came of it."""
        ends = ("config.reloaded", "config.refused", "config.unchanged")
        before = len(self.lines(*ends))
        self.asked.set()
        await until(lambda: len(self.lines(*ends)) > before)
        return self.lines(*ends)[-1]

    async def change(self, text: str) -> MutableMapping[str, Any]:
        """Writes the file and asks for a look; returns what came of it."""
        self.put(text)
        return await self.look()

    def put(self, text: str | None) -> None:
        """Puts another file in the place of the one there is, in one step; None: takes it away."""
        if text is None:
            self.file.unlink()
            return
        other = self.file.with_name("being written")
        other.write_text(text)
        other.replace(self.file)

    async def providers(self) -> list[str]:
        return [each.provider for each in (await self.client.status()).providers]


@asynccontextmanager
async def following(
    folder: Path, text: str, environ: Mapping[str, str] | None = None, *, every_seconds: float = 30.0
) -> AsyncIterator[Following]:
    """Starts one. By itself it looks every so many seconds; a test that asks leaves that out of the play."""
    file = folder / "turnout.yaml"
    file.write_text(text)
    asked = asyncio.Event()
    with structlog.testing.capture_logs() as log:
        async with (
            running(
                load(str(file), environ or {}), environ or {}, files_every_seconds=every_seconds, reload_asked=asked
            ) as listening,
            AsyncClient(listening.grpc[0]) as client,
            grpc.aio.insecure_channel(listening.grpc[0]) as channel,
        ):
            yield Following(file, client, router_pb2_grpc.RouterServiceStub(channel), log, asked)
