"""Several operators and a file that changes, all at once: nothing is lost or half done, nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable
from pathlib import Path

import grpc

from tests.administration.administered import NORTH, SOUTH, Administered, administered, written
from tests.administration.test_registering import ADMIN, house, model, register, remove
from tests.administration.test_registering import update as update_provider
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2

MORE = f", {ADMIN}, routing: {{policies: {{default: {{strategy: PRIORITY}}, nightly: {{strategy: COST}}}}}}"
FILE = written(NORTH, SOUTH, more=MORE)
STRATEGIES = (router_pb2.STRATEGY_COST, router_pb2.STRATEGY_LATENCY, router_pb2.STRATEGY_QUALITY)


async def set_strategy(sidecar: Administered, policy: str, strategy: router_pb2.Strategy.ValueType) -> None:
    request = pb.UpdateRoutingRequest(routing=pb.Routing(policy=policy, strategy=strategy))
    await sidecar.call(sidecar.admin.UpdateRouting, request)


async def give_back(sidecar: Administered, policy: str) -> pb.Routing:
    request = pb.UpdateRoutingRequest(routing=pb.Routing(policy=policy))
    request.update_mask.paths.append("strategy")
    answer = await sidecar.call(sidecar.admin.UpdateRouting, request)
    return answer.routing


async def create_budget(sidecar: Administered, name: str) -> None:
    wanted = pb.Budget(name=name, scope=pb.BUDGET_SCOPE_TASK, period=pb.BUDGET_PERIOD_DAY, limit_usd=5.0)
    await sidecar.call(sidecar.admin.CreateBudget, pb.CreateBudgetRequest(budget=wanted))


async def providers(sidecar: Administered) -> set[str]:
    answer = await sidecar.call(sidecar.stub.ProviderStatus, router_pb2.ProviderStatusRequest())
    return {state.provider for state in answer.providers}


async def test_changes_at_the_same_time_are_made_one_after_the_other(tmp_path: Path) -> None:
    rng = random.Random(7)
    async with administered(tmp_path, FILE) as sidecar:
        changes: list[Awaitable[object]] = [
            *(set_strategy(sidecar, "default", rng.choice(STRATEGIES)) for _ in range(10)),
            *(register(sidecar, house(provider=f"house-{number}")) for number in range(8)),
            *(create_budget(sidecar, f"budget-{number}") for number in range(8)),
            # Says nothing new of what the others change.
            sidecar.change_file(FILE.replace("drain_seconds: 5", "drain_seconds: 6")),
            *(sidecar.decision() for _ in range(30)),
        ]
        rng.shuffle(changes)
        await asyncio.gather(*changes)
        during = await providers(sidecar)
        answer = await sidecar.call(sidecar.admin.ListBudgets, pb.ListBudgetsRequest())
        changed = (await sidecar.routing()).strategy
        await asyncio.gather(
            give_back(sidecar, "default"), *(remove(sidecar, f"house-{number}") for number in range(8))
        )

        assert during == {"north", "south", *(f"house-{number}" for number in range(8))}
        assert {each.name for each in answer.budgets} == {f"budget-{number}" for number in range(8)}
        assert changed in STRATEGIES
        assert (await sidecar.routing()).strategy == router_pb2.STRATEGY_PRIORITY
        assert await providers(sidecar) == {"north", "south"}
        assert not sidecar.lines("api.bug", "config.bug", "config.refused")


async def test_a_change_that_its_caller_gave_up_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with administered(tmp_path, FILE) as sidecar:
        for turns in range(0, 100, 20):
            given_up = asyncio.ensure_future(set_strategy(sidecar, "default", router_pb2.STRATEGY_COST))
            for _ in range(turns):
                await asyncio.sleep(0)
            given_up.cancel()
            # It may have been made before anybody gave it up.
            with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                await given_up
        await set_strategy(sidecar, "default", router_pb2.STRATEGY_LATENCY)

        assert (await sidecar.routing()).strategy == router_pb2.STRATEGY_LATENCY
        assert not sidecar.lines("api.bug")


async def test_of_changes_to_several_fields_of_one_provider_none_is_lost(tmp_path: Path) -> None:
    two = [model("m"), model("n")]
    async with administered(tmp_path, FILE) as sidecar:
        await register(sidecar, house())
        await asyncio.gather(
            update_provider(sidecar, house(region="eu"), "region"),
            update_provider(sidecar, house(max_concurrency=7), "max_concurrency"),
            update_provider(sidecar, house(models=two), "models"),
            update_provider(sidecar, house(region="eu"), "region"),
        )
        now = await update_provider(sidecar, pb.RegisteredProvider(provider="house"))

        assert (now.region, now.max_concurrency, [each.name for each in now.models]) == ("eu", 7, ["m", "n"])
        assert len(await sidecar.events("provider.changed")) == 3
