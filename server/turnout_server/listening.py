"""Where the sidecar listens, and what its listeners need of the configuration."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import time
from dataclasses import dataclass

from turnout_server.api.admission import MIB
from turnout_server.api.metrics_endpoint import MetricsEndpoint
from turnout_server.api.server import ApiServer, ServerSettings
from turnout_server.api.sockets import ListenError, UnixSocket
from turnout_server.config.memory_limit import inflight_limit_bytes, memory_limit_bytes
from turnout_server.config.schema import Configuration
from turnout_server.starting import StartError
from turnout_server.telemetry.metrics.metrics import Metrics
from turnout_server.telemetry.metrics.page import SharedPages


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where the sidecar listens; "" where it does not."""

    grpc: tuple[str, ...]
    health: str
    metrics: str
    version: str

    def line(self) -> str:
        """Returns the one line that tells whoever started the sidecar."""
        return json.dumps(
            {
                "event": "listening",
                "grpc": list(self.grpc),
                "health": self.health,
                "metrics": self.metrics,
                "version": self.version,
            },
            separators=(",", ":"),
        )


async def listen(
    configuration: Configuration, server: ApiServer, metrics: Metrics, stack: contextlib.AsyncExitStack
) -> Listening:
    """Listens until the stack ends; calls stop first, so that their end can still be measured. Raises StartError."""
    metrics_endpoint = MetricsEndpoint(SharedPages(metrics.page))
    try:
        address = configuration.metrics.address
        metrics_address = await metrics_endpoint.start(address) if address else ""
        stack.push_async_callback(metrics_endpoint.stop)
        bound = await server.start()
        stack.push_async_callback(server.stop)
    except ListenError as error:
        raise StartError(str(error)) from None
    version = importlib.metadata.version("turnout")
    metrics.started(version, time.time())
    unix = (f"unix:{bound.socket}",) if bound.socket else ()
    return Listening(
        grpc=(*((bound.address,) if bound.address else ()), *unix),
        health=bound.health_address,
        metrics=metrics_address,
        version=version,
    )


def server_settings(configuration: Configuration) -> ServerSettings:
    """Returns what the API needs of the configuration."""
    listen, limits = configuration.listen, configuration.limits
    inflight = inflight_limit_bytes(memory_limit_bytes())
    return ServerSettings(
        address=listen.address,
        insecure=listen.insecure_listen,
        socket=UnixSocket(path=listen.socket, mode=int(listen.socket_mode, 8), group=listen.socket_group)
        if listen.socket
        else None,
        health_address=configuration.health.address,
        reflection=listen.reflection,
        max_concurrent_calls=limits.max_concurrent_calls,
        max_queue=limits.max_queue,
        max_message_mib=limits.max_message_mib,
        max_inflight_bytes=limits.max_inflight_mib * MIB if limits.max_inflight_mib is not None else inflight,
        drain_seconds=configuration.drain_seconds,
    )
