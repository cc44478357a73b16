"""The demonstration's own HTTP call, against simulated providers: what it learns is what a report must tell."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest

from turnout.plan import Plan
from turnout.planning import Choice
from turnout.v1 import router_pb2 as pb
from turnout_server.demo.caller import OwnCaller
from turnout_server.demo.scene import Scene, Times
from turnout_server.providers.simulated.server import SimulatedServer

SCENE = Scene(times=Times.of(30.0))
STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture
async def cast() -> AsyncGenerator[SimulatedServer]:
    async with SimulatedServer({provider.name: provider.settings() for provider in SCENE.cast}) as server:
        yield server


def plan(server: SimulatedServer, reported: list[pb.Outcome], *names: str) -> Plan:
    candidates = [
        pb.Candidate(
            target=pb.Target(provider=name, model=SCENE.provider(name).models[0].name),
            wire=SCENE.provider(name).wire.value,
            base_url=server.base_url(name),
        )
        for name in names
    ]
    choice = Choice(
        request=pb.RouteRequest(options=pb.RoutingOptions(mid_stream=pb.MID_STREAM_POLICY_RESTART)),
        decision=pb.Decision(decision_id="d", candidates=candidates),
        candidates=tuple(candidates),
    )
    return Plan(choice, reported.append)


async def carry_out(
    server: SimulatedServer, http: httpx.AsyncClient, *names: str, streamed: bool
) -> tuple[list[pb.Outcome], str]:
    reported: list[pb.Outcome] = []
    caller = OwnCaller(http, SCENE)
    text = ""
    for attempt in plan(server, reported, *names):
        with attempt:
            text = (await caller.call(attempt, "hello", streamed=streamed)).text
    return reported, text


@STREAMED
@pytest.mark.parametrize("name", ["atlas", "boreal"])
async def test_successful_call_reports_usage_and_time_to_first_token(
    cast: SimulatedServer, http: httpx.AsyncClient, name: str, *, streamed: bool
) -> None:
    reported, text = await carry_out(cast, http, name, streamed=streamed)

    assert [outcome.ok for outcome in reported] == [True]
    assert reported[0].usage.output_tokens == len(text.split(" "))
    assert reported[0].usage.input_tokens > 0
    assert reported[0].HasField("time_to_first_token") == streamed


@STREAMED
async def test_overloaded_target_is_reported_and_the_next_one_answers(
    cast: SimulatedServer, http: httpx.AsyncClient, *, streamed: bool
) -> None:
    cast.change("boreal", fault={"status": 503})
    reported, text = await carry_out(cast, http, "boreal", "atlas", streamed=streamed)

    assert [outcome.ok for outcome in reported] == [False, True]
    assert reported[0].http_status == 503
    assert text


@pytest.mark.parametrize("kind", ["cut", "cut_clean", "no_end"])
async def test_stream_without_its_end_is_reported_as_truncated_and_never_as_success(
    cast: SimulatedServer, http: httpx.AsyncClient, kind: str
) -> None:
    cast.change("atlas", fault={"kind": kind})
    reported, _ = await carry_out(cast, http, "atlas", "boreal", streamed=True)

    assert [outcome.ok for outcome in reported] == [False, True]
    assert reported[0].failure == pb.FAILURE_KIND_TRUNCATED
    assert not reported[0].HasField("usage")
