"""Asks a sidecar for decisions until a line comes on standard input, then says how long that took each time.

Run as `python -m tests.large.another_caller ADDRESS`. In a process of its own, so that it does not wait for the caller
of large requests, who is busy writing them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import grpc

from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

PAUSE_SECONDS = 0.002


async def ask(address: str) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", buffering=0))
    stop = asyncio.create_task(reader.readline())
    waits: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        stub = router_pb2_grpc.RouterServiceStub(channel)
        await stub.Route(pb.RouteRequest())
        say("asking")
        while not stop.done():
            began_at = time.perf_counter()
            await stub.Route(pb.RouteRequest())
            waits.append(time.perf_counter() - began_at)
            await asyncio.sleep(PAUSE_SECONDS)
    waits.sort()
    said = {
        "count": len(waits),
        "p50_seconds": waits[len(waits) // 2],
        "p99_seconds": waits[len(waits) * 99 // 100],
        "longest_seconds": waits[-1],
    }
    say(json.dumps(said))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(ask(sys.argv[1]))
