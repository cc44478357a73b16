"""What is told of a decision whatever happens: all of it to those who look back, its id even with a fault of ours."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence

import grpc
import pytest

from tests.api.sidecar import HELLO, running
from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.ports import ResponseHead, UpstreamCall, UpstreamEvent


async def test_history_has_every_candidate_though_the_answer_listed_one() -> None:
    async with running() as sidecar:
        request = pb.RouteRequest(options=pb.RoutingOptions(max_candidates=1))
        decision = (await sidecar.stub.Route(request, timeout=60)).decision
        wanted = admin_pb2.GetDecisionRequest(decision_id=decision.decision_id)
        kept = (await sidecar.admin.GetDecision(wanted, timeout=60)).decision.decision

    assert len(decision.candidates) == 1
    assert len(kept.candidates) == kept.candidate_count > 1


async def broken(_: UpstreamCall) -> AsyncGenerator[Sequence[UpstreamEvent]]:
    yield (ResponseHead(http_status=200),)
    raise RuntimeError("a fault of ours")


async def drained(stream: AsyncIterable[object]) -> None:
    async for _ in stream:
        pass


@pytest.mark.parametrize("streaming", [True, False])
async def test_fault_of_ours_after_the_decision_still_names_it(streaming: bool) -> None:  # noqa: FBT001
    async with running() as sidecar:
        sidecar.upstream.stream = broken  # type: ignore[method-assign,assignment]
        call = (
            drained(sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60))
            if streaming
            else sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60)
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    trailers = dict(caught.value.trailing_metadata() or ())

    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert trailers["turnout-decision-id"]


async def test_limit_that_only_the_profile_gives_reaches_the_provider() -> None:
    async with running() as sidecar:
        profile = pb.RequestProfile(max_output_tokens=50)
        await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, profile=profile), timeout=60)

        assert sidecar.upstream.calls[0].max_output_tokens == 50
