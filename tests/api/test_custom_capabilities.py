"""Capabilities of the operator's naming, from the configuration to the answer of a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # has no types

from tests.api.sidecar import HELLO, details, reason
from tests.unit.config.loading import loaded
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server import app
from turnout_server.providers.simulated.latency import LatencyModel
from turnout_server.providers.simulated.provider import ProviderSettings
from turnout_server.providers.simulated.server import SimulatedServer

PROMPT = ProviderSettings(latency=LatencyModel(first_token_seconds=0.0, seconds_per_output_token=0.0))
LEARNED = {"plain": "[]", "typed": "[typescript]", "coder": "[typescript, code-generation]"}


def configuration(server: SimulatedServer) -> str:
    facts = "context_window_tokens: 128000, max_output_tokens: 4096, quality: 80, latency_prior_seconds: 0.05"
    price = "price: {input_per_million_usd: 1, output_per_million_usd: 2}"
    models = ", ".join(
        f"{{name: {name}, {facts}, {price}, capabilities: [STREAMING], custom_capabilities: {learned}}}"
        for name, learned in LEARNED.items()
    )
    house = f"wire: openai, base_url: '{server.base_url('house')}', allow_insecure: true, allow_private: true"
    return f"""
listen: {{address: "127.0.0.1:0"}}
health: {{address: ""}}
metrics: {{address: ""}}
checks: {{enabled: false}}
providers:
  house: {{{house}, models: [{models}]}}
  mistral: {{api_key_env: KEY, models: [{{name: codestral-latest, custom_capabilities: [code-generation]}}]}}
routing: {{policies: {{heavy: {{weights: {{capability: 3}}}}}}}}
drain_seconds: 1
"""


@asynccontextmanager
async def stub(folder: Path) -> AsyncIterator[router_pb2_grpc.RouterServiceAsyncStub]:
    async with SimulatedServer({"house": PROMPT}) as server:
        loading = loaded(folder, configuration(server))
        async with (
            app.running(loading, {}) as listening,
            grpc.aio.insecure_channel(listening.grpc[0]) as channel,
        ):
            yield router_pb2_grpc.RouterServiceStub(channel)


def profile(**facts: Any) -> pb.RequestProfile:
    return pb.RequestProfile(task="refactoring", input_tokens=1000, max_output_tokens=100, **facts)


def models(decision: pb.Decision) -> list[str]:
    return [candidate.target.model for candidate in decision.candidates if candidate.target.provider == "house"]


async def test_needed_ones_reject_and_preferred_ones_rank_and_are_shown(tmp_path: Path) -> None:
    options = pb.RoutingOptions(detail=pb.DECISION_DETAIL_FULL, include=["house", "mistral/codestral-latest"])
    async with stub(tmp_path) as client:
        needed = await client.Route(
            pb.RouteRequest(profile=profile(custom_capabilities=["code-generation"]), options=options), timeout=30
        )
        wanted = profile(preferred_capabilities=["typescript", "code-generation"])
        preferred = await client.Route(pb.RouteRequest(profile=wanted, options=options), timeout=30)
        options.policy = "heavy"
        heavy = await client.Route(pb.RouteRequest(profile=wanted, options=options), timeout=30)
        profile_only = pb.RequestProfile(preferred_capabilities=["typescript", "code-generation"], task="refactoring")
        answered = await client.Execute(
            pb.ExecuteRequest(
                profile=profile_only, options=pb.RoutingOptions(policy="heavy", include=["house"]), input=HELLO
            ),
            timeout=30,
        )

    assert ["coder"] == models(needed.decision)
    assert {"plain": "lacks code-generation", "typed": "lacks code-generation"} == {
        each.target.model: each.detail for each in needed.decision.rejections if each.target.provider == "house"
    }
    assert "codestral-latest" in {each.target.model for each in needed.decision.candidates}
    assert ["coder", "typed", "plain"] == models(heavy.decision)
    scores = {each.target.model: each.score for each in preferred.decision.candidates}
    assert scores["coder"] > scores["typed"] > scores["plain"]
    shown = {each.target.model: each.factors["capability"] for each in preferred.decision.candidates}
    assert {"coder": 1.0, "typed": 0.5, "plain": 0.0, "codestral-latest": 0.5} == shown
    weights = preferred.decision.weights
    assert 0.2 == pytest.approx(weights.capability)
    assert 0.32 == pytest.approx(weights.cost)
    assert 0.75 == pytest.approx(heavy.decision.weights.capability)
    assert "capability 1.00" in heavy.decision.reason
    assert "coder" == answered.target.model
    assert 1.0 == answered.decision.candidates[0].factors["capability"]


async def test_unknown_names_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    async with stub(tmp_path) as client:
        request = pb.RouteRequest(profile=profile(custom_capabilities=["cobol"], preferred_capabilities=["typscript"]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.Route(request, timeout=30)

    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") == (caught.value.code(), reason(caught.value))
    violations = error_details_pb2.BadRequest.FromString(details(caught.value)["BadRequest"]).field_violations
    assert {
        "profile.custom_capabilities": "no target has 'cobol'; known are code-generation, typescript",
        "profile.preferred_capabilities": "no target has 'typscript'; did you mean 'typescript'? "
        "known are code-generation, typescript",
    } == {each.field: each.description for each in violations}


async def test_weights_of_nothing_but_capability_are_refused(tmp_path: Path) -> None:
    weights = pb.Weights(cost=0, latency=0, availability=0, quality=0, priority=0, capability=1)
    async with stub(tmp_path) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.Route(pb.RouteRequest(options=pb.RoutingOptions(weights=weights)), timeout=30)

    assert "are all 0; give at least one besides capability above 0" in (caught.value.details() or "")
