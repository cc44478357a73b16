"""Budgets over a real connection: what callers are told and refused, what operators see and change."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # has no types

from tests.api.sidecar import ANSWER, HELLO, SPECS, Script, Sidecar, details, reason, running
from tests.unit.config.loading import loaded
from turnout.v1 import admin_pb2, admin_pb2_grpc, router_pb2_grpc
from turnout.v1 import router_pb2 as pb
from turnout_server import app
from turnout_server.calendars import calendar
from turnout_server.core.budget import BudgetPeriod, BudgetScope, BudgetSpec
from turnout_server.core.fleet import Price
from turnout_server.core.model import Strategy
from turnout_server.core.settings import Policy, RoutingSettings, Settings
from turnout_server.providers.simulated.latency import LatencyModel
from turnout_server.providers.simulated.provider import ProviderSettings
from turnout_server.providers.simulated.server import SimulatedServer

ACME = pb.Caller(tenant="acme")
# A scripted answer is 10 tokens in and 5 out, at 1 and 2 USD a million.
ANSWER_USD = 0.00002
SHORT = pb.ChatInput(messages=HELLO.messages, max_output_tokens=100)
# 66 tokens at worst for "Hi", and 100 of an answer.
NEEDED_USD = 0.000266


def budget(name: str = "monthly", limit_usd: float = 1.0, **facts: Any) -> BudgetSpec:
    period = facts.pop("period", BudgetPeriod.MONTH)
    defaults: dict[str, Any] = {
        "scope": BudgetScope.GLOBAL,
        "calendar": calendar(period, "UTC"),
        "per_pod": "replicas" not in facts,
    }
    return BudgetSpec(name=name, limit_nano_usd=round(limit_usd * 1e9), **{**defaults, **facts})


def core(*budgets: BudgetSpec) -> Settings:
    return Settings(budgets=budgets or (budget(),))


async def spent(sidecar: Sidecar, name: str = "monthly") -> list[tuple[str, float, float]]:
    """Each value with what it has spent and reserved, in millionths of a USD."""
    answer = await sidecar.admin.ListBudgets(admin_pb2.ListBudgetsRequest(), timeout=60)
    (found,) = (each for each in answer.budgets if each.name == name)
    return [(each.key, round(each.spent_usd * 1e6, 6), round(each.reserved_usd * 1e6, 6)) for each in found.spend]


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


CONFIGURATION = """
listen: {{address: "127.0.0.1:0"}}
health: {{address: ""}}
metrics: {{address: ""}}
limits: {{max_concurrent_calls: 400}}
providers:
  north: {{wire: openai, base_url: "{url}", allow_insecure: true, allow_private: true, models: [{model}]}}
budgets:
  - {{name: small, scope: tenant, period: total, limit_usd: {limit}, per_pod: true}}
