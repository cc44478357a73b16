"""What of a request decides whether it gets in: its priority and its size, over a real connection."""

import asyncio
import dataclasses
from typing import Any

import grpc
import pytest
import structlog

from tests.api.sidecar import (
    ANSWER,
    HELLO,
    LOCAL,
    Script,
    Sidecar,
    details,
    everywhere,
    first_delta,
    next_state,
    reason,
    running,
)
from turnout.v1 import router_pb2 as pb
from turnout_server.api import router_service, server

LOW = pb.RoutingOptions(priority=pb.PRIORITY_LOW)
LONG = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="x" * 3000)])])


def unending() -> dict[str, Script]:
    """Answers that begin and never end."""
    return everywhere(*ANSWER[:2], asyncio.Event())


async def test_low_calls_get_half_of_the_room_and_others_the_rest() -> None:
    settings = dataclasses.replace(LOCAL, max_concurrent_calls=2, max_queue=0, drain_seconds=0.1)
    async with running(scripts=unending(), settings=settings) as sidecar:
        running_low = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO, options=LOW), timeout=60)
        await first_delta(running_low)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=LOW), timeout=60)
        normal = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60)
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
            await sidecar.stub.Execute(pb.ExecuteRequest(input=LONG), timeout=60)

    assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert "max_inflight_mib allows 2000" in str(caught.value.details())


async def test_requests_under_way_count_together_until_they_end() -> None:
    settings = dataclasses.replace(LOCAL, max_inflight_bytes=5000, drain_seconds=0.1)
    async with running(scripts=unending(), settings=settings) as sidecar:
        stream = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=LONG), timeout=60)
        await first_delta(stream)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.stub.Execute(pb.ExecuteRequest(input=LONG), timeout=60)
        stream.cancel()
        await sidecar.server.calls.idle()
        again = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=LONG), timeout=60)
        await first_delta(again)
        again.cancel()

    assert reason(caught.value) == "SIDECAR_OVERLOADED"
    assert sidecar.server.shed_counts["bytes"] == 1


async def test_the_log_tells_of_requests_that_found_no_room_once_in_a_while_with_why() -> None:
    told: list[dict[str, Any]] = []

    def keep(_logger: object, _method: str, line: Any) -> str:
        told.append(dict(line))
        return ""

    # The first is told at once, and one ten seconds later with those between.
    refused_at = (100.0, 101.0, 109.9, 110.0)
    settings = dataclasses.replace(LOCAL, max_inflight_bytes=5000, drain_seconds=0.1)
    async with running(scripts=unending(), settings=settings) as sidecar:
        failing = sidecar.server._failing
        failing._log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[keep])
        failing._clock = iter(refused_at).__next__
        stream = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=LONG), timeout=60)
        await first_delta(stream)
        for _ in refused_at:
            with pytest.raises(grpc.aio.AioRpcError):
                await sidecar.stub.Execute(pb.ExecuteRequest(input=LONG), timeout=60)
        stream.cancel()

    assert [(line["event"], line["refused_count"]) for line in told] == [("api.overloaded", 1), ("api.overloaded", 3)]
    assert "calls under way hold" in told[0]["refusal"]


async def refused(sidecar: Sidecar) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sidecar.stub.Route(pb.RouteRequest(), timeout=60)
    return caught.value


async def test_plans_beyond_those_that_may_be_asked_for_at_once_get_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "QUICK_CALLS", 2)
    async with running() as sidecar:
        watchers = [sidecar.stub.WatchProviderStatus(pb.WatchProviderStatusRequest(), timeout=60) for _ in range(2)]
        for watcher in watchers:
            await next_state(watcher)
        error = await refused(sidecar)
        executed = await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60)
        shed_counts = dict(sidecar.server.shed_counts)
        watchers[0].cancel()
        await left(sidecar, 1)
        plan = await sidecar.stub.Route(pb.RouteRequest(), timeout=60)
        watchers[1].cancel()

    assert (error.code(), reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SIDECAR_OVERLOADED")
    assert "RetryInfo" in details(error)
    assert ("grpc-retry-pushback-ms", "100") in tuple(error.trailing_metadata() or ())
    assert executed.target.provider
    assert shed_counts == {"calls": 0, "low": 0, "bytes": 0, "quick": 1, "arriving": 0}
    assert plan.decision.candidates


async def left(sidecar: Sidecar, count: int) -> None:
    """Waits until no more than so many quick RPCs are in: the task of one ends a moment after its answer was sent."""
    async with asyncio.timeout(60):
        while sidecar.server.doors[0].inside > count:  # noqa: ASYNC110  # nothing in the server tells of it
            await asyncio.sleep(0.001)


async def test_calls_that_fill_the_sidecar_leave_plans_and_status_their_room() -> None:
    settings = dataclasses.replace(LOCAL, max_concurrent_calls=2, max_queue=1, drain_seconds=0.1)
    async with running(scripts=unending(), settings=settings) as sidecar:
        streams = [sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60) for _ in range(2)]
        for stream in streams:
            await first_delta(stream)
        waiting = [asyncio.ensure_future(ended(sidecar)) for _ in range(8)]
        plan = await sidecar.stub.Route(pb.RouteRequest(), timeout=60)
        status = await sidecar.stub.ProviderStatus(pb.ProviderStatusRequest(), timeout=60)
        turned_away = await asyncio.gather(*waiting)
        for stream in streams:
            stream.cancel()

    assert plan.decision.candidates
    assert status.aggregate.in_flight == 2
    assert {"SIDECAR_OVERLOADED"} == set(turned_away)


async def ended(sidecar: Sidecar) -> str:
    try:
        await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60)
    except grpc.aio.AioRpcError as error:
        return reason(error)
    return "answered"


async def test_a_caller_that_goes_away_before_its_request_has_come_leaves_no_trace() -> None:
    async with running() as sidecar:
        calls = [sidecar.stub.Route(pb.RouteRequest(), timeout=60) for _ in range(50)]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await sidecar.stub.Route(pb.RouteRequest(), timeout=60)
        await left(sidecar, 0)

    assert sidecar.server.doors[0].inside == 0


async def test_a_request_that_has_no_room_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(LOCAL, max_inflight_bytes=5000, drain_seconds=0.1)
    read: list[str] = []

    def reads(request: pb.ExecuteRequest, *_: object, **__: object) -> None:
        read.append(request.input.messages[0].parts[0].text)
        raise AssertionError("it was read")

    async with running(scripts=unending(), settings=settings) as sidecar:
        stream = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=LONG), timeout=60)
        await first_delta(stream)
        monkeypatch.setattr(router_service, "priority", reads)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.stub.Execute(pb.ExecuteRequest(input=LONG), timeout=60)
        stream.cancel()

    assert (reason(caught.value), read) == ("SIDECAR_OVERLOADED", [])
    assert "RetryInfo" in details(caught.value)


async def test_a_burst_of_plans_is_answered_and_not_cancelled_by_grpc() -> None:
    """gRPC's own default cancels by chance what is beyond a thousand that it has not taken yet."""
    async with running() as sidecar:
        asked = [sidecar.stub.Route(pb.RouteRequest(), timeout=60) for _ in range(1300)]
        plans = await asyncio.gather(*asked, return_exceptions=True)

    assert {pb.RouteResponse} == {type(plan) for plan in plans}
