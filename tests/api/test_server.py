"""Listening, health, limits and the orderly stop, seen from outside."""

import asyncio
import dataclasses
import socket
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # has no types
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc  # type: ignore[import-untyped]  # has no types

from tests.api.sidecar import (
    ANSWER,
    HELLO,
    LOCAL,
    Sidecar,
    details,
    everywhere,
    first_delta,
    next_state,
    reason,
    running,
)
from turnout.v1 import admin_pb2, router_pb2_grpc, session_pb2, session_pb2_grpc
from turnout.v1 import router_pb2 as pb
from turnout_server.api.admission import AdmissionLimits
from turnout_server.api.metrics_endpoint import MetricsEndpoint
from turnout_server.api.sockets import ListenError, UnixSocket
from turnout_server.api.status import PUSHBACK_KEY


async def health_of(address: str, service: str = "") -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=service), timeout=60
        )
    return int(answer.status)


@pytest.mark.parametrize("service", ["", "turnout.v1.RouterService"])
async def test_health_is_served_on_both_listeners(sidecar: Sidecar, service: str) -> None:
    main = await health_of(sidecar.bound.address, service)
    beside = await health_of(sidecar.bound.health_address, service)

    assert (main, beside) == (health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.SERVING)


async def test_the_health_listener_serves_nothing_else(sidecar: Sidecar) -> None:
    async with grpc.aio.insecure_channel(sidecar.bound.health_address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await router_pb2_grpc.RouterServiceStub(channel).Route(pb.RouteRequest(), timeout=60)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def reflected(sidecar: Sidecar) -> list[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(sidecar.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    answer = await call.read()
    return sorted(service.name for service in answer.list_services_response.service)


async def test_reflection_lists_the_services(sidecar: Sidecar) -> None:
    assert {"turnout.v1.RouterService", "turnout.v1.AdminService", "turnout.v1.SessionService"} < set(
        await reflected(sidecar)
    )


async def test_reflection_can_be_switched_off() -> None:
    async with running(settings=dataclasses.replace(LOCAL, reflection=False)) as sidecar:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflected(sidecar)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_unix_socket_serves_alone(tmp_path: Path) -> None:
    path = tmp_path / "turnout.sock"
    settings = dataclasses.replace(LOCAL, address="", socket=UnixSocket(path=str(path), mode=0o600))
    async with running(settings=settings) as sidecar:
        answer = await sidecar.stub.Route(pb.RouteRequest(), timeout=60)

        assert answer.decision.candidates
        assert path.stat().st_mode & 0o777 == 0o600

    assert not path.exists()


async def test_a_second_server_on_the_same_port_is_refused(sidecar: Sidecar) -> None:
    settings = dataclasses.replace(LOCAL, address=sidecar.bound.address)

    with pytest.raises(ListenError, match="another process listens there"):
        async with running(settings=settings):
            pass


async def test_a_second_server_on_the_same_socket_is_refused(tmp_path: Path) -> None:
    settings = dataclasses.replace(LOCAL, address="", socket=UnixSocket(path=str(tmp_path / "t.sock")))
    async with running(settings=settings) as first:
        with pytest.raises(ListenError, match="another process listens there"):
            async with running(settings=settings):
                pass
        answer = await first.stub.Route(pb.RouteRequest(), timeout=60)

        assert answer.decision.candidates


async def test_a_server_that_cannot_listen_leaves_nothing_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken_address = f"127.0.0.1:{taken.getsockname()[1]}"
        with socket.create_server(("127.0.0.1", 0)) as probe:
            free = f"127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(ListenError):
            async with running(settings=dataclasses.replace(LOCAL, address=free, health_address=taken_address)):
                pass
    async with running(settings=dataclasses.replace(LOCAL, address=free)) as sidecar:
        assert sidecar.bound.address == free


async def test_metadata_above_its_limit_is_refused(sidecar: Sidecar) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sidecar.stub.Route(pb.RouteRequest(), metadata=(("x-large", "x" * 9000),), timeout=60)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_message_above_its_limit_is_refused() -> None:
    async with running(settings=dataclasses.replace(LOCAL, max_message_mib=1)) as sidecar:
        large = pb.RouteRequest(profile=pb.RequestProfile(text_hint="x" * (1024 * 1024 + 10)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.stub.Route(large, timeout=60)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_methods_of_later_versions_say_so(sidecar: Sidecar) -> None:
    sessions = session_pb2_grpc.SessionServiceStub(sidecar.channel)
    calls: Sequence[Any] = (
        sidecar.admin.ReplayDecisions(admin_pb2.ReplayDecisionsRequest(), timeout=60),
        sessions.CreateSession(session_pb2.CreateSessionRequest(), timeout=60),
    )
    answers = []
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        answers.append((caught.value.code(), reason(caught.value)))

    assert answers == [(grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")] * 2


async def drained(stream: Any, messages: list[Any] | None = None) -> None:
    async for message in stream:
        if messages is not None:
            messages.append(message)


async def test_a_stop_lets_running_calls_end_and_refuses_new_ones() -> None:
    go = asyncio.Event()
    scripts = everywhere(*ANSWER[:2], go, *ANSWER[2:])
    async with running(scripts=scripts) as sidecar:
        stream = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60)
        await first_delta(stream)
        watch = sidecar.stub.WatchProviderStatus(pb.WatchProviderStatusRequest(), timeout=60)
        await next_state(watch)
        stopping = asyncio.create_task(sidecar.server.stop())
        await asyncio.sleep(0.05)
        health = await health_of(sidecar.bound.health_address)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.stub.Route(pb.RouteRequest(), timeout=60)
        with pytest.raises(grpc.aio.AioRpcError) as watched:
            await drained(watch)
        go.set()
        last = pb.ExecuteStreamResponse()
        async for message in stream:
            last = message
        await stopping

        assert health == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert reason(watched.value) == "DRAINING"
        assert last.WhichOneof("event") == "completion"


async def test_a_stop_cuts_off_what_outlasts_the_drain() -> None:
    scripts = everywhere(*ANSWER[:2], asyncio.Event())
    async with running(scripts=scripts, settings=dataclasses.replace(LOCAL, drain_seconds=0.1)) as sidecar:
        stream = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60)
        await first_delta(stream)
        await asyncio.wait_for(sidecar.server.stop(), timeout=60)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await drained(stream)

        assert sidecar.upstream.closed.is_set()
        assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_a_call_that_is_cut_is_told_so_and_not_to_be_made_again_by_itself() -> None:
    scripts = everywhere(*ANSWER[:2], asyncio.Event())
    async with running(scripts=scripts, settings=dataclasses.replace(LOCAL, drain_seconds=0.1)) as sidecar:
        call = asyncio.ensure_future(sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60))
        await sidecar.upstream.began.wait()
        await asyncio.wait_for(sidecar.server.stop(), timeout=60)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        trailers = dict(caught.value.trailing_metadata() or ())

        assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert trailers["grpc-retry-pushback-ms"] == "-1"
        assert trailers["turnout-decision-id"]
        assert "may have charged" in str(caught.value.details())
        assert not any(target.in_flight for target in sidecar.router.state.targets)


async def test_a_stream_that_is_cut_ends_with_what_was_tried_delivered_and_spent() -> None:
    scripts = everywhere(*ANSWER[:2], asyncio.Event())
    async with running(scripts=scripts, settings=dataclasses.replace(LOCAL, drain_seconds=0.1)) as sidecar:
        stream = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60)
        await first_delta(stream)
        await sidecar.server.stop()
        messages: list[pb.ExecuteStreamResponse] = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await drained(stream, messages)
        told = pb.CallFailure.FromString(details(caught.value)["CallFailure"])

        assert messages[-1].failure == told
        assert told.delivered_bytes == len("Hello")
        assert [(a.target.provider, a.failure) for a in told.attempts] == [("alpha", pb.FAILURE_KIND_CANCELLED)]
        assert told.usage.output_tokens > 0
        assert told.cost_usd > 0


async def test_a_call_that_waits_while_the_others_are_cut_is_refused_and_never_sent() -> None:
    settings = dataclasses.replace(LOCAL, drain_seconds=0.0, max_concurrent_calls=1)
    async with running(scripts=everywhere(asyncio.Event()), settings=settings) as sidecar:
        calls = sidecar.server.calls
        runs = asyncio.ensure_future(sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO)))
        await sidecar.upstream.began.wait()
        # A tenth of a second, which is what a call waits, cannot be hit on every machine.
        calls.follow(AdmissionLimits(max_running=1, max_waiting=1, wait_seconds=60))
        waits = asyncio.ensure_future(sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO)))
        async with asyncio.timeout(60):
            while not calls._waiting[False]:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.001)
        await sidecar.server.stop()
        ends = []
        for call in (runs, waits):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            ends.append((reason(caught.value), dict(caught.value.trailing_metadata() or ()).get(PUSHBACK_KEY)))

        assert len(sidecar.upstream.calls) == 1
        assert ends == [("DRAINING", "-1"), ("DRAINING", None)]


