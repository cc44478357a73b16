"""`python -m bench.streams ADDRESS COUNT`: keeps so many streams of a sidecar open and reads them until it is killed.

Prints one line when all of them have begun, and for each line that it is sent how many events have come so far. Its
priority is lower than that of what is measured: on few cores it would stand in the way of the one who measures.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import grpc
import uvloop

from bench.fleet import chat
from turnout.v1 import router_pb2 as pb

OUTPUT_TOKENS = 4096
METHOD = "/turnout.v1.RouterService/ExecuteStream"
BEFORE_CONTENT = 2
"""The decision and the attempt come first."""


async def main() -> None:
    """Opens the streams and reads them."""
    os.nice(5)
    address, count = sys.argv[1], int(sys.argv[2])
    loop = asyncio.get_running_loop()
    events = begun = 0
    everything = asyncio.Event()
    request = pb.ExecuteStreamRequest(input=chat(OUTPUT_TOKENS))

    async def read(channel: grpc.aio.Channel) -> None:
        nonlocal events, begun
        # As bytes: what reading them costs is not to be measured, and takes time from what is.
        stream: Any = channel.unary_stream(METHOD, request_serializer=pb.ExecuteStreamRequest.SerializeToString)
        arrived = 0
        async for _ in stream(request):
            arrived += 1
            events += 1
            if arrived == BEFORE_CONTENT + 1:
                begun += 1
                if begun == count:
                    everything.set()

    async def tell() -> None:
        while await loop.run_in_executor(None, sys.stdin.readline):
            sys.stdout.write(f"{events}\n")
            sys.stdout.flush()

    async with grpc.aio.insecure_channel(address) as channel, asyncio.TaskGroup() as reading:
        for _ in range(count):
            reading.create_task(read(channel))
        await everything.wait()
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        reading.create_task(tell())


if __name__ == "__main__":
    uvloop.run(main())
