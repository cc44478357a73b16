"""`grpc.health.v1`, on the main listener and on one of its own that a kubelet can reach."""

from __future__ import annotations

from grpc.aio import Server
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # has no types
from grpc_health.v1.health import aio as health_aio  # type: ignore[import-untyped]  # likewise

from turnout.v1 import admin_pb2, router_pb2

SERVICES = (
    "",
    router_pb2.DESCRIPTOR.services_by_name["RouterService"].full_name,
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
)


class Health:
    """Says SERVING from `serving` on, and NOT_SERVING from `stopping` on for good."""

    __slots__ = ("_servicer",)

    def __init__(self) -> None:
        self._servicer = health_aio.HealthServicer()

    def add_to(self, server: Server) -> None:
        """Serves on this server too; all say the same."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def serving(self) -> None:
        """Says SERVING for every service."""
        for service in SERVICES:
            await self._servicer.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def stopping(self) -> None:
        """Says NOT_SERVING for every service, for good."""
        await self._servicer.enter_graceful_shutdown()