async def test_a_caller_who_goes_away_while_calls_can_be_cut_is_only_gone() -> None:
    scripts = everywhere(*ANSWER[:2], asyncio.Event())
    async with running(scripts=scripts) as sidecar:
        call = asyncio.ensure_future(sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60))
        await sidecar.upstream.began.wait()
        call.cancel()
        await asyncio.wait_for(sidecar.upstream.closed.wait(), timeout=60)
        await asyncio.wait_for(sidecar.server.calls.idle(), timeout=60)

        assert sidecar.server._cutting._running == set()


async def test_metrics_are_served_on_a_port_of_their_own(sidecar: Sidecar) -> None:
    await sidecar.stub.Route(pb.RouteRequest(), timeout=60)
    endpoint = MetricsEndpoint(sidecar.metrics.page)
    address = await endpoint.start("127.0.0.1:0")
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as answer:
        text = await answer.text()
    await endpoint.stop()

    assert 'turnout_decisions_total{chosen="' in text
    assert 'turnout_target_breaker{state="CLOSED",target="alpha/large"} 1.0' in text


async def test_a_scraper_that_does_not_read_holds_up_no_stop() -> None:
    rendered = asyncio.Event()

    async def render(_: str) -> tuple[bytes, str]:
        rendered.set()
        return bytes(64 * 1024 * 1024), "text/plain"

    endpoint = MetricsEndpoint(render)
    host, _, port = (await endpoint.start("127.0.0.1:0")).rpartition(":")
    with socket.create_connection((host, int(port))) as scraper:
        scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: sidecar\r\n\r\n")
        # Less than the minute that is aiohttp's own way; a second is ours.
        async with asyncio.timeout(45):
            await rendered.wait()
            await endpoint.stop()


