"""What was spent, over a real connection: by whatever it is told apart by, with failures apart."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tests.api.sidecar import Sidecar, running
from tests.api.test_administration import refusal, violations
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2

SECONDS = 60


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    """One that was told of four attempts: three with a cost, one of them failed."""
    async with running() as started:
        outcomes = [
            report("alpha", "large", 0.5, tenant="acme"),
            report("beta", "large", 0.25, tenant="zeta", task="plan"),
            report("alpha", "small", 0.125, tenant="acme", failed=True),
            report("beta", "large", None, tenant="zeta"),
        ]
        request = router_pb2.ReportOutcomeRequest(outcomes=outcomes)
        answer = await started.stub.ReportOutcome(request, timeout=SECONDS)
        assert len(answer.results) == 4
        yield started


def report(
    provider: str, model: str, cost: float | None, *, tenant: str, task: str = "chat", failed: bool = False
) -> router_pb2.Outcome:
    return router_pb2.Outcome(
        attempt_id=f"{provider}-{model}-{cost}",
        target=router_pb2.Target(provider=provider, model=model),
        ok=not failed,
        failure=router_pb2.FAILURE_KIND_STALLED if failed else router_pb2.FAILURE_KIND_UNSPECIFIED,
        latency=Duration(seconds=1),
        cost_usd=cost,
        task=task,
        caller=router_pb2.Caller(tenant=tenant, tier="pro"),
    )


async def spend(sidecar: Sidecar, **asked: object) -> pb.GetSpendResponse:
    request = pb.GetSpendRequest(**asked)  # type: ignore[arg-type]  # of several types
    answer: pb.GetSpendResponse = await sidecar.admin.GetSpend(request, timeout=SECONDS)
    return answer


def ago(seconds: float) -> Timestamp:
    return Timestamp(seconds=int(time.time() - seconds))


async def test_cost_of_successes_and_failures_and_what_nobody_knows_stand_apart(sidecar: Sidecar) -> None:
    found = await spend(sidecar)
    (whole,) = found.series

    assert (found.total_usd, found.failed_usd, found.unknown_count) == (0.875, 0.125, 1)
    assert (whole.name, whole.total_usd, whole.failed_usd, whole.unknown_count) == ("", 0.875, 0.125, 1)
    assert sum(point.value for point in whole.points) == 0.875
    assert sum(point.failed_value for point in whole.points) == 0.125
    assert sum(point.sample_count for point in whole.points) == 3
    assert all(point.time.seconds % 3600 == 0 for point in whole.points)
    assert found.start_time.seconds <= time.time()


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        (pb.DIMENSION_PROVIDER, {"alpha": 0.625, "beta": 0.25}),
        (pb.DIMENSION_MODEL, {"alpha/large": 0.5, "alpha/small": 0.125, "beta/large": 0.25}),
        (pb.DIMENSION_TASK, {"chat": 0.625, "plan": 0.25}),
        (pb.DIMENSION_TIER, {"pro": 0.875}),
        (pb.DIMENSION_TENANT, {"acme": 0.625, "zeta": 0.25}),
    ],
)
async def test_series_are_by_each_dimension(
    sidecar: Sidecar, group_by: pb.Dimension.ValueType, expected: dict[str, float]
) -> None:
    found = await spend(sidecar, group_by=group_by)

    assert {each.name: each.total_usd for each in found.series} == expected
    assert [each.total_usd for each in found.series] == sorted(expected.values(), reverse=True)


async def test_one_tenant_and_a_fine_step(sidecar: Sidecar) -> None:
    found = await spend(sidecar, tenant="acme", start_time=ago(600), step=Duration(seconds=60))
    (whole,) = found.series

    assert found.total_usd == 0.625
    assert all(point.time.seconds % 60 == 0 for point in whole.points)


async def test_the_whole_last_quarter_of_an_hour_can_be_had_by_the_minute(sidecar: Sidecar) -> None:
    found = await spend(sidecar, start_time=ago(900), step=Duration(seconds=60))

    assert found.total_usd == 0.875


@pytest.mark.parametrize(
    ("asked", "field", "says"),
    [
        ({"group_by": 99}, "group_by", "has the value 99"),
        ({"step": Duration(seconds=59)}, "step", "a multiple of 900 s: beyond the last quarter"),
        ({"step": Duration()}, "step", "is 0 s"),
        ({"step": Duration(seconds=-60)}, "step", "is -60 s"),
        ({"step": Duration(seconds=90), "start_time": 600}, "step", "a multiple of 60 s"),
        ({"step": Duration(seconds=600)}, "step", "a multiple of 900 s"),
        ({"step": Duration(seconds=900), "start_time": Timestamp()}, "step", "at most 1000 are given"),
        ({"start_time": -600}, "start_time", "is not before now"),
        ({"start_time": 10, "end_time": 20}, "end_time", "is not after start_time"),
        ({"tenant": "x" * 129}, "tenant", "at most 128"),
    ],
)
async def test_what_cannot_be_is_told_by_its_field(
    sidecar: Sidecar, asked: dict[str, object], field: str, says: str
) -> None:
    # Numbers are seconds ago: seen from this moment, not from when the tests were collected.
    asked = {name: ago(value) if isinstance(value, int) and "time" in name else value for name, value in asked.items()}
    found = violations(await refusal(spend(sidecar, **asked)))

    assert says in found[field]
