"""The bound on RPCs that are in at all, counted from the moment gRPC takes them, before anything of them is read.

gRPC's own bound (`maximum_concurrent_rpcs`) refuses with a bare RESOURCE_EXHAUSTED, which tells a caller neither who is
overloaded nor when to try again, and counts calls of seconds and of microseconds together. Here each kind has its own
bound, so that calls to providers never take the places of Route and ProviderStatus, and whoever is refused gets
SIDECAR_OVERLOADED with RetryInfo. gRPC's own stays behind it, for a flood that even refusing does not keep up with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc

from turnout_server.api.access import Access, Ask
from turnout_server.api.failing import Failing
from turnout_server.core.errors import SidecarOverloadedError

RETRY_AFTER_SECONDS = 0.1

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Entrance:
    """One bound: at most `most` RPCs of its methods at a time. `name` stands in the error: "calls"."""

    __slots__ = ("_inside", "_most", "_name", "_refusal", "shed_count")

    def __init__(self, name: str, most: int, failing: Failing) -> None:
        self._name = name
        self._most = most
        self._inside = 0
        self.shed_count = 0

        async def refuse(_requests: AsyncIterator[bytes], context: Any) -> None:
            await failing.fail(context, self._overloaded())

        # As if it took a stream: so nothing of the request is waited for, which may be long.
        self._refusal: Handler = grpc.stream_stream_rpc_method_handler(refuse)

    def follow(self, most: int) -> None:
        """Takes another bound: those that are in stay."""
        self._most = most

    @property
    def inside(self) -> int:
        """RPCs that are in."""
        return self._inside

    def take(self, handler: Handler) -> Handler:
        """Returns the handler, or the one that refuses; to be called in the RPC's own task, whose end lets it out."""
        if self._inside >= self._most:
            self.shed_count += 1
            return self._refusal
        task = asyncio.current_task()
        if task is not None:
            self._inside += 1
            task.add_done_callback(self._left)
        return handler

    def _left(self, _task: asyncio.Task[Any]) -> None:
        self._inside -= 1

    def _overloaded(self) -> SidecarOverloadedError:
        return SidecarOverloadedError(
            f"the sidecar has no room for more {self._name}: {self._most} are in; nothing was sent",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )


class Guard(grpc.aio.ServerInterceptor):
    """Has each method behind its entrance, where `access` has let the caller through."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._doors: dict[str, tuple[Ask | None, Entrance, Handler]] = {}

    def add(self, service_name: str, handlers: Mapping[str, Handler], entrance: Callable[[str], Entrance]) -> None:
        """Guards the methods of one service."""
        for name, handler in handlers.items():
            self._doors[f"/{service_name}/{name}"] = (self._access.ask(service_name, name), entrance(name), handler)

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Handler | None]], handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Returns the handler of an RPC that comes in; services that are not guarded have their own."""
        door = self._doors.get(handler_call_details.method)
        if door is None:
            return await continuation(handler_call_details)
        ask, entrance, handler = door
        refusal = None if ask is None else ask(handler_call_details.invocation_metadata)
        return entrance.take(handler) if refusal is None else refusal
