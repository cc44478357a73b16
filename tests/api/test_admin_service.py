"""The history of decisions over a real connection."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tests.api.sidecar import ANSWER, HELLO, Sidecar, everywhere, failing, reason, running
from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.core.model import FailureKind


async def listed(sidecar: Sidecar, request: admin_pb2.ListDecisionsRequest) -> list[str]:
    answer = await sidecar.admin.ListDecisions(request, timeout=60)
    return [record.decision.decision_id for record in answer.decisions]


async def routed(sidecar: Sidecar, request: pb.RouteRequest | None = None) -> pb.Decision:
    return (await sidecar.stub.Route(request or pb.RouteRequest(), timeout=60)).decision


async def test_decisions_are_listed_newest_first_and_page_by_page(sidecar: Sidecar) -> None:
    made = [(await routed(sidecar)).decision_id for _ in range(5)]
    seen: list[str] = []
    token = ""
    for _ in range(3):
        answer = await sidecar.admin.ListDecisions(
            admin_pb2.ListDecisionsRequest(page_size=2, page_token=token), timeout=5
        )
        seen += [record.decision.decision_id for record in answer.decisions]
        token = answer.next_page_token

    assert seen == made[::-1]
    assert token == ""


async def test_filters_let_through_what_fits_all_of_them(sidecar: Sidecar) -> None:
    chat = pb.RouteRequest(profile=pb.RequestProfile(task="chat"), caller=pb.Caller(tenant="acme"))
    wanted = (await routed(sidecar, chat)).decision_id
    await routed(sidecar, pb.RouteRequest(profile=pb.RequestProfile(task="chat")))
    await routed(sidecar, pb.RouteRequest(caller=pb.Caller(tenant="acme")))

    assert await listed(sidecar, admin_pb2.ListDecisionsRequest(task="chat", tenant="acme")) == [wanted]


async def test_results_and_targets_filter_executed_calls() -> None:
    broken = failing(FailureKind.SERVER_ERROR, status=500)
    async with running(scripts=everywhere(broken) | {"beta/large": ANSWER}) as sidecar:
        options = pb.RoutingOptions(force_target="beta/large")
        good = await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=options), timeout=60)
        options = pb.RoutingOptions(force_target="alpha/large")
        with pytest.raises(grpc.aio.AioRpcError):
            await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=options), timeout=60)
        succeeded = await listed(sidecar, admin_pb2.ListDecisionsRequest(result=admin_pb2.DECISION_RESULT_OK))
        failed = await sidecar.admin.ListDecisions(admin_pb2.ListDecisionsRequest(target="alpha/large"), timeout=60)

    assert succeeded == [good.decision.decision_id]
    assert [record.result for record in failed.decisions] == [admin_pb2.DECISION_RESULT_FAILED]
    assert failed.decisions[0].attempts[0].failure == pb.FAILURE_KIND_SERVER_ERROR
    assert failed.decisions[0].kind == admin_pb2.DECISION_KIND_EXECUTE


async def test_a_time_range_excludes_its_end(sidecar: Sidecar) -> None:
    decision = await routed(sidecar)
    later = Timestamp(seconds=decision.decided_at.seconds + 2)
    long_ago = Timestamp(seconds=5)

    assert await listed(sidecar, admin_pb2.ListDecisionsRequest(end_time=later)) == [decision.decision_id]
    assert await listed(sidecar, admin_pb2.ListDecisionsRequest(end_time=long_ago)) == []
    assert await listed(sidecar, admin_pb2.ListDecisionsRequest(start_time=later)) == []


async def test_a_decision_has_everything_that_is_known_of_it(sidecar: Sidecar) -> None:
    request = pb.RouteRequest(
        options=pb.RoutingOptions(exclude=["beta"]), caller=pb.Caller(tenant="acme", user="u"), request_id="r-1"
    )
    decision = await routed(sidecar, request)
    outcome = pb.Outcome(
        decision_id=decision.decision_id,
        attempt_id="a-1",
        target=decision.candidates[0].target,
        ok=True,
        latency=Duration(seconds=2),
        usage=pb.Usage(input_tokens=10, output_tokens=5),
    )
    feedback = pb.Feedback(decision_id=decision.decision_id, attempt_id="a-1", quality=0.5)
    await sidecar.stub.ReportOutcome(pb.ReportOutcomeRequest(outcomes=[outcome], feedback=[feedback]), timeout=60)
    request_ = admin_pb2.GetDecisionRequest(decision_id=decision.decision_id)
    record = (await sidecar.admin.GetDecision(request_, timeout=60)).decision

    assert [rejection.target.provider for rejection in record.decision.rejections] == ["beta"]
    assert (record.kind, record.result) == (admin_pb2.DECISION_KIND_ROUTE, admin_pb2.DECISION_RESULT_OK)
    assert (record.caller.tenant, record.request_id) == ("acme", "r-1")
    assert [attempt.latency.ToSeconds() for attempt in record.attempts] == [2]
    assert [judgement.quality for judgement in record.feedback] == [0.5]


@pytest.mark.parametrize(
    ("request_", "code", "expected"),
    [
        (admin_pb2.ListDecisionsRequest(page_size=-1), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (admin_pb2.ListDecisionsRequest(page_token="ours?"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (admin_pb2.ListDecisionsRequest(target="alpha"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (admin_pb2.ListDecisionsRequest(target="gamma/x"), grpc.StatusCode.NOT_FOUND, "UNKNOWN_TARGET"),
    ],
    ids=["page_size", "page_token", "several_targets", "no_target"],
)
async def test_a_list_that_cannot_be_made_is_refused(
    sidecar: Sidecar, request_: admin_pb2.ListDecisionsRequest, code: grpc.StatusCode, expected: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sidecar.admin.ListDecisions(request_, timeout=60)

    assert (caught.value.code(), reason(caught.value)) == (code, expected)


@pytest.mark.parametrize(
    ("decision_id", "code", "expected"),
    [
        ("", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        ("never-made", grpc.StatusCode.NOT_FOUND, "UNKNOWN_DECISION"),
    ],
)
async def test_a_decision_that_is_not_held_is_told(
    sidecar: Sidecar, decision_id: str, code: grpc.StatusCode, expected: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sidecar.admin.GetDecision(admin_pb2.GetDecisionRequest(decision_id=decision_id), timeout=60)

    assert (caught.value.code(), reason(caught.value)) == (code, expected)
