"""kill -9 under load, at random moments: every start is a good one, and nothing is forgotten that was on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import grpc
import pytest

from tests.cli.processes import configuration, simulated
from tests.restart.nursery import WAIT_SECONDS, Sidecar, nursery
from tests.restart.reader import OnDisk, read
from turnout.v1 import admin_pb2, admin_pb2_grpc, router_pb2, router_pb2_grpc
from turnout_server.providers.simulated.faults import Fault, FaultKind
from turnout_server.providers.simulated.latency import LatencyModel
from turnout_server.providers.simulated.provider import ProviderSettings, WireName
from turnout_server.providers.simulated.server import SimulatedServer

CALLERS = 6
USERS = ("ann", "bob", "eve")
QUICK = LatencyModel(first_token_seconds=0.005, seconds_per_output_token=0.0001)
PROVIDERS = {
    "north": ProviderSettings(wire=WireName.OPENAI, latency=QUICK),
    # Whoever asks for it gets an error; so its breaker opens, and everything is done by the other.
    "south": ProviderSettings(wire=WireName.ANTHROPIC, latency=QUICK, fault=Fault(kind=FaultKind.ERROR, status=500)),
}
SETTINGS = """
routing: {provider_order: [south, north], policies: {default: {strategy: PRIORITY}}}
failover: {open_seconds: 60, open_max_seconds: 60, consecutive_failures: 1}
budgets:
  - {name: all, scope: global, period: total, limit_usd: 1000, per_pod: true}
  - {name: users, scope: user, period: total, limit_usd: 1000, per_pod: true}
"""
NANO = 1_000_000_000
SLACK_NANO_USD = 100
"""What doubles lose on the way of a sum in USD."""


class Charged:
    """What callers were told that their calls cost, and the most that one did."""

    def __init__(self) -> None:
        self.count = 0
        self.nano_usd = 0
        self.dearest = 0

    def add(self, nano_usd: int) -> None:
        self.count += 1
        self.nano_usd += nano_usd
        self.dearest = max(self.dearest, nano_usd)

    def has(self, count: int) -> bool:
        return self.count >= count


async def calls(address: str, charged: Charged, chance: random.Random) -> None:
    """Makes call after call until the sidecar is gone."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: router_pb2_grpc.RouterServiceAsyncStub = router_pb2_grpc.RouterServiceStub(channel)
        with contextlib.suppress(grpc.aio.AioRpcError):
            while True:
                part = router_pb2.Part(text="x " * chance.randrange(1, 80))
                message = router_pb2.Message(role=router_pb2.ROLE_USER, parts=[part])
                request = router_pb2.ExecuteRequest(
                    caller=router_pb2.Caller(user=chance.choice(USERS)),
                    input=router_pb2.ChatInput(messages=[message]),
                )
                answer = await stub.Execute(request, timeout=30)
                charged.add(round(sum(each.cost_usd for each in answer.attempts) * NANO))


async def spending(address: str) -> dict[tuple[str, str], int]:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(channel)
        found = await stub.ListBudgets(admin_pb2.ListBudgetsRequest(page_size=100), timeout=30)
    return {(each.name, spend.key): round(spend.spent_usd * NANO) for each in found.budgets for spend in each.spend}


async def breakers(address: str) -> Mapping[str, int]:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: router_pb2_grpc.RouterServiceAsyncStub = router_pb2_grpc.RouterServiceStub(channel)
        status = await stub.ProviderStatus(router_pb2.ProviderStatusRequest(), timeout=30)
    return {
        f"{each.target.provider}/{each.target.model}": each.breaker for one in status.providers for each in one.targets
    }


async def lived_through(kills: int, seed: int, folder: Path, *, most_calls: int) -> None:
    """Kills a sidecar again and again at random moments; the first time once there is something to lose."""
    chance = random.Random(seed)
    charged = Charged()
    async with SimulatedServer(PROVIDERS) as providers, nursery(folder / "log") as sidecars:
        urls = {name: providers.base_url(name) for name in PROVIDERS}
        state = folder / "state"
        kept = f"state: {{snapshot_file: {state}, snapshot_interval_seconds: 1}}\n"
        file = configuration(folder, f"{simulated(urls)}{SETTINGS}{kept}")
        sidecar = await sidecars.start(file)
        for kill in range(kills):
            callers = [asyncio.create_task(calls(sidecar.address, charged, chance)) for _ in range(CALLERS)]
            if kill:
                enough = charged.count + chance.randrange(most_calls)
                await until(partial(charged.has, enough))
                await asyncio.sleep(chance.uniform(0.0, 0.05))
            else:
                await until(partial(has_something_to_lose, state))
            await sidecars.kill(sidecar)
            await asyncio.gather(*callers)
            on_disk = read(state)
            sidecar = await sidecars.start(file)
            await knows(sidecar, on_disk, charged, kills=kill + 1)
        await sidecars.stop(sidecar)
    log = (folder / "log").read_text()

    assert "Traceback" not in log
    assert "state.set_aside" not in log
    assert "state.unread" not in log


async def knows(sidecar: Sidecar, on_disk: OnDisk, charged: Charged, *, kills: int) -> None:
    """Looks whether a sidecar that has just started knows what was on the disk."""
    spent, states = await asyncio.gather(spending(sidecar.address), breakers(sidecar.address))

    for account, nano_usd in on_disk.spent.items():
        assert spent.get(account, 0) >= nano_usd - SLACK_NANO_USD, account
    # Each kill may have caught a call of every caller between its settlement and its answer.
    most = charged.nano_usd + kills * CALLERS * charged.dearest
    assert spent.get(("all", ""), 0) <= most + SLACK_NANO_USD
    for target in on_disk.open_targets:
        assert states[target] in (router_pb2.BREAKER_STATE_OPEN, router_pb2.BREAKER_STATE_HALF_OPEN), target


def has_something_to_lose(state: Path) -> bool:
    """Whether a journal tells of spending, and of an open breaker somebody."""
    try:
        on_disk = read(state)
    except FileNotFoundError:
        # A journal that was removed while it was looked for.
        return False
    return on_disk.journal_lines > 0 and "south/small" in on_disk.open_targets and bool(on_disk.spent)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not holds():  # noqa: ASYNC110 - what it waits for is in another process
            await asyncio.sleep(0.005)


async def test_ten_kills_under_load_lose_nothing_that_was_on_the_disk(tmp_path: Path) -> None:
    await lived_through(10, 1, tmp_path, most_calls=40)


@pytest.mark.full
@pytest.mark.timeout(1800)
async def test_a_hundred_kills_under_load_lose_nothing_that_was_on_the_disk(tmp_path: Path) -> None:
    await lived_through(100, 2, tmp_path, most_calls=500)
