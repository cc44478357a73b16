"""`grpc.health.v1`, on the main listener and on one of its own that a kubelet can reach.

The ready-made service of grpcio-health-checking writes to watchers under a lock that a change of the state waits for:
one that does not read would keep the sidecar from stopping. It has no bound on watchers either.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # has no types

from turnout.v1 import admin_pb2, router_pb2

SERVICES = (
    "",
    router_pb2.DESCRIPTOR.services_by_name["RouterService"].full_name,
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
)
MAX_WATCHERS = 256
"""A quarter of what the health listener takes at a time: those who stay never take the room of those who only ask, such
as the kubelet, who would end the container for it."""


class Health:
    """Says SERVING from `serving` on, and NOT_SERVING before and, for good, from `stopping` on."""

    __slots__ = ("_changed", "_status", "_stopping", "_watcher_count")

    def __init__(self) -> None:
        self._status = health_pb2.HealthCheckResponse.NOT_SERVING
        self._changed = asyncio.Event()
        self._stopping = False
        self._watcher_count = 0

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serves on this server too; all say the same."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    def serving(self) -> None:
        """Says SERVING for every service."""
        if not self._stopping:
            self._say(health_pb2.HealthCheckResponse.SERVING)

    def stopping(self) -> None:
        """Says NOT_SERVING for every service, for good."""
        self._stopping = True
        self._say(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        """Answers with the status of one service; NOT_FOUND for one that there is not."""
        if request.service not in SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return _answer(self._status)

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        """Answers with the status of every service."""
        del request, context
        return health_pb2.HealthListResponse(statuses={service: _answer(self._status) for service in SERVICES})

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - the contract's name
        """Sends the status of one service, and again when it changes, until the caller goes.

        RESOURCE_EXHAUSTED where too many watch.
        """
        if self._watcher_count >= MAX_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_WATCHERS} callers watch already; use Check")
        self._watcher_count += 1
        try:
            if request.service not in SERVICES:
                await context.write(_answer(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN))
                await asyncio.Event().wait()
            told = None
            while True:
                changed = self._changed
                if told != self._status:
                    told = self._status
                    await context.write(_answer(told))
                await changed.wait()
        finally:
            self._watcher_count -= 1

    def _say(self, status: int) -> None:
        self._status = status
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _answer(status: int) -> Any:
    return health_pb2.HealthCheckResponse(status=status)