drain_seconds: 1
"""
MODEL = (
    "{name: m, context_window_tokens: 128000, max_output_tokens: 4096, quality: 80, latency_prior_seconds: 0.05, "
    "price: {input_per_million_usd: 1, output_per_million_usd: 2}, capabilities: [STREAMING]}"
)


async def test_three_hundred_calls_at_once_stay_within_a_small_budget_together(tmp_path: Path) -> None:
    limit_usd = 0.005
    quick = ProviderSettings(latency=LatencyModel(first_token_seconds=0.1))
    async with SimulatedServer({"north": quick}, seed=5) as server:
        text = CONFIGURATION.format(url=server.base_url("north"), model=MODEL, limit=limit_usd)
        async with (
            app.running(loaded(tmp_path, text), {}) as listening,
            grpc.aio.insecure_channel(listening.grpc[0]) as channel,
        ):
            stub, admin = router_pb2_grpc.RouterServiceStub(channel), admin_pb2_grpc.AdminServiceStub(channel)
            requests = [
                pb.ExecuteRequest(input=HELLO if number % 30 == 29 else SHORT, caller=ACME) for number in range(300)
            ]
            answers = await asyncio.gather(
                *(stub.Execute(request, timeout=30) for request in requests), return_exceptions=True
            )
            (small,) = (await admin.ListBudgets(admin_pb2.ListBudgetsRequest(), timeout=60)).budgets

    served = [answer for answer in answers if isinstance(answer, pb.ExecuteResponse)]
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    cost_usd = sum(answer.cost_usd for answer in served)

    assert {"BUDGET_EXHAUSTED"} == {reason(error) for error in refused}
    assert {grpc.StatusCode.RESOURCE_EXHAUSTED} == {error.code() for error in refused}
    assert len(served) + len(refused) == 300
    assert len(served) >= 10
    assert 0 < cost_usd <= limit_usd
    (spend,) = small.spend
    assert (spend.key, spend.reserved_usd) == ("acme", 0.0)
    assert spend.spent_usd == pytest.approx(cost_usd)


async def test_execute_and_streams_tell_what_remains() -> None:
    async with running(core=core(budget(limit_usd=1.0))) as sidecar:
        answer = await sidecar.stub.Execute(pb.ExecuteRequest(input=SHORT), timeout=60)
        stream = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=SHORT), timeout=60)
        completion = [message async for message in stream][-1].completion

    (first,), (second,) = answer.notices.budgets, completion.notices.budgets

    assert (first.name, first.limit_usd) == ("monthly", 1.0)
    assert first.remaining_usd == pytest.approx(1.0 - ANSWER_USD)
    assert second.remaining_usd == pytest.approx(1.0 - 2 * ANSWER_USD)
    assert first.HasField("reset_time")
    assert not answer.notices.HasField("downgrade")


async def test_without_budgets_there_are_no_notices(sidecar: Sidecar) -> None:
    answer = await sidecar.stub.Execute(pb.ExecuteRequest(input=SHORT), timeout=60)
    plan = await sidecar.stub.Route(pb.RouteRequest(), timeout=60)

    assert not answer.HasField("notices")
    assert not plan.HasField("notices")
    assert plan.decision.reusable


async def test_a_plan_reserves_until_it_is_reported_and_is_for_one_request() -> None:
    profile = pb.RequestProfile(input_tokens=1000, max_output_tokens=100)
    async with running(core=core(budget(scope=BudgetScope.TENANT))) as sidecar:
        plan = await sidecar.stub.Route(pb.RouteRequest(profile=profile, caller=ACME), timeout=60)
        held = await spent(sidecar)
        outcome = pb.Outcome(
            decision_id=plan.decision.decision_id,
            attempt_id="one",
            target=plan.decision.candidates[0].target,
            ok=True,
            usage=pb.Usage(input_tokens=1000, output_tokens=10),
        )
        report = pb.ReportOutcomeRequest(outcomes=[outcome, outcome])
        await sidecar.stub.ReportOutcome(report, timeout=60)
        settled = await spent(sidecar)

    assert not plan.decision.reusable
    assert plan.notices.budgets[0].remaining_usd == pytest.approx(1.0 - 0.0012)
    assert held == [("acme", 0.0, 1200.0)]
    assert settled == [("acme", 1020.0, 0.0)]


async def test_a_plan_that_fits_nowhere_is_refused_with_the_budget_and_what_was_rejected() -> None:
    async with running(core=core(budget(limit_usd=NEEDED_USD - 1e-6))) as sidecar:
        error = await refusal(sidecar.stub.Execute(pb.ExecuteRequest(input=SHORT), timeout=60))
        advised = await refusal(
            sidecar.stub.Route(pb.RouteRequest(profile=pb.RequestProfile(input_tokens=10_000)), timeout=60)
        )
        calls = len(sidecar.upstream.calls)

    info = error_details_pb2.ErrorInfo.FromString(details(error)["ErrorInfo"])
    failure = pb.CallFailure.FromString(details(error)["CallFailure"])

    assert grpc.StatusCode.RESOURCE_EXHAUSTED is error.code()
    assert (info.reason, info.metadata["budget"]) == ("BUDGET_EXHAUSTED", "monthly")
    assert [list(each.reasons) for each in failure.rejections] == [[pb.REJECTION_REASON_BUDGET]] * 3
    assert dict(error.trailing_metadata() or ())["grpc-retry-pushback-ms"] == "-1"
    assert calls == 0
    assert reason(advised) == "BUDGET_EXHAUSTED"


async def test_a_cheaper_target_is_suggested_while_a_budget_runs_low() -> None:
    cheap = replace(SPECS[2], price=Price(input_per_million=1_000_000, output_per_million=1_000_000))
    policy = Policy(strategy=Strategy.QUALITY)
    settings = replace(core(budget(limit_usd=0.002)), routing=RoutingSettings(policies={"default": policy}))
    profile = pb.RequestProfile(input_tokens=100, max_output_tokens=400)
    async with running(specs=(*SPECS[:2], cheap), core=settings) as sidecar:
        plans = [await sidecar.stub.Route(pb.RouteRequest(profile=profile), timeout=60) for _ in range(2)]

    assert not plans[0].notices.HasField("downgrade")
    downgrade = plans[1].notices.downgrade
    assert (downgrade.target.provider, downgrade.target.model) == ("beta", "large")
    assert 0 < downgrade.expected_cost_usd < 1e-6
    assert downgrade.reason.startswith("budget monthly has 0.0002 USD left of 0.002 USD; beta/large is cheaper than")


MANY = (
    budget("c", scope=BudgetScope.TASK),
    budget("a", 2.0, replicas=4),
    budget("b", period=BudgetPeriod.TOTAL, scope=BudgetScope.TENANT),
)


async def test_budgets_are_listed_by_name_and_page_by_page() -> None:
    async with running(core=core(*MANY)) as sidecar:
        names: list[str] = []
        token = ""
        for _ in range(3):
            request = admin_pb2.ListBudgetsRequest(page_size=1, page_token=token)
            page = await sidecar.admin.ListBudgets(request, timeout=60)
            names += [each.name for each in page.budgets]
            token = page.next_page_token
        tenants = await sidecar.admin.ListBudgets(
            admin_pb2.ListBudgetsRequest(scope=admin_pb2.BUDGET_SCOPE_TENANT), timeout=5
        )
        sessions = await sidecar.admin.ListBudgets(
            admin_pb2.ListBudgetsRequest(scope=admin_pb2.BUDGET_SCOPE_SESSION), timeout=5
        )
        forged = await refusal(sidecar.admin.ListBudgets(admin_pb2.ListBudgetsRequest(page_token="YWJj"), timeout=60))

    assert (names, token) == (["a", "b", "c"], "")
    assert [each.name for each in tenants.budgets] == ["b"]
    assert not sessions.budgets
    assert reason(forged) == "INVALID_REQUEST"


async def test_a_listed_budget_says_everything_of_itself_and_what_each_value_has_spent() -> None:
    async with running(core=core(*MANY)) as sidecar:
        for tenant in ("acme", "acme", "zeta"):
            caller = pb.Caller(tenant=tenant)
            await sidecar.stub.Execute(pb.ExecuteRequest(input=SHORT, caller=caller), timeout=60)
        first, second, _ = (await sidecar.admin.ListBudgets(admin_pb2.ListBudgetsRequest(), timeout=60)).budgets

    assert (first.limit_usd, first.replicas, first.per_pod, first.timezone) == (2.0, 4, False, "UTC")
    assert list(first.alert_at) == [0.5, 0.8, 0.95]
    assert (first.period, first.on_exceed) == (admin_pb2.BUDGET_PERIOD_MONTH, admin_pb2.BUDGET_EXCEED_REJECT)
    assert first.spend[0].remaining_usd == pytest.approx(0.5 - 3 * ANSWER_USD)
    assert first.spend[0].HasField("reset_time")
    assert [each.key for each in second.spend] == ["acme", "zeta"]
    assert second.spend[0].spent_usd == pytest.approx(2 * ANSWER_USD)
    assert second.spend_count == 2
    assert not second.spend[0].HasField("reset_time")
    assert not second.spend[0].HasField("forecast_usd")


async def test_an_update_changes_what_its_mask_names_and_keeps_what_is_spent() -> None:
    async with running(core=core()) as sidecar:
        await sidecar.stub.Execute(pb.ExecuteRequest(input=SHORT), timeout=60)
        (before,) = (await sidecar.admin.ListBudgets(admin_pb2.ListBudgetsRequest(), timeout=60)).budgets
        request = admin_pb2.UpdateBudgetRequest(
            budget=admin_pb2.Budget(name="monthly", limit_usd=2.5, alert_at=[0.9]),
            update_mask=FieldMask(paths=["limit_usd"]),
            etag=before.etag,
        )
        changed = (await sidecar.admin.UpdateBudget(request, timeout=60)).budget
        stale = await refusal(sidecar.admin.UpdateBudget(request, timeout=60))
        unmasked = admin_pb2.UpdateBudgetRequest(
            budget=admin_pb2.Budget(
                name="monthly",
                alert_at=[0.9, 0.1],
                timezone="Europe/Berlin",
                on_exceed=admin_pb2.BUDGET_EXCEED_DOWNGRADE,
            )
        )
        again = (await sidecar.admin.UpdateBudget(unmasked, timeout=60)).budget

    assert changed.limit_usd == 2.5
    assert list(changed.alert_at) == [0.5, 0.8, 0.95]
    assert changed.etag != before.etag
    assert changed.spend[0].spent_usd == pytest.approx(ANSWER_USD)
    assert (stale.code(), reason(stale)) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert (list(again.alert_at), again.timezone, again.limit_usd) == ([0.1, 0.9], "Europe/Berlin", 2.5)
    assert again.on_exceed == admin_pb2.BUDGET_EXCEED_DOWNGRADE


async def test_what_cannot_be_changed_is_refused() -> None:
    def masked(*paths: str, **facts: Any) -> admin_pb2.UpdateBudgetRequest:
        mask = FieldMask(paths=paths) if paths else None
        return admin_pb2.UpdateBudgetRequest(budget=admin_pb2.Budget(name="monthly", **facts), update_mask=mask)

    async with running(core=core()) as sidecar:

        async def told(request: admin_pb2.UpdateBudgetRequest) -> tuple[str, str]:
            error = await refusal(sidecar.admin.UpdateBudget(request, timeout=60))
            return reason(error), (error.details() or "").partition(":")[0]

        unknown = admin_pb2.UpdateBudgetRequest(budget=admin_pb2.Budget(name="weekly", limit_usd=1))

        assert (await told(unknown))[0] == "UNKNOWN_BUDGET"
        assert await told(admin_pb2.UpdateBudgetRequest()) == ("INVALID_REQUEST", "budget")
        assert await told(masked("scope")) == ("INVALID_REQUEST", "update_mask")
        assert await told(masked(period=admin_pb2.BUDGET_PERIOD_DAY)) == ("INVALID_REQUEST", "budget.period")
        # Left out of what is given, a named field goes back to its default: what is then no budget is refused.
        assert await told(masked("per_pod")) == ("INVALID_REQUEST", "budget.per_pod")
        assert await told(masked("limit_usd")) == ("INVALID_REQUEST", "budget.limit_usd")


async def test_a_raised_limit_lets_calls_through_again() -> None:
    async with running(core=core(budget(limit_usd=NEEDED_USD))) as sidecar:
        await sidecar.stub.Execute(pb.ExecuteRequest(input=SHORT), timeout=60)
        error = await refusal(sidecar.stub.Execute(pb.ExecuteRequest(input=SHORT), timeout=60))
        raised = admin_pb2.Budget(name="monthly", limit_usd=1.0)
        await sidecar.admin.UpdateBudget(admin_pb2.UpdateBudgetRequest(budget=raised), timeout=60)
        answer = await sidecar.stub.Execute(pb.ExecuteRequest(input=SHORT), timeout=60)

    assert reason(error) == "BUDGET_EXHAUSTED"
    assert answer.cost_usd == pytest.approx(ANSWER_USD)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_call_whose_cap_lowers_its_limit_needs_no_more_of_a_budget_than_the_cap(*, streaming: bool) -> None:
    # Its own limit would take 0.06 USD.
    long = pb.ChatInput(messages=HELLO.messages, max_output_tokens=30_000)
    options = pb.RoutingOptions(max_cost_usd=0.01)
    lowered = (10_000 - 66) // 2
    go_on = asyncio.Event()
    specs = (replace(SPECS[0], max_output_tokens=50_000),)
    scripts: dict[str, Script] = {SPECS[0].name: (go_on, *ANSWER)}
    async with running(core=core(budget(limit_usd=0.02)), specs=specs, scripts=scripts) as sidecar:

        async def ask(**more: Any) -> None:
            if streaming:
                request = pb.ExecuteStreamRequest(input=long, **more)
                _ = [message async for message in sidecar.stub.ExecuteStream(request, timeout=60)]
            else:
                await sidecar.stub.Execute(pb.ExecuteRequest(input=long, **more), timeout=60)

        unlimited = await refusal(ask())
        calls = [asyncio.create_task(ask(options=options)) for _ in range(2)]
        async with asyncio.timeout(60):
            while len(sidecar.upstream.calls) < 2 and not any(call.done() for call in calls):
                await spent(sidecar)
        held = await spent(sidecar)
        # A third would fit beside what they cost in the end, and not beside what they may cost.
        third = await refusal(ask(options=options))
        go_on.set()
        await asyncio.gather(*calls)
        settled = await spent(sidecar)
        await ask(options=options)
        sent = [call.max_output_tokens for call in sidecar.upstream.calls]
        last = await spent(sidecar)

    assert reason(unlimited) == reason(third) == "BUDGET_EXHAUSTED"
    assert sent == [lowered] * 3
    assert held == [("", 0.0, 2.0 * (66 + 2 * lowered))]
    assert settled == [("", round(2e6 * ANSWER_USD, 6), 0.0)]
    assert last == [("", round(3e6 * ANSWER_USD, 6), 0.0)]
