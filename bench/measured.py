"""The process that is measured: the sidecar as it is, and beside it, in the same process, the least that answers.

`constant` returns a ready RouteResponse; `relay` sends the prompt to the provider and the answer back, and does nothing
else. Commands come on stdin, one a line: `cpu` answers with the process's CPU seconds, `rss` with its resident KiB,
`constant HEX` sets the ready answer.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import orjson

from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server.app import GC_THRESHOLD, running
from turnout_server.config.load import load
from turnout_server.telemetry.logs.logs import LogFormat, LogLevel, configure_logging
from turnout_server.wake_ups import loop_factory

DATA = b"data: "


class Least(router_pb2_grpc.RouterServiceServicer):
    """Answers Route with a constant, Execute and ExecuteStream by passing them on."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.constant = pb.RouteResponse()
        self._http = http
        self._url = url

    ReportOutcome: Any = None
    ProviderStatus: Any = None
    WatchProviderStatus: Any = None

    async def Route(self, request: pb.RouteRequest, context: Any) -> pb.RouteResponse:  # noqa: N802 - gRPC's name
        """Returns the ready answer."""
        del request, context
        return self.constant

    async def Execute(self, request: pb.ExecuteRequest, context: Any) -> pb.ExecuteResponse:  # noqa: N802 - gRPC's name
        """Passes the prompt on and the answer back."""
        del context
        async with self._http.post(self._url, data=_body(request.input, stream=False), headers=_HEADERS) as answer:
            parsed = orjson.loads(await answer.read())
        content = parsed["choices"][0]["message"]["content"]
        return pb.ExecuteResponse(output=pb.ChatOutput(parts=[pb.Part(text=content)]))

    async def ExecuteStream(  # noqa: N802 - gRPC's name
        self, request: pb.ExecuteStreamRequest, context: Any
    ) -> AsyncIterator[pb.ExecuteStreamResponse]:
        """Passes the prompt on and each delta back as it comes."""
        del context
        async with self._http.post(self._url, data=_body(request.input, stream=True), headers=_HEADERS) as answer:
            async for line in answer.content:
                if line.startswith(DATA + b"{"):
                    choices = orjson.loads(line[len(DATA) :])["choices"]
                    text = choices[0]["delta"].get("content") if choices else None
                    if text:
                        yield pb.ExecuteStreamResponse(delta=pb.Delta(text=text))


_HEADERS = {"content-type": "application/json"}


def _body(chat: pb.ChatInput, *, stream: bool) -> bytes:
    messages = [{"role": "user", "content": message.parts[0].text} for message in chat.messages]
    return orjson.dumps(
        {"model": "model-0", "messages": messages, "max_tokens": chat.max_output_tokens, "stream": stream}
    )


async def main(file: str, provider_url: str) -> None:
    """Serves until stdin ends."""
    configure_logging(LogLevel.ERROR, LogFormat.JSON)
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    async with running(load(file), os.environ) as listening, aiohttp.ClientSession() as http:
        least: Any = Least(http, f"{provider_url}/chat/completions")
        server = grpc.aio.server()
        router_pb2_grpc.add_RouterServiceServicer_to_server(least, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        gc.collect()
        gc.freeze()
        _say({"turnout": listening.grpc[0], "least": f"127.0.0.1:{port}"})
        while command := await asyncio.to_thread(sys.stdin.readline):
            word, _, rest = command.strip().partition(" ")
            if word == "cpu":
                _say(time.process_time())
            elif word == "rss":
                _say(_resident_kib())
            elif word == "constant":
                least.constant = pb.RouteResponse.FromString(bytes.fromhex(rest))
                _say("ok")
        await server.stop(None)


def _resident_kib() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main(sys.argv[1], sys.argv[2]))
