"""Sums, comparisons, trends and forgetting, over a real connection."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # has no types

from tests.api.sidecar import HELLO, Sidecar, details, failing, reason, running, spec
from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.core.events import EventName
from turnout_server.core.model import FailureKind

ALL = admin_pb2.GetStatisticsRequest()


async def executed(sidecar: Sidecar, task: str = "chat", tenant: str = "acme") -> pb.ExecuteResponse:
    request = pb.ExecuteRequest(
        input=HELLO, profile=pb.RequestProfile(task=task), caller=pb.Caller(tenant=tenant, tier="pro")
    )
    request.options.strategy = pb.STRATEGY_PRIORITY
    return await sidecar.stub.Execute(request, timeout=60)


async def test_statistics_tell_decisions_attempts_failovers_and_who_is_preferred() -> None:
    overloaded = failing(FailureKind.OVERLOADED, status=529)
    async with running(scripts={"alpha/large": [overloaded]}) as sidecar:
        await executed(sidecar)
        await executed(sidecar, task="plan", tenant="other")
        (whole,) = (await sidecar.admin.GetStatistics(ALL, timeout=60)).groups
        by_provider = await sidecar.admin.GetStatistics(
            admin_pb2.GetStatisticsRequest(group_by=admin_pb2.DIMENSION_PROVIDER), timeout=5
        )
        by_task = await sidecar.admin.GetStatistics(
            admin_pb2.GetStatisticsRequest(group_by=admin_pb2.DIMENSION_TASK, tenant="other"), timeout=5
        )

    assert (whole.decision_count, whole.attempt_count, whole.failover_count) == (2, 4, 2)
    assert (whole.success_rate, whole.failover_rate, dict(whole.failures)) == (0.5, 1.0, {"OVERLOADED": 2})
    assert (whole.preferred_target.provider, whole.preferred_share) == ("alpha", 1.0)
    assert 0.0 < whole.mean_score <= 1.0
    assert 0.0 <= whole.mean_confidence <= 1.0
    assert whole.output_tokens == 10
    assert whole.latency.p95.ToNanoseconds() > 0
    assert {group.name: group.failover_count for group in by_provider.groups} == {"alpha": 2, "beta": 0}
    assert [(group.name, group.decision_count) for group in by_task.groups] == [("plan", 1)]


async def test_page_ends_early_where_its_records_are_large() -> None:
    specs = tuple(spec(f"p{number}", "m") for number in range(400))
    async with running(specs=specs) as sidecar:
        made = [(await sidecar.stub.Route(pb.RouteRequest(), timeout=60)).decision.decision_id for _ in range(60)]
        request = admin_pb2.ListDecisionsRequest(page_size=1000)
        pages: list[list[str]] = []
        while not pages or request.page_token:
            # As a client that was told nothing of sizes.
            page = await sidecar.admin.ListDecisions(request, timeout=60)
            pages.append([record.decision.decision_id for record in page.decisions])
            request.page_token = page.next_page_token

            assert page.ByteSize() < 4 * 1024 * 1024

    assert len(pages) > 1
    assert [decision_id for page in pages for decision_id in page] == made[::-1]


async def test_history_tells_why_an_attempt_was_made_and_whether_it_can_have_been_billed() -> None:
    refused = failing(FailureKind.RATE_LIMITED, status=429, possibly_billed=False)
    async with running(scripts={"alpha/large": [refused]}) as sidecar:
        decision_id = (await executed(sidecar)).decision.decision_id
        request = admin_pb2.GetDecisionRequest(decision_id=decision_id)
        first, second = (await sidecar.admin.GetDecision(request, timeout=60)).decision.attempts

    assert (first.possibly_billed, first.retry_reason) == (False, "")
    assert (second.possibly_billed, second.retry_reason) == (True, "next target after RATE_LIMITED")


async def test_decisions_that_nobody_can_serve_are_counted_apart() -> None:
    async with running() as sidecar:
        with pytest.raises(grpc.aio.AioRpcError):
            await sidecar.stub.Route(pb.RouteRequest(options=pb.RoutingOptions(min_quality=100.0)), timeout=60)
        (whole,) = (await sidecar.admin.GetStatistics(ALL, timeout=60)).groups

    assert (whole.decision_count, whole.unserved_count) == (1, 1)
    assert not whole.HasField("failover_rate")
    assert not whole.HasField("preferred_target")


async def test_judgements_are_part_of_statistics_whenever_they_come() -> None:
    async with running() as sidecar:
        decision = (await sidecar.stub.Route(pb.RouteRequest(), timeout=60)).decision
        early, late = (
            pb.Feedback(decision_id=decision.decision_id, attempt_id=name, quality=quality)
            for name, quality in (("a-1", 0.5), ("a-2", 1.0))
        )
        outcomes = [
            pb.Outcome(decision_id=decision.decision_id, attempt_id=name, target=decision.candidates[0].target, ok=True)
            for name in ("a-1", "a-2")
        ]
        await sidecar.stub.ReportOutcome(pb.ReportOutcomeRequest(feedback=[early]), timeout=60)
        await sidecar.stub.ReportOutcome(pb.ReportOutcomeRequest(outcomes=outcomes, feedback=[late]), timeout=60)
        (whole,) = (await sidecar.admin.GetStatistics(ALL, timeout=60)).groups

    assert whole.mean_feedback == 0.75


async def test_targets_are_compared_side_by_side() -> None:
    async with running() as sidecar:
        await executed(sidecar)
        request = admin_pb2.CompareTargetsRequest(targets=["beta/large", "alpha/large"], task="chat")
        answer = await sidecar.admin.CompareTargets(request, timeout=60)
        unused, used = answer.targets

    assert (unused.target.provider, unused.statistics.attempt_count, unused.quality) == ("beta", 0, 90.0)
    assert not unused.HasField("cost_per_request_usd")
    assert (used.target.provider, used.statistics.attempt_count) == ("alpha", 1)
    assert used.cost_per_request_usd == pytest.approx((10 * 1 + 5 * 2) / 1e6)
    assert answer.end_time.ToNanoseconds() >= answer.start_time.ToNanoseconds() > 0


@pytest.mark.parametrize("name", ["alpha/large", "alpha"])
async def test_trend_of_a_target_or_a_provider(name: str) -> None:
    async with running() as sidecar:
        await executed(sidecar)
        request = admin_pb2.GetTrendRequest(target=name, measure=admin_pb2.TREND_MEASURE_COST)
        points = (await sidecar.admin.GetTrend(request, timeout=60)).points

    # The minute may end between the call and the question.
    assert 1 <= len(points) <= 2
    assert sum(point.value for point in points) == pytest.approx(20e-6)
    assert sum(point.sample_count for point in points) == 1


async def test_trend_of_a_day_is_by_quarters_of_an_hour() -> None:
    async with running() as sidecar:
        request = admin_pb2.GetTrendRequest(
            target="beta", measure=admin_pb2.TREND_MEASURE_LATENCY_P99, window=Duration(seconds=86_400)
        )
        answer = await sidecar.admin.GetTrend(request, timeout=60)

    assert not answer.points[-1].HasField("value")
    assert answer.points[-1].time.seconds >= answer.points[0].time.seconds


async def test_what_is_forgotten_is_in_no_list_and_no_sum_and_the_rest_stays() -> None:
    async with running() as sidecar:
        await executed(sidecar)
        too_old = admin_pb2.ClearHistoryRequest(before=Timestamp(seconds=1))
        kept = await sidecar.admin.ClearHistory(too_old, timeout=60)
        gone = await sidecar.admin.ClearHistory(admin_pb2.ClearHistoryRequest(), timeout=60)
        told = [event.fields["decision_count"] for event in sidecar.events if event.name is EventName.HISTORY_CLEARED]
        listed = await sidecar.admin.ListDecisions(admin_pb2.ListDecisionsRequest(), timeout=60)
        (whole,) = (await sidecar.admin.GetStatistics(ALL, timeout=60)).groups
        status = await sidecar.stub.ProviderStatus(pb.ProviderStatusRequest(providers=["alpha"]), timeout=60)

    assert (kept.removed_count, gone.removed_count) == (0, 1)
    assert told == [0, 1]
    assert (len(listed.decisions), whole.decision_count, whole.attempt_count) == (0, 0, 0)
    assert status.providers[0].request_count == 1


async def test_status_tells_how_well_tokens_and_cost_are_estimated() -> None:
    async with running() as sidecar:
        await executed(sidecar)
        status = await sidecar.stub.ProviderStatus(pb.ProviderStatusRequest(providers=["alpha"]), timeout=60)
        used, unused = status.providers[0].targets

    assert used.output_estimate.bias == 10.0
    assert (used.input_estimate.sample_count, used.output_estimate.sample_count, used.cost_estimate.sample_count) == (
        1,
        1,
        1,
    )
    assert not unused.HasField("output_estimate")


async def test_full_decision_tells_its_weights_and_a_basic_one_does_not() -> None:
    async with running() as sidecar:
        basic = (await sidecar.stub.Route(pb.RouteRequest(), timeout=60)).decision
        request = pb.RouteRequest(options=pb.RoutingOptions(strategy=pb.STRATEGY_COST, detail=pb.DECISION_DETAIL_FULL))
        full = (await sidecar.stub.Route(request, timeout=60)).decision

    assert not basic.HasField("weights")
    assert (full.weights.cost, full.weights.latency) == (1.0, 0.0)


EARLY, LATE = Timestamp(seconds=100), Timestamp(seconds=200)
HOURS_2 = Duration(seconds=7200)


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("ListDecisions", admin_pb2.ListDecisionsRequest(start_time=LATE, end_time=EARLY), "end_time"),
        ("GetStatistics", admin_pb2.GetStatisticsRequest(start_time=LATE, end_time=EARLY), "end_time"),
        ("CompareTargets", admin_pb2.CompareTargetsRequest(targets=["alpha/large"]), "targets"),
        ("CompareTargets", admin_pb2.CompareTargetsRequest(targets=["alpha/large", "alpha"]), "targets[1]"),
        ("GetTrend", admin_pb2.GetTrendRequest(target="alpha"), "measure"),
        (
            "GetTrend",
            admin_pb2.GetTrendRequest(
                target="alpha", measure=admin_pb2.TREND_MEASURE_COST, window=HOURS_2, step=Duration(seconds=60)
            ),
            "step",
        ),
    ],
)
async def test_question_that_makes_no_sense_names_its_field(
    sidecar: Sidecar, method: str, request_: Any, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(sidecar.admin, method)(request_, timeout=60)
    bad = error_details_pb2.BadRequest.FromString(details(caught.value)["BadRequest"])

    assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert [violation.field for violation in bad.field_violations] == [field]


@pytest.mark.parametrize(
    ("method", "request_", "expected"),
    [
        ("CompareTargets", admin_pb2.CompareTargetsRequest(targets=["alpha/large", "x/y"]), "UNKNOWN_TARGET"),
        (
            "GetTrend",
            admin_pb2.GetTrendRequest(target="x/y", measure=admin_pb2.TREND_MEASURE_COST),
            "UNKNOWN_TARGET",
        ),
        ("GetTrend", admin_pb2.GetTrendRequest(target="x", measure=admin_pb2.TREND_MEASURE_COST), "UNKNOWN_PROVIDER"),
    ],
)
async def test_question_about_nobody_is_not_found(sidecar: Sidecar, method: str, request_: Any, expected: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(sidecar.admin, method)(request_, timeout=60)

    assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.NOT_FOUND, expected)
