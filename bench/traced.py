"""`python -m bench.traced`: what tracing costs, against the same sidecar without it, in turns. It takes 20 seconds."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import AsyncExitStack, ExitStack, contextmanager
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

import grpc

from bench.load import Call, spread
from bench.processes import sidecar, simulator, started
from bench.rpcs import caller

TARGETS = 8
OUTPUT_TOKENS = 64
SETTLE_SECONDS = 0.15
"""What was recorded last is built and sent within it, and counts."""
MODES = ("untraced", "traced", "sampled out")


class Turn(NamedTuple):
    """One turn: CPU of the server for each call, and latency of the slowest in twenty, in microseconds."""

    cpu_us: float
    p95_us: float


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.traced", description=__doc__)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--calls", type=int, default=300, help="calls of each kind in a turn")
    parser.add_argument("--collector", action="store_true", help="be the collector that spans are sent to")
    given = parser.parse_args()
    if given.collector:
        _collect()
        return
    for line in asyncio.run(_compare(given.turns, given.calls)):
        sys.stdout.write(f"{line}\n")


async def _compare(turns: int, calls: int) -> list[str]:
    with ExitStack() as stack:
        base_url = stack.enter_context(simulator())
        exported = {"OTEL_EXPORTER_OTLP_ENDPOINT": stack.enter_context(_collector()), "OTEL_METRICS_EXPORTER": "none"}
        environments: tuple[dict[str, str], ...] = ({}, exported, {**exported, "OTEL_TRACES_SAMPLER": "always_off"})
        running = [stack.enter_context(sidecar(TARGETS, base_url, extra)) for extra in environments]
        async with AsyncExitStack() as channels:
            callers = [await channels.enter_async_context(caller(address)) for _, address in running]
            lines: list[str] = []
            for name in ("Route", "Execute"):
                made = [each.route if name == "Route" else each.execute(OUTPUT_TOKENS) for each in callers]
                measured: list[list[Turn]] = [[] for _ in MODES]
                for turn in range(turns + 1):
                    for place in (turn % 3, (turn + 1) % 3, (turn + 2) % 3):
                        measured[place].append(await _turn(running[place][0], made[place], calls))
                lines += _told(name, [each[1:] for each in measured])
            return lines


def _told(name: str, measured: list[list[Turn]]) -> Iterator[str]:
    untraced = measured[0]
    for mode, turns in zip(MODES, measured, strict=True):
        cpu = median(turn.cpu_us / before.cpu_us for turn, before in zip(turns, untraced, strict=True))
        p95 = median(turn.p95_us / before.p95_us for turn, before in zip(turns, untraced, strict=True))
        used = median(turn.cpu_us for turn in turns)
        yield f"{name:8} {mode:12} {used:6.0f} us of CPU, {cpu:.2f} of untraced; p95 {p95:.2f} of untraced"


async def _turn(pid: int, call: Call, calls: int) -> Turn:
    waits: list[float] = []

    async def timed(n: int) -> None:
        began_at = time.perf_counter()
        await call(n)
        waits.append(time.perf_counter() - began_at)

    before = _cpu_seconds(pid)
    await spread(timed, islice(count(), calls))
    await asyncio.sleep(SETTLE_SECONDS)
    used = _cpu_seconds(pid) - before
    return Turn(used / calls * 1e6, sorted(waits)[len(waits) * 95 // 100] * 1e6)


def _cpu_seconds(pid: int) -> float:
    """The CPU time of all threads that a process has now."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def _collector() -> Iterator[str]:
    """Starts one in a process of its own, whose work delays nobody's call."""
    with started([sys.executable, "-m", "bench.traced", "--collector"], stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"


def _collect() -> None:
    """Takes what comes and keeps nothing, until stdin ends."""
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
    sys.stdout.write(f"{server.add_insecure_port('127.0.0.1:0')}\n")
    sys.stdout.flush()
    server.start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
