"""A sidecar that was stopped and started again is the same one to all who ask it; two of them never share a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.cli.processes import configuration, simulated
from tests.restart.nursery import Sidecar, nursery
from turnout.v1 import admin_pb2, admin_pb2_grpc, router_pb2, router_pb2_grpc
from turnout_server.app import running
from turnout_server.config.load import load
from turnout_server.providers.simulated.faults import Fault, FaultKind
from turnout_server.providers.simulated.latency import LatencyModel
from turnout_server.providers.simulated.provider import ProviderSettings, WireName
from turnout_server.providers.simulated.server import SimulatedServer
from turnout_server.starting import StartError

QUICK = LatencyModel(first_token_seconds=0.002, seconds_per_output_token=0.0001)
LIMITED = Fault(kind=FaultKind.ERROR, status=429, retry_after_seconds=900.0)
PROVIDERS = {
    "north": ProviderSettings(wire=WireName.OPENAI, latency=QUICK),
    "south": ProviderSettings(wire=WireName.ANTHROPIC, latency=QUICK, fault=LIMITED),
}
SETTINGS = """
routing: {provider_order: [south, north], policies: {default: {strategy: PRIORITY}}}
budgets:
  - {name: all, scope: global, period: total, limit_usd: 10, per_pod: true}
  - {name: users, scope: user, period: total, limit_usd: 1, per_pod: true}
"""


async def asked(address: str) -> dict[str, Any]:
    """What a sidecar says of its providers, its budgets and what it has done."""
    async with grpc.aio.insecure_channel(address) as channel:
        router: router_pb2_grpc.RouterServiceAsyncStub = router_pb2_grpc.RouterServiceStub(channel)
        admin: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(channel)
        status = await router.ProviderStatus(router_pb2.ProviderStatusRequest(), timeout=30)
        budgets = await admin.ListBudgets(admin_pb2.ListBudgetsRequest(page_size=100), timeout=30)
        sums = await admin.GetStatistics(admin_pb2.GetStatisticsRequest(), timeout=30)
    targets = [each for provider in status.providers for each in provider.targets]
    return {
        "success": [each.success_rate for each in targets],
        "latency": [each.latency.p95.ToTimedelta() for each in targets if each.HasField("latency")],
        "cool": [bool(each.cool_down_until.seconds) for each in targets],
        "spent": sorted((each.name, one.key, one.spent_usd) for each in budgets.budgets for one in each.spend),
        "sums": [group.SerializeToString(deterministic=True) for group in sums.groups],
    }


async def call(sidecar: Sidecar, user: str) -> None:
    part = router_pb2.Part(text="hello")
    message = router_pb2.Message(role=router_pb2.ROLE_USER, parts=[part])
    async with grpc.aio.insecure_channel(sidecar.address) as channel:
        router: router_pb2_grpc.RouterServiceAsyncStub = router_pb2_grpc.RouterServiceStub(channel)
        request = router_pb2.ExecuteRequest(
            caller=router_pb2.Caller(user=user), input=router_pb2.ChatInput(messages=[message])
        )
        await router.Execute(request, timeout=30)


async def test_stopped_and_started_again_it_knows_all_it_knew_and_another_is_refused_its_file(tmp_path: Path) -> None:
    async with SimulatedServer(PROVIDERS) as providers, nursery(tmp_path / "log") as sidecars:
        urls = {name: providers.base_url(name) for name in PROVIDERS}
        state = tmp_path / "state"
        key = tmp_path / "key"
        key.write_text("the-first-key")
        known = simulated(urls).replace("  south:\n", f"  south:\n    api_key_file: {key}\n")
        text = f"{known}{SETTINGS}state: {{snapshot_file: {state}}}\n"
        file = configuration(tmp_path, text)
        first = await sidecars.start(file)
        for user in ("ann", "bob", "ann"):
            await call(first, user)
        before = await asked(first.address)
        with pytest.raises(StartError) as refused:
            async with running(load(file, {}), {}):
                pass
        await sidecars.stop(first)
        names = sorted(name for name in os.listdir(tmp_path) if name.startswith("state"))  # noqa: PTH208 - names
        again = await sidecars.start(file)
        after = await asked(again.address)
        await sidecars.stop(again)
        key.write_text("another-key")
        with_another_key = await sidecars.start(file)
        cool = (await asked(with_another_key.address))["cool"]
        await sidecars.stop(with_another_key)

    assert before["cool"] == [False, True]
    assert [key for name, key, spent in before["spent"] if spent] == ["", "ann", "bob"]
    assert after == before
    assert cool == [False, False]
    assert b"-key" not in state.read_bytes()
    assert names == ["state", "state.lock"]
    assert str(refused.value) == (
        f"state.snapshot_file: {state} is in use by process {first.pid}: each sidecar needs a file of its own"
    )
    # Whoever keeps nothing does not pay for it.
    assert first.loaded == []
