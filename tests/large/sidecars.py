"""Starts a watched sidecar before a swallowing provider, and makes large requests."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

MIB = 1024 * 1024
ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0

_PROVIDER = """
  {name}:
    wire: {name}
    base_url: {url}/{name}
    allow_insecure: true
    allow_private: true
    models:
      - {{name: m, context_window_tokens: 100000000, max_output_tokens: 64000000, quality: 80,
         capabilities: [STREAMING, VISION, TOOLS], latency_prior_seconds: 2,
         price: {{input_per_million_usd: 1, output_per_million_usd: 2}}}}"""
_CONFIGURATION = """
listen: {{address: "127.0.0.1:0"}}
health: {{address: ""}}
metrics: {{address: ""}}
providers:{providers}
routing:
  provider_order: [openai, anthropic, gemini, ollama]
  policies: {{default: {{strategy: PRIORITY}}}}
limits: {{max_inflight_mib: 1024}}
drain_seconds: 1
"""
CHANNEL_OPTIONS = [("grpc.max_receive_message_length", 64 * MIB), ("grpc.max_send_message_length", 64 * MIB)]


@dataclass(frozen=True, slots=True)
class Watched:
    """What the sidecar saw since it was last asked: its loop's longest hold, all its work, its largest size."""

    longest_seconds: float
    worked_seconds: float
    peak_bytes: int

    @property
    def longest_share(self) -> float:
        """The longest hold by all that the loop did: slow machines and busy neighbours stretch both."""
        return self.longest_seconds / self.worked_seconds

    @property
    def hold(self) -> str:
        """The longest hold in words."""
        return f"held {self.longest_seconds * 1000:.0f} ms ({self.longest_share:.0%} of its work)"


@dataclass(slots=True)
class WatchedSidecar:
    """A running one."""

    process: asyncio.subprocess.Process
    channel: grpc.aio.Channel
    address: str

    @property
    def stub(self) -> router_pb2_grpc.RouterServiceAsyncStub:
        return router_pb2_grpc.RouterServiceStub(self.channel)

    async def look(self) -> Watched:
        """Returns what was seen since the last look."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        await self.process.stdin.drain()
        return Watched(**json.loads(await self.process.stdout.readline()))


@asynccontextmanager
async def watched_sidecar(folder: Path, provider_url: str) -> AsyncIterator[WatchedSidecar]:
    """Starts one; it ends with the block."""
    file = folder / "turnout.yaml"
    providers = "".join(_PROVIDER.format(name=name, url=provider_url) for name in WIRE_NAMES)
    file.write_text(_CONFIGURATION.format(providers=providers))
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_HOST"))}
    log = (folder / "sidecar.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.large.watched_sidecar",
        str(file),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        env=environment,
        cwd=ROOT,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            line = await process.stdout.readline()
        assert line, (folder / "sidecar.log").read_text()
        address = json.loads(line)["grpc"][0]
        async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            yield WatchedSidecar(process, channel, address)
        process.stdin.close()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        log.close()
    assert process.returncode == 0, (folder / "sidecar.log").read_text()


WIRE_NAMES = ("openai", "anthropic", "gemini", "ollama")


def asking(name: str, *parts: pb.Part, max_output_tokens: int = 4000) -> dict[str, object]:
    """Returns the fields of a request with these parts that goes to the provider of that name."""
    return {
        "input": pb.ChatInput(
            messages=[pb.Message(role=pb.ROLE_USER, parts=parts)], max_output_tokens=max_output_tokens
        ),
        "options": pb.RoutingOptions(force_target=name),
    }


def image(byte_count: int) -> pb.Part:
    """Returns an image of random bytes."""
    return pb.Part(image=pb.Image(data=os.urandom(byte_count), media_type="image/png"))


def prompt(byte_count: int, words: str = "Where does the night train stop?\n") -> pb.Part:
    """Returns a text of about that many bytes."""
    return pb.Part(text=words * (byte_count // len(words.encode())))


@dataclass(frozen=True, slots=True)
class Asked:
    """How long another caller waited for Route meanwhile, in seconds."""

    count: int
    p50_seconds: float
    p99_seconds: float
    longest_seconds: float

    def __str__(self) -> str:
        """Returns the measurement as a test prints it."""
        p50, p99, longest = (each * 1000 for each in (self.p50_seconds, self.p99_seconds, self.longest_seconds))
        return f"Route p50 {p50:.1f} p99 {p99:.0f} max {longest:.0f} ms"


@asynccontextmanager
async def another_caller(sidecar: WatchedSidecar) -> AsyncIterator[list[Asked]]:
    """Asks for decisions all the time, from a process of its own; the list has how it went when the block is over."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.large.another_caller",
        sidecar.address,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    went: list[Asked] = []
    try:
        await process.stdout.readline()
        yield went
        process.stdin.write(b"\n")
        await process.stdin.drain()
        went.append(Asked(**json.loads(await process.stdout.readline())))
    finally:
        process.stdin.close()
        await process.wait()
