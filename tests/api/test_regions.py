"""Calls that are held to regions, before providers on real sockets: nothing arrives anywhere else, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # has no types

from tests.api.sidecar import HELLO, details, failing, reason, spec
from tests.api.traced_sidecar import attributes, traced
from tests.unit.config.loading import loaded
from turnout.v1 import admin_pb2, admin_pb2_grpc, router_pb2_grpc
from turnout.v1 import router_pb2 as pb
from turnout_server import app
from turnout_server.commands.explaining import explanation
from turnout_server.core.model import FailureKind
from turnout_server.providers.simulated.faults import FaultKind
from turnout_server.providers.simulated.latency import LatencyModel
from turnout_server.providers.simulated.provider import ProviderSettings
from turnout_server.providers.simulated.server import SimulatedServer

PROMPT = ProviderSettings(latency=LatencyModel(first_token_seconds=0.0, seconds_per_output_token=0.0))
PLACES = ("north-us", "north-eu", "south-us", "south-eu", "nowhere")
EU, US = ("north-eu", "south-eu"), ("north-us", "south-us")
CALL_SECONDS = 60.0
FAULTS: dict[str, dict[str, Any]] = {
    "error": {"kind": FaultKind.ERROR, "status": 500},
    "overload": {"kind": FaultKind.ERROR, "status": 503},
    "rate limit": {"kind": FaultKind.ERROR, "status": 429, "retry_after_seconds": 600.0},
    "wrong key": {"kind": FaultKind.ERROR, "status": 401},
    "reset": {"kind": FaultKind.RESET},
    "silence": {"kind": FaultKind.SILENCE},
    "cut": {"kind": FaultKind.CUT, "after_pieces": 1},
    "stall": {"kind": FaultKind.STALL, "after_pieces": 1},
}
SILENT = ("silence", "stall")
"""Found out only by waiting: `make test-full` does, and the worlds of the simulation hold as much."""
EACH = [pytest.param(fault, marks=pytest.mark.full if fault in SILENT else ()) for fault in FAULTS]
SILENCE_SECONDS = 1.0
DOWN = FAULTS["error"]
EVERYTHING = admin_pb2.ResetHealthRequest(scope=admin_pb2.HealthScope(all=admin_pb2.AllTargets()))

MODEL = (
    "{name: m, context_window_tokens: 128000, max_output_tokens: 4096, quality: 80, latency_prior_seconds: 0.05, "
    "price: {input_per_million_usd: 1, output_per_million_usd: 2}, capabilities: [STREAMING]}"
)


def configuration(server: SimulatedServer, silence_seconds: float, select: str = "") -> str:
    """Two vendors in two regions, us first in the file, and one who does not say where; only the last is well known."""
    allowed = "wire: openai, allow_insecure: true, allow_private: true"

    def vendor(name: str) -> str:
        endpoints = ", ".join(
            f"{{name: {at}, region: {at}, base_url: '{server.base_url(f'{name}-{at}')}'}}" for at in ("us", "eu")
        )
        return f"{name}: {{{allowed}, endpoints: [{endpoints}], models: [{MODEL}]}}"

    nowhere = f"nowhere: {{{allowed}, base_url: '{server.base_url('nowhere')}', models: [{MODEL}]}}"
    policies = (
        "default: {strategy: PRIORITY}",
        "strict: {strategy: PRIORITY, regions: [eu], mid_stream: RESTART}",
        "ordered: {strategy: PRIORITY, regions: [eu, us], mid_stream: RESTART}",
        "hedged: {strategy: PRIORITY, regions: [eu], hedge: {enabled: true}}",
    )
    return f"""
listen: {{address: "127.0.0.1:0"}}
health: {{address: ""}}
metrics: {{address: ""}}
checks: {{enabled: false}}
providers: {{{vendor("north")}, {vendor("south")}, {nowhere}}}
routing: {{provider_order: [nowhere, north, south], select: [{select}], policies: {{{", ".join(policies)}}}}}
failover:
  first_token_timeout_seconds: {silence_seconds}
  idle_timeout_seconds: {silence_seconds}
  throttle_multiplier: null
