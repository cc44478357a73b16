"""`python -m bench`: everything, as one table of ratios. It takes about two minutes; no number in it is a test."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass
from statistics import median

import grpc

from bench.deciding import deciding_us
from bench.load import Compared, compare, spread
from bench.processes import measured, resident_mib, sidecar, simulator
from bench.reused import reused_plans
from bench.rpcs import Caller, caller, churning
from bench.traced import MODES, costs_of_tracing

TARGET_COUNTS = (8, 40, 400)
OUTPUT_TOKENS = 64
FOOTPRINT_CALLS = 20_000
STARTS = 5
NAME_WIDTH = 52


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to measure: turns of calls each, decisions in a block, calls before memory is read again."""

    turns: int
    calls: int
    decisions: int
    footprint_calls: int
    starts: int
    traced_turns: int
    traced_calls: int


FULL = Effort(
    turns=7, calls=600, decisions=600, footprint_calls=FOOTPRINT_CALLS, starts=STARTS, traced_turns=12, traced_calls=160
)
QUICK = Effort(turns=1, calls=64, decisions=100, footprint_calls=256, starts=1, traced_turns=1, traced_calls=64)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a few calls of each: shows that it works, measures nothing"
    )
    effort = QUICK if parser.parse_args().quick else FULL
    for measure in (_calls, _reused, _deciding, _tracing, _footprint):
        for name, ours, least, ratio in asyncio.run(measure(effort)):
            sys.stdout.write(f"| {name:{NAME_WIDTH}} | {ours:>12} | {least:>12} | {ratio:>6} |\n")
            sys.stdout.flush()


Row = tuple[str, str, str, str]


async def _calls(effort: Effort) -> list[Row]:
    rows: list[Row] = [
        ("what", "Turnout", "the least", "ratio"),
        ("---", "---:", "---:", "---:"),
    ]
    for target_count in TARGET_COUNTS:
        with measured(target_count) as server:
            async with caller(server.turnout) as ours, caller(server.least) as least, churning(ours):
                server.constant((await ours.route(0)).SerializeToString())
                found = await compare(server, ours.route, least.route, turns=effort.turns, calls=effort.calls)
                rows += _rows(f"Route, {target_count} targets, against a constant reply", found)
    with simulator() as base_url, measured(8, base_url) as server:
        async with caller(server.turnout) as ours, caller(server.least) as least:
            calls = max(32, effort.calls // 4)
            for name, one, other in (
                ("Execute", ours.execute(OUTPUT_TOKENS), least.execute(OUTPUT_TOKENS)),
                ("ExecuteStream", ours.execute_stream(OUTPUT_TOKENS), least.execute_stream(OUTPUT_TOKENS)),
            ):
                found = await compare(server, one, other, turns=effort.turns, calls=calls)
                rows += _rows(f"{name}, against a bare relay", found)
    return rows


def _rows(name: str, found: Compared) -> list[Row]:
    return [
        (f"{name}: CPU", f"{found.cpu_us:.0f} µs", f"{found.least_cpu_us:.0f} µs", f"{found.cpu_ratio:.2f}"),
        (f"{name}: p50", f"{found.p50_us:.0f} µs", f"{found.least_p50_us:.0f} µs", f"{found.p50_ratio:.2f}"),
    ]


async def _reused(effort: Effort) -> list[Row]:
    """Here the least is the other way round: what asking costs."""
    with measured(40) as server:
        found = await asyncio.to_thread(reused_plans, server.turnout, turns=effort.turns, calls=effort.calls)
    name = "A plan used again, 40 targets, against Route"
    return [
        (f"{name}: p50", f"{found.p50_us:.0f} µs", f"{found.route_p50_us:.0f} µs", f"{found.p50_ratio:.3f}"),
        (
            f"{name}: caller's CPU",
            f"{found.cpu_us:.0f} µs",
            f"{found.route_cpu_us:.0f} µs",
            f"{found.cpu_ratio:.3f}",
        ),
    ]


async def _deciding(effort: Effort) -> list[Row]:
    return [
        (
            f"Deciding over {count} targets",
            f"{deciding_us(count, decisions=effort.decisions // (count // 8)):.0f} µs",
            "",
            "",
        )
        for count in TARGET_COUNTS
    ]


async def _tracing(effort: Effort) -> list[Row]:
    """Here the least is the same sidecar without tracing."""
    costs = (await costs_of_tracing(("Route",), effort.traced_turns, effort.traced_calls))["Route"]
    untraced = costs[MODES[0]]
    return [
        row
        for mode in MODES[1:]
        for row in (
            (
                f"Route, {mode}, against untraced: CPU",
                f"{costs[mode].cpu_us:.0f} µs",
                f"{untraced.cpu_us:.0f} µs",
                f"{costs[mode].cpu_ratio:.2f}",
            ),
            (
                f"Route, {mode}, against untraced: p95",
                f"{costs[mode].p95_us:.0f} µs",
                f"{untraced.p95_us:.0f} µs",
                f"{costs[mode].p95_ratio:.2f}",
            ),
        )
    ]


async def _footprint(effort: Effort) -> list[Row]:
    with simulator() as base_url, sidecar(40, base_url) as (pid, address):
        async with caller(address) as ours:
            await ours.route(0)
            await ours.execute(OUTPUT_TOKENS)(0)
            at_start = resident_mib(pid)
            tenth = effort.footprint_calls // 10
            await _mixed(ours, tenth)
            after_tenth = resident_mib(pid)
            await _mixed(ours, effort.footprint_calls - tenth)
            after = resident_mib(pid)
    return [
        ("Memory, 40 targets, after the first calls", f"{at_start:.0f} MiB", "", ""),
        (f"Memory after {tenth} calls (half Route, half Execute)", f"{after_tenth:.0f} MiB", "", ""),
        (f"Memory after {effort.footprint_calls} calls", f"{after:.0f} MiB", "", ""),
        ("From `turnout serve` to the first answer", f"{await _first_answer(effort.starts):.2f} s", "", ""),
    ]


async def _mixed(ours: Caller, count: int) -> None:
    execute = ours.execute(OUTPUT_TOKENS)
    await spread(ours.route, range(count // 2))
    await spread(execute, range(count // 2))


async def _first_answer(starts: int) -> float:
    """Returns the median seconds from starting the process to having its first decision."""
    seconds = []
    for _ in range(starts):
        start = time.perf_counter()
        with sidecar(40, "http://127.0.0.1:9/v1") as (_, address):
            async with caller(address) as ours:
                for _ in range(100):
                    try:
                        await ours.route(0)
                        break
                    except grpc.aio.AioRpcError:
                        await asyncio.sleep(0.01)
            seconds.append(time.perf_counter() - start)
    return median(seconds)


if __name__ == "__main__":
    main()
