"""What both clients offer operators under `admin`, against the real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.administration.administered import ADMIN_KEY, CALL_KEY, Administered, administered, written
from turnout import (
    AsyncClient,
    Client,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    target_name,
)
from turnout.admin import Admin, AsyncAdmin
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.api.admin_service import AdminService

FILE = written(
    more=", routing: {policies: {nightly: {strategy: COST}}}, budgets: [{name: b, limit_usd: 5, per_pod: true}], "
    "admin: {allow_register: true, allowed_hosts: [llm.example.com]}"
)
Method = Callable[..., Awaitable[Any]]


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Administered]:
    async with administered(tmp_path, FILE) as started:
        yield started


@pytest.fixture(params=["blocking", "asyncio"])
async def do(request: pytest.FixtureRequest, sidecar: Administered) -> AsyncIterator[Method]:
    """Calls a method of either client's `admin` by its name."""
    if request.param == "asyncio":
        async with AsyncClient(sidecar.address, token=ADMIN_KEY) as client:
            yield lambda method, *args, **more: getattr(client.admin, method)(*args, **more, timeout_seconds=60)
        return
    with Client(sidecar.address, token=ADMIN_KEY) as blocking:
        yield lambda method, *args, **more: asyncio.to_thread(
            getattr(blocking.admin, method), *args, **more, timeout_seconds=60
        )


