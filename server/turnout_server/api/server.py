"""The gRPC server: listeners, limits, services, and an orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]  # has no types

from turnout.v1 import admin_pb2, admin_pb2_grpc, router_pb2, router_pb2_grpc, session_pb2, session_pb2_grpc
from turnout_server.api.admin_service import AdminService
from turnout_server.api.admission import MIB, Admission, AdmissionLimits, Draining
from turnout_server.api.cutting import Cutting
from turnout_server.api.decoding import DecodingServer
from turnout_server.api.entrance import Entrance
from turnout_server.api.failing import Failing
from turnout_server.api.health import Health
from turnout_server.api.instants import Instants
from turnout_server.api.not_yet import refuse_rest
from turnout_server.api.router_service import RouterService
from turnout_server.api.sockets import ListenError, UnixSocket, bind_unix, check_free, remove_unix, split_address
from turnout_server.api.watching import Watching
from turnout_server.execution.answering import Answering

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from turnout_server.execution.executor import Executor
    from turnout_server.router import Router
    from turnout_server.telemetry.request_log import RequestLog

MAX_METADATA_BYTES = 8192
QUICK_CALLS = 1024
"""Room for calls that wait for nobody (Route, ProviderStatus, ReportOutcome), beyond all those that call providers."""

EXECUTING = frozenset({"Execute", "ExecuteStream"})
ARRIVING_CALLS = 256
"""Room for calls whose request is still being received, or which are being refused, beyond those that run or wait."""
REFUSED_CALLS = 2048
"""Room for RPCs that are being refused with details; beyond it gRPC refuses without."""
PENDING_RPCS = 8192
"""RPCs that have arrived and wait to be taken: four seconds of plans, which take half a millisecond each."""

LAST_ANSWERS_SECONDS = 1.0
"""What calls that were cut off at the end of the drain get to tell their callers so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM texts; a client authority makes client certificates required."""

    certificate: bytes
    key: bytes
    client_authority: bytes | None = None

    def __repr__(self) -> str:
        return "Tls(…)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where to listen and how much to take on. An empty address is not listened on; port 0 takes a free one."""

    address: str = "127.0.0.1:50151"
    socket: UnixSocket | None = None
    tls: Tls | None = None
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

    `clock` is monotonic seconds, `wall` seconds since the epoch. `request_log` is told of every executed call.
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
    ) -> None:
        self._settings = settings
        self._request_log = request_log
        self._log = log
        self._router = router
        self.answering = Answering(executor, router, clock=clock)
        self._instants = Instants(clock, wall)
        self._draining = Draining()
        self._cutting = Cutting()
        self._health = Health()
        self._servers: list[grpc.aio.Server] = []
        self.doors: tuple[Entrance, ...] = ()
        """Those of quick RPCs and of calls, once it has started."""
        self.calls = Admission(
            "calls",
            AdmissionLimits(
                max_running=settings.max_concurrent_calls,
                max_waiting=settings.max_queue,
                max_bytes=settings.max_inflight_bytes,
            ),
            self._draining,
        )

    async def start(self) -> Bound:
        """Listens and serves; returns the addresses. Raises ListenError and leaves nothing behind when it cannot."""
        settings = self._settings
        try:
            main = self._main_server()
            address = self._bind(main, settings.address, settings.tls)
            if settings.socket is not None:
                bind_unix(settings.socket, lambda path: main.add_insecure_port(f"unix:{path}"))
            health_address = ""
            if settings.health_address:
                beside = grpc.aio.server(options=_options(1), maximum_concurrent_rpcs=QUICK_CALLS)
                self._servers.append(beside)
                self._health.add_to(beside)
                health_address = self._bind(beside, settings.health_address, None)
            for server in self._servers:
                await server.start()
        except ListenError:
            await self._let_go()
            raise
        await self._health.serving()
        return Bound(
            address=address,
            socket=settings.socket.path if settings.socket is not None else "",
            health_address=health_address,
        )

    async def stop(self) -> None:
        """Stops in order: health says NOT_SERVING, new calls get DRAINING, running ones get `drain_seconds`.

        Returns when everything has ended; what still runs then is cut, and its caller told.
        """
        self._draining.event.set()
        await self._health.stopping()
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                await self.calls.idle()
        except TimeoutError:
            self._log.warning("api.drain_cut", running_count=self.calls.running)
            self._cutting.cut()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_ANSWERS_SECONDS):
                    await self.calls.idle()
        await asyncio.gather(*(server.stop(LAST_ANSWERS_SECONDS) for server in self._servers))
        if self._settings.socket is not None:
            remove_unix(self._settings.socket.path)

    async def _let_go(self) -> None:
        # A gRPC server gives its ports back only if it has run; nobody is served in that moment.
        self._draining.event.set()
        for server in self._servers:
            await server.start()
            await server.stop(None)

    def _main_server(self) -> grpc.aio.Server:
        settings = self._settings
        server = grpc.aio.server(
            options=[*_options(settings.max_message_mib), *_flood_options()],
            # Above what the entrances let in, so that it is they who refuse, with details; this bounds the flood.
            maximum_concurrent_rpcs=self._most_calls + QUICK_CALLS + REFUSED_CALLS,
        )
        self._servers.append(server)
        failing = Failing(self._instants, self._log)
        entrances = self._entrances(failing)
        decoding: Any = DecodingServer(
            server,
            failing,
            entrance=lambda method: entrances[method in EXECUTING],
            weigh=lambda method: self.calls.weigh if method in EXECUTING else None,
        )
        router_service = RouterService(
            self._router,
            self.answering,
            calls=self.calls,
            cutting=self._cutting,
            watching=Watching(self._router, self._instants, self._draining),
            failing=failing,
            instants=self._instants,
            request_log=self._request_log,
        )
        router_pb2_grpc.add_RouterServiceServicer_to_server(router_service, decoding)
        admin_service: Any = AdminService(self._router, failing=failing)
        refuse_rest(
            admin_service, admin_pb2.DESCRIPTOR.services_by_name["AdminService"], failing, AdminService.answered
        )
        admin_pb2_grpc.add_AdminServiceServicer_to_server(admin_service, decoding)
        session_service: Any = SimpleNamespace()
        refuse_rest(session_service, session_pb2.DESCRIPTOR.services_by_name["SessionService"], failing)
        session_pb2_grpc.add_SessionServiceServicer_to_server(session_service, decoding)
        self._health.add_to(server)
        if settings.reflection:
            names = [
                service.full_name
                for file in (router_pb2, admin_pb2, session_pb2)
                for service in file.DESCRIPTOR.services_by_name.values()
            ]
            reflection.enable_server_reflection((*names, "grpc.health.v1.Health", reflection.SERVICE_NAME), server)
        return server

    @property
    def shed_count(self) -> int:
        """RPCs that were refused for overload."""
        return self.calls.shed_count + sum(entrance.shed_count for entrance in self.doors)

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

    def _bind(self, server: grpc.aio.Server, address: str, tls: Tls | None) -> str:
        if not address:
            return ""
        host, _ = split_address(address)
        check_free(address)
        try:
            port = (
                server.add_insecure_port(address) if tls is None else server.add_secure_port(address, _credentials(tls))
            )
        except RuntimeError as error:
            raise ListenError(f'cannot listen on "{address}": {error}') from None
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)],
        root_certificates=tls.client_authority,
        require_client_auth=tls.client_authority is not None,
    )


def _options(max_message_mib: int) -> list[tuple[str, int]]:
    return [
        # Two processes on one port would each get some of the calls, with state of their own.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", max_message_mib * MIB),
        ("grpc.max_send_message_length", max_message_mib * MIB),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ]


def _flood_options() -> list[tuple[str, int]]:
    return [
        # What has arrived and was not taken yet. gRPC cancels what is beyond, by chance from 1000 on by default,
        # and a bare CANCELLED tells a caller nothing. (A limit of streams to each connection would be no better:
        # a burst on a new connection comes before its caller knows of the limit, and gets a bare UNAVAILABLE.)
        ("grpc.server.max_pending_requests", PENDING_RPCS),
        ("grpc.server.max_pending_requests_hard_limit", PENDING_RPCS),
    ]
