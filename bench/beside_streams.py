"""`python -m bench.beside_streams`: what Route and ProviderStatus take while many streams run, and while none does.

One sidecar process as operators start it, one provider process that streams at a steady rate, one process that reads
the streams, and this one, which asks at a steady rate: quiet, beside the streams, and quiet again, so that whatever
else the machine does at the time stands in both. A wait counts from the moment that its request was sent.

On a machine that others use too, the p99 of a whole run is theirs: one moment in which nobody ran decides it. So each
second has its slowest request, and half of the seconds are no worse than what is told as the slowest of a usual second:
with fifty requests of a kind a second, about the 98th percentile without the moments that were somebody else's.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import grpc

from bench.fleet import route_requests
from bench.processes import sidecar, started
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

STREAM_COUNT = 200
EVENTS_PER_SECOND = 20.0
"""Of each stream. Vendors send some 20 to 50 events a second; each often holds several tokens."""
TARGET_COUNT = 40
ASKED_PER_SECOND = 100
"""Half of them plans, half of them status."""
SECONDS = 10.0


Wait = tuple[float, float]
"""When a request was sent, and the seconds that it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Milliseconds. `usual_slowest` is the median over the seconds of the slowest request of each."""

    p50: float
    p99: float
    usual_slowest: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What one kind of request took: `quiet` before and after, `loaded` beside the streams."""

    quiet: Waits
    loaded: Waits

    @property
    def ratio(self) -> float:
        """The slowest of a usual second beside the streams by that of a quiet one."""
        return self.loaded.usual_slowest / self.quiet.usual_slowest


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was measured. `events_per_second` came through the streams; `cpu_share` is the sidecar's of one core."""

    route: Beside
    status: Beside
    events_per_second: float
    cpu_share: float


async def measure(
    *,
    stream_count: int = STREAM_COUNT,
    events_per_second: float = EVENTS_PER_SECOND,
    target_count: int = TARGET_COUNT,
    seconds: float = SECONDS,
) -> Result:
    """Measures once; takes four times `seconds`, and a few more for the streams to begin."""
    with _provider(events_per_second) as base_url, sidecar(target_count, base_url) as (pid, address):
        async with grpc.aio.insecure_channel(address) as channel:
            stub: router_pb2_grpc.RouterServiceAsyncStub = router_pb2_grpc.RouterServiceStub(channel)
            await _ask(stub, seconds / 4)
            before = await _ask(stub, seconds)
            with _streams(address, stream_count) as events:
                await asyncio.sleep(1.0)
                first, cpu_before, at = events(), _cpu_seconds(pid), time.perf_counter()
                loaded = await _ask(stub, 2 * seconds)
                passed = time.perf_counter() - at
                came, cpu = events() - first, _cpu_seconds(pid) - cpu_before
            # The calls that were given up end.
            await asyncio.sleep(2.0)
            after = await _ask(stub, seconds)
    return Result(
        route=Beside(quiet=_waits(before[0] + after[0]), loaded=_waits(loaded[0])),
        status=Beside(quiet=_waits(before[1] + after[1]), loaded=_waits(loaded[1])),
        events_per_second=came / passed,
        cpu_share=cpu / passed,
    )


async def _ask(stub: router_pb2_grpc.RouterServiceAsyncStub, seconds: float) -> tuple[list[Wait], list[Wait]]:
    """Asks for plans and for status in turn; returns when each was sent, and the seconds that it took."""
    requests = route_requests()
    taken: tuple[list[Wait], list[Wait]] = ([], [])
    began_at = time.perf_counter()
    running: set[asyncio.Task[None]] = set()

    async def timed(sent_at: float, call: Callable[[], Awaitable[object]], into: list[Wait]) -> None:
        await call()
        into.append((sent_at, time.perf_counter() - sent_at))

    for n in range(int(seconds * ASKED_PER_SECOND)):
        due = began_at + n / ASKED_PER_SECOND
        await asyncio.sleep(due - time.perf_counter())
        # The loop wakes a little late, which is this process's doing.
        due = time.perf_counter()
        if n % 2:
            request = requests[n % len(requests)]
            task = asyncio.create_task(timed(due, lambda request=request: stub.Route(request), taken[0]))  # type: ignore[misc]  # bound now
        else:
            task = asyncio.create_task(timed(due, lambda: stub.ProviderStatus(pb.ProviderStatusRequest()), taken[1]))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return taken


def _waits(waits: list[Wait]) -> Waits:
    ordered = sorted(seconds for _, seconds in waits)
    slowest: dict[int, float] = {}
    for sent_at, seconds in waits:
        slowest[int(sent_at)] = max(seconds, slowest.get(int(sent_at), 0.0))
    return Waits(
        p50=ordered[len(ordered) // 2] * 1e3,
        p99=ordered[int(len(ordered) * 0.99)] * 1e3,
        usual_slowest=median(slowest.values()) * 1e3,
        count=len(ordered),
    )


def _cpu_seconds(pid: int) -> float:
    """Returns the CPU time of another process, from /proc: user and system, in hundredths of a second."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123  # one line
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@contextmanager
def _provider(events_per_second: float) -> Iterator[str]:
    with started([sys.executable, "-m", "bench.paced", str(events_per_second)]) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())


@contextmanager
def _streams(address: str, count: int) -> Iterator[Callable[[], int]]:
    """Keeps the streams open while the block runs; yields how to ask for the events that have come."""
    command = [sys.executable, "-W", "ignore", "-m", "bench.streams", address, str(count)]
    with started(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "begun\n":
            raise RuntimeError("the streams did not begin; stderr says why")

        def events() -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("?\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield events


def _row(waits: Waits) -> str:
    return f"{waits.p50:.1f} ms | {waits.usual_slowest:.1f} ms | {waits.p99:.1f} ms"


def report(result: Result) -> str:
    """Returns the result as a table of Markdown."""
    lines = [
        "| what | quiet: p50 | slowest of a usual second | p99 | beside: p50 | slowest | p99 | slowest by slowest |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, each in (("Route", result.route), ("ProviderStatus", result.status)):
        lines.append(f"| {name} | {_row(each.quiet)} | {_row(each.loaded)} | {each.ratio:.1f} |")
    rate, share = result.events_per_second, result.cpu_share
    lines.append(f"\n{rate:.0f} events a second came through; the sidecar took {share:.0%} of a core.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(report(asyncio.run(measure())) + "\n")
