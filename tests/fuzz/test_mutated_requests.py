"""A real server is sent whatever comes; it answers each with a status of the contract, and is as before afterwards."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from tests.api.sidecar import HELLO, Sidecar, reason, running
from tests.fuzz.mutation import filled, mutated
from turnout.v1 import admin_pb2, router_pb2
from turnout.v1 import router_pb2 as pb

SERVICES = {
    "turnout.v1.RouterService": router_pb2.DESCRIPTOR.services_by_name["RouterService"],
    "turnout.v1.AdminService": admin_pb2.DESCRIPTOR.services_by_name["AdminService"],
}
WATCHES = {"WatchProviderStatus", "WatchEvents", "WatchDecisions"}
"""Methods that go on for ever when the request is good, and may have nothing to tell: their head is enough."""
HEAD_SECONDS = 0.02
"""How long a refusal may take after the head, which gRPC makes up for it."""
METHODS = [
    (service, method.name, GetMessageClass(method.input_type), method.server_streaming)
    for service, descriptor in SERVICES.items()
    for method in descriptor.methods
]
CALL_SECONDS = 60.0
MAY_BE_LEFT = (2, 4, 0, 0)
"""More tasks and open files than before, attempts in flight, and calls."""
AT_ONCE = 16

GOOD = {
    "Route": pb.RouteRequest(profile=pb.RequestProfile(task="chat", input_tokens=100)),
    "Execute": pb.ExecuteRequest(input=HELLO, options=pb.RoutingOptions(force_target="alpha/large")),
    "ExecuteStream": pb.ExecuteStreamRequest(input=HELLO, profile=pb.RequestProfile(task="chat")),
    "ReportOutcome": pb.ReportOutcomeRequest(
        outcomes=[pb.Outcome(attempt_id="a", target=pb.Target(provider="alpha", model="large"), ok=True)]
    ),
}


def request(rng: random.Random) -> tuple[str, bytes, bool]:
    """Draws a method and bytes for it: a message filled by chance, or a good or filled one whose bytes were damaged."""
    service, name, kind, streams = rng.choice(METHODS if rng.random() < 0.3 else METHODS[:6])
    message = GOOD[name] if name in GOOD and rng.random() < 0.3 else filled(kind(), rng)
    data = message.SerializeToString()
    if rng.random() < 0.6:
        data = mutated(data, filled(kind(), rng).SerializeToString(), rng)
    return f"/{service}/{name}", data, streams


async def answered(channel: grpc.aio.Channel, path: str, data: bytes, streams: bool) -> str:  # noqa: FBT001 - internal
    """Sends the bytes as they are; returns the status and the reason."""
    try:
        if not streams:
            unary: Any = channel.unary_unary(path)
            await unary(data, timeout=CALL_SECONDS)
            return "OK"
        stream: Any = channel.unary_stream(path)
        call = stream(data, timeout=CALL_SECONDS)
        if path.rpartition("/")[2] in WATCHES:
            await call.initial_metadata()
            await asyncio.wait([asyncio.ensure_future(call.code())], timeout=HEAD_SECONDS)
            if not call.done():
                call.cancel()
                return "OK"
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        try:
            return f"{error.code().name} {reason(error)}"
        except KeyError:
            return f"{error.code().name} without a reason: {error.details()}"
    return "OK"


async def bombard(sidecar: Sidecar, seed: int, count: int) -> Counter[str]:
    rng = random.Random(seed)
    told: Counter[str] = Counter()
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            path, data, streams = request(rng)
            told[f"{path.rpartition('/')[2]}: {await answered(sidecar.channel, path, data, streams)}"] += 1

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return told


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def wrong(told: Counter[str]) -> list[str]:
    """What may never be the answer to any request, however bad: faults of ours, and statuses that explain nothing."""
    faults_of_ours = [line for line in told if ": INTERNAL" in line and not line.endswith("ATTEMPTS_EXHAUSTED")]
    unexplained = [line for line in told if ": UNKNOWN " in line or "without a reason" in line]
    return faults_of_ours + unexplained


async def assert_unharmed(seed: int, count: int) -> None:
    async with running() as sidecar:
        await bombard(sidecar, seed, 50)
        gc.collect()
        tasks, files = len(asyncio.all_tasks()), open_files()
        told = await bombard(sidecar, seed + 1, count)

        assert [] == wrong(told)
        # Good requests are still good ones, and nothing is left of the bad.
        stub: Any = sidecar.stub
        assert (await stub.Execute(GOOD["Execute"])).output.parts
        left = (0, 0, 0, 0)
        for _ in range(3000):
            gc.collect()
            in_flight = sum(target.in_flight for target in sidecar.router.state.targets)
            left = len(asyncio.all_tasks()) - tasks, open_files() - files, in_flight, sidecar.server.calls.running
            if all(found <= most for found, most in zip(left, MAY_BE_LEFT, strict=True)):
                break
            await asyncio.sleep(0.02)
        assert all(found <= most for found, most in zip(left, MAY_BE_LEFT, strict=True)), left
        # Enough of them were understood for the rest to have been tried.
        assert sum(n for line, n in told.items() if line.endswith(": OK")) > count / 100
        assert sum(n for line, n in told.items() if "INVALID_ARGUMENT" in line) > count / 10


async def test_two_thousand_bad_requests_harm_nothing() -> None:
    await assert_unharmed(seed=1, count=2000)


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(10, 20))
async def test_a_hundred_thousand_bad_requests_harm_nothing(seed: int) -> None:
    await assert_unharmed(seed=seed * 1000, count=10_000)


@pytest.mark.full
@pytest.mark.timeout(600)
async def test_memory_is_flat_under_bad_requests() -> None:
    async with running() as sidecar:
        await bombard(sidecar, 5, 3000)
        gc.collect()
        blocks, mib = sys.getallocatedblocks(), resident_mib()
        await bombard(sidecar, 6, 9000)
        gc.collect()

        # Something that is kept of each request is a block at least; what fills up by itself takes some two thousand.
        assert sys.getallocatedblocks() - blocks < 9000
        # For what is kept outside of Python; not closer, since other tests may have run in this process before.
        assert resident_mib() - mib < 64


def resident_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
