"""Health for those who watch it: whoever stays, or does not read, never stands in the way of a probe or of a stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # has no types

from tests.api.sidecar import LOCAL, Sidecar, running
from turnout_server.api.health import MAX_WATCHERS, SERVICES

PATIENCE_SECONDS = 60
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@contextlib.asynccontextmanager
async def beside(sidecar: Sidecar) -> AsyncIterator[health_pb2_grpc.HealthStub]:
    async with grpc.aio.insecure_channel(sidecar.bound.health_address) as channel:
        yield health_pb2_grpc.HealthStub(channel)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: str, value: str) -> bytes:
    return b"\x00" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


def watching_without_reading(authority: str) -> bytes:
    """A call of Health/Watch that lets its answers have no byte: HTTP/2 with an initial window of 0 (RFC 9113, 6.9)."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Watch",
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    settings, head, data = 4, 1, 0
    return b"".join(
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _frame(settings, 0, 0, b"\x00\x04" + bytes(4)),
            _frame(head, 4, 1, b"".join(_literal(*header) for header in headers.items())),
            _frame(data, 1, 1, bytes(5)),
        )
    )


async def test_a_watcher_that_does_not_read_never_keeps_the_sidecar_from_stopping() -> None:
    async with running(settings=LOCAL) as sidecar:
        host, _, port = sidecar.bound.health_address.rpartition(":")
        _reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(watching_without_reading(sidecar.bound.health_address))
        await writer.drain()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not sidecar.server._health._watcher_count:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.001)
            await sidecar.server.stop()
        writer.close()


async def test_those_who_watch_leave_room_for_those_who_ask() -> None:
    async with running(settings=LOCAL) as sidecar, beside(sidecar) as health:
        watchers = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(MAX_WATCHERS)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert {(await watcher.read()).status for watcher in watchers} == {SERVING}
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health.Watch(health_pb2.HealthCheckRequest()).read()
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
            watchers.pop().cancel()
            while sidecar.server._health._watcher_count == MAX_WATCHERS:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.001)
            assert (await health.Watch(health_pb2.HealthCheckRequest()).read()).status == SERVING
        for watcher in watchers:
            watcher.cancel()

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "use Check" in str(caught.value.details())


async def test_all_services_are_listed() -> None:
    async with running(settings=LOCAL) as sidecar, beside(sidecar) as health:
        listed = await health.List(health_pb2.HealthListRequest())

    assert {name: answer.status for name, answer in listed.statuses.items()} == dict.fromkeys(SERVICES, SERVING)


async def test_a_service_that_there_is_not_is_told_as_the_protocol_says() -> None:
    asked = health_pb2.HealthCheckRequest(service="turnout.v1.NoService")
    async with running(settings=LOCAL) as sidecar, beside(sidecar) as health:
        async with asyncio.timeout(PATIENCE_SECONDS):
            watcher = health.Watch(asked)
            assert (await watcher.read()).status == UNKNOWN
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health.Check(asked)
        watcher.cancel()

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_whoever_watches_is_told_of_the_stop_and_of_nothing_twice() -> None:
    async with running(settings=LOCAL) as sidecar, beside(sidecar) as health:
        watcher = health.Watch(health_pb2.HealthCheckRequest())
        told = [(await watcher.read()).status]
        sidecar.server._health.serving()
        stopping = asyncio.ensure_future(sidecar.server.stop())
        async with asyncio.timeout(PATIENCE_SECONDS):
            told.append((await watcher.read()).status)
            sidecar.server._health.serving()
            watcher.cancel()
            await stopping

    assert told == [SERVING, NOT_SERVING]
