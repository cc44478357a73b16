"""Chance differs from one sidecar to the next, so that a thousand with the same knowledge do not jump on one target."""

from pathlib import Path

import grpc

from tests.unit.config.loading import loaded
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server.app import running

TWINS = """
listen: {address: "127.0.0.1:0"}
health: {address: ""}
metrics: {address: ""}
providers:
  north: &twin
    wire: openai
    base_url: https://llm.example.com/v1
    models: [{name: small, price: {input_per_million_usd: 1, output_per_million_usd: 2}, quality: 80}]
  south: *twin
"""


async def chosen_in_a_row(folder: Path) -> list[str]:
    """Starts a sidecar and returns the provider that each of 40 decisions puts first."""
    async with (
        running(loaded(folder, TWINS), {}) as listening,
        grpc.aio.insecure_channel(listening.grpc[0]) as channel,
    ):
        stub = router_pb2_grpc.RouterServiceStub(channel)
        answers = [await stub.Route(pb.RouteRequest(), timeout=60) for _ in range(40)]
    return [answer.decision.candidates[0].target.provider for answer in answers]


async def test_two_sidecars_with_the_same_knowledge_choose_differently(tmp_path: Path) -> None:
    first, second = await chosen_in_a_row(tmp_path), await chosen_in_a_row(tmp_path)

    assert set(first) == {"north", "south"} == set(second)
    assert first != second
