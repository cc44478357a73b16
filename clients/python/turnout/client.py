"""The client for ordinary, blocking code; thread-safe, one for a whole process."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

from turnout import rpcs
from turnout.answer import Answer, answer_from_response
from turnout.asking import Asking
from turnout.attempt import PlanAttempt
from turnout.calling import Calls, Terms, closed_error
from turnout.connection import Tls, connect
from turnout.errors import TurnoutError
from turnout.fallback import Fallback, StaticOrder
from turnout.plan import Plan
from turnout.planning import Choice, Planner
from turnout.reporter import ThreadReporter
from turnout.requests import (
    ExecuteSettings,
    Input,
    RouteSettings,
    execute_request,
    route_request,
    status_request,
    watch_request,
)
from turnout.streams import Stream, StreamCall
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

if TYPE_CHECKING:
    from turnout.admin import Admin
    from turnout.operating import Operating
    from turnout.v1 import admin_pb2

Result = TypeVar("Result")


class Client:
    """A connection to one sidecar.

    `address` is "host:port" or "unix:/path"; without one that of TURNOUT_ADDRESS, else 127.0.0.1:50151. `token` is a
    bearer token, `token_file` a file with one, read again when the sidecar no longer takes it; without either
    TURNOUT_TOKEN or TURNOUT_TOKEN_FILE. It goes over TLS or stays on this machine. `tls` switches TLS on; without it
    TURNOUT_CA_FILE, TURNOUT_CERT_FILE and TURNOUT_KEY_FILE do. `max_retry_count` bounds the retries of a call, 0 for
    none. `plan_cache` False has every plan asked for anew, and keeps none for the time when the sidecar is away.
    `fallback` names the targets to plan with when there is neither sidecar nor plan: in order, or by task, with "" for
    all others. Connecting happens with the first call. Raises ValueError for an address or a combination
    that cannot work; every other error is a TurnoutError.
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
        self._calls = Calls(Terms(connection, max_retry_count))
        self._closed = False
        self._stub = router_pb2_grpc.RouterServiceStub(self._calls.channel)
        self._planner = Planner(caching=plan_cache, fallback=order, rng=random.Random())  # noqa: S311 - spreads load
        self._reporter = ThreadReporter(self._send_outcomes, random.Random())  # noqa: S311 - jitter, not a secret

    def ask(self, prompt: str, **settings: Unpack[ExecuteSettings]) -> Answer:
        """Returns the answer to one prompt: `client.ask("…").text`."""
        return self.execute(prompt, **settings)

    def execute(self, chat: Input, **settings: Unpack[ExecuteSettings]) -> Answer:
        """Has the sidecar choose, call, retry and fail over, and returns one complete answer."""
        request = execute_request(pb.ExecuteRequest, chat, settings)
        seconds = settings.get("timeout_seconds")
        return answer_from_response(self._calls.unary(self._stub.Execute, request, rpcs.EXECUTE, seconds))

    def stream(self, chat: Input, **settings: Unpack[ExecuteSettings]) -> Stream:
        """Does the same as `execute` and passes the answer on while it comes."""
        request = execute_request(pb.ExecuteStreamRequest, chat, settings)
        call = self._calls.terms.begin(rpcs.EXECUTE_STREAM, settings.get("timeout_seconds"))

        def begin() -> StreamCall:
            return self._stub.ExecuteStream(request, timeout=call.timeout_seconds, metadata=call.metadata())

        return Stream(begin, call.tries)

    def route(self, **settings: Unpack[RouteSettings]) -> pb.RouteResponse:
        """Returns the decision for a request that the application sends itself; nothing goes to a provider.

        The sidecar is asked each time; `plan` is what reuses decisions.
        """
        request = route_request(settings)
        return self._calls.unary(self._stub.Route, request, rpcs.ROUTE, settings.get("timeout_seconds"))

    def plan(self, **settings: Unpack[RouteSettings]) -> Plan:
        """Returns targets to call oneself, best first, whose outcomes are reported in the background.

        A plan that is still good for such a request is used again without asking the sidecar (`reused`); with the
        sidecar away the last one, or `fallback`, is used (`stale`).
        """
        request, seconds = route_request(settings), rpcs.ROUTE.seconds(settings.get("timeout_seconds"))
        found = self._planner.start(request, time.monotonic(), seconds)
        if isinstance(found, Asking):
            found = self._asked(found)
        return Plan(found, self._noted)

    def call(self, function: Callable[[PlanAttempt], Result], **settings: Unpack[RouteSettings]) -> Result:
        """Calls one's own function with the targets of a plan in turn, and returns what it returns first.

        The function gets the attempt: `attempt.model`, `attempt.base_url`, `attempt.usage(…)`. Its exception is noted
        where it speaks of the target, and the next target is tried; after the last one PlanExhaustedError is raised
        from it. What another target would not help comes out as it is, and so does everything after
        `attempt.first_token()`, unless the options say MID_STREAM_POLICY_RESTART.
        """
        return self.plan(**settings).run(function)

    def report(
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
            return self._calls.unary(self._stub.ReportOutcome, request, rpcs.REPORT_OUTCOME, timeout_seconds)
        finally:
            # Once more, for a plan that was made meanwhile: the sidecar knew nothing of it.
            self._planner.noted(outcomes, time.monotonic())

    def status(
        self,
        *providers: str,
        window_seconds: float | None = None,
        timeout_seconds: float | None = None,
    ) -> pb.ProviderStatusResponse:
        """Returns the state of these providers, of all without a name. The window is 60, 300, 900 or 3,600 seconds."""
        request = status_request(providers, window_seconds)
        return self._calls.unary(self._stub.ProviderStatus, request, rpcs.PROVIDER_STATUS, timeout_seconds)

    def watch_status(
        self,
        *providers: str,
        window_seconds: float | None = None,
        resume_revision: int | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[pb.WatchProviderStatusResponse]:
        """Yields the state of providers: first all of it, then what changed, until the caller stops.

        The window is as in `status`; `resume_revision` is the last one that was seen. Leaving the loop ends the call;
        from another thread `close` of the client does, and then the loop ends with a TransportError.
        """
        request = watch_request(providers, window_seconds, resume_revision)
        yield from self._calls.watch(self._stub.WatchProviderStatus, request, timeout_seconds)

    def events(
        self, *names: str, after_sequence: int | None = None, timeout_seconds: float | None = None
    ) -> Iterator[admin_pb2.Event]:
        """Yields what operators want to hear of, such as `breaker.opened`, as it happens, until the caller stops.

        Only events of these names; without a name all. `after_sequence` is that of the last one seen: what came after
        it comes first; 0 is for all that the sidecar still holds. ResumeTooOldError where some of that is gone. The
        loop ends as that of `watch_status`.
        """
        yield from self._operating().events(names, after_sequence, timeout_seconds)

    @property
    def admin(self) -> Admin:
        """What operators read and change besides: routing rules, budgets, providers, spending, state."""
        return self._operating().admin()

    def drain(self, name: str, *, timeout_seconds: float | None = None) -> admin_pb2.RegisteredProvider:
        """Has a provider, model or target get no new calls until the sidecar starts anew; calls that run go on.

        `name` is "provider", "provider/model" or "provider/model@endpoint". Returns its provider as it is now.
        NotFoundError for a name of nothing, ValueError for none.
        """
        return self._operating().change_drain(name, timeout_seconds, drained=True)

    def undrain(self, name: str, *, timeout_seconds: float | None = None) -> admin_pb2.RegisteredProvider:
        """Has what was drained get calls again; a target of a provider that is drained whole stays drained with it."""
        return self._operating().change_drain(name, timeout_seconds, drained=False)

    def reset_health(self, name: str | None = None, *, timeout_seconds: float | None = None) -> Sequence[pb.Target]:
        """Forgets what is held against targets: closes breakers, ends pauses and outages of keys, empties windows.

        `name` is as in `drain`; without one all targets. Returns those that were reset.
        """
        return self._operating().reset_health(name, timeout_seconds)

    def check_health(
        self, name: str | None = None, *, timeout_seconds: float | None = None
    ) -> Sequence[admin_pb2.CheckResult]:
        """Makes active checks now and returns how each ended; a check that finds a fault is no error.

        `name` is as in `drain`: a model or target is called for one token, which its provider charges for; a provider,
        or without a name each of them, is asked for its list of models at every endpoint, which costs nothing.
        """
        return self._operating().check_health(name, timeout_seconds)

    @property
    def unreported_count(self) -> int:
        """How many outcomes of plans were given up so far; those that wait for the sidecar are not among them."""
        return self._reporter.dropped_count

    @property
    def pending_count(self) -> int:
        """How many outcomes of plans are on their way, or wait until the sidecar is back."""
        return self._reporter.pending_count

    def flush(self, timeout_seconds: float = rpcs.REPORT_OUTCOME.timeout_seconds) -> bool:
        """Waits until the outcomes of plans are reported; returns whether that came in time."""
        return self._reporter.flush(timeout_seconds)

    def close(self) -> None:
        """Reports what is left, within 2 s, and closes the connection. Running calls end."""
        self._reporter.close(rpcs.REPORT_CLOSE_SECONDS)
        self._closed = True
        self._calls.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _asked(self, asking: Asking) -> Choice:
        """Asks the sidecar for a plan, or waits for who asks the same; falls back where it is away."""
        try:
            while asking.waits_for is not None:
                left = max(0.0, asking.wait_until - time.monotonic())
                wait([asking.waits_for.ended], min(left, threading.TIMEOUT_MAX))
                if self._closed:
                    raise closed_error()
                found = self._planner.again(asking, time.monotonic())
                if isinstance(found, Choice):
                    return found
            if self._reporter.pressing:
                self._reporter.send_pressing((asking.ends_at - time.monotonic()) / 2)
                asking.uninformed = self._reporter.pressing
            asking.sent_at = time.monotonic()
            retry_count = asking.retry_count(self._calls.terms.max_retry_count)
            # However late it is, as after a pause of the whole process: too late is not the caller's mistake.
            left = max(rpcs.LEAST_SECONDS, asking.ends_at - asking.sent_at)
            response = self._calls.unary(self._stub.Route, asking.request, rpcs.ROUTE, left, retry_count)
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

    def _send_outcomes(self, outcomes: Sequence[pb.Outcome]) -> pb.ReportOutcomeResponse:
        request = pb.ReportOutcomeRequest(outcomes=outcomes)
        return self._calls.unary(self._stub.ReportOutcome, request, rpcs.REPORT_OUTCOME, None, 0)

    def _operating(self) -> Operating:
        # Needed by few: a client that only makes calls does not load it.
        from turnout.operating import Operating  # noqa: PLC0415

        return Operating(self._calls)
