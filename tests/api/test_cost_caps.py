"""Caps over a real connection, with simulated providers: what a call is billed stays within its cap, and says how."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.api.sidecar import details, reason
from tests.unit.config.loading import loaded
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server import app
from turnout_server.providers.simulated.faults import Fault, FaultKind
from turnout_server.providers.simulated.latency import LatencyModel
from turnout_server.providers.simulated.provider import ProviderSettings, WireName
from turnout_server.providers.simulated.server import SimulatedServer

LONG = 6000
"""Tokens of an answer that nobody limits: 0.06 USD, give or take a quarter."""
QUICK = LatencyModel(first_token_seconds=0.02, seconds_per_output_token=0.0, jitter=0.0)
FREE = pb.Caller(tier="free")
CAP_USD = 0.01
"""Of tier free, by default."""
STORY = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="Tell me all of it. " * 20)])])
CUT = Fault(kind=FaultKind.CUT, after_pieces=200)
CONFIGURATION = """
listen: {{address: "127.0.0.1:0"}}
health: {{address: ""}}
metrics: {{address: ""}}
providers:
  north: {{wire: {wire}, base_url: "{north}", allow_insecure: true, allow_private: true, models: [{model}]}}
  south: {{wire: openai, base_url: "{south}", allow_insecure: true, allow_private: true, models: [{model}]}}
routing: {{policies: {{default: {{strategy: PRIORITY}}}}}}
drain_seconds: 1
"""
MODEL = (
    "{name: m, context_window_tokens: 128000, max_output_tokens: 32000, quality: 80, latency_prior_seconds: 0.05, "
    "price: {input_per_million_usd: 1, output_per_million_usd: 10}, capabilities: [STREAMING]}"
)


@dataclass
class Running:
    """Two providers, of which north is asked first, and a sidecar."""

    stub: router_pb2_grpc.RouterServiceAsyncStub

    async def execute(self, **facts: Any) -> pb.ExecuteResponse:
        return await self.stub.Execute(pb.ExecuteRequest(**{"input": STORY, **facts}), timeout=60)

    async def stream(self, **facts: Any) -> list[pb.ExecuteStreamResponse]:
        request = pb.ExecuteStreamRequest(**{"input": STORY, **facts})
        return [event async for event in self.stub.ExecuteStream(request, timeout=60)]


@asynccontextmanager
async def running(folder: Path, wire: WireName = WireName.OPENAI, fault: Fault | None = None) -> AsyncIterator[Running]:
    providers = {
        "north": ProviderSettings(wire=wire, latency=QUICK, output_tokens=LONG, fault=fault),
        "south": ProviderSettings(latency=QUICK, output_tokens=LONG),
    }
    async with SimulatedServer(providers, seed=5) as server:
        urls = {name: server.base_url(name) for name in providers}
        text = CONFIGURATION.format(**urls, model=MODEL, wire=wire.value)
        async with (
            app.running(loaded(folder, text), {}) as listening,
            grpc.aio.insecure_channel(listening.grpc[0]) as channel,
        ):
            yield Running(router_pb2_grpc.RouterServiceStub(channel))


@pytest.mark.parametrize("wire", [WireName.OPENAI, WireName.ANTHROPIC, WireName.GEMINI])
async def test_a_call_of_tier_free_without_a_limit_costs_no_more_than_its_cap(tmp_path: Path, wire: WireName) -> None:
    async with running(tmp_path, wire) as sidecar:
        free = await sidecar.execute(caller=FREE)
        stream = (await sidecar.stream(caller=FREE))[-1].completion
        dear = await sidecar.execute()

    assert (free.output.finish_reason, stream.finish_reason) == (pb.FINISH_REASON_LENGTH,) * 2
    for answer in (free, stream):
        assert answer.usage.source == pb.USAGE_SOURCE_REPORTED
        assert 0.9 * CAP_USD < sum(attempt.cost_usd for attempt in answer.attempts) <= CAP_USD
    # Without a tier there is no cap, and the answer is as long as it is.
    assert dear.output.finish_reason == pb.FINISH_REASON_STOP
    assert dear.cost_usd > 4 * CAP_USD


async def test_the_callers_own_limit_holds_where_it_is_lower(tmp_path: Path) -> None:
    short = pb.ChatInput(messages=STORY.messages, max_output_tokens=50)
    async with running(tmp_path) as sidecar:
        answer = await sidecar.execute(caller=FREE, input=short)

    assert answer.usage.output_tokens == 50


async def test_an_answer_that_is_begun_again_is_paid_for_with_the_rest(tmp_path: Path) -> None:
    options = pb.RoutingOptions(mid_stream=pb.MID_STREAM_POLICY_RESTART, max_cost_usd=CAP_USD)
    async with running(tmp_path, fault=CUT) as sidecar:
        events = await sidecar.stream(options=options)
    end = events[-1].completion
    cut, whole = end.attempts

    assert [event.WhichOneof("event") for event in events].count("restart") == 1
    assert (cut.target.provider, cut.ok, whole.target.provider, whole.ok) == ("north", False, "south", True)
    assert end.finish_reason == pb.FINISH_REASON_LENGTH
    assert cut.cost_usd > 0.1 * CAP_USD
    assert cut.cost_usd + whole.cost_usd <= CAP_USD


async def test_where_the_rest_pays_for_no_answer_none_is_begun_again(tmp_path: Path) -> None:
    # Some 190 tokens of input at worst, and 400 that an answer should have: 0.0042 USD.
    options = pb.RoutingOptions(mid_stream=pb.MID_STREAM_POLICY_RESTART, max_cost_usd=0.0045)
    async with running(tmp_path, fault=CUT) as sidecar:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.stream(options=options)
    failure = pb.CallFailure.FromString(details(caught.value)["CallFailure"])
    (south,) = [each for each in failure.rejections if each.target.provider == "south"]

    assert reason(caught.value) == "STREAM_INTERRUPTED"
    assert [attempt.target.provider for attempt in failure.attempts] == ["north"]
    assert list(south.reasons) == [pb.REJECTION_REASON_COST_LIMIT]
    assert "is left of the limit of 0.0045 USD" in south.detail


async def test_where_the_cap_pays_for_no_answer_nothing_is_sent_and_a_plan_is_given_all_the_same(
    tmp_path: Path,
) -> None:
    profile = pb.RequestProfile(input_tokens=100)
    options = pb.RoutingOptions(max_cost_usd=0.00415)
    async with running(tmp_path) as sidecar:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.execute(options=options)
        plan = await sidecar.stub.Route(pb.RouteRequest(profile=profile, options=options), timeout=60)

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason(caught.value) == "NO_ELIGIBLE_TARGET"
    # What an application spends is its own: of a plan only what is expected is held to the limit.
    assert len(plan.decision.candidates) == 2
