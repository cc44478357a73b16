"""Hedging over real sockets: the second provider answers, the first's connection is closed, and both are told of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from tests.api.sidecar import HELLO
from tests.unit.config.loading import loaded
from turnout.v1 import admin_pb2, admin_pb2_grpc, router_pb2_grpc
from turnout.v1 import router_pb2 as pb
from turnout_server import app
from turnout_server.providers.simulated.faults import Fault, FaultKind
from turnout_server.providers.simulated.latency import LatencyModel
from turnout_server.providers.simulated.provider import Ending, ProviderSettings, WireName
from turnout_server.providers.simulated.server import SimulatedServer

CONFIGURATION = """
listen: {{address: "127.0.0.1:0"}}
health: {{address: ""}}
metrics: {{address: ""}}
providers:
  north: {{wire: {wire}, base_url: "{north}", allow_insecure: true, allow_private: true, models: [{model}]}}
  south: {{wire: openai, base_url: "{south}", allow_insecure: true, allow_private: true, models: [{model}]}}
routing:
  provider_order: [north, south]
  policies:
    default: {{strategy: PRIORITY, hedge: {{enabled: true}}}}
    alone: {{strategy: PRIORITY}}
budgets:
  - {{name: all, scope: global, period: total, limit_usd: 10, per_pod: true}}
