"""The client for ordinary, blocking code; thread-safe, one for a whole process."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

import grpc
from google.protobuf.message import Message

from turnout import rpcs
from turnout.answer import Answer, answer_from_response
from turnout.connection import Tls, connect
from turnout.errors import TurnoutError
from turnout.plan import Plan
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
from turnout.retrying import Tries
from turnout.status import error_from_rpc
from turnout.streams import Stream, StreamCall
from turnout.tokens import TokenUse
from turnout.tracing import installed_inject, trace_metadata
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

if TYPE_CHECKING:
    from turnout.admin import Admin
    from turnout.v1 import admin_pb2

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class Client:
    """A connection to one sidecar.

    `address` is "host:port" or "unix:/path"; without one that of TURNOUT_ADDRESS, else 127.0.0.1:50151. `token` is a
    bearer token, `token_file` a file with one, read again when the sidecar no longer takes it; without either
    TURNOUT_TOKEN or TURNOUT_TOKEN_FILE. It goes over TLS or stays on this machine. `tls` switches TLS on; without it
    TURNOUT_CA_FILE, TURNOUT_CERT_FILE and TURNOUT_KEY_FILE do. `max_retry_count` bounds the retries of a call, 0 for
    none. Connecting happens with the first call. Raises ValueError for an address or a combination
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
    ) -> None:
        connection = connect(address, os.environ, token=token, token_file=token_file, tls=tls)
        self.address = connection.address
        credentials = connection.credentials
        if credentials is None:
            self._channel = grpc.insecure_channel(connection.address, connection.options)
        else:
            self._channel = grpc.secure_channel(connection.address, credentials, connection.options)
        self._stub = router_pb2_grpc.RouterServiceStub(self._channel)
        self._token = connection.token_source()
        self._max_retry_count = max_retry_count
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._inject = installed_inject()
        self._reporter = ThreadReporter(self.report)

    def ask(self, prompt: str, **settings: Unpack[ExecuteSettings]) -> Answer:
        """Returns the answer to one prompt: `client.ask("…").text`."""
        return self.execute(prompt, **settings)

    def execute(self, chat: Input, **settings: Unpack[ExecuteSettings]) -> Answer:
        """Has the sidecar choose, call, retry and fail over, and returns one complete answer."""
        request = execute_request(pb.ExecuteRequest, chat, settings)
        response = self._call(self._stub.Execute, request, rpcs.EXECUTE, settings.get("timeout_seconds"))
        return answer_from_response(response)

    def stream(self, chat: Input, **settings: Unpack[ExecuteSettings]) -> Stream:
        """Does the same as `execute` and passes the answer on while it comes."""
        request = execute_request(pb.ExecuteStreamRequest, chat, settings)
        token, trace = self._token.use(), trace_metadata(self._inject)
        tries = self._tries(rpcs.EXECUTE_STREAM, settings.get("timeout_seconds"), token)

        def call() -> StreamCall:
            timeout = tries.remaining_seconds(time.monotonic())
            return self._stub.ExecuteStream(request, timeout=timeout, metadata=(*token.metadata(), *trace))

        return Stream(call, tries)

    def route(self, **settings: Unpack[RouteSettings]) -> pb.RouteResponse:
        """Returns the decision for a request that the application sends itself; nothing goes to a provider."""
        return self._call(self._stub.Route, route_request(settings), rpcs.ROUTE, settings.get("timeout_seconds"))

    def plan(self, **settings: Unpack[RouteSettings]) -> Plan:
        """Returns the decision as targets to call oneself, whose outcomes are reported in the background."""
        decision = self.route(**settings).decision
        options = settings.get("options")
        restart = options is not None and options.mid_stream == pb.MID_STREAM_POLICY_RESTART
        return Plan(decision, self._reporter.add, restart=restart)

    def report(
        self,
        outcomes: Sequence[pb.Outcome] = (),
        feedback: Sequence[pb.Feedback] = (),
        *,
        timeout_seconds: float | None = None,
    ) -> pb.ReportOutcomeResponse:
        """Reports outcomes and feedback now; each has its own result in the answer."""
        request = pb.ReportOutcomeRequest(outcomes=outcomes, feedback=feedback)
        return self._call(self._stub.ReportOutcome, request, rpcs.REPORT_OUTCOME, timeout_seconds)

    def status(
        self,
        *providers: str,
        window_seconds: float | None = None,
        timeout_seconds: float | None = None,
    ) -> pb.ProviderStatusResponse:
        """Returns the state of these providers, of all without a name. The window is 60, 300, 900 or 3,600 seconds."""
        request = status_request(providers, window_seconds)
        return self._call(self._stub.ProviderStatus, request, rpcs.PROVIDER_STATUS, timeout_seconds)

    def watch_status(
        self, *providers: str, resume_revision: int | None = None, timeout_seconds: float | None = None
    ) -> Iterator[pb.WatchProviderStatusResponse]:
        """Yields the state of providers: first all of it, then what changed, until the caller stops.

        `resume_revision` is the last one that was seen. Leaving the loop ends the call; from another thread `close` of
        the client does, and then the loop ends with a TransportError.
        """
        yield from self._watch(
            self._stub.WatchProviderStatus, watch_request(providers, resume_revision), timeout_seconds
        )

    def events(
        self, *names: str, after_sequence: int | None = None, timeout_seconds: float | None = None
    ) -> Iterator[admin_pb2.Event]:
        """Yields what operators want to hear of, such as `breaker.opened`, as it happens, until the caller stops.

        Only events of these names; without a name all. `after_sequence` is that of the last one seen: what came after
        it comes first; 0 is for all that the sidecar still holds. ResumeTooOldError where some of that is gone. The
        loop ends as that of `watch_status`.
        """
        # Needed by few: a client that only makes calls does not load it.
        from turnout.v1 import admin_pb2, admin_pb2_grpc  # noqa: PLC0415

        request = admin_pb2.WatchEventsRequest(names=names, after_sequence=after_sequence)
        stub = admin_pb2_grpc.AdminServiceStub(self._channel)
        for response in self._watch(stub.WatchEvents, request, timeout_seconds):
            yield response.event

    @property
    def admin(self) -> Admin:
        """What operators read and change besides: routing rules, budgets, providers, spending, state."""
        # Needed by few: a client that only makes calls does not load it.
        from turnout.admin import Admin  # noqa: PLC0415
        from turnout.v1 import admin_pb2_grpc  # noqa: PLC0415

        stub = admin_pb2_grpc.AdminServiceStub(self._channel)
        return Admin(lambda name, request, rpc, seconds: self._call(getattr(stub, name), request, rpc, seconds))

    def drain(self, name: str, *, timeout_seconds: float | None = None) -> admin_pb2.RegisteredProvider:
        """Has a provider, model or target get no new calls until the sidecar starts anew; calls that run go on.

        `name` is "provider", "provider/model" or "provider/model@endpoint". Returns its provider as it is now.
        NotFoundError for a name of nothing, ValueError for none.
        """
        return self._change_drain(name, timeout_seconds, drained=True)

    def undrain(self, name: str, *, timeout_seconds: float | None = None) -> admin_pb2.RegisteredProvider:
        """Has what was drained get calls again; a target of a provider that is drained whole stays drained with it."""
        return self._change_drain(name, timeout_seconds, drained=False)

    def _change_drain(self, name: str, timeout_seconds: float | None, *, drained: bool) -> admin_pb2.RegisteredProvider:
        # Needed by few: a client that only makes calls does not load it.
        from turnout import administration  # noqa: PLC0415
        from turnout.v1 import admin_pb2_grpc  # noqa: PLC0415

        stub = admin_pb2_grpc.AdminServiceStub(self._channel)

        def update(request: admin_pb2.UpdateProviderRequest) -> admin_pb2.RegisteredProvider:
            return self._call(stub.UpdateProvider, request, rpcs.UPDATE_PROVIDER, timeout_seconds).provider

        if administration.is_whole(name):
            return update(administration.whole_request(name, drained=drained))
        tries = administration.CHANGE_TRIES
        while True:
            read = update(administration.read_request(name))
            request = administration.targets_request(read, name, drained=drained)
            if request is None:
                administration.check_known(name, self.status(read.provider, timeout_seconds=timeout_seconds).providers)
                return read
            try:
                return update(request)
            except TurnoutError as error:
                tries -= 1
                if not tries or not administration.is_stale(error):
                    raise

    def reset_health(self, name: str | None = None, *, timeout_seconds: float | None = None) -> Sequence[pb.Target]:
        """Forgets what is held against targets: closes breakers, ends pauses and outages of keys, empties windows.

        `name` is as in `drain`; without one all targets. Returns those that were reset.
        """
        from turnout import administration  # noqa: PLC0415 - needed by few
        from turnout.v1 import admin_pb2_grpc  # noqa: PLC0415 - likewise

        stub = admin_pb2_grpc.AdminServiceStub(self._channel)
        request = administration.reset_request(name)
        return tuple(self._call(stub.ResetHealth, request, rpcs.RESET_HEALTH, timeout_seconds).targets)

    def check_health(
        self, name: str | None = None, *, timeout_seconds: float | None = None
    ) -> Sequence[admin_pb2.CheckResult]:
        """Makes active checks now and returns how each ended; a check that finds a fault is no error.

        `name` is as in `drain`: a model or target is called for one token, which its provider charges for; a provider,
        or without a name each of them, is asked for its list of models at every endpoint, which costs nothing.
        """
        from turnout import administration  # noqa: PLC0415 - needed by few
        from turnout.v1 import admin_pb2_grpc  # noqa: PLC0415 - likewise

        stub = admin_pb2_grpc.AdminServiceStub(self._channel)
        request = administration.check_request(name)
        return tuple(self._call(stub.CheckHealth, request, rpcs.CHECK_HEALTH, timeout_seconds).results)

    def _watch(
        self,
        method: grpc.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        timeout_seconds: float | None,
    ) -> Iterator[Response]:
        token, trace = self._token.use(), trace_metadata(self._inject)
        tries = self._tries(rpcs.WATCH, timeout_seconds, token)
        while True:
            call = method(
                request, timeout=tries.remaining_seconds(time.monotonic()), metadata=(*token.metadata(), *trace)
            )
            try:
                yield from call
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

    def flush(self, timeout_seconds: float = rpcs.REPORT_OUTCOME.timeout_seconds) -> bool:
        """Waits until the outcomes of plans are reported; returns whether that came in time."""
        return self._reporter.flush(timeout_seconds)

    def close(self) -> None:
        """Reports what is left, within 2 s, and closes the connection. Running calls end."""
        self._reporter.close(rpcs.REPORT_CLOSE_SECONDS)
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _tries(self, rpc: rpcs.Rpc, timeout_seconds: float | None, token: TokenUse) -> Tries:
        return rpc.tries(
            time.monotonic(),
            timeout_seconds=timeout_seconds,
            max_retry_count=self._max_retry_count,
            rng=self._rng,
            renewed=token.renewed,
        )

    def _call(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        rpc: rpcs.Rpc,
        timeout_seconds: float | None,
    ) -> Response:
        token, trace = self._token.use(), trace_metadata(self._inject)
        tries = self._tries(rpc, timeout_seconds, token)
        while True:
            metadata = (*token.metadata(), *trace)
            try:
                return method(request, timeout=tries.remaining_seconds(time.monotonic()), metadata=metadata)
            except grpc.RpcError as rpc_error:
                error = error_from_rpc(rpc_error)
                wait = tries.wait_after(error, time.monotonic())
                if wait is None:
                    raise error from rpc_error
            time.sleep(wait)