drain_seconds: 1
"""


@dataclass
class World:
    server: SimulatedServer
    stub: router_pb2_grpc.RouterServiceAsyncStub
    admin: admin_pb2_grpc.AdminServiceAsyncStub

    def asked(self, places: Iterable[str] = PLACES) -> list[str]:
        """Where anything has arrived."""
        return [place for place in places if self.server.providers[place].counts.requests]

    def down(self, *places: str, fault: Any = DOWN) -> None:
        for place in places:
            self.server.change(place, fault=fault)

    def up(self, *places: str) -> None:
        self.down(*places, fault=None)

    async def execute(self, **options: Any) -> pb.ExecuteResponse:
        request = pb.ExecuteRequest(input=HELLO, options=pb.RoutingOptions(**options))
        return await self.stub.Execute(request, timeout=CALL_SECONDS)

    async def stream(self, **options: Any) -> pb.Completion:
        request = pb.ExecuteStreamRequest(input=HELLO, options=pb.RoutingOptions(**options))
        messages = [message async for message in self.stub.ExecuteStream(request, timeout=CALL_SECONDS)]
        return messages[-1].completion

    async def route(self, **options: Any) -> pb.Decision:
        options.setdefault("detail", pb.DECISION_DETAIL_FULL)
        request = pb.RouteRequest(options=pb.RoutingOptions(**options))
        return (await self.stub.Route(request, timeout=CALL_SECONDS)).decision


@asynccontextmanager
async def world(folder: Path, silence_seconds: float = CALL_SECONDS, select: str = "") -> AsyncIterator[World]:
    async with SimulatedServer(dict.fromkeys(PLACES, PROMPT)) as server:
        loading = loaded(folder, configuration(server, silence_seconds, select))
        async with (
            app.running(loading, {}) as listening,
            grpc.aio.insecure_channel(listening.grpc[0]) as channel,
        ):
            yield World(server, router_pb2_grpc.RouterServiceStub(channel), admin_pb2_grpc.AdminServiceStub(channel))


def name(target: pb.Target) -> str:
    return f"{target.provider}/{target.model}" + (f"@{target.endpoint}" if target.endpoint else "")


def listed(decision: pb.Decision) -> list[str]:
    return [name(candidate.target) for candidate in decision.candidates]


async def ended(call: Any) -> str:
    """How a call ended: "" for well, else the reason of its error."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return reason(error)
    return ""


async def status(here: World) -> dict[str, pb.TargetState]:
    answer = await here.stub.ProviderStatus(pb.ProviderStatusRequest(), timeout=CALL_SECONDS)
    return {name(state.target): state for provider in answer.providers for state in provider.targets}


@pytest.mark.parametrize("fault", EACH)
async def test_nothing_leaves_the_region_while_one_of_its_vendors_fails_and_when_both_do(
    tmp_path: Path, fault: str
) -> None:
    async with world(tmp_path, SILENCE_SECONDS if fault in SILENT else CALL_SECONDS) as here:
        here.down("north-eu", fault=FAULTS[fault])
        answered: tuple[pb.Completion, pb.ExecuteResponse]
        answered = (await here.stream(policy="strict"), await here.execute(policy="strict"))
        here.down(*EU, fault=FAULTS[fault])
        calls = [here.stream, here.execute, here.stream, here.execute]
        ends = await asyncio.gather(*(ended(call(policy="strict", regions=["us", "eu"])) for call in calls))
        later = await ended(here.stream(policy="strict"))

    assert ["south/m@eu"] * 2 == [name(each.target) for each in answered]
    assert list(EU) == here.asked()
    assert {attempt.region for each in answered for attempt in each.attempts} == {"eu"}
    assert "" not in {*ends, later}


