"""`python -m bench.traced`: what tracing costs, against the same sidecar without it, in turns, in half a minute."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from itertools import count, islice
from statistics import median
from typing import NamedTuple

from bench.collector import collector
from bench.load import Call, spread
from bench.processes import cpu_seconds, sidecar, simulator
from bench.rpcs import caller

TARGETS = 8
OUTPUT_TOKENS = 64
SETTLE_SECONDS = 0.05
"""What was recorded last is made into spans within it, and counts; they are sent with those of later turns."""
MODES = ("untraced", "traced", "sampled out")


class Turn(NamedTuple):
    """One turn: CPU of the server for each call, and latency of the slowest in twenty, in microseconds."""

    cpu_us: float
    p95_us: float


class Cost(NamedTuple):
    """What a kind of call costs in one mode: medians of its turns, and of their ratios to the untraced ones."""

    cpu_us: float
    p95_us: float
    cpu_ratio: float
    p95_ratio: float


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.traced", description=__doc__)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--calls", type=int, default=200, help="calls of each kind in a turn")
    given = parser.parse_args()
    for name, costs in asyncio.run(costs_of_tracing(("Route", "Execute"), given.turns, given.calls)).items():
        for mode, cost in costs.items():
            sys.stdout.write(
                f"{name:8} {mode:12} {cost.cpu_us:6.0f} us of CPU, {cost.cpu_ratio:.2f} of untraced; "
                f"p95 {cost.p95_us:6.0f} us, {cost.p95_ratio:.2f} of untraced\n"
            )


async def costs_of_tracing(names: Sequence[str], turns: int, calls: int) -> dict[str, dict[str, Cost]]:
    """Returns the costs of calls by name ("Route", "Execute") and mode; one turn more is thrown away."""
    with ExitStack() as stack:
        base_url = stack.enter_context(simulator())
        exported = {"OTEL_EXPORTER_OTLP_ENDPOINT": stack.enter_context(collector()), "OTEL_METRICS_EXPORTER": "none"}
        environments: tuple[dict[str, str], ...] = ({}, exported, {**exported, "OTEL_TRACES_SAMPLER": "always_off"})
        running = [stack.enter_context(sidecar(TARGETS, base_url, extra)) for extra in environments]
        async with AsyncExitStack() as channels:
            callers = [await channels.enter_async_context(caller(address)) for _, address in running]
            found: dict[str, dict[str, Cost]] = {}
            for name in names:
                made = [each.route if name == "Route" else each.execute(OUTPUT_TOKENS) for each in callers]
                measured: list[list[Turn]] = [[] for _ in MODES]
                for turn in range(turns + 1):
                    # Who goes first changes, so that no mode always finds the caches warm.
                    for place in (turn % 3, (turn + 1) % 3, (turn + 2) % 3):
                        measured[place].append(await _turn(running[place][0], made[place], calls))
                untraced = measured[0][1:]
                found[name] = {mode: _cost(each[1:], untraced) for mode, each in zip(MODES, measured, strict=True)}
            return found


def _cost(turns: Sequence[Turn], untraced: Sequence[Turn]) -> Cost:
    return Cost(
        cpu_us=median(turn.cpu_us for turn in turns),
        p95_us=median(turn.p95_us for turn in turns),
        cpu_ratio=median(turn.cpu_us / beside.cpu_us for turn, beside in zip(turns, untraced, strict=True)),
        p95_ratio=median(turn.p95_us / beside.p95_us for turn, beside in zip(turns, untraced, strict=True)),
    )


async def _turn(pid: int, call: Call, calls: int) -> Turn:
    waits: list[float] = []

    async def timed(n: int) -> None:
        began_at = time.perf_counter()
        await call(n)
        waits.append(time.perf_counter() - began_at)

    before = cpu_seconds(pid)
    await spread(timed, islice(count(), calls))
    await asyncio.sleep(SETTLE_SECONDS)
    used = cpu_seconds(pid) - before
    return Turn(used / calls * 1e6, sorted(waits)[len(waits) * 95 // 100] * 1e6)


if __name__ == "__main__":
    main()
