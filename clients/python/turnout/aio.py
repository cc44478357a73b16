"""The client for asyncio code: the same methods as the blocking one, over the same rules."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

from turnout import rpcs
from turnout.answer import Answer, answer_from_response
from turnout.asking import Asking
from turnout.attempt import PlanAttempt
from turnout.calling import AsyncCalls, Terms, closed_error
from turnout.connection import Tls, connect
from turnout.errors import TurnoutError
from turnout.fallback import Fallback, StaticOrder
from turnout.plan import Plan
from turnout.planning import Choice, Planner
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
from turnout.streams import AsyncStream, AsyncStreamCall
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

if TYPE_CHECKING:
    from turnout.admin import AsyncAdmin
    from turnout.operating import AsyncOperating
    from turnout.v1 import admin_pb2

Result = TypeVar("Result")


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
        plan_cache: bool = True,
        fallback: Fallback | None = None,
    ) -> None:
        connection = connect(address, os.environ, token=token, token_file=token_file, tls=tls)
        order = StaticOrder(fallback)
        self.address = connection.address
        self._calls = AsyncCalls(Terms(connection, max_retry_count))
        self._closed = False
        self._made_stub: router_pb2_grpc.RouterServiceAsyncStub | None = None
        self._planner = Planner(caching=plan_cache, fallback=order, rng=random.Random())  # noqa: S311 - spreads load
        self._reporter = TaskReporter(self._send_outcomes, random.Random())  # noqa: S311 - jitter, not a secret

    async def ask(self, prompt: str, **settings: Unpack[ExecuteSettings]) -> Answer:
        """Returns the answer to one prompt: `(await client.ask("…")).text`."""
        return await self.execute(prompt, **settings)

    async def execute(self, chat: Input, **settings: Unpack[ExecuteSettings]) -> Answer:
        """Has the sidecar choose, call, retry and fail over, and returns one complete answer."""
        request = execute_request(pb.ExecuteRequest, chat, settings)
        seconds = settings.get("timeout_seconds")
        return answer_from_response(await self._calls.unary(self._stub.Execute, request, rpcs.EXECUTE, seconds))

    def stream(self, chat: Input, **settings: Unpack[ExecuteSettings]) -> AsyncStream:
        """Does the same as `execute` and passes the answer on while it comes."""
        request = execute_request(pb.ExecuteStreamRequest, chat, settings)
        call = self._calls.terms.begin(rpcs.EXECUTE_STREAM, settings.get("timeout_seconds"))

        def begin() -> AsyncStreamCall:
            return self._stub.ExecuteStream(request, timeout=call.timeout_seconds, metadata=call.metadata())

        return AsyncStream(begin, call.tries)

    async def route(self, **settings: Unpack[RouteSettings]) -> pb.RouteResponse:
        """Returns the decision for a request that the application sends itself; nothing goes to a provider.

        The sidecar is asked each time; `plan` is what reuses decisions.
        """
        request = route_request(settings)
        return await self._calls.unary(self._stub.Route, request, rpcs.ROUTE, settings.get("timeout_seconds"))

    async def plan(self, **settings: Unpack[RouteSettings]) -> Plan:
        """Returns targets to call oneself, best first, whose outcomes are reported in the background.

        A plan that is still good for such a request is used again without asking the sidecar (`reused`); with the
        sidecar away the last one, or `fallback`, is used (`stale`).
        """
        request, seconds = route_request(settings), rpcs.ROUTE.seconds(settings.get("timeout_seconds"))
        found = self._planner.start(request, time.monotonic(), seconds)
        if isinstance(found, Asking):
            found = await self._asked(found)
        return Plan(found, self._noted)

    async def call(
        self, function: Callable[[PlanAttempt], Awaitable[Result]], **settings: Unpack[RouteSettings]
    ) -> Result:
        """Calls one's own coroutine function with the targets of a plan in turn, and returns what it returns first.

        The function gets the attempt: `attempt.model`, `attempt.base_url`, `attempt.usage(…)`. Its exception is noted
        where it speaks of the target, and the next target is tried; after the last one PlanExhaustedError is raised
        from it. What another target would not help comes out as it is, and so does everything after
        `attempt.first_token()`, unless the options say MID_STREAM_POLICY_RESTART.
        """
        return await (await self.plan(**settings)).run_async(function)

    async def report(
        self,
        outcomes: Sequence[pb.Outcome] = (),
        feedback: Sequence[pb.Feedback] = (),
        *,
        timeout_seconds: float | None = None,
    ) -> pb.ReportOutcomeResponse:
        """Reports outcomes and feedback now; each has its own result in the answer."""
        request = pb.ReportOutcomeRequest(outcomes=outcomes, feedback=feedback)
        self._planner.noted(outcomes, time.monotonic())
        try:
            return await self._calls.unary(self._stub.ReportOutcome, request, rpcs.REPORT_OUTCOME, timeout_seconds)
        finally:
            # Once more, for a plan that was made meanwhile: the sidecar knew nothing of it.
            self._planner.noted(outcomes, time.monotonic())

    async def status(
        self,
        *providers: str,
        window_seconds: float | None = None,
        timeout_seconds: float | None = None,
    ) -> pb.ProviderStatusResponse:
        """Returns the state of these providers, of all without a name. The window is 60, 300, 900 or 3,600 seconds."""
        request = status_request(providers, window_seconds)
        return await self._calls.unary(self._stub.ProviderStatus, request, rpcs.PROVIDER_STATUS, timeout_seconds)

    async def watch_status(
        self,
        *providers: str,
        window_seconds: float | None = None,
        resume_revision: int | None = None,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[pb.WatchProviderStatusResponse]:
        """Yields the state of providers: first all of it, then what changed, until the caller stops.

        The window is as in `status`; `resume_revision` is the last one that was seen.
        """
        request = watch_request(providers, window_seconds, resume_revision)
        async with aclosing(self._calls.watch(self._stub.WatchProviderStatus, request, timeout_seconds)) as changes:
            async for change in changes:
                yield change

    async def events(
        self, *names: str, after_sequence: int | None = None, timeout_seconds: float | None = None
    ) -> AsyncGenerator[admin_pb2.Event]:
        """Yields what operators want to hear of, such as `breaker.opened`, as it happens, until the caller stops.

        Only events of these names; without a name all. `after_sequence` is that of the last one seen: what came after
        it comes first; 0 is for all that the sidecar still holds. ResumeTooOldError where some of that is gone.
        """
        async with aclosing(self._operating().events(names, after_sequence, timeout_seconds)) as events:
            async for event in events:
                yield event

    @property
    def admin(self) -> AsyncAdmin:
        """What operators read and change besides: routing rules, budgets, providers, spending, state."""
        return self._operating().admin()

    async def drain(self, name: str, *, timeout_seconds: float | None = None) -> admin_pb2.RegisteredProvider:
        """Has a provider, model or target get no new calls until the sidecar starts anew; calls that run go on.

        `name` is "provider", "provider/model" or "provider/model@endpoint". Returns its provider as it is now.
        NotFoundError for a name of nothing, ValueError for none.
        """
        return await self._operating().change_drain(name, timeout_seconds, drained=True)

    async def undrain(self, name: str, *, timeout_seconds: float | None = None) -> admin_pb2.RegisteredProvider:
        """Has what was drained get calls again; a target of a provider that is drained whole stays drained with it."""
        return await self._operating().change_drain(name, timeout_seconds, drained=False)

    async def reset_health(
        self, name: str | None = None, *, timeout_seconds: float | None = None
    ) -> Sequence[pb.Target]:
        """Forgets what is held against targets: closes breakers, ends pauses and outages of keys, empties windows.

        `name` is as in `drain`; without one all targets. Returns those that were reset.
        """
        return await self._operating().reset_health(name, timeout_seconds)

    async def check_health(
        self, name: str | None = None, *, timeout_seconds: float | None = None
    ) -> Sequence[admin_pb2.CheckResult]:
        """Makes active checks now and returns how each ended; a check that finds a fault is no error.

        `name` is as in `drain`: a model or target is called for one token, which its provider charges for; a provider,
        or without a name each of them, is asked for its list of models at every endpoint, which costs nothing.
        """
        return await self._operating().check_health(name, timeout_seconds)

    @property
    def unreported_count(self) -> int:
        """How many outcomes of plans were given up so far; those that wait for the sidecar are not among them."""
        return self._reporter.dropped_count

    @property
    def pending_count(self) -> int:
        """How many outcomes of plans are on their way, or wait until the sidecar is back."""
        return self._reporter.pending_count

    async def flush(self, timeout_seconds: float = rpcs.REPORT_OUTCOME.timeout_seconds) -> bool:
        """Waits until the outcomes of plans are reported; returns whether that came in time."""
        return await self._reporter.flush(timeout_seconds)

    async def close(self) -> None:
        """Reports what is left, within 2 s, and closes the connection. Running calls end."""
        await self._reporter.close(rpcs.REPORT_CLOSE_SECONDS)
        self._closed = True
        await self._calls.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _asked(self, asking: Asking) -> Choice:
        """Asks the sidecar for a plan, or waits for who asks the same; falls back where it is away."""
        try:
            while asking.waits_for is not None:
                ended = asyncio.wrap_future(asking.waits_for.ended)
                await asyncio.wait({ended}, timeout=max(0.0, asking.wait_until - time.monotonic()))
                if self._closed:
                    raise closed_error()
                found = self._planner.again(asking, time.monotonic())
                if isinstance(found, Choice):
                    return found
            if self._reporter.pressing:
                await self._reporter.send_pressing((asking.ends_at - time.monotonic()) / 2)
                asking.uninformed = self._reporter.pressing
            asking.sent_at = time.monotonic()
            retry_count = asking.retry_count(self._calls.terms.max_retry_count)
            # However late it is, as after a pause of the whole process: too late is not the caller's mistake.
            left = max(rpcs.LEAST_SECONDS, asking.ends_at - asking.sent_at)
            response = await self._calls.unary(self._stub.Route, asking.request, rpcs.ROUTE, left, retry_count)
            return self._planner.answered(asking, response.decision, time.monotonic())
        except TurnoutError as error:
            fallback = self._planner.failed(asking, error, time.monotonic())
            if fallback is None:
                raise
            return fallback
        finally:
            self._planner.end(asking)

    def _noted(self, outcome: pb.Outcome) -> None:
        # First where the next question looks, then what makes it be asked.
        self._reporter.add(outcome)
        self._planner.noted((outcome,), time.monotonic())

    async def _send_outcomes(self, outcomes: Sequence[pb.Outcome]) -> pb.ReportOutcomeResponse:
        request = pb.ReportOutcomeRequest(outcomes=outcomes)
        return await self._calls.unary(self._stub.ReportOutcome, request, rpcs.REPORT_OUTCOME, None, 0)

    def _operating(self) -> AsyncOperating:
        # Needed by few: a client that only makes calls does not load it.
        from turnout.operating import AsyncOperating  # noqa: PLC0415

        return AsyncOperating(self._calls)

    @property
    def _stub(self) -> router_pb2_grpc.RouterServiceAsyncStub:
        channel = self._calls.channel
        if self._made_stub is None:
            self._made_stub = router_pb2_grpc.RouterServiceStub(channel)
        return self._made_stub
