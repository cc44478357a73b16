"""Budgets added, changed and taken out while it runs, through the real server."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.administration.administered import (
    AS_CALLER,
    DENIED,
    Administered,
    administered,
    refused,
    violations,
    written,
)
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2

FILE = written(more=", budgets: [{name: monthly, limit_usd: 5, per_pod: true}]")


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Administered]:
    async with administered(tmp_path, FILE) as started:
        yield started


def budget(name: str = "hourly", **values: object) -> pb.Budget:
    facts: dict[str, object] = {
        "scope": pb.BUDGET_SCOPE_TASK,
        "period": pb.BUDGET_PERIOD_HOUR,
        "limit_usd": 2.0,
        "on_exceed": pb.BUDGET_EXCEED_DOWNGRADE,
        "alert_at": [0.9, 0.25],
        "timezone": "Asia/Kolkata",
        **values,
    }
    return pb.Budget(name=name, **facts)  # type: ignore[arg-type]  # of several types


async def create(sidecar: Administered, wanted: pb.Budget) -> pb.Budget:
    answer = await sidecar.call(sidecar.admin.CreateBudget, pb.CreateBudgetRequest(budget=wanted))
    return answer.budget


async def delete(sidecar: Administered, name: str, etag: str = "") -> None:
    await sidecar.call(sidecar.admin.DeleteBudget, pb.DeleteBudgetRequest(name=name, etag=etag))


async def listed(sidecar: Administered) -> dict[str, bool]:
    answer = await sidecar.call(sidecar.admin.ListBudgets, pb.ListBudgetsRequest())
    return {each.name: each.created for each in answer.budgets}


async def remaining(sidecar: Administered) -> list[str]:
    """The budgets that a plan is told of."""
    answer = await sidecar.stub.Route(router_pb2.RouteRequest(), metadata=AS_CALLER, timeout=60)
    return sorted(each.name for each in answer.notices.budgets)


async def test_a_created_budget_is_listed_as_such_and_limits_what_comes(sidecar: Administered) -> None:
    before = await remaining(sidecar)
    made = await create(sidecar, budget())

    assert (before, await remaining(sidecar)) == (["monthly"], ["hourly", "monthly"])
    assert await listed(sidecar) == {"hourly": True, "monthly": False}
    assert (made.limit_usd, made.on_exceed, made.timezone) == (2.0, pb.BUDGET_EXCEED_DOWNGRADE, "Asia/Kolkata")
    assert list(made.alert_at) == [0.25, 0.9]


async def test_one_budget_that_is_too_small_for_anything_refuses_every_call(sidecar: Administered) -> None:
    await create(sidecar, budget(limit_usd=1e-9, on_exceed=pb.BUDGET_EXCEED_REJECT))
    refusal = await refused(sidecar.stub.Route(router_pb2.RouteRequest(), metadata=AS_CALLER, timeout=60))
    await delete(sidecar, "hourly")

    assert refusal == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED")
    assert await remaining(sidecar) == ["monthly"]


async def test_each_change_is_an_event_with_who_and_what(sidecar: Administered) -> None:
    made = await create(sidecar, budget())
    for limit in (3.0, 3.0):
        await sidecar.call(
            sidecar.admin.UpdateBudget,
            pb.UpdateBudgetRequest(budget=pb.Budget(name="hourly", limit_usd=limit), etag=""),
        )
    await delete(sidecar, "hourly")
    told = await sidecar.events("budget.created", "budget.changed", "budget.deleted")

    assert made.created
    assert [event.name for event in told] == ["budget.created", "budget.changed", "budget.deleted"]
    assert told[0].fields["what"] == "2 USD for task each hour (Asia/Kolkata), downgrade, alerts at 0.25, 0.9"
    assert told[1].fields["what"].partition(" -> ")[2].startswith("3 USD for task")
    assert all(event.fields["budget"] == "hourly" for event in told)
    assert all("ADMIN_TOKEN" in event.fields["by"] for event in told)


REFUSED = [
    (budget(""), "budget.name", "is missing"),
    (budget("x" * 65), "budget.name", "at most 64"),
    (budget("hour\nly"), "budget.name", "cannot be printed"),
    (budget(scope=0), "budget.scope", "GLOBAL, TENANT, USER, TIER, TASK"),
    (budget(scope=pb.BUDGET_SCOPE_SESSION), "budget.scope", "not in this version yet"),
    (budget(period=0), "budget.period", "MINUTE, HOUR"),
    (budget(limit_usd=0.0), "budget.limit_usd", "must be above 0"),
    (budget(limit_usd=-1.0), "budget.limit_usd", "is -1"),
    (budget(limit_usd=1e308), "budget.limit_usd", "is 1e+308"),
    (budget(limit_usd=math.inf), "budget.limit_usd", "is inf"),
    (budget(alert_at=[0.5, 1.5]), "budget.alert_at", "at most 1"),
    (budget(timezone="Asia/Nowhere"), "budget.timezone", "Asia/Nowhere"),
    (budget(per_pod=True, replicas=4), "budget.replicas", "keep one"),
    (budget(scope=pb.BUDGET_SCOPE_USER), "budget.per_pod", "each sidecar counts alone"),
]


async def test_what_cannot_be_is_refused_whole(sidecar: Administered) -> None:
    for wanted, field, says in REFUSED:
        found = await violations(sidecar.call(sidecar.admin.CreateBudget, pb.CreateBudgetRequest(budget=wanted)))

        assert field in found, (wanted, found)
        assert says in found[field]
    assert await listed(sidecar) == {"monthly": False}
    assert not await sidecar.events("budget.created")


async def test_names_that_are_taken_or_unknown_and_stale_etags_change_nothing(sidecar: Administered) -> None:
    made = await create(sidecar, budget())
    again = await refused(create(sidecar, budget("monthly")))
    unknown = await refused(delete(sidecar, "weekly"))
    await sidecar.call(
        sidecar.admin.UpdateBudget, pb.UpdateBudgetRequest(budget=pb.Budget(name="hourly", limit_usd=3.0))
    )
    stale = await refused(delete(sidecar, "hourly", made.etag))

    assert again == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
    assert unknown == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_BUDGET")
    assert stale == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert await listed(sidecar) == {"hourly": True, "monthly": False}


async def test_callers_without_the_role_may_list_them_and_change_none(sidecar: Administered) -> None:
    created = await refused(
        sidecar.admin.CreateBudget(pb.CreateBudgetRequest(budget=budget()), metadata=AS_CALLER, timeout=60)
    )
    deleted = await refused(
        sidecar.admin.DeleteBudget(pb.DeleteBudgetRequest(name="monthly"), metadata=AS_CALLER, timeout=60)
    )

    assert created == deleted == DENIED
    assert await listed(sidecar) == {"monthly": False}


async def test_a_changed_file_leaves_them_and_a_restart_undoes_them(tmp_path: Path) -> None:
    async with administered(tmp_path, FILE) as sidecar:
        await create(sidecar, budget())
        await delete(sidecar, "monthly")
        await sidecar.change_file(FILE.replace("drain_seconds: 5", "drain_seconds: 6"))
        kept = await listed(sidecar)
        await sidecar.change_file(FILE.replace("limit_usd: 5", "limit_usd: 6"))
        by_the_file = await listed(sidecar)
    async with administered(tmp_path, FILE) as sidecar:
        anew = await listed(sidecar)

    assert kept == {"hourly": True}
    assert by_the_file == {"hourly": True, "monthly": False}
    assert anew == {"monthly": False}
