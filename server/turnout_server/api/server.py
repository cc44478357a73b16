"""The gRPC server: listeners, limits, services, and an orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc

from turnout.v1 import admin_pb2, admin_pb2_grpc, router_pb2, router_pb2_grpc, session_pb2, session_pb2_grpc
from turnout_server.api.access import Access, AskingServer, Refusals
from turnout_server.api.admin_service import AdminService
from turnout_server.api.admission import MIB, Admission, AdmissionLimits, Draining
from turnout_server.api.call_times import CallTimes
from turnout_server.api.cutting import Cutting
from turnout_server.api.decoding import DecodingServer
from turnout_server.api.entrance import Entrance, Guard
from turnout_server.api.event_feed import EventFeed
from turnout_server.api.failing import Failing
from turnout_server.api.health import Health
from turnout_server.api.instants import Instants
from turnout_server.api.long_pieces import LongPieces
from turnout_server.api.not_yet import refuse_rest
from turnout_server.api.principals import ANYBODY, NETWORK_CALLER, Identity
from turnout_server.api.router_service import RouterService
from turnout_server.api.sockets import (
    ListenError,
    UnixSocket,
    bind_unix,
    check_free,
    reaches_beyond,
    remove_unix,
    split_address,
)
from turnout_server.api.tls import Handshakes
from turnout_server.api.watching import Watching
from turnout_server.core.event_ring import EventRing
from turnout_server.execution.answering import Answering

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from turnout_server.api.call_times import Observe
    from turnout_server.api.tls import Tls
    from turnout_server.api.tokens import Tokens
    from turnout_server.execution.executor import Executor
    from turnout_server.ports import Changing
    from turnout_server.router import Router
    from turnout_server.telemetry.logs.access_log import AccessLog
    from turnout_server.telemetry.logs.request_log import RequestLog
    from turnout_server.telemetry.traces.call_spans import CallTracing

MAX_METADATA_BYTES = 8192
PING_MILLISECONDS = 5_000
"""Callers may ping this often; 10 s is the least that gRPC's clients in Go and Java can be set to."""
QUICK_CALLS = 1024
"""Room for calls that wait for nobody (Route, ProviderStatus, ReportOutcome), beyond all those that call providers."""

EXECUTING = frozenset({"Execute", "ExecuteStream"})
ARRIVING_CALLS = 256
"""Room for calls whose request is still being received, or which are being refused, beyond those that run or wait."""
REFUSED_CALLS = 2048
"""Room for RPCs that are being refused with details; beyond it gRPC refuses without."""
PENDING_RPCS = 8192
"""RPCs that have arrived and wait to be taken: four seconds of plans, which take half a millisecond each."""

CUT_BEFORE_SECONDS = 1.0
"""So long before the end of the drain calls are cut, so that their callers hear of it within it."""
CUT_BEFORE_SHARE = 0.1
"""The same, as a share of a short drain."""
LAST_ANSWERS_SECONDS = 2.0
"""What calls that were cut get at most to tell their callers so: some callers do not read any more."""
LAST_GRACE_SECONDS = 1.0
"""What everything else gets that is still open then: who watches health, say."""

QUIET_SECONDS = 0.2
"""How long nobody must have called before the servers go: two turns of a container's share of a CPU."""

LOOK_SECONDS = 0.02
"""The same for the first look, where no call was running: there may be callers who only ask for plans."""

