"""The request log of a real sidecar with simulated providers: a line for each call, nothing secret in any of them."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import ClientSession

from tests.api.sidecar import HELLO, reason
from tests.unit.config.loading import loaded
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server import app
from turnout_server.config.faults import ConfigurationError
from turnout_server.providers.simulated.latency import LatencyModel
from turnout_server.providers.simulated.provider import ProviderSettings
from turnout_server.providers.simulated.server import SimulatedServer
from turnout_server.starting import StartError

OWN_KEY = "planted-house-key-0123456789"
THEIR_KEY = "sk-ant-planted9876543210abcdef"
CONFIGURATION = """
listen: {{address: "127.0.0.1:0"}}
health: {{address: ""}}
metrics: {{address: "127.0.0.1:0"}}
providers:
  north:
    wire: openai
    base_url: "{url}"
    api_key_env: HOUSE_KEY
    allow_insecure: true
    allow_private: true
    models:
      - {{name: m, context_window_tokens: 2000, max_output_tokens: 500, quality: 80, capabilities: [STREAMING],
         latency_prior_seconds: 0.05, price: {{input_per_million_usd: 1, output_per_million_usd: 2}}}}
routing: {{policies: {{default: {{cache: {{enabled: true}}, trim: {{enabled: true}}}}}}}}
telemetry: {{request_log: {{file: "{file}", content: {content}}}}}
drain_seconds: 1
"""


@asynccontextmanager
async def running(
    folder: Path, *, content: bool = False, **facts: Any
) -> AsyncIterator[tuple[router_pb2_grpc.RouterServiceAsyncStub, str]]:
    """A sidecar that logs into `folder`; its stub, and the address of its metrics."""
    settings = ProviderSettings(latency=LatencyModel(first_token_seconds=0.01), **facts)
    async with SimulatedServer({"north": settings}, seed=5) as server:
        text = CONFIGURATION.format(
            url=server.base_url("north"), file=folder / "requests.jsonl", content=str(content).lower()
        )
        environ = {"HOUSE_KEY": OWN_KEY}
        async with (
            app.running(loaded(folder, text, environ), environ) as listening,
            grpc.aio.insecure_channel(listening.grpc[0]) as channel,
        ):
            yield router_pb2_grpc.RouterServiceStub(channel), listening.metrics


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]


def user(text: str, **facts: Any) -> pb.ChatInput:
    return pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text=text)])], **facts)


async def events(
    stub: router_pb2_grpc.RouterServiceAsyncStub, request: pb.ExecuteStreamRequest
) -> list[pb.ExecuteStreamResponse]:
    return [message async for message in stub.ExecuteStream(request, timeout=60)]


async def test_each_call_has_one_line_with_what_became_of_it_and_a_stop_writes_them_all(tmp_path: Path) -> None:
    caller = pb.Caller(tenant="acme", user="ann", tier="pro", labels={"team": "blue"})
    cold = user("Say hello", temperature=0.0)
    long = pb.ChatInput(
        messages=[
            pb.Message(role=role, parts=[pb.Part(text=f"{number}" + "x" * 1000)])
            for number in range(8)
            for role in (pb.ROLE_USER, pb.ROLE_ASSISTANT)
        ]
        + list(HELLO.messages),
        max_output_tokens=100,
    )
    async with running(tmp_path) as (stub, _):
        first = await stub.Execute(pb.ExecuteRequest(input=cold, caller=caller, request_id="order-7"), timeout=60)
        await stub.Execute(pb.ExecuteRequest(input=cold, caller=caller, request_id="order-7"), timeout=60)
        await events(stub, pb.ExecuteStreamRequest(input=cold, caller=caller))
        await events(stub, pb.ExecuteStreamRequest(input=long))
        with pytest.raises(grpc.aio.AioRpcError) as unread:
            await stub.Execute(pb.ExecuteRequest(), timeout=60)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Execute(pb.ExecuteRequest(input=user("x" * 100_000)), timeout=60)
        await stub.Route(pb.RouteRequest(), timeout=60)
    made, joined, cached, trimmed, invalid, too_long = lines(tmp_path)

    assert [line["method"] for line in lines(tmp_path)] == [
        "Execute",
        "Execute",
        "ExecuteStream",
        "ExecuteStream",
        "Execute",
        "Execute",
    ]
    assert made["result"] == "OK"
    assert made["caller"] == {"tenant": "acme", "user": "ann", "tier": "pro", "labels": {"team": "blue"}}
    assert (made["request_id"], made["decision_id"]) == ("order-7", first.decision.decision_id)
    assert (made["target"], made["policy"], made["finish_reason"]) == ("north/m", "default", "STOP")
    assert made["usage"]["input_tokens"] == first.usage.input_tokens
    assert made["cost_usd"] == pytest.approx(first.cost_usd)
    assert [attempt["target"] for attempt in made["attempts"]] == ["north/m"]
    assert made["attempts"][0]["credential"]
    assert made["latency_seconds"] > 0
    assert (joined["joined"], joined["decision_id"]) == (True, made["decision_id"])
    assert (cached["cached"], cached["cost_usd"], "attempts" in cached) == (True, 0.0, False)
    assert trimmed["trimming"]["removed_messages"] > 0
    assert (invalid["result"], reason(unread.value)) == ("INVALID_REQUEST", "INVALID_REQUEST")
    assert (too_long["result"], reason(refused.value)) == ("NO_ELIGIBLE_TARGET", "NO_ELIGIBLE_TARGET")
    assert too_long["error"]
    assert stat.S_IMODE((tmp_path / "requests.jsonl").stat().st_mode) == 0o600


async def test_a_failed_call_and_one_whose_caller_left_have_their_lines(tmp_path: Path) -> None:
    async with running(tmp_path, api_key="another") as (stub, _):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60)
    gone = tmp_path / "gone"
    gone.mkdir()
    async with running(gone, output_tokens=5_000) as (stub, _):
        stream = stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60)
        async for message in stream:
            if message.WhichOneof("event") == "delta":
                break
        stream.cancel()
        await asyncio.sleep(0.05)
    (line,), (left,) = lines(tmp_path), lines(gone)

    assert line["result"] == reason(failed.value)
    assert [attempt["failure"] for attempt in line["attempts"]] == ["AUTHENTICATION"]
    assert left["result"] == "CANCELLED"
    assert left["decision_id"]


@pytest.mark.parametrize("content", [False, True], ids=["without content", "with content"])
async def test_no_line_ever_holds_a_credential_and_none_holds_words_unless_asked(
    tmp_path: Path,
    content: bool,  # noqa: FBT001  # a table's column
) -> None:
    said = f"the word is mulberry, my key is {THEIR_KEY} and yours {OWN_KEY}"
    caller = pb.Caller(tenant="acme", labels={"note": THEIR_KEY, "api_key": "planted"})
    async with running(tmp_path, content=content) as (stub, _):
        answer = await stub.Execute(pb.ExecuteRequest(input=user(said), caller=caller), timeout=60)
        streamed = await events(stub, pb.ExecuteStreamRequest(input=user(said), request_id=OWN_KEY))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Execute(
                pb.ExecuteRequest(input=user(said), options=pb.RoutingOptions(force_target=THEIR_KEY)), timeout=10
            )
    written = (tmp_path / "requests.jsonl").read_text()
    words = answer.output.parts[0].text.split()[0]

    assert len(lines(tmp_path)) == 3
    assert "planted" not in written
    assert ("mulberry" in written) is content
    assert ("output" in lines(tmp_path)[0]) is content
    if content:
        assert words in lines(tmp_path)[0]["output"][0]["text"]
        assert lines(tmp_path)[1]["output"][0]["text"] == "".join(message.delta.text for message in streamed)


async def test_a_file_that_cannot_be_written_any_more_fails_no_call_and_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    async with running(folder) as (stub, metrics):
        for name in ("requests.jsonl", "turnout.yaml"):
            (folder / name).unlink()
        folder.rmdir()
        await stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60)
        page = ""
        async with asyncio.timeout(60), ClientSession() as session:
            while 'turnout_request_log_lines_total{result="dropped"} 1.0' not in page:
                await asyncio.sleep(0.02)
                async with session.get(f"http://{metrics}/metrics") as response:
                    page = await response.text()
        folder.mkdir()
        await stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60)
    missing, line = lines(folder)

    assert missing["dropped_lines"] == 1
    assert line["result"] == "OK"


async def test_a_folder_that_is_not_there_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"telemetry\.request_log\.file: folder .* does not exist; create it"):
        loaded(tmp_path, f'telemetry: {{request_log: {{file: "{tmp_path}/none/requests.jsonl"}}}}')


async def test_a_file_of_another_sidecar_is_refused_at_the_start(tmp_path: Path) -> None:
    async with running(tmp_path):
        with pytest.raises(StartError, match=r"telemetry\.request_log\.file: .* is written by another process"):
            async with running(tmp_path):
                pass
