"""What a client does for operators: drains, resets, checks, events, over a stub that few need."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from turnout import administration, rpcs
from turnout.admin import Admin, AsyncAdmin
from turnout.calling import AsyncCalls, Calls
from turnout.errors import TurnoutError
from turnout.requests import status_request
from turnout.v1 import admin_pb2, admin_pb2_grpc, router_pb2_grpc
from turnout.v1 import router_pb2 as pb

if TYPE_CHECKING:
    AsyncStub = admin_pb2_grpc.AdminServiceAsyncStub


class Operating:
    """AdminService for a blocking client."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._stub = admin_pb2_grpc.AdminServiceStub(calls.channel)

    def admin(self) -> Admin:
        """Returns the methods that are one call each."""
        return Admin(
            lambda name, request, rpc, seconds: self._calls.unary(getattr(self._stub, name), request, rpc, seconds)
        )

    def events(
        self, names: Sequence[str], after_sequence: int | None, timeout_seconds: float | None
    ) -> Iterator[admin_pb2.Event]:
        """Yields events until the caller stops."""
        request = admin_pb2.WatchEventsRequest(names=names, after_sequence=after_sequence)
        for response in self._calls.watch(self._stub.WatchEvents, request, timeout_seconds):
            yield response.event

    def change_drain(self, name: str, timeout_seconds: float | None, *, drained: bool) -> admin_pb2.RegisteredProvider:
        """Drains what a name stands for, or takes that back, and returns its provider as it is then."""

        def update(request: admin_pb2.UpdateProviderRequest) -> admin_pb2.RegisteredProvider:
            return self._calls.unary(self._stub.UpdateProvider, request, rpcs.UPDATE_PROVIDER, timeout_seconds).provider

        if administration.is_whole(name):
            return update(administration.whole_request(name, drained=drained))
        tries = administration.CHANGE_TRIES
        while True:
            read = update(administration.read_request(name))
            request = administration.targets_request(read, name, drained=drained)
            if request is None:
                administration.check_known(name, self._states(read.provider, timeout_seconds))
                return read
            try:
                return update(request)
            except TurnoutError as error:
                tries -= 1
                if not tries or not administration.is_stale(error):
                    raise

    def reset_health(self, name: str | None, timeout_seconds: float | None) -> Sequence[pb.Target]:
        """Resets what a name stands for, and returns the targets."""
        request = administration.reset_request(name)
        return tuple(self._calls.unary(self._stub.ResetHealth, request, rpcs.RESET_HEALTH, timeout_seconds).targets)

    def check_health(self, name: str | None, timeout_seconds: float | None) -> Sequence[admin_pb2.CheckResult]:
        """Checks what a name stands for, and returns what was found."""
        request = administration.check_request(name)
        return tuple(self._calls.unary(self._stub.CheckHealth, request, rpcs.CHECK_HEALTH, timeout_seconds).results)

    def _states(self, provider: str, timeout_seconds: float | None) -> Sequence[pb.ProviderState]:
        stub = router_pb2_grpc.RouterServiceStub(self._calls.channel)
        request = status_request((provider,), None)
        return self._calls.unary(stub.ProviderStatus, request, rpcs.PROVIDER_STATUS, timeout_seconds).providers


class AsyncOperating:
    """AdminService for an asyncio client."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls
        self._stub: AsyncStub = admin_pb2_grpc.AdminServiceStub(calls.channel)

    def admin(self) -> AsyncAdmin:
        """Returns the methods that are one call each."""
        return AsyncAdmin(
            lambda name, request, rpc, seconds: self._calls.unary(getattr(self._stub, name), request, rpc, seconds)
        )

    async def events(
        self, names: Sequence[str], after_sequence: int | None, timeout_seconds: float | None
    ) -> AsyncGenerator[admin_pb2.Event]:
        """Yields events until the caller stops."""
        request = admin_pb2.WatchEventsRequest(names=names, after_sequence=after_sequence)
        async with aclosing(self._calls.watch(self._stub.WatchEvents, request, timeout_seconds)) as responses:
            async for response in responses:
                yield response.event

    async def change_drain(
        self, name: str, timeout_seconds: float | None, *, drained: bool
    ) -> admin_pb2.RegisteredProvider:
        """Drains what a name stands for, or takes that back, and returns its provider as it is then."""

        async def update(request: admin_pb2.UpdateProviderRequest) -> admin_pb2.RegisteredProvider:
            update_provider = self._stub.UpdateProvider
            return (await self._calls.unary(update_provider, request, rpcs.UPDATE_PROVIDER, timeout_seconds)).provider

        if administration.is_whole(name):
            return await update(administration.whole_request(name, drained=drained))
        tries = administration.CHANGE_TRIES
        while True:
            read = await update(administration.read_request(name))
            request = administration.targets_request(read, name, drained=drained)
            if request is None:
                administration.check_known(name, await self._states(read.provider, timeout_seconds))
                return read
            try:
                return await update(request)
            except TurnoutError as error:
                tries -= 1
                if not tries or not administration.is_stale(error):
                    raise

    async def reset_health(self, name: str | None, timeout_seconds: float | None) -> Sequence[pb.Target]:
        """Resets what a name stands for, and returns the targets."""
        request = administration.reset_request(name)
        return tuple(
            (await self._calls.unary(self._stub.ResetHealth, request, rpcs.RESET_HEALTH, timeout_seconds)).targets
        )

    async def check_health(self, name: str | None, timeout_seconds: float | None) -> Sequence[admin_pb2.CheckResult]:
        """Checks what a name stands for, and returns what was found."""
        request = administration.check_request(name)
        return tuple(
            (await self._calls.unary(self._stub.CheckHealth, request, rpcs.CHECK_HEALTH, timeout_seconds)).results
        )

    async def _states(self, provider: str, timeout_seconds: float | None) -> Sequence[pb.ProviderState]:
        stub: router_pb2_grpc.RouterServiceAsyncStub = router_pb2_grpc.RouterServiceStub(self._calls.channel)
        request = status_request((provider,), None)
        response = await self._calls.unary(stub.ProviderStatus, request, rpcs.PROVIDER_STATUS, timeout_seconds)
        return response.providers
