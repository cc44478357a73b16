"""RouterService: each method translates, calls, translates."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from turnout.v1 import router_pb2 as pb
from turnout.v1.router_pb2_grpc import RouterServiceServicer
from turnout_server.api.answers import Answers, route_response
from turnout_server.api.budgets import with_notices
from turnout_server.api.call_answers import call_failure, execute_response, stream_responses
from turnout_server.api.chat_requests import chat_input
from turnout_server.api.faults import Faults
from turnout_server.api.metadata import adopt_trace, tell_decision
from turnout_server.api.outcome_results import report
from turnout_server.api.provider_states import provider_status, resume_revision, status_query
from turnout_server.api.requests import priority, route_query
from turnout_server.core.decision import Decision
from turnout_server.core.errors import CallError

if TYPE_CHECKING:
    from turnout_server.api.admission import Admission
    from turnout_server.api.cutting import Cutting
    from turnout_server.api.failing import Failing
    from turnout_server.api.instants import Instants
    from turnout_server.api.watching import Watching
    from turnout_server.core.chat import ChatInput
    from turnout_server.core.model import RouteQuery
    from turnout_server.execution.executor import Executor
    from turnout_server.router import Router


class CallerGoneError(Exception):
    """The caller went away while it was written to."""


class RouterService(RouterServiceServicer):
    """Answers the six methods. `calls` bounds those that call providers; the others do not wait and stay fast."""

    def __init__(
        self,
        router: Router,
        executor: Executor,
        *,
        calls: Admission,
        cutting: Cutting,
        watching: Watching,
        failing: Failing,
        instants: Instants,
    ) -> None:
        self._router = router
        self._executor = executor
        self._calls = calls
        self._cutting = cutting
        self._watching = watching
        self._failing = failing
        self._instants = instants
        self._answers = Answers()

    async def Route(self, request: pb.RouteRequest, context: Any) -> pb.RouteResponse:  # noqa: N802  # gRPC's name
        """Decides."""
        try:
            self._calls.draining.check()
            adopt_trace(context.invocation_metadata())
            faults = Faults()
            query = route_query(request, faults=faults)
            faults.raise_any()
            decision = self._router.route(query)
            tell_decision(context, decision.decision_id)
            response = route_response(decision, self._answers, query.options.detail)
            return with_notices(response, self._router.notices(decision, query))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def Execute(self, request: pb.ExecuteRequest, context: Any) -> pb.ExecuteResponse:  # noqa: N802  # gRPC's name
        """Decides, calls, and answers once."""
        try:
            async with self._call(request, context) as (query, chat):
                # Told at once, so that even a fault of ours carries it.
                result = await self._executor.execute(
                    query, chat, on_decision=lambda decision: tell_decision(context, decision.decision_id)
                )
                return execute_response(result, self._answers, query.options.detail)
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def ExecuteStream(  # type: ignore[override]  # noqa: N802  # it writes; the name is gRPC's
        self, request: pb.ExecuteStreamRequest, context: Any
    ) -> None:
        """Decides, calls, and answers as it comes.

        It writes instead of yielding: then a caller that goes away ends the call here and now, and not whenever a
        forgotten generator is collected.
        """
        try:
            async with (
                self._call(request, context) as (query, chat),
                aclosing(self._executor.execute_stream(query, chat)) as events,
            ):
                async for event in events:
                    if isinstance(event, Decision):
                        tell_decision(context, event.decision_id)
                    for message in stream_responses(event, self._answers, query.options.detail):
                        await _write(context, message)
        except CallerGoneError:
            # There is nobody left to tell.
            return
        except Exception as error:  # noqa: BLE001  # the outermost edge
            if isinstance(error, CallError):
                failure = call_failure(error.report, self._instants.offset())
                with contextlib.suppress(CallerGoneError):
                    await _write(context, pb.ExecuteStreamResponse(failure=failure))
            await self._failing.fail(context, error)

    async def ReportOutcome(  # noqa: N802  # gRPC's name
        self, request: pb.ReportOutcomeRequest, context: Any
    ) -> pb.ReportOutcomeResponse:
        """Records what callers did themselves."""
        try:
            self._calls.draining.check()
            adopt_trace(context.invocation_metadata())
            return report(self._router, request, self._instants.wall())
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def ProviderStatus(  # noqa: N802  # gRPC's name
        self, request: pb.ProviderStatusRequest, context: Any
    ) -> pb.ProviderStatusResponse:
        """Tells the state of providers."""
        try:
            providers, window_seconds = status_query(request)
            return provider_status(self._router.status(providers, window_seconds))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def WatchProviderStatus(  # type: ignore[override]  # noqa: N802  # it writes; the name is gRPC's
        self, request: pb.WatchProviderStatusRequest, context: Any
    ) -> None:
        """Tells the state of providers, and what changes of it."""
        try:
            providers, window_seconds = status_query(request)
            resume = resume_revision(request)
            async with aclosing(self._watching.watch(providers, window_seconds, resume)) as changes:
                async for message in changes:
                    await _write(context, message)
        except CallerGoneError:
            return
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    @contextlib.asynccontextmanager
    async def _call(
        self, request: pb.ExecuteRequest | pb.ExecuteStreamRequest, context: Any
    ) -> AsyncIterator[tuple[RouteQuery, ChatInput]]:
        """Waits for room, then reads the request: reading costs as much as the request is long."""
        adopt_trace(context.invocation_metadata())
        # A priority that is not known is a fault, told when all of the request is read.
        urgency = priority(request.options, Faults())
        size_bytes = request.ByteSize()
        await self._calls.enter(urgency, size_bytes)
        try:
            faults = Faults()
            query = route_query(request, faults=faults, executing=True, deadline_seconds=context.time_remaining())
            chat = chat_input(request.input, faults)
            faults.raise_any()
            with self._cutting.call():
                yield query, chat
        finally:
            self._calls.leave(urgency, size_bytes)


async def _write(context: Any, message: pb.ExecuteStreamResponse | pb.WatchProviderStatusResponse) -> None:
    try:
        await context.write(message)
    except Exception as error:
        # A write has no other way to fail, and gRPC's own type for it is private.
        raise CallerGoneError from error
