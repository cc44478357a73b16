"""What of a request decides whether it gets in: its priority and its size, over a real connection."""

import asyncio
import dataclasses

import grpc
import pytest

from tests.api.sidecar import ANSWER, HELLO, LOCAL, Script, everywhere, first_delta, reason, running
from turnout.v1 import router_pb2 as pb

LOW = pb.RoutingOptions(priority=pb.PRIORITY_LOW)
LONG = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="x" * 3000)])])


def unending() -> dict[str, Script]:
    """Answers that begin and never end."""
    return everywhere(*ANSWER[:2], asyncio.Event())


async def test_low_calls_get_half_of_the_room_and_others_the_rest() -> None:
    settings = dataclasses.replace(LOCAL, max_concurrent_calls=2, max_queue=0, drain_seconds=0.1)
    async with running(scripts=unending(), settings=settings) as sidecar:
        running_low = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO, options=LOW), timeout=10)
        await first_delta(running_low)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=LOW), timeout=5)
        normal = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=10)
        await first_delta(normal)
        running_low.cancel()
        normal.cancel()

    assert (caught.value.code(), reason(caught.value)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "SIDECAR_OVERLOADED",
    )


async def test_a_request_larger_than_all_that_may_be_under_way_is_refused_with_the_limit_named() -> None:
    async with running(settings=dataclasses.replace(LOCAL, max_inflight_bytes=2000)) as sidecar:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.stub.Execute(pb.ExecuteRequest(input=LONG), timeout=5)

    assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert "max_inflight_mib allows 2000" in str(caught.value.details())


async def test_requests_under_way_count_together_until_they_end() -> None:
    settings = dataclasses.replace(LOCAL, max_inflight_bytes=5000, drain_seconds=0.1)
    async with running(scripts=unending(), settings=settings) as sidecar:
        stream = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=LONG), timeout=10)
        await first_delta(stream)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.stub.Execute(pb.ExecuteRequest(input=LONG), timeout=5)
        stream.cancel()
        await sidecar.server.calls.idle()
        again = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=LONG), timeout=10)
        await first_delta(again)
        again.cancel()

    assert reason(caught.value) == "SIDECAR_OVERLOADED"
