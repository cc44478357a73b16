"""RouterService: each method translates, calls, translates."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from turnout.v1 import router_pb2 as pb
from turnout.v1.router_pb2_grpc import RouterServiceServicer
from turnout_server.api.access_lines import AccessLine, RouteLine
from turnout_server.api.answers import Answers, route_response
from turnout_server.api.budgets import with_notices
from turnout_server.api.call_answers import call_failure, execute_response, stream_responses
from turnout_server.api.call_lines import NO_LINE, CallLine, NoLine
from turnout_server.api.call_traces import begin_span, tell_failure
from turnout_server.api.chat_requests import chat_input_in_turns
from turnout_server.api.decoding import LARGE_BYTES, received_bytes
from turnout_server.api.faults import Faults
from turnout_server.api.metadata import tell_decision
from turnout_server.api.outcome_results import report
from turnout_server.api.principals import principal
from turnout_server.api.provider_states import provider_status, resume_revision, status_query
from turnout_server.api.requests import priority, route_query
from turnout_server.api.writing import CallerGoneError, written
from turnout_server.core.decision import Decision
from turnout_server.core.errors import CallError
from turnout_server.execution.sizes import output_bytes

if TYPE_CHECKING:
    from turnout_server.api.admission import Admission
    from turnout_server.api.cutting import Cutting
    from turnout_server.api.failing import Failing
    from turnout_server.api.instants import Instants
    from turnout_server.api.long_pieces import LongPieces
    from turnout_server.api.watching import Watching
    from turnout_server.core.chat import ChatInput
    from turnout_server.core.model import RouteQuery
    from turnout_server.execution.answering import Answering
    from turnout_server.router import Router
    from turnout_server.telemetry.logs.access_log import AccessLog
    from turnout_server.telemetry.logs.request_log import RequestLog
    from turnout_server.telemetry.traces.call_spans import CallTracing


class RouterService(RouterServiceServicer):
    """Answers the six methods. `calls` bounds those that call providers; the others do not wait and stay fast."""

    def __init__(
        self,
        router: Router,
        answering: Answering,
        *,
        calls: Admission,
        cutting: Cutting,
        watching: Watching,
        failing: Failing,
        instants: Instants,
        pieces: LongPieces,
        request_log: RequestLog | None = None,
        access_log: AccessLog | None = None,
        tracing: CallTracing | None = None,
    ) -> None:
        self._router = router
        self._answering = answering
        self._calls = calls
        self._cutting = cutting
        self._watching = watching
        self._failing = failing
        self._instants = instants
        self.request_log = request_log
        """Is told of calls that begin now."""
        self._access_log = access_log
        self.tracing = tracing
        self._answers = Answers()
        self._pieces = pieces

    async def Route(self, request: pb.RouteRequest, context: Any) -> pb.RouteResponse:  # noqa: N802  # gRPC's name
        """Decides."""
        line, span = self._route_line(), begin_span(self.tracing, "Route", context)
        try:
            self._calls.draining.check()
            faults = Faults()
            query = route_query(request, faults=faults)
            faults.raise_any()
            line.asked(query)
            decision = self._router.deciding.route(query)
            line.decided(decision)
            span.decided(decision)
            tell_decision(context, decision.decision_id)
            response = route_response(decision, self._answers, query.options.detail)
            response = with_notices(response, self._router.budgets.notices(decision, query))
            span.answered()
        except Exception as error:  # noqa: BLE001  # the outermost edge
            line.failed(error)
            tell_failure(span, error)
            await self._failing.fail(context, error)
        finally:
            line.end()
            span.finish()
        return response

    async def Execute(self, request: pb.ExecuteRequest, context: Any) -> pb.ExecuteResponse:  # noqa: N802  # gRPC's name
        """Decides, calls, and answers once."""
        line, span = self._line("Execute"), begin_span(self.tracing, "Execute", context)
        try:
            async with self._call(request, context) as (query, chat):
                # All of it has been read, and it may be large: nothing holds it while the provider is waited for.
                del request
                line.asked(query, chat)

                def decided(decision: Decision) -> None:
                    # Told at once, so that even a fault of ours carries it.
                    tell_decision(context, decision.decision_id)
                    line.decided(decision)
                    span.decided(decision)

                result = await self._answering.execute(
                    query, chat, principal=principal(context, query.caller), on_decision=decided
                )
                line.answered(result)
                if output_bytes(result.output) >= LARGE_BYTES:
                    await asyncio.sleep(0)
                response = execute_response(result, self._answers, query.options.detail)
                span.answered(cached=result.cached, joined=result.joined)
                return response
        except Exception as error:  # noqa: BLE001  # the outermost edge
            line.failed(error)
            tell_failure(span, error)
            await self._failing.fail(context, error)
        finally:
            line.end()
            span.finish()

    async def ExecuteStream(  # type: ignore[override]  # noqa: N802  # it writes; the name is gRPC's
        self, request: pb.ExecuteStreamRequest, context: Any
    ) -> None:
        """Decides, calls, and answers as it comes.

        It writes instead of yielding: then a caller that goes away ends the call here and now, and not whenever a
        forgotten generator is collected.
        """
        line, span = self._line("ExecuteStream"), begin_span(self.tracing, "ExecuteStream", context)
        try:
            async with (
                self._call(request, context) as (query, chat),
                aclosing(
                    self._answering.execute_stream(query, chat, principal=principal(context, query.caller))
                ) as events,
            ):
                del request
                line.asked(query, chat)
                async for event in events:
                    line.happened(event)
                    span.happened(event)
                    if isinstance(event, Decision):
                        tell_decision(context, event.decision_id)
                        span.decided(event)
                    for message in stream_responses(event, self._answers, query.options.detail):
                        await _write(context, message)
                span.answered()
        except CallerGoneError:
            # There is nobody left to tell.
            return
        except Exception as error:  # noqa: BLE001  # the outermost edge
            line.failed(error)
            tell_failure(span, error)
            if isinstance(error, CallError):
                failure = call_failure(error.report, self._instants.offset())
                with contextlib.suppress(CallerGoneError):
                    await _write(context, pb.ExecuteStreamResponse(failure=failure))
            await self._failing.fail(context, error)
        finally:
            line.end()
            span.finish()

    async def ReportOutcome(  # noqa: N802  # gRPC's name
        self, request: pb.ReportOutcomeRequest, context: Any
    ) -> pb.ReportOutcomeResponse:
        """Records what callers did themselves."""
        span = begin_span(self.tracing, "ReportOutcome", context)
        try:
            self._calls.draining.check()
            response = report(self._router, request, self._instants.wall(), span)
            span.answered()
        except Exception as error:  # noqa: BLE001  # the outermost edge
            tell_failure(span, error)
            await self._failing.fail(context, error)
        finally:
            span.finish()
        return response

    async def ProviderStatus(  # noqa: N802  # gRPC's name
        self, request: pb.ProviderStatusRequest, context: Any
    ) -> pb.ProviderStatusResponse:
        """Tells the state of providers."""
        try:
            providers, window_seconds = status_query(request)
            return await provider_status(self._router.status.steps(providers, window_seconds))
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

    def _line(self, method: str) -> NoLine:
        """Returns what the request log and the log are told of one call."""
        line = NO_LINE if self.request_log is None else CallLine(self.request_log, method, self._instants)
        return line if self._access_log is None else AccessLine(self._access_log, method, self._instants.clock, line)

    def _route_line(self) -> NoLine:
        """Returns what the log is told of one call for a decision."""
        return NO_LINE if self._access_log is None else RouteLine(self._access_log, "Route", self._instants.clock)

    @contextlib.asynccontextmanager
    async def _call(
        self, request: pb.ExecuteRequest | pb.ExecuteStreamRequest, context: Any
    ) -> AsyncIterator[tuple[RouteQuery, ChatInput]]:
        """Waits for room, then reads the request: reading costs as much as the request is long."""
        # A priority that is not known is a fault, told when all of the request is read.
        urgency = priority(request.options, Faults())
        size_bytes = received_bytes.get()
        await self._calls.enter(urgency, size_bytes)
        try:
            faults = Faults()
            query = route_query(request, faults=faults, executing=True, deadline_seconds=context.time_remaining())
            if size_bytes < LARGE_BYTES:
                chat = await chat_input_in_turns(request.input, faults)
            else:
                async with self._pieces.piece():
                    chat = await chat_input_in_turns(request.input, faults)
            faults.raise_any()
            del request
            with self._cutting.call():
                yield query, chat
        finally:
            self._calls.leave(urgency, size_bytes)


async def _write(context: Any, message: pb.ExecuteStreamResponse | pb.WatchProviderStatusResponse) -> None:
    await written(context.write(message))