async def test_scrapers_that_do_not_read_have_no_copy_of_the_page_and_are_cut_off() -> None:
    page = bytes(32 * 1024 * 1024)
    count, all_ask = 8, asyncio.Event()
    asked: list[str] = []

    async def render(accept: str) -> tuple[bytes, str]:
        asked.append(accept)
        if len(asked) == count:
            all_ask.set()
        await all_ask.wait()
        return page, "text/plain"

    endpoint = MetricsEndpoint(render, answer_seconds=0.5)
    host, _, port = (await endpoint.start("127.0.0.1:0")).rpartition(":")
    tracemalloc.start()
    scrapers = [socket.create_connection((host, int(port))) for _ in range(count)]
    try:
        for scraper in scrapers:
            scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: sidecar\r\n\r\n")
        async with asyncio.timeout(60):
            await all_ask.wait()
            assert endpoint._runner is not None
            assert endpoint._runner.server is not None
            while endpoint._runner.server.connections:  # noqa: ASYNC110 - the library tells nobody
                await asyncio.sleep(0.05)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        for scraper in scrapers:
            scraper.close()
        await endpoint.stop()

    assert held < len(page)


async def test_head_of_the_metrics_has_their_length_alone(sidecar: Sidecar) -> None:
    endpoint = MetricsEndpoint(sidecar.metrics.page)
    address = await endpoint.start("127.0.0.1:0")
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.head(f"http://{address}/metrics") as answer:
                assert int(answer.headers["Content-Length"]) > 1000
                assert await answer.read() == b""
        async with session.get(f"http://{address}/metrics") as answer:
            assert len(await answer.read()) == int(answer.headers["Content-Length"])
    await endpoint.stop()


async def test_a_taken_metrics_port_is_told(sidecar: Sidecar) -> None:
    with pytest.raises(ListenError, match="another process listens there"):
        await MetricsEndpoint(sidecar.metrics.page).start(sidecar.bound.address)
