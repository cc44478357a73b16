"""`python -m bench.metered`: what it costs Route that metrics are sent, or scraped, every second; in turns, a minute.

A second is far more often than anybody asks: OTLP's default is a minute, and Prometheus' scrapes come every 15 to 60 s.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from itertools import count
from statistics import median
from typing import NamedTuple

from bench.collector import collector
from bench.load import Call, spread
from bench.processes import cpu_seconds, sidecar
from bench.rpcs import caller

MODES = ("none", "OTLP", "scraped")
NOWHERE = "http://127.0.0.1:9/v1"
EVERY_SECONDS = 1.0
CALLS_A_SECOND = 100
"""A load that leaves most of a core idle, so that what waits waits for what is measured."""


class Turn(NamedTuple):
    """One turn, in microseconds: CPU of the server for each call, and how long callers waited."""

    cpu_us: float
    p50_us: float
    p99_us: float


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.metered", description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--targets", type=int, nargs="*", default=[8, 400])
    given = parser.parse_args()
    for targets in given.targets:
        for line in asyncio.run(_compare(targets, given.turns, given.seconds)):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


async def _compare(targets: int, turns: int, seconds: float) -> list[str]:
    with ExitStack() as stack:
        pages = [_free_address() for _ in MODES]
        exported = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": stack.enter_context(collector()),
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRIC_EXPORT_INTERVAL": f"{EVERY_SECONDS * 1000:g}",
        }
        environments = [
            {"TURNOUT_METRICS__ADDRESS": page, **(exported if mode == "OTLP" else {})}
            for mode, page in zip(MODES, pages, strict=True)
        ]
        running = [stack.enter_context(sidecar(targets, NOWHERE, extra)) for extra in environments]
        async with AsyncExitStack() as channels:
            callers = [await channels.enter_async_context(caller(address)) for _, address in running]
            measured: list[list[Turn]] = [[] for _ in MODES]
            for turn in range(turns + 1):
                for place in ((turn + each) % len(MODES) for each in range(len(MODES))):
                    page = pages[place] if MODES[place] == "scraped" else ""
                    async with _scraping(page):
                        measured[place].append(await _turn(running[place][0], callers[place].route, seconds))
            return list(_told(targets, [each[1:] for each in measured]))


def _told(targets: int, measured: list[list[Turn]]) -> Iterator[str]:
    for mode, turns in zip(MODES, measured, strict=True):
        ratios = [
            median(turn[place] / before[place] for turn, before in zip(turns, measured[0], strict=True))
            for place in range(len(Turn._fields))
        ]
        cpu, p50, p99 = (median(turn[place] for turn in turns) for place in range(len(Turn._fields)))
        yield (
            f"{targets:4} targets, {mode:8} CPU {cpu:6.0f} us ({ratios[0]:.2f}), p50 {p50:6.0f} us ({ratios[1]:.2f}), "
            f"p99 {p99:6.0f} us ({ratios[2]:.2f})"
        )


async def _turn(pid: int, call: Call, seconds: float) -> Turn:
    """CPU with sixteen callers at a time, waits at a steady rate: a caller's wait is counted from when it was due."""
    numbers = count()
    calls, before, began_at = 0, cpu_seconds(pid), time.perf_counter()
    while time.perf_counter() - began_at < seconds:
        await spread(call, [next(numbers) for _ in range(100)])
        calls += 100
    used = cpu_seconds(pid) - before
    waits: list[float] = []

    async def timed(due_at: float) -> None:
        await call(next(numbers))
        waits.append(time.perf_counter() - due_at)

    async with asyncio.TaskGroup() as group:
        began_at = time.perf_counter()
        for number in range(round(seconds * CALLS_A_SECOND)):
            due_at = began_at + number / CALLS_A_SECOND
            await asyncio.sleep(max(0.0, due_at - time.perf_counter()))
            group.create_task(timed(due_at))
    waits.sort()
    return Turn(used / calls * 1e6, waits[len(waits) // 2] * 1e6, waits[len(waits) * 99 // 100] * 1e6)


@contextlib.asynccontextmanager
async def _scraping(address: str) -> AsyncIterator[None]:
    """Scrapes that address every second while the block runs; nothing without one."""
    if not address:
        yield
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SCRAPER, f"http://{address}/metrics", str(EVERY_SECONDS)
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


_SCRAPER = """
import sys, time, urllib.request
while True:
    urllib.request.urlopen(sys.argv[1], timeout=30).read()
    time.sleep(float(sys.argv[2]))
"""
"""In a process of its own, whose reading delays none of the callers."""


def _free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


if __name__ == "__main__":
    main()