async def test_hedge_stays_in_the_region(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for _ in range(3):
            # Not hedged, however slow this machine is: few hedges are allowed.
            await here.execute(policy="strict")
        here.down("north-eu", fault={"kind": FaultKind.SLOW_FIRST_TOKEN, "seconds": 20.0})
        completion = await here.stream(policy="hedged")

    assert "south/m@eu" == name(completion.target)
    assert [True, False] == sorted((attempt.hedge for attempt in completion.attempts), reverse=True)
    assert list(EU) == here.asked()


async def test_first_region_is_used_while_it_can_be_then_the_second_then_the_first_again(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        before = [await here.execute(policy="ordered") for _ in range(3)]
        untouched = here.asked(US)
        here.down(*EU)
        during = [await here.stream(policy="ordered") for _ in range(4)]
        here.up(*EU)
        await here.admin.ResetHealth(EVERYTHING, timeout=CALL_SECONDS)
        after = [await here.execute(policy="ordered") for _ in range(3)]

    assert {"north/m@eu"} == {name(each.target) for each in (*before, *after)}
    assert [] == untouched
    assert {"us"} == {each.attempts[-1].region for each in during}
    # Both vendors are asked where it is preferred, and the last attempt is left for elsewhere.
    assert [("north", "eu"), ("north", "eu"), ("south", "eu"), ("north", "us")] == [
        (attempt.target.provider, attempt.region) for attempt in during[0].attempts
    ]
    assert [] == here.asked(["nowhere"])


async def test_request_chooses_among_the_policys_regions_and_their_order(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        one = await here.execute(policy="ordered", regions=["us"])
        turned = await here.route(policy="ordered", regions=["us", "mars", "eu", "us"])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await here.execute(policy="strict", regions=["us", "mars"])
        with pytest.raises(grpc.aio.AioRpcError) as nowhere:
            await here.execute(regions=["mars"])

    assert "north/m@us" == name(one.target)
    assert ["us", "eu"] == list(turned.regions)
    assert ["north/m@us", "south/m@us", "north/m@eu", "south/m@eu"] == listed(turned)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") == (caught.value.code(), reason(caught.value))
    (violation,) = error_details_pb2.BadRequest.FromString(details(caught.value)["BadRequest"]).field_violations
    assert "options.regions" == violation.field
    assert "us, mars asked for, policy strict allows eu: no region is in both" in violation.description
    assert (grpc.StatusCode.FAILED_PRECONDITION, "NO_ELIGIBLE_TARGET") == (
        nowhere.value.code(),
        reason(nowhere.value),
    )
    assert "5 REGION" in (nowhere.value.details() or "")


async def test_caller_whom_a_row_binds_cannot_leave_its_regions_by_naming_another_policy(tmp_path: Path) -> None:
    async with world(tmp_path, select="{when: {tenant: acme}, policy: strict, binding: true}") as here:
        acme = pb.Caller(tenant="acme")
        for policy in ("default", "ordered"):
            options = pb.RoutingOptions(policy=policy)
            plan = pb.RouteRequest(caller=acme, options=options)
            call = pb.ExecuteRequest(input=HELLO, caller=acme, options=options)
            stream = pb.ExecuteStreamRequest(input=HELLO, caller=acme, options=options)
            for asked in (here.stub.Route(plan), here.stub.Execute(call), here.stub.ExecuteStream(stream).read()):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await asked
                (said,) = error_details_pb2.BadRequest.FromString(details(caught.value)["BadRequest"]).field_violations
                assert ("INVALID_REQUEST", "options.policy") == (reason(caught.value), said.field)
                assert "routing.select[0] (tenant acme) binds these requests to 'strict'" in said.description
        untouched = here.asked()
        bound = await here.stub.Execute(pb.ExecuteRequest(input=HELLO, caller=acme), timeout=CALL_SECONDS)
        named = await here.execute(policy="default")

    assert [] == untouched
    assert ("north/m@eu", "nowhere/m") == (name(bound.target), name(named.target))


async def test_decision_says_which_regions_and_why_others_are_out_and_attempts_where_they_went(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        here.down("north-eu")
        answer = await here.execute(policy="strict")
        plan = await here.route(regions=["eu"])
        asked = admin_pb2.GetDecisionRequest(decision_id=answer.decision.decision_id)
        record = (await here.admin.GetDecision(asked, timeout=CALL_SECONDS)).decision
        text = explanation(record)

    assert ["eu"] == list(answer.decision.regions) == list(plan.regions)
    assert {"eu"} == {candidate.region for candidate in (*plan.candidates, *answer.decision.candidates)}
    assert {
        "north/m@us": "region us, not eu",
        "south/m@us": "region us, not eu",
        "nowhere/m": "region unknown, not eu",
    } == {name(each.target): each.detail for each in plan.rejections}
    assert {"REGION": 3} == dict(plan.rejection_counts)
    assert ["eu"] * len(answer.attempts) == [attempt.region for attempt in answer.attempts]
    assert [attempt.region for attempt in answer.attempts] == [attempt.region for attempt in record.attempts]
    assert "PRIORITY (policy strict) in eu: north/m@eu with score" in text
    assert "regions eu" in text
    assert "south/m@eu in eu" in text


async def test_endpoints_have_their_own_health_latency_and_cost(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        here.down("north-eu")
        async with asyncio.timeout(CALL_SECONDS):
            while (await status(here))["north/m@eu"].breaker != pb.BREAKER_STATE_OPEN:
                await here.execute(include=["north/m@eu", "south"], regions=["eu"])
        here.server.change("north-us", latency={"first_token_seconds": 0.2})
        for _ in range(3):
            await here.execute(include=["north/m@us"])
        found = await status(here)

    eu, us = found["north/m@eu"], found["north/m@us"]
    assert pb.HEALTH_STATE_HEALTHY == us.health
    assert pb.HEALTH_STATE_OFFLINE == eu.health
    assert (pb.BREAKER_STATE_OPEN, pb.BREAKER_STATE_CLOSED) == (eu.breaker, us.breaker)
    assert (0, 3) == (eu.success_rate, us.request_count)
    assert eu.cost_usd < us.cost_usd
    assert us.time_to_first_token.p50.ToMilliseconds() >= 200
    assert not eu.HasField("time_to_first_token")
    assert eu.predicted_latency != us.predicted_latency


async def test_name_of_a_model_stands_for_all_its_endpoints(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        included = await here.route(include=["north/m"])
        excluded = await here.route(exclude=["north/m", "nowhere"])
        forced = await here.route(force_target="south/m", regions=["eu", "us"])
        one = await here.route(force_target="south/m@eu")
        update = admin_pb2.UpdateProviderRequest(
            provider=admin_pb2.RegisteredProvider(provider="north", drained_targets=["north/m"]),
        )
        update.update_mask.paths.append("drained_targets")
        await here.admin.UpdateProvider(update, timeout=CALL_SECONDS)
        drained = await here.route()

    assert {"north/m@us", "north/m@eu"} == set(listed(included))
    assert {"south/m@us", "south/m@eu"} == set(listed(excluded))
    assert ["south/m@eu", "south/m@us"] == listed(forced)
    assert ["south/m@eu"] == listed(one)
    assert {"north/m@us", "north/m@eu"} == {
        name(each.target) for each in drained.rejections if pb.REJECTION_REASON_DRAINED in each.reasons
    }


async def test_spans_say_which_regions_were_allowed_and_where_each_attempt_went() -> None:
    places = (replace(spec("alpha", "m"), region="us"), replace(spec("beta", "m"), region="eu"), spec("gamma", "m"))
    busy = failing(FailureKind.OVERLOADED, status=503)
    async with traced({"alpha/m": (busy,)}, specs=places) as sidecar:
        options = pb.RoutingOptions(strategy=pb.STRATEGY_PRIORITY, regions=["us", "eu"])
        await sidecar.sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=options), timeout=CALL_SECONDS)
        options = pb.RoutingOptions(include=["gamma"])
        await sidecar.sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=options), timeout=CALL_SECONDS)
        spans = await sidecar.spans(7)

    decisions = [attributes(span) for span in spans if span.name == "turnout.decide"]
    ways = [attributes(span).get("turnout.region") for span in spans if span.name == "chat m"]
    assert [["us", "eu"], ["us", "eu"], None] == [each.get("turnout.decision.regions") for each in decisions]
    assert ["us", "eu"] == [each.get("turnout.decision.region") for each in decisions[:2]]
    assert ["us", "eu", None] == ways


async def test_attempts_that_callers_report_have_the_region_of_their_target(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        plan = await here.route(policy="strict")
        outcome = pb.Outcome(
            decision_id=plan.decision_id, attempt_id="one", target=plan.candidates[0].target, ok=True, cost_usd=0.5
        )
        await here.stub.ReportOutcome(pb.ReportOutcomeRequest(outcomes=[outcome]), timeout=CALL_SECONDS)
        asked = admin_pb2.GetDecisionRequest(decision_id=plan.decision_id)
        record = (await here.admin.GetDecision(asked, timeout=CALL_SECONDS)).decision

    assert [("eu", 0.5)] == [(attempt.region, attempt.cost_usd) for attempt in record.attempts]
