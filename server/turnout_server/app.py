"""The composition root: configuration in, running server out. The only place that knows every part.

config -> router (core) -> executor -> API, with providers below and telemetry beside.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.metadata
import json
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from turnout_server.api.admission import MIB
from turnout_server.api.metrics_endpoint import MetricsEndpoint
from turnout_server.api.server import ApiServer, ServerSettings
from turnout_server.api.sockets import ListenError, UnixSocket
from turnout_server.api.stop_signals import on_stop_signal
from turnout_server.config.build import Parts, build
from turnout_server.config.load import Loaded
from turnout_server.config.memory_limit import INFLIGHT_SHARE, memory_limit_bytes
from turnout_server.config.schema import Configuration
from turnout_server.core.events import Event, EventName
from turnout_server.execution.answering import Answering
from turnout_server.execution.executor import Executor
from turnout_server.ids import new_id
from turnout_server.large_buffers import give_back_large_buffers
from turnout_server.local_models import LocalModels
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.upstream import build_upstreams
from turnout_server.router import Router
from turnout_server.telemetry.logs import LogFormat, LogLevel, configure_logging
from turnout_server.telemetry.metrics import Metrics
from turnout_server.telemetry.request_log import RequestLog
from turnout_server.telemetry.rotating_file import RotatingFile, RotatingFileError
from turnout_server.telemetry.tracing import add_to_span, outgoing_headers

EXPIRE_EVERY_SECONDS = 0.25
"""How often lapsed leases and reopening times are looked for when no request does."""

SECRETS_EVERY_SECONDS = 5.0
"""How often keys are compared with what they were, so that a new one ends an outage."""

ANSWER_MARGIN_BYTES = 256 * 1024
"""Of the largest message, left for what goes with an answer: the decision, the attempts."""

GC_THRESHOLD = 10_000
"""New objects before the youngest are looked over: a call makes thousands, nearly all freed by counting. What is not
(gRPC leaves some ten a call) waits for this: five times as many waiting took 5 MB, and saved nothing measurable."""

_GRAVE = frozenset(
    {
        EventName.BREAKER_OPENED,
        EventName.ENDPOINT_OPENED,
        EventName.LOCAL_NETWORK,
        EventName.CREDENTIAL_OUT,
        EventName.BUDGET_EXHAUSTED,
    }
)


class StartError(Exception):
    """The sidecar cannot start; the message says what is in the way and what to do."""


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


def run(loaded: Loaded, environ: Mapping[str, str], *, announce: Callable[[str], None], json_logs: bool) -> None:
    """Runs the sidecar until SIGTERM or SIGINT; `announce` gets one line once it is ready. Raises StartError."""
    telemetry = loaded.configuration.telemetry
    configure_logging(LogLevel(telemetry.log_level), LogFormat.JSON if json_logs else LogFormat(telemetry.log_format))
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    give_back_large_buffers()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_until_signal(loaded, environ, announce))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - there is none on every platform
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _until_signal(loaded: Loaded, environ: Mapping[str, str], announce: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    give_back = on_stop_signal(stop.set)
    async with running(loaded, environ) as listening:
        # What start-up made stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        announce(listening.line())
        await stop.wait()
        # Whoever asks twice does not want to wait: the second signal ends the process as it always does.
        give_back()


@contextlib.asynccontextmanager
async def running(
    loaded: Loaded, environ: Mapping[str, str], *, secrets_every_seconds: float = SECRETS_EVERY_SECONDS
) -> AsyncIterator[Listening]:
    """Builds everything, serves while the block runs, then stops in order. Raises StartError."""
    log: FilteringBoundLogger = structlog.get_logger("turnout")
    configuration = loaded.configuration
    parts = build(configuration, environ)
    metrics = Metrics()
    rng = random.Random()  # noqa: S311 - spreads load, keeps no secret

    def on_event(event: Event) -> None:
        metrics.event(event)
        log_event(log, event)

    router = Router(
        parts.fleet,
        parts.settings,
        clock=time.monotonic,
        wall=time.time,
        rng=rng,
        new_id=new_id,
        on_event=on_event,
        instruments=metrics,
    )

    def on_secret_fault(fault: str) -> None:
        log.warning("secret", fault=fault)

    def adopt(found: Parts) -> None:
        router.adopt(found.fleet, found.settings)

    secrets = Secrets(parts.connections, environ=environ, on_fault=on_secret_fault)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(secrets.aclose)
        secrets.start_commands()
        upstreams = _upstreams(parts.connections, secrets)
        executor = Executor(
            router,
            upstreams,
            clock=time.monotonic,
            wall=time.time,
            rng=rng,
            new_id=new_id,
            trace_headers=outgoing_headers,
            max_answer_bytes=configuration.limits.max_message_mib * MIB - ANSWER_MARGIN_BYTES,
        )
        stack.push_async_callback(executor.aclose)
        # Their connections stay: only what is known of their models changes.
        local_models = LocalModels(
            configuration,
            environ,
            upstreams,
            adopt=adopt,
            log=log,
        )
        await local_models.first_look()
        request_log = _request_log(configuration, secrets, log)
        if request_log is not None:
            # Off the loop: it waits for the disk to take what is left.
            stack.push_async_callback(asyncio.to_thread, request_log.close)
            metrics.watch_request_log(request_log)
        server = ApiServer(
            router,
            executor,
            server_settings(configuration),
            clock=time.monotonic,
            wall=time.time,
            log=log,
            request_log=request_log,
        )
        metrics.watch(router.gauges)
        metrics.watch_budgets(router.budgets)
        metrics.watch_answers(server.answering.once, server.answering.cache)
        metrics.watch_shed(lambda: server.shed_count)
        metrics_endpoint = MetricsEndpoint(metrics.render)
        try:
            bound = await server.start()
            stack.push_async_callback(server.stop)
            address = configuration.metrics.address
            metrics_address = await metrics_endpoint.start(address) if address else ""
            stack.push_async_callback(metrics_endpoint.stop)
        except ListenError as error:
            raise StartError(str(error)) from None
        for work in (
            _expire(router, server.answering),
            _watch_secrets(secrets, router, secrets_every_seconds),
            local_models.watch(),
        ):
            stack.push_async_callback(_ended, asyncio.create_task(work))
        unix = (f"unix:{bound.socket}",) if bound.socket else ()
        listening = Listening(
            grpc=(*((bound.address,) if bound.address else ()), *unix),
            health=bound.health_address,
            metrics=metrics_address,
            version=importlib.metadata.version("turnout"),
        )
        _log_start(log, loaded, listening, router)
        yield listening
        log.info("stopping", drain_seconds=configuration.drain_seconds)
    log.info("stopped")


def server_settings(configuration: Configuration) -> ServerSettings:
    """Returns what the API needs of the configuration."""
    listen, limits = configuration.listen, configuration.limits
    memory = memory_limit_bytes()
    inflight = int(memory * INFLIGHT_SHARE) if memory is not None else None
    return ServerSettings(
        address=listen.address,
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


def log_event(log: FilteringBoundLogger, event: Event) -> None:
    """Writes one event of the core, to the log (what hurts as a warning) and to the span of the call that met it."""
    where: dict[str, str] = {}
    if event.target is not None:
        where["target"] = str(event.target)
    if event.provider:
        where["provider"] = event.provider
    if event.endpoint:
        where["endpoint"] = event.endpoint
    write = log.warning if event.name in _GRAVE else log.info
    write(event.name.value, **where, **event.fields)
    add_to_span(event.name.value, {**where, **event.fields})


def _upstreams(connections: Any, secrets: Secrets) -> Mapping[str, Any]:
    try:
        return build_upstreams(connections, secrets)
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"a certificate file cannot be used: {error}") from None


def _request_log(configuration: Configuration, secrets: Secrets, log: FilteringBoundLogger) -> RequestLog | None:
    """Opens the request log, where there is to be one, and begins to write it. Raises StartError."""
    wanted = configuration.telemetry.request_log
    if not wanted.file:
        return None
    file = RotatingFile(wanted.file, wanted.max_mib * MIB)
    try:
        file.open()
    except RotatingFileError as error:
        raise StartError(f"telemetry.request_log.file: {error}") from None
    request_log = RequestLog(
        file, content=wanted.content, log=log, clock=time.monotonic, wall=time.time, secrets=secrets.known
    )
    request_log.start()
    return request_log


def _log_start(log: FilteringBoundLogger, loaded: Loaded, listening: Listening, router: Router) -> None:
    for warning in loaded.warnings:
        log.warning("configuration", warning=warning)
    log.info(
        "listening",
        grpc=list(listening.grpc),
        health=listening.health,
        metrics=listening.metrics,
        config=loaded.origin or "none",
        providers=list(router.fleet.providers),
        target_count=len(router.fleet.specs),
        policy_version=router.settings.routing.policy_version,
        version=listening.version,
    )


async def _expire(router: Router, answering: Answering) -> None:
    while True:
        await asyncio.sleep(EXPIRE_EVERY_SECONDS)
        router.expire()
        answering.expire()


async def _watch_secrets(secrets: Secrets, router: Router, every_seconds: float) -> None:
    while True:
        await asyncio.sleep(every_seconds)
        # Files: off the loop, since a mounted secret may be on a slow file system.
        for provider, label in await asyncio.to_thread(secrets.changed):
            router.credential_changed(provider, label)
        secrets.start_commands()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