drain_seconds: 1
"""
MODEL = (
    "{name: m, context_window_tokens: 128000, max_output_tokens: 4096, quality: 80, latency_prior_seconds: 0.1, "
    "price: {input_per_million_usd: 1, output_per_million_usd: 2}, capabilities: [STREAMING]}"
)
QUICK = LatencyModel(first_token_seconds=0.02, seconds_per_output_token=0.0, jitter=0.0)
NEVER = Fault(kind=FaultKind.SLOW_FIRST_TOKEN, seconds=600.0)
BOTH = [("north", False, False), ("south", True, True)]
"""Provider, whether it answered, whether it was the hedge."""


@dataclass
class Running:
    """A sidecar before two simulated providers."""

    server: SimulatedServer
    channel: grpc.aio.Channel

    @property
    def stub(self) -> router_pb2_grpc.RouterServiceAsyncStub:
        return router_pb2_grpc.RouterServiceStub(self.channel)

    async def attempts_of(self, decision_id: str) -> list[pb.Attempt]:
        admin = admin_pb2_grpc.AdminServiceStub(self.channel)
        found = await admin.GetDecision(admin_pb2.GetDecisionRequest(decision_id=decision_id), timeout=60)
        return list(found.decision.attempts)

    async def money(self) -> tuple[float, float]:
        """What is spent and what is reserved, in millionths of a USD."""
        admin = admin_pb2_grpc.AdminServiceStub(self.channel)
        (budget,) = (await admin.ListBudgets(admin_pb2.ListBudgetsRequest(), timeout=60)).budgets
        spent, reserved = (sum(getattr(one, name) for one in budget.spend) for name in ("spent_usd", "reserved_usd"))
        return round(spent * 1e6, 3), round(reserved * 1e6, 3)

    async def quiet(self, name: str) -> dict[str, int]:
        """Waits until a provider has no connection any more that it works for; returns how its requests ended."""
        counts = self.server.providers[name].counts
        async with asyncio.timeout(60):
            while counts.in_flight:  # noqa: ASYNC110  # counts wake nobody
                await asyncio.sleep(0.005)
        return dict(counts.endings)


@asynccontextmanager
async def running(folder: Path, wire: WireName = WireName.OPENAI, **south: Any) -> AsyncIterator[Running]:
    """North begins after a minute; south at once unless it is told otherwise."""
    providers = {
        "north": ProviderSettings(wire=wire, latency=QUICK, fault=NEVER),
        "south": ProviderSettings(latency=QUICK, **south),
    }
    async with SimulatedServer(providers, seed=5) as server:
        urls = {name: server.base_url(name) for name in providers}
        text = CONFIGURATION.format(**urls, model=MODEL, wire=wire.value)
        async with (
            app.running(loaded(folder, text), {}) as listening,
            grpc.aio.insecure_channel(listening.grpc[0]) as channel,
        ):
            yield Running(server, channel)


def told(attempts: Any) -> list[tuple[str, bool, bool]]:
    return [(attempt.target.provider, attempt.ok, attempt.hedge) for attempt in attempts]


@pytest.mark.parametrize("wire", [WireName.OPENAI, WireName.ANTHROPIC])
async def test_second_answers_where_the_first_is_late_and_both_are_accounted(tmp_path: Path, wire: WireName) -> None:
    async with running(tmp_path, wire) as sidecar:
        answer = await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60)
        north, south = await sidecar.quiet("north"), await sidecar.quiet("south")
        known = await sidecar.attempts_of(answer.decision.decision_id)
        money = await sidecar.money()
    lost = answer.attempts[0]

    assert told(answer.attempts) == told(known) == BOTH
    assert answer.target.provider == "south"
    assert answer.output.finish_reason == pb.FINISH_REASON_STOP
    assert len(answer.output.parts[0].text) > 100
    assert (north, south) == ({Ending.ABANDONED: 1}, {Ending.COMPLETE: 1})
    assert (lost.failure, lost.possibly_billed) == (pb.FAILURE_KIND_CANCELLED, True)
    assert lost.usage.source == pb.USAGE_SOURCE_ESTIMATED
    assert money == (round(sum(attempt.cost_usd for attempt in answer.attempts) * 1e6, 3), 0.0)
    assert known[1].retry_reason.startswith("hedge: north/m had no content within 0.15 s")


async def test_hedged_call_that_goes_well_is_no_problem_to_the_log(tmp_path: Path) -> None:
    with capture_logs() as lines:
        async with running(tmp_path) as sidecar:
            answer = await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60)
            await sidecar.quiet("north")

    assert told(answer.attempts) == BOTH
    assert [line for line in lines if line["event"] == "call"] == []


async def test_stream_has_one_answer_and_tells_of_both_attempts(tmp_path: Path) -> None:
    async with running(tmp_path) as sidecar:
        call = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60)
        events = [event async for event in call]
        north = await sidecar.quiet("north")
        _, reserved = await sidecar.money()
    started = [event.attempt for event in events if event.HasField("attempt")]
    deltas = [event.delta for event in events if event.HasField("delta")]

    assert [(each.target.provider, each.hedge) for each in started] == [("north", False), ("south", True)]
    assert {delta.attempt_id for delta in deltas} == {started[1].attempt_id}
    assert told(events[-1].completion.attempts) == BOTH
    assert north == {Ending.ABANDONED: 1}
    assert reserved == 0.0


async def test_first_that_comes_after_all_closes_the_second(tmp_path: Path) -> None:
    async with running(tmp_path, fault=NEVER) as sidecar:
        sidecar.server.change("north", fault=Fault(kind=FaultKind.SLOW_FIRST_TOKEN, seconds=0.5))
        answer = await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60)
        south = await sidecar.quiet("south")

    assert told(answer.attempts) == [("south", False, True), ("north", True, False)]
    # On a busy machine it is over before it has come.
    assert set(south) <= {Ending.ABANDONED}


async def test_caller_who_goes_away_closes_both_connections(tmp_path: Path) -> None:
    async with running(tmp_path, fault=NEVER) as sidecar:
        call = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60)
        async for event in call:
            if event.HasField("attempt") and event.attempt.hedge:
                break
        south = sidecar.server.providers["south"].counts
        async with asyncio.timeout(60):
            while not south.requests:  # noqa: ASYNC110  # counts wake nobody
                await asyncio.sleep(0.005)
        call.cancel()
        endings = [await sidecar.quiet("north"), await sidecar.quiet("south")]
        _, reserved = await sidecar.money()

    assert endings == [{Ending.ABANDONED: 1}] * 2
    assert reserved == 0.0


@pytest.mark.parametrize(
    "options", [pb.RoutingOptions(hedge=False), pb.RoutingOptions(policy="alone")], ids=["request", "policy"]
)
async def test_without_hedging_the_first_is_waited_for(tmp_path: Path, options: pb.RoutingOptions) -> None:
    async with running(tmp_path) as sidecar:
        sidecar.server.change("north", fault=Fault(kind=FaultKind.SLOW_FIRST_TOKEN, seconds=0.3))
        answer = await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=options), timeout=60)

    assert told(answer.attempts) == [("north", True, False)]


async def test_request_that_wants_it_is_hedged_whatever_the_policy_says(tmp_path: Path) -> None:
    async with running(tmp_path) as sidecar:
        options = pb.RoutingOptions(policy="alone", hedge=True)
        answer = await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=options), timeout=60)

    assert told(answer.attempts) == BOTH
