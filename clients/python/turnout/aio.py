"""The client for asyncio code: the same methods as the blocking one, over the same rules."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

import grpc
import grpc.aio
from google.protobuf.message import Message

from turnout import rpcs
from turnout.answer import Answer, answer_from_response
from turnout.connection import Tls, connect
from turnout.errors import TurnoutError
from turnout.plan import Plan
from turnout.reporter import TaskReporter
from turnout.requests import (
    ExecuteSettings,
    Input,
    RouteSettings,
    execute_request,
    route_request,
    status_request,
    watch_request,
)
from turnout.retrying import Tries
from turnout.status import error_from_rpc
from turnout.streams import AsyncStream, AsyncStreamCall
from turnout.tokens import TokenUse
from turnout.tracing import installed_inject, trace_metadata
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

if TYPE_CHECKING:
    from turnout.admin import AsyncAdmin
    from turnout.v1 import admin_pb2

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class AsyncClient:
    """A connection to one sidecar, for one event loop; the arguments are those of `Client`.

    It may be made outside of the loop: connecting happens with the first call.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str = "",
        token_file: str = "",
        tls: Tls | None = None,
        max_retry_count: int = rpcs.MAX_RETRY_COUNT,
    ) -> None:
        self._connection = connect(address, os.environ, token=token, token_file=token_file, tls=tls)
        self.address = self._connection.address
        self._channel: grpc.aio.Channel | None = None
        self._made_stub: router_pb2_grpc.RouterServiceAsyncStub | None = None
        self._token = self._connection.token_source()
        self._max_retry_count = max_retry_count
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._inject = installed_inject()
        self._reporter = TaskReporter(self.report)

    async def ask(self, prompt: str, **settings: Unpack[ExecuteSettings]) -> Answer:
        """Returns the answer to one prompt: `(await client.ask("…")).text`."""
        return await self.execute(prompt, **settings)

    async def execute(self, chat: Input, **settings: Unpack[ExecuteSettings]) -> Answer:
        """Has the sidecar choose, call, retry and fail over, and returns one complete answer."""
        request = execute_request(pb.ExecuteRequest, chat, settings)
        response = await self._call(self._stub.Execute, request, rpcs.EXECUTE, settings.get("timeout_seconds"))
        return answer_from_response(response)

    def stream(self, chat: Input, **settings: Unpack[ExecuteSettings]) -> AsyncStream:
        """Does the same as `execute` and passes the answer on while it comes."""
        request = execute_request(pb.ExecuteStreamRequest, chat, settings)
        token, trace = self._token.use(), trace_metadata(self._inject)
        tries = self._tries(rpcs.EXECUTE_STREAM, settings.get("timeout_seconds"), token)

        def call() -> AsyncStreamCall:
            timeout = tries.remaining_seconds(time.monotonic())
            return self._stub.ExecuteStream(request, timeout=timeout, metadata=(*token.metadata(), *trace))

        return AsyncStream(call, tries)

    async def route(self, **settings: Unpack[RouteSettings]) -> pb.RouteResponse:
        """Returns the decision for a request that the application sends itself; nothing goes to a provider."""
        return await self._call(self._stub.Route, route_request(settings), rpcs.ROUTE, settings.get("timeout_seconds"))

    async def plan(self, **settings: Unpack[RouteSettings]) -> Plan:
        """Returns the decision as targets to call oneself, whose outcomes are reported in the background."""
        decision = (await self.route(**settings)).decision
        options = settings.get("options")
        restart = options is not None and options.mid_stream == pb.MID_STREAM_POLICY_RESTART
        return Plan(decision, self._reporter.add, restart=restart)

    async def report(
        self,
        outcomes: Sequence[pb.Outcome] = (),
        feedback: Sequence[pb.Feedback] = (),
        *,
        timeout_seconds: float | None = None,
    ) -> pb.ReportOutcomeResponse:
        """Reports outcomes and feedback now; each has its own result in the answer."""
        request = pb.ReportOutcomeRequest(outcomes=outcomes, feedback=feedback)
        return await self._call(self._stub.ReportOutcome, request, rpcs.REPORT_OUTCOME, timeout_seconds)

    async def status(
        self,
        *providers: str,
        window_seconds: float | None = None,
        timeout_seconds: float | None = None,
    ) -> pb.ProviderStatusResponse:
        """Returns the state of these providers, of all without a name. The window is 60, 300, 900 or 3,600 seconds."""
        request = status_request(providers, window_seconds)
        return await self._call(self._stub.ProviderStatus, request, rpcs.PROVIDER_STATUS, timeout_seconds)

    async def watch_status(
        self, *providers: str, resume_revision: int | None = None, timeout_seconds: float | None = None
    ) -> AsyncIterator[pb.WatchProviderStatusResponse]:
        """Yields the state of providers: first all of it, then what changed, until the caller stops.

        `resume_revision` is the last one that was seen.
        """
        request = watch_request(providers, resume_revision)
        async with aclosing(self._watch(self._stub.WatchProviderStatus, request, timeout_seconds)) as changes:
            async for change in changes:
                yield change

    async def events(
        self, *names: str, after_sequence: int | None = None, timeout_seconds: float | None = None
    ) -> AsyncGenerator[admin_pb2.Event]:
        """Yields what operators want to hear of, such as `breaker.opened`, as it happens, until the caller stops.

        Only events of these names; without a name all. `after_sequence` is that of the last one seen: what came after
        it comes first; 0 is for all that the sidecar still holds. ResumeTooOldError where some of that is gone.
        """
        # Needed by few: a client that only makes calls does not load it.
        from turnout.v1 import admin_pb2, admin_pb2_grpc  # noqa: PLC0415

        request = admin_pb2.WatchEventsRequest(names=names, after_sequence=after_sequence)
        stub: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(self._opened_channel())
        async with aclosing(self._watch(stub.WatchEvents, request, timeout_seconds)) as responses:
            async for response in responses:
                yield response.event

    @property
    def admin(self) -> AsyncAdmin:
        """What operators read and change besides: routing rules, budgets, providers, spending, state."""
        # Needed by few: a client that only makes calls does not load it.
        from turnout.admin import AsyncAdmin  # noqa: PLC0415
        from turnout.v1 import admin_pb2_grpc  # noqa: PLC0415

        stub: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(self._opened_channel())
        return AsyncAdmin(lambda name, request, rpc, seconds: self._call(getattr(stub, name), request, rpc, seconds))

    async def drain(self, name: str, *, timeout_seconds: float | None = None) -> admin_pb2.RegisteredProvider:
        """Has a provider, model or target get no new calls until the sidecar starts anew; calls that run go on.

        `name` is "provider", "provider/model" or "provider/model@endpoint". Returns its provider as it is now.
        NotFoundError for a name of nothing, ValueError for none.
        """
        return await self._change_drain(name, timeout_seconds, drained=True)

    async def undrain(self, name: str, *, timeout_seconds: float | None = None) -> admin_pb2.RegisteredProvider:
        """Has what was drained get calls again; a target of a provider that is drained whole stays drained with it."""
        return await self._change_drain(name, timeout_seconds, drained=False)

    async def _change_drain(
        self, name: str, timeout_seconds: float | None, *, drained: bool
    ) -> admin_pb2.RegisteredProvider:
        # Needed by few: a client that only makes calls does not load it.
        from turnout import administration  # noqa: PLC0415
        from turnout.v1 import admin_pb2_grpc  # noqa: PLC0415

        stub: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(self._opened_channel())

        async def update(request: admin_pb2.UpdateProviderRequest) -> admin_pb2.RegisteredProvider:
            return (await self._call(stub.UpdateProvider, request, rpcs.UPDATE_PROVIDER, timeout_seconds)).provider

        if administration.is_whole(name):
            return await update(administration.whole_request(name, drained=drained))
        tries = administration.CHANGE_TRIES
        while True:
            read = await update(administration.read_request(name))
            request = administration.targets_request(read, name, drained=drained)
            if request is None:
                status = await self.status(read.provider, timeout_seconds=timeout_seconds)
                administration.check_known(name, status.providers)
                return read
            try:
                return await update(request)
            except TurnoutError as error:
                tries -= 1
                if not tries or not administration.is_stale(error):
                    raise

    async def reset_health(
        self, name: str | None = None, *, timeout_seconds: float | None = None
    ) -> Sequence[pb.Target]:
        """Forgets what is held against targets: closes breakers, ends pauses and outages of keys, empties windows.

        `name` is as in `drain`; without one all targets. Returns those that were reset.
        """
        from turnout import administration  # noqa: PLC0415 - needed by few
        from turnout.v1 import admin_pb2_grpc  # noqa: PLC0415 - likewise

        stub: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(self._opened_channel())
        request = administration.reset_request(name)
        return tuple((await self._call(stub.ResetHealth, request, rpcs.RESET_HEALTH, timeout_seconds)).targets)

    async def check_health(
        self, name: str | None = None, *, timeout_seconds: float | None = None
    ) -> Sequence[admin_pb2.CheckResult]:
        """Makes active checks now and returns how each ended; a check that finds a fault is no error.

        `name` is as in `drain`: a model or target is called for one token, which its provider charges for; a provider,
        or without a name each of them, is asked for its list of models at every endpoint, which costs nothing.
        """
        from turnout import administration  # noqa: PLC0415 - needed by few
        from turnout.v1 import admin_pb2_grpc  # noqa: PLC0415 - likewise

        stub: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(self._opened_channel())
        request = administration.check_request(name)
        return tuple((await self._call(stub.CheckHealth, request, rpcs.CHECK_HEALTH, timeout_seconds)).results)

    async def _watch(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        timeout_seconds: float | None,
    ) -> AsyncGenerator[Response]:
        token, trace = self._token.use(), trace_metadata(self._inject)
        tries = self._tries(rpcs.WATCH, timeout_seconds, token)
        while True:
            call = method(
                request, timeout=tries.remaining_seconds(time.monotonic()), metadata=(*token.metadata(), *trace)
            )
            try:
                async for change in call:
                    yield change
            except grpc.RpcError as rpc_error:
                error = error_from_rpc(rpc_error)
                # Only a token that was replaced is a reason to begin again.
                if tries.wait_after(error, time.monotonic()) is None:
                    raise error from rpc_error
            else:
                return
            finally:
                call.cancel()

    @property
    def unreported_count(self) -> int:
        """How many outcomes of plans could not be reported so far."""
        return self._reporter.dropped_count

    async def flush(self, timeout_seconds: float = rpcs.REPORT_OUTCOME.timeout_seconds) -> bool:
        """Waits until the outcomes of plans are reported; returns whether that came in time."""
        return await self._reporter.flush(timeout_seconds)

    async def close(self) -> None:
        """Reports what is left, within 2 s, and closes the connection. Running calls end."""
        await self._reporter.close(rpcs.REPORT_CLOSE_SECONDS)
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _stub(self) -> router_pb2_grpc.RouterServiceAsyncStub:
        if self._made_stub is None:
            self._made_stub = router_pb2_grpc.RouterServiceStub(self._opened_channel())
        return self._made_stub

    def _opened_channel(self) -> grpc.aio.Channel:
        # A channel of grpc.aio belongs to the loop it is made in, so it is made with the first call.
        if self._channel is None:
            address, options, credentials = self.address, self._connection.options, self._connection.credentials
            if credentials is None:
                self._channel = grpc.aio.insecure_channel(address, options)
            else:
                self._channel = grpc.aio.secure_channel(address, credentials, options)
        return self._channel

    def _tries(self, rpc: rpcs.Rpc, timeout_seconds: float | None, token: TokenUse) -> Tries:
        return rpc.tries(
            time.monotonic(),
            timeout_seconds=timeout_seconds,
            max_retry_count=self._max_retry_count,
            rng=self._rng,
            renewed=token.renewed,
        )

    async def _call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        rpc: rpcs.Rpc,
        timeout_seconds: float | None,
    ) -> Response:
        token, trace = self._token.use(), trace_metadata(self._inject)
        tries = self._tries(rpc, timeout_seconds, token)
        while True:
            metadata = (*token.metadata(), *trace)
            try:
                return await method(request, timeout=tries.remaining_seconds(time.monotonic()), metadata=metadata)
            except grpc.RpcError as rpc_error:
                error = error_from_rpc(rpc_error)
                wait = tries.wait_after(error, time.monotonic())
                if wait is None:
                    raise error from rpc_error
            await asyncio.sleep(wait)