QUIET_LOOKS = 5
"""How often that is looked for: those who call again and again do not keep a sidecar from ending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where to listen and how much to take on. An empty address is not listened on; port 0 takes a free one.

    `tls` is for the address alone. `insecure` lets it reach beyond this machine without. `tokens` are those that are
    valid, None where nobody needs one.
    """

    address: str = "127.0.0.1:50151"
    socket: UnixSocket | None = None
    tls: Tls | None = None
    insecure: bool = False
    tokens: Tokens | None = None
    health_address: str = "0.0.0.0:50152"
    reflection: bool = True
    max_concurrent_calls: int = 256
    max_queue: int = 64
    max_message_mib: int = 32
    max_inflight_bytes: int | None = None
    drain_seconds: float = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Where the server really listens; empty where it does not."""

    address: str
    socket: str
    health_address: str


class ApiServer:
    """Serves one router and executor: `start`, then `stop` once.

    `clock` is monotonic seconds, `wall` seconds since the epoch. `request_log` is told of every executed call;
    `events` is what is listed and followed, None where nobody tells of any. `access_log` is told of every
    call for a decision or an answer; `observe_call` of every RPC that ends, `observe_overhead` of how much of a call's
    time was spent here;
    `tracing` decides which are traced, None where none is. `changing` changes the configuration for operators, None
    where there is none.
    """

    def __init__(
        self,
        router: Router,
        executor: Executor,
        settings: ServerSettings,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        log: FilteringBoundLogger,
        request_log: RequestLog | None = None,
        tracing: CallTracing | None = None,
        events: EventRing | None = None,
        access_log: AccessLog | None = None,
        observe_call: Observe | None = None,
        observe_overhead: Callable[[float], None] = lambda _seconds: None,
        changing: Changing | None = None,
    ) -> None:
        self._settings = settings
        self._changing = changing
        self._checking = executor.checking
        self._request_log = request_log
        self._access_log = access_log
        self._tracing = tracing
        self._log = log
        self._router = router
        self.answering = Answering(executor, router, clock=clock)
        self._instants = Instants(clock, wall)
        self._draining = Draining()
        self._call_times = None if observe_call is None else CallTimes(clock, observe_call, observe_overhead)
        self._events = EventFeed(EventRing(wall()) if events is None else events, self._draining)
        self._cutting = Cutting()
        self._health = Health()
        self._servers: list[grpc.aio.Server] = []
        self._services: list[RouterService] = []
        self._failing = Failing(self._instants, log, clock)
        self._pieces = LongPieces(clock)
        self._handshakes = Handshakes(settings.tls) if settings.tls is not None else None
        self.refusals = Refusals(log, clock)
        self.doors: tuple[Entrance, ...] = ()
        """Those of quick RPCs and of calls, once it has started."""
        self.calls = Admission(
            "calls",
            _admission_limits(settings),
            self._draining,
        )

    async def start(self) -> Bound:
        """Listens and serves; returns the addresses. Raises ListenError and leaves nothing behind when it cannot."""
        settings = self._settings
        try:
            address = self._listen() if settings.address else ""
            if settings.socket is not None:
                beside = self._main_server(self._access(beyond=False, with_certificates=False))
                bind_unix(settings.socket, lambda path: beside.add_insecure_port(f"unix:{path}"))
            health_address = ""
            if settings.health_address:
                health = grpc.aio.server(options=_options(1), maximum_concurrent_rpcs=QUICK_CALLS)
                self._servers.append(health)
                self._health.add_to(health)
                health_address = self._bind(health, settings.health_address, None)
            for server in self._servers:
                await server.start()
        except ListenError:
            await self._let_go()
            raise
        self._health.serving()
        return Bound(
            address=address,
            socket=settings.socket.path if settings.socket is not None else "",
            health_address=health_address,
        )

    async def stop(self) -> None:
        """Stops in order: health says NOT_SERVING, new calls get DRAINING, running ones get `drain_seconds`.

        Returns when everything has ended. What still runs shortly before the drain is over is cut, and its caller told
        within it.
        """
        # Whoever looks before calling is told first.
        self._health.stopping()
        self._draining.event.set()
        busy = self.calls.running > 0
        drain_seconds = self._settings.drain_seconds
        cut_before_seconds = min(CUT_BEFORE_SECONDS, drain_seconds * CUT_BEFORE_SHARE)
        try:
            async with asyncio.timeout(drain_seconds - cut_before_seconds):
                await self.calls.idle()
        except TimeoutError:
            self._log.warning("api.drain_cut", running_count=self.calls.running)
            self._cutting.cut()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_ANSWERS_SECONDS):
                    await self.calls.idle()
        await self._nobody_calls(QUIET_SECONDS if busy else LOOK_SECONDS)
        await asyncio.gather(*(server.stop(LAST_GRACE_SECONDS) for server in self._servers))
        if self._settings.socket is not None:
            remove_unix(self._settings.socket.path)

    def follow(self, settings: ServerSettings) -> None:
        """Takes on as much as other settings say, and drains for as long; where and for whom it listens stays."""
        self._settings = replace(
            self._settings,
            max_concurrent_calls=settings.max_concurrent_calls,
            max_queue=settings.max_queue,
            max_inflight_bytes=settings.max_inflight_bytes,
            drain_seconds=settings.drain_seconds,
        )
        self.calls.follow(_admission_limits(self._settings))
        if self.doors:
            self.doors[1].follow(self._most_calls)

    def log_requests(self, request_log: RequestLog | None) -> None:
        """Has calls that begin from now on told to another request log, None for none."""
        self._request_log = request_log
        for service in self._services:
            service.request_log = request_log

    async def _nobody_calls(self, look_seconds: float) -> None:
        """Goes on refusing until no call has come for a moment, or about a second is over.

        What has come but was not begun when a gRPC server stops ends as CANCELLED, which callers take for their own
        doing and do not try elsewhere; and whoever has just had the last answer may well ask the next thing at once.
        """
        for _ in range(QUIET_LOOKS):
            refused_before = self._draining.refused_count
            await asyncio.sleep(look_seconds)
            if self._draining.refused_count == refused_before:
                return
            look_seconds = QUIET_SECONDS

    async def _let_go(self) -> None:
        # A gRPC server gives its ports back only if it has run; nobody is served in that moment.
        self._draining.event.set()
        for server in self._servers:
            await server.start()
            await server.stop(None)

    def renew(self, tls: Tls) -> None:
        """Has new connections see another certificate; those that there are go on. For listeners with TLS alone."""
        if self._handshakes is not None:
            self._handshakes.renew(tls)

    def _listen(self) -> str:
        """Listens on the address; returns the real one. Raises ListenError."""
        settings = self._settings
        beyond = reaches_beyond(settings.address)
        if beyond and settings.tls is None and not settings.insecure:
            raise ListenError(
                f'cannot listen on "{settings.address}": it reaches beyond this machine without TLS; set listen.tls, '
                f"or listen.insecure_listen: true if that is meant"
            )
        with_certificates = settings.tls is not None and settings.tls.client_authority is not None
        server = self._main_server(self._access(beyond=beyond, with_certificates=with_certificates))
        return self._bind(server, settings.address, self._handshakes)

    def _access(self, *, beyond: bool, with_certificates: bool) -> Access:
        """Returns a listener's rule: what somebody without a token is there, if anybody may be without."""
        tokens = self._settings.tokens
        without_token: Identity | None = NETWORK_CALLER if beyond or with_certificates else ANYBODY
        if tokens is not None and not with_certificates:
            without_token = None
        return Access(failing=self._failing, refusals=self.refusals, tokens=tokens, without_token=without_token)

    def _main_server(self, access: Access) -> grpc.aio.Server:
        """Makes the server of one listener. Each has its own, so that who may call is known before anything is read."""
        settings = self._settings
        guard = Guard(access)
        server = grpc.aio.server(
            interceptors=(guard,),
            options=[*_options(settings.max_message_mib), *_flood_options()],
            # Above what the entrances let in, so that it is they who refuse, with details; this bounds the flood.
            maximum_concurrent_rpcs=self._most_calls + QUICK_CALLS + REFUSED_CALLS,
        )
        self._servers.append(server)
        failing = self._failing
        entrances = self.doors or self._entrances(failing)
        decoding: Any = DecodingServer(
            server,
            failing,
            guard=guard,
            entrance=lambda method: entrances[method in EXECUTING],
            weigh=lambda method: self.calls.weigh if method in EXECUTING else None,
            pieces=self._pieces,
            times=self._call_times,
        )
        router_service = RouterService(
            self._router,
            self.answering,
            calls=self.calls,
            cutting=self._cutting,
            watching=Watching(self._router, self._instants, self._draining),
            failing=failing,
            instants=self._instants,
            pieces=self._pieces,
            request_log=self._request_log,
            access_log=self._access_log,
            tracing=self._tracing,
        )
        self._services.append(router_service)
        router_pb2_grpc.add_RouterServiceServicer_to_server(router_service, decoding)
        admin_service: Any = AdminService(
            self._router,
            events=self._events,
            failing=failing,
            checking=self._checking,
            changing=self._changing,
            max_message_bytes=settings.max_message_mib * MIB,
        )
        refuse_rest(
            admin_service, admin_pb2.DESCRIPTOR.services_by_name["AdminService"], failing, AdminService.answered
        )
        admin_pb2_grpc.add_AdminServiceServicer_to_server(admin_service, decoding)
        session_service: Any = SimpleNamespace()
        refuse_rest(session_service, session_pb2.DESCRIPTOR.services_by_name["SessionService"], failing)
        session_pb2_grpc.add_SessionServiceServicer_to_server(session_service, decoding)
        # Where nobody is asked anything, health and reflection need nothing between.
        asking: Any = server if access.open else AskingServer(server, access)
        self._health.add_to(asking)
        if settings.reflection:
            # A fiftieth of a start: only who has it pays for it.
            from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]  # noqa: PLC0415 - has no types

            names = [
                service.full_name
                for file in (router_pb2, admin_pb2, session_pb2)
                for service in file.DESCRIPTOR.services_by_name.values()
            ]
            reflection.enable_server_reflection((*names, "grpc.health.v1.Health", reflection.SERVICE_NAME), asking)
        return server

    @property
    def shed_counts(self) -> Mapping[str, int]:
        """RPCs that were refused for overload, by the bound that they met: `calls`, `low`, `bytes` once they had come.

        Before, `arriving` for calls that are being received, `quick` for plans, status and reports.
        """
        doors = {name: door.shed_count for name, door in zip(("quick", "arriving"), self.doors, strict=False)}
        return self.calls.shed_counts | doors

    @property
    def _most_calls(self) -> int:
        return self._settings.max_concurrent_calls + self._settings.max_queue + ARRIVING_CALLS

    def _entrances(self, failing: Failing) -> tuple[Entrance, Entrance]:
        """Returns those for quick RPCs and for calls to providers; room of one kind is never taken by the other."""
        self.doors = (
            Entrance("requests for plans, status and reports", QUICK_CALLS, failing),
            Entrance("calls", self._most_calls, failing),
        )
        return self.doors

    def _bind(self, server: grpc.aio.Server, address: str, handshakes: Handshakes | None) -> str:
        host, _ = split_address(address)
        check_free(address)
        try:
            if handshakes is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, handshakes.credentials())
        except RuntimeError as error:
            raise ListenError(f'cannot listen on "{address}": {error}') from None
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _admission_limits(settings: ServerSettings) -> AdmissionLimits:
    return AdmissionLimits(
        max_running=settings.max_concurrent_calls,
        max_waiting=settings.max_queue,
        max_bytes=settings.max_inflight_bytes,
    )


def _options(max_message_mib: int) -> list[tuple[str, int]]:
    return [
        # Two processes on one port would each get some of the calls, with state of their own.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", max_message_mib * MIB),
        ("grpc.max_send_message_length", max_message_mib * MIB),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        # Callers may look whether we are still there, as many are set to. By default gRPC ends the connection, and
        # every call on it, where it is done thrice within ten minutes without an answer. A model may think so long.
        ("grpc.http2.min_ping_interval_without_data_ms", PING_MILLISECONDS),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _flood_options() -> list[tuple[str, int]]:
    return [
        # What has arrived and was not taken yet. gRPC cancels what is beyond, by chance from 1000 on by default,
        # and a bare CANCELLED tells a caller nothing. (A limit of streams to each connection would be no better:
        # a burst on a new connection comes before its caller knows of the limit, and gets a bare UNAVAILABLE.)
        ("grpc.server.max_pending_requests", PENDING_RPCS),
        ("grpc.server.max_pending_requests_hard_limit", PENDING_RPCS),
    ]
