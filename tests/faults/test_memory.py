"""What a provider can send without end costs the sidecar a bounded amount of memory: a real process, its peak read."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from tests.faults.provider import FaultyProvider
from tests.main_job.conduct import chat
from tests.main_job.processes import sidecar
from turnout import AsyncClient, TurnoutError
from turnout.v1 import router_pb2 as pb

MIB = 1024 * 1024
FAULTS = ("gzip_bomb", "gzip_bomb_of_lines", "long_line", "endless_pings", "endless_deltas")
CALLS_OF_EACH = 4
MOST_GROWTH_BYTES = 120 * MIB
"""For 40 calls at a time, four of them gathering an endless answer as fast as it comes for two seconds."""

PROVIDER = """
  {name}: {{wire: openai, base_url: "{url}", allow_insecure: true, allow_private: true, models: [{{name: m,
    context_window_tokens: 128000, max_output_tokens: 4096, quality: 80, capabilities: [STREAMING]}}]}}"""
CONFIGURATION = """
listen: {{address: "127.0.0.1:0"}}
health: {{address: ""}}
metrics: {{address: ""}}
providers:{providers}
failover: {{idle_timeout_seconds: 2, first_token_timeout_seconds: 2}}
drain_seconds: 1
"""


def configured(provider: FaultyProvider) -> str:
    places = "".join(
        PROVIDER.format(name=fault.replace("_", "-"), url=provider.url_of(fault, "openai"))
        for fault in ("good", *FAULTS)
    )
    return CONFIGURATION.format(providers=places)


def peak_bytes(pid: int) -> int:
    """The most memory that the process ever held."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def child_that_serves() -> int:
    """The sidecar that this test started."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parent = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and b"serve" in (entry / "cmdline").read_bytes().split(b"\0"):
                return int(entry.name)
    raise AssertionError("no sidecar runs")


async def meet(client: AsyncClient, fault: str, *, streams: bool) -> str:
    """Makes one call and tells how it ended; only what would never end is short of time."""
    timeout_seconds = 60 if fault == "good" else 2
    options = pb.RoutingOptions(force_target=f"{fault.replace('_', '-')}/m")
    try:
        if streams:
            await client.stream(chat(), options=options, timeout_seconds=timeout_seconds).answer()
        else:
            await client.execute(chat(), options=options, timeout_seconds=timeout_seconds)
    except TurnoutError as error:
        return error.reason
    return "complete"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
async def test_nothing_that_a_provider_sends_without_end_fills_the_memory(tmp_path: Path) -> None:
    async with FaultyProvider() as provider:
        with sidecar(configured(provider), tmp_path) as address:
            async with AsyncClient(address, max_retry_count=0) as client:
                pid = child_that_serves()
                warm = await asyncio.gather(*(meet(client, "good", streams=i % 2 == 0) for i in range(20)))
                before, files = peak_bytes(pid), open_files(pid)
                ends = await asyncio.gather(
                    *(
                        meet(client, fault, streams=streams)
                        for fault in FAULTS
                        for streams in (True, False)
                        for _ in range(CALLS_OF_EACH)
                    )
                )
                growth = peak_bytes(pid) - before
                again = await asyncio.gather(
                    *(meet(client, fault, streams=streams) for fault in FAULTS for streams in (True, False))
                )
                growth_again = peak_bytes(pid) - before - growth
                after = await meet(client, "good", streams=False)
                files_after = open_files(pid)
                gone = all(exchange.over_at is not None for exchange in provider.exchanges)

    assert {"complete"} == {*warm, after}
    assert "complete" not in {*ends, *again}
    assert gone
    assert files_after <= files
    assert growth < MOST_GROWTH_BYTES
    assert growth_again < MOST_GROWTH_BYTES / 4, "what the first calls took is used again"
