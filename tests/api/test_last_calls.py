"""Calls that arrive in the very moment of a stop: refused in words that let their callers go elsewhere."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc

from tests.api.sidecar import HELLO, Sidecar, running
from turnout.v1 import router_pb2 as pb

CALLERS = 24


async def until_refused(sidecar: Sidecar, number: int, called: asyncio.Event) -> str:
    """Asks without pause, every other caller for answers in turn with plans; returns how that ended."""
    turn = number
    while True:
        turn += 1
        try:
            if number % 2 and turn % 2:
                await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO))
            else:
                await sidecar.stub.Route(pb.RouteRequest())
        except grpc.aio.AioRpcError as error:
            return error.code().name
        called.set()


async def test_who_calls_without_pause_is_told_unavailable_and_nothing_else() -> None:
    ends: Counter[str] = Counter()
    for _ in range(3):
        async with running() as sidecar:
            called = asyncio.Event()
            callers = [asyncio.create_task(until_refused(sidecar, n, called)) for n in range(CALLERS)]
            await called.wait()
            await sidecar.server.stop()
            ends.update(await asyncio.gather(*callers))

    assert ends == {"UNAVAILABLE": 3 * CALLERS}
