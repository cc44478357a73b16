"""Puts the same load on two servers in turns and compares them: medians of ratios, so that a noisy moment hits both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from statistics import median

from bench.processes import Measured

CONCURRENCY = 16

Call = Callable[[int], Awaitable[object]]
"""Makes the n-th call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Microseconds of server CPU per call and of median latency, ours and the least's, and the ratios of turns."""

    cpu_us: float
    least_cpu_us: float
    cpu_ratio: float
    p50_us: float
    least_p50_us: float
    p50_ratio: float


async def compare(server: Measured, ours: Call, least: Call, *, turns: int, calls: int) -> Compared:
    """Returns how `ours` compares with `least`, from so many turns of so many calls; one turn more is thrown away.

    CPU is taken at concurrency 16, latency with one call at a time.
    """
    numbers = count()
    cpu: list[tuple[float, float]] = []
    p50: list[tuple[float, float]] = []
    for turn in range(turns + 1):
        # Who goes first changes, so that neither always finds the caches warm.
        pair = (ours, least) if turn % 2 else (least, ours)
        used = {call: await _cpu_us(server, call, calls, numbers) for call in pair}
        waited = {call: await _p50_us(call, max(50, calls // 4), numbers) for call in pair}
        if turn:
            cpu.append((used[ours], used[least]))
            p50.append((waited[ours], waited[least]))
    return Compared(
        cpu_us=median(a for a, _ in cpu),
        least_cpu_us=median(b for _, b in cpu),
        cpu_ratio=median(a / b for a, b in cpu),
        p50_us=median(a for a, _ in p50),
        least_p50_us=median(b for _, b in p50),
        p50_ratio=median(a / b for a, b in p50),
    )


async def spread(call: Call, numbers: Iterable[int]) -> None:
    """Makes a call for each number, 16 at a time."""
    waiting = iter(numbers)

    async def worker() -> None:
        for n in waiting:
            await call(n)

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


async def _cpu_us(server: Measured, call: Call, calls: int, numbers: Iterator[int]) -> float:
    before = server.cpu_seconds()
    await spread(call, islice(numbers, calls))
    return (server.cpu_seconds() - before) / calls * 1e6


async def _p50_us(call: Call, calls: int, numbers: Iterator[int]) -> float:
    waits = []
    for n in islice(numbers, calls):
        start = time.perf_counter()
        await call(n)
        waits.append(time.perf_counter() - start)
    return median(waits) * 1e6
