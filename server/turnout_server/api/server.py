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
from turnout_server.api.failing import Failing
from turnout_server.api.health import Health
from turnout_server.api.instants import Instants
from turnout_server.api.not_yet import refuse_rest
from turnout_server.api.router_service import RouterService
from turnout_server.api.sockets import ListenError, UnixSocket, bind_unix, check_free, remove_unix, split_address
from turnout_server.api.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from turnout_server.execution.executor import Executor
    from turnout_server.router import Router

MAX_METADATA_BYTES = 8192
QUICK_CALLS = 1024
"""Room for calls that wait for nobody (Route, ProviderStatus, ReportOutcome), beyond all those that call providers."""

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

    `clock` is monotonic seconds, `wall` seconds since the epoch.
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
    ) -> None:
        self._settings = settings
        self._log = log
        self._router = router
        self._executor = executor
        self._instants = Instants(clock, wall)
        self._draining = Draining()
        self._cutting = Cutting()
        self._health = Health()
        self._servers: list[grpc.aio.Server] = []
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
            options=_options(settings.max_message_mib),
            # Above what admission lets in, so that it is admission that refuses, with details; this bounds the flood.
            maximum_concurrent_rpcs=settings.max_concurrent_calls + settings.max_queue + QUICK_CALLS,
        )
        self._servers.append(server)
        failing = Failing(self._instants, self._log)
        decoding: Any = DecodingServer(server, failing)
        router_service = RouterService(
            self._router,
            self._executor,
            calls=self.calls,
            cutting=self._cutting,
            watching=Watching(self._router, self._instants, self._draining),
            failing=failing,
            instants=self._instants,
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
