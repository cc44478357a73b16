"""SIGTERM while two hundred streams run, in a real process: they end whole or are told why, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # has no types

from tests.api.sidecar import HELLO, first_delta, reason
from tests.cli.processes import Server, configuration, serving, simulated
from tests.wire.scripted_server import Hang, Head, Script, ScriptedServer, Wait, scripted_server
from tests.wire.speakers import OpenAISpeaker
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

STREAMS = 200
FEW = 50
END_SECONDS = 60
"""Far more than anything here takes."""

ROLE, FIRST, *REST = OpenAISpeaker().text_stream(["Hello", " there"])

# Nothing may seem too slow on a busy machine.
PATIENT = "failover: {idle_timeout_seconds: 600, connect_timeout_seconds: 60, first_token_timeout_seconds: 600}\n"


@dataclass
class Stopping:
    """A sidecar with streams that have all begun."""

    server: Server
    provider: ScriptedServer
    channel: grpc.aio.Channel
    streams: Sequence[grpc.aio.UnaryStreamCall[pb.ExecuteStreamRequest, pb.ExecuteStreamResponse]]

    @property
    def stub(self) -> router_pb2_grpc.RouterServiceAsyncStub:
        return router_pb2_grpc.RouterServiceStub(self.channel)

    async def ended(self) -> int:
        return await asyncio.to_thread(self.server.process.wait, END_SECONDS)


@contextlib.asynccontextmanager
async def stopping(
    folder: Path, script: Script, drain_seconds: float, stream_count: int = STREAMS
) -> AsyncIterator[Stopping]:
    """Sends SIGTERM once every stream has had its first piece and waits until health says NOT_SERVING."""
    async with scripted_server() as provider, contextlib.AsyncExitStack() as stack:
        provider.scripts += [script] * stream_count
        requests = folder / "requests.jsonl"
        text = f"{simulated({'north': provider.url})}\n{PATIENT}telemetry: {{request_log: {{file: {requests}}}}}\n"
        file = configuration(folder, text)
        serve = serving(["serve", "-c", file, "--json"], {"TURNOUT_DRAIN_SECONDS": str(drain_seconds)})
        server = await asyncio.to_thread(serve.__enter__)
        stack.push(serve.__exit__)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        beside = await stack.enter_async_context(grpc.aio.insecure_channel(server.line["health"]))
        health = health_pb2_grpc.HealthStub(beside).Watch(health_pb2.HealthCheckRequest())
        assert (await health.read()).status == health_pb2.HealthCheckResponse.SERVING
        stub = router_pb2_grpc.RouterServiceStub(channel)
        streams = [stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO)) for _ in range(stream_count)]
        async with asyncio.timeout(END_SECONDS):
            await asyncio.gather(*map(first_delta, streams))
        server.process.send_signal(signal.SIGTERM)
        assert (await health.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        # Whoever goes on watching is waited for a second.
        health.cancel()
        yield Stopping(server, provider, channel, streams)


async def last_of(stream: grpc.aio.UnaryStreamCall[pb.ExecuteStreamRequest, pb.ExecuteStreamResponse]) -> str:
    """How a stream ended: its last message, or "failure" and its reason."""
    last = ""
    try:
        async for message in stream:
            last = str(message.WhichOneof("event"))
    except grpc.aio.AioRpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        return f"{last}: {error.code().name} {reason(error)} {trailers.get('grpc-retry-pushback-ms')}"
    return last


async def refused(call: Awaitable[object]) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, reason(caught.value)


async def test_running_streams_end_whole_while_nothing_new_is_taken(tmp_path: Path) -> None:
    go = asyncio.Event()
    async with stopping(tmp_path, [Head(), ROLE, FIRST, Wait(go), *REST], drain_seconds=END_SECONDS) as stop:
        async with grpc.aio.insecure_channel(stop.server.address) as another:
            elsewhere = router_pb2_grpc.RouterServiceStub(another)
            answers = [
                await refused(stop.stub.Route(pb.RouteRequest())),
                await refused(stop.stub.Execute(pb.ExecuteRequest(input=HELLO))),
                await refused(elsewhere.Route(pb.RouteRequest())),
            ]
        metrics = await asyncio.to_thread(scraped, stop.server.line["metrics"])
        go.set()
        ends = await asyncio.gather(*map(last_of, stop.streams))
        code = await stop.ended()

        assert answers == [("UNAVAILABLE", "DRAINING")] * 3
        assert f'turnout_target_in_flight{{target="north/small"}} {STREAMS}.0' in metrics
        assert ends == ["completion"] * STREAMS
        assert len(stop.provider.requests) == STREAMS
        assert code == 0
    lines = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert sorted(line["result"] for line in lines) == ["DRAINING"] + ["OK"] * STREAMS
    told = [json.loads(line)["event"] for line in stop.server.log]
    # Each call that was refused has a line.
    assert told[-5:] == ["stopping", "call", "call", "call", "stopped"]


async def test_streams_that_outlast_the_drain_are_told_what_became_of_them(tmp_path: Path) -> None:
    async with stopping(tmp_path, [Head(), ROLE, FIRST, Hang()], drain_seconds=0.5, stream_count=FEW) as stop:
        ends = await asyncio.gather(*map(last_of, stop.streams))
        code = await stop.ended()
        async with asyncio.timeout(END_SECONDS):
            await stop.provider.peer_closed.wait()

        assert ends == ["failure: UNAVAILABLE DRAINING -1"] * FEW
        assert code == 0
    lines = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert [line["result"] for line in lines] == ["DRAINING"] * FEW
    # Each of them had its first word, and is accounted for.
    assert all(line["usage"]["output_tokens"] for line in lines)
    (cut,) = [json.loads(line) for line in stop.server.log if "api.drain_cut" in line]
    assert cut["running_count"] == FEW


def scraped(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=END_SECONDS) as answer:
        text: str = answer.read().decode()
    return text