async def test_rules_are_read_changed_and_given_back(sidecar: Administered, do: Method) -> None:
    read = await do("routing", "nightly")
    changed = await do(
        "update_routing",
        "nightly",
        strategy=router_pb2.STRATEGY_LATENCY,
        weights={"cost": 0.9},
        failover_preset=pb.FAILOVER_PRESET_CONSERVATIVE,
        default_policy="nightly",
        provider_order=["south"],
        etag=read.routing.etag,
    )
    with pytest.raises(ConflictError) as stale:
        await do("update_routing", "nightly", strategy=router_pb2.STRATEGY_COST, etag=read.routing.etag)
    back = await do(
        "update_routing",
        "nightly",
        undo=["strategy", "weights", "failover_preset", "default_policy", "provider_order"],
        etag=changed.etag,
    )

    assert list(read.policies) == ["default", "nightly"]
    assert (changed.strategy, changed.weights.cost, changed.weights.latency) == (
        router_pb2.STRATEGY_LATENCY,
        0.9,
        0.3,
    )
    assert (changed.default_policy, list(changed.provider_order)) == ("nightly", ["south", "north"])
    assert stale.value.reason == "STALE_ETAG"
    assert back == read.routing
    assert (await sidecar.routing("nightly")) == back


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "nothing to change"),
        ({"weights": {"speed": 1.0}}, 'no weight "speed"'),
        ({"weights": {"cost": 1.0}, "undo": ["weights"]}, "both given and to be undone"),
    ],
)
async def test_what_makes_no_request_is_a_mistake_of_the_caller(do: Method, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        await do("update_routing", **wrong)


async def test_budgets_are_added_changed_listed_and_taken_out(do: Method) -> None:
    hourly = pb.Budget(name="a", scope=pb.BUDGET_SCOPE_TASK, period=pb.BUDGET_PERIOD_HOUR, limit_usd=2.0)
    made = await do("create_budget", hourly)
    changed = await do("update_budget", pb.Budget(name="a", limit_usd=3.0, alert_at=[0.1]), "limit_usd", etag=made.etag)
    listed = await do("budgets")
    await do("delete_budget", "b")
    with pytest.raises(NotFoundError):
        await do("delete_budget", "b")

    assert made.created
    assert (changed.limit_usd, list(changed.alert_at)) == (3.0, [0.5, 0.8, 0.95])
    assert [(each.name, each.limit_usd) for each in listed] == [("a", 3.0), ("b", 5.0)]
    assert [each.name for each in await do("budgets")] == ["a"]


async def test_what_is_refused_is_an_error_of_its_kind(sidecar: Administered, do: Method) -> None:
    with pytest.raises(InvalidRequestError) as faulty:
        await do("update_routing", weights={"cost": -1.0})
    async with AsyncClient(sidecar.address, token=CALL_KEY) as other:
        with pytest.raises(PermissionDeniedError):
            await other.admin.delete_budget("b", timeout_seconds=60)

    assert [violation.field for violation in faulty.value.field_violations] == ["routing.weights.cost"]


async def test_spending_is_asked_for_by_times_and_by_lengths(do: Method) -> None:
    whole = await do("spend", group_by=pb.DIMENSION_TASK)
    fine = await do("spend", start=timedelta(minutes=10), end=datetime.now(UTC), step=timedelta(minutes=1))
    with pytest.raises(ValueError, match="no time zone"):
        await do("spend", start=datetime.now())  # noqa: DTZ005 - what is wrong with it

    assert list(whole.series) == []
    assert len(fine.series) == 1
    assert fine.total_usd == 0.0


async def test_providers_are_registered_changed_and_removed(sidecar: Administered, do: Method) -> None:
    model = pb.RegisteredModel(name="m")
    house = pb.RegisteredProvider(
        provider="house", wire="openai", base_url="https://llm.example.com/v1", models=[model]
    )
    made = await do("register_provider", house)
    changed = await do(
        "update_provider", pb.RegisteredProvider(provider="house", region="eu"), "region", etag=made.etag
    )
    gone = await do("remove_provider", "house", etag=changed.etag)
    with pytest.raises(NotFoundError):
        await do("remove_provider", "house")

    assert (made.registered, changed.region) == (True, "eu")
    assert [target_name(each) for each in gone] == ["house/m"]
    assert len(await sidecar.events("provider.registered", "provider.changed", "provider.removed")) == 3


async def test_a_state_goes_out_and_comes_in_again(sidecar: Administered, do: Method) -> None:
    state = await do("export_state", include_history=True)
    answer = await do("import_state", state)
    with pytest.raises(InvalidRequestError, match="is not whole"):
        await do("import_state", state[:-1])

    assert [target_name(each) for each in answer.targets] == ["north/small", "south/small"]
    assert list(answer.warnings) == []
    assert len(await sidecar.events("state.imported")) == 1


async def test_decisions_and_sums_are_looked_back_at_and_forgotten(sidecar: Administered, do: Method) -> None:
    made = [(await sidecar.decision()).decision_id for _ in range(12)]
    newest = await do("decisions", limit=5)
    every = await do("decisions", limit=5000, start=timedelta(minutes=5), end=datetime.now(UTC) + timedelta(minutes=1))
    none = await do("decisions", task="chat")
    one = await do("decision", made[3])
    sums = await do("statistics", group_by=pb.DIMENSION_TASK, start=timedelta(hours=1))
    compared = await do("compare", "south/small", "north/small")
    trend = await do("trend", "north", pb.TREND_MEASURE_COST, window=timedelta(minutes=10), step=timedelta(minutes=1))
    kept = await do("clear_history", timedelta(minutes=5))
    removed = await do("clear_history")
    (event, _) = await do("past_events", "history.cleared")

    assert [each.decision.decision_id for each in newest] == list(reversed(made))[:5]
    assert [each.decision.decision_id for each in every] == list(reversed(made))
    assert (list(none), one.decision.decision_id) == ([], made[3])
    assert [group.decision_count for group in sums.groups] == [12]
    assert [target_name(each.target) for each in compared.targets] == ["south/small", "north/small"]
    assert [point.value for point in trend.points] == [0.0] * len(trend.points) != []
    assert (kept, removed, event.fields["decision_count"]) == (0, 12, "12")
    with pytest.raises(NotFoundError):
        await do("decision", made[3])
    with pytest.raises(ValueError, match="limit is 0"):
        await do("decisions", limit=0)


async def test_pages_of_decisions_follow_each_other(
    do: Method, sidecar: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [(await sidecar.decision()).decision_id for _ in range(7)]
    monkeypatch.setattr("turnout.admin_requests.PAGE_SIZE", 3)

    assert [each.decision.decision_id for each in await do("decisions")] == list(reversed(made))
    assert [each.decision.decision_id for each in await do("decisions", limit=4)] == list(reversed(made))[:4]


@pytest.mark.parametrize("of", [Admin, AsyncAdmin])
def test_each_method_of_the_service_has_one_of_the_client(of: type[Admin | AsyncAdmin]) -> None:
    elsewhere = {"WatchEvents": "events", "ResetHealth": "reset_health", "CheckHealth": "check_health"}
    here = {
        "GetRouting": "routing",
        "ListBudgets": "budgets",
        "GetSpend": "spend",
        "ListShadowDifferences": "shadow_differences",
        "ListDecisions": "decisions",
        "GetDecision": "decision",
        "GetStatistics": "statistics",
        "CompareTargets": "compare",
        "GetTrend": "trend",
        "ListEvents": "past_events",
    }
    client = Client if of is Admin else AsyncClient
    for method in AdminService.answered:
        name = here.get(method, re.sub("(?<!^)([A-Z])", r"_\1", method).lower())
        assert hasattr(client, elsewhere[method]) if method in elsewhere else hasattr(of, name), method
