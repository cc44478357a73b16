"""The composition root: configuration in, running server out. The only place that knows every part.

config -> router (core) -> executor -> API, with providers below and telemetry beside.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

import structlog
from structlog.typing import FilteringBoundLogger

from turnout_server.api.admission import MIB
from turnout_server.api.reload_signal import on_reload_signal
from turnout_server.api.server import ApiServer
from turnout_server.api.stop_signals import on_stop_signal
from turnout_server.config.build import build
from turnout_server.config.load import Loaded
from turnout_server.execution.answering import Answering
from turnout_server.execution.executor import Executor
from turnout_server.ids import new_id
from turnout_server.large_buffers import give_back_large_buffers
from turnout_server.listening import Listening, listen, server_settings
from turnout_server.local_models import LocalModels
from turnout_server.providers.secrets import Secrets
from turnout_server.reaching import Reaching
from turnout_server.reloading.changing import RunTimeChanges
from turnout_server.reloading.in_service import InService
from turnout_server.reloading.reloader import Reloader
from turnout_server.reloading.request_logging import RequestLogging
from turnout_server.reloading.watched_files import LOOK_EVERY_SECONDS, SETTLED_SECONDS, WatchedFiles
from turnout_server.router import Router
from turnout_server.shadow_turns import ShadowTurns
from turnout_server.starting import (
    begin_alarming,
    begin_metric_export,
    begin_request_log,
    begin_tracing,
    connect_upstreams,
    make_keeper,
    read_listener_files,
    resume,
    with_listener_files,
)
from turnout_server.telemetry.logs.access_log import AccessLog, AccessMode
from turnout_server.telemetry.logs.log_writer import LogWriter, stderr_writer
from turnout_server.telemetry.logs.logs import LogFormat, LogLevel, configure_logging, set_log_level
from turnout_server.telemetry.logs.stray import log_strays, log_unhandled
from turnout_server.telemetry.metrics.instruments import Profile
from turnout_server.telemetry.metrics.metrics import Metrics
from turnout_server.telemetry.otlp.flushing import Flushing
from turnout_server.telemetry.telling import Telling
from turnout_server.telemetry.traces.call_spans import attempt_of_current, deciding_again_in_current
from turnout_server.telemetry.traces.tracing import outgoing_headers
from turnout_server.wake_ups import loop_factory

if TYPE_CHECKING:
    from turnout_server.listener_files import ListenerFiles
    from turnout_server.state.keeper import Keeper
    from turnout_server.telemetry.traces.tracer import Tracing

EXPIRE_EVERY_SECONDS = 0.25
"""How often lapsed leases and reopening times are looked for when no request does."""

SECRETS_EVERY_SECONDS = 5.0
"""How often keys are compared with what they were, so that a new one ends an outage."""

ALARMS_EVERY_SECONDS = 5.0
"""How often targets are looked at for high latency and high error rates."""

DROPPED_LINES_EVERY_SECONDS = 1.0
"""How often the log is told of its own lines that found no room."""

LISTENER_FILES_EVERY_SECONDS = 5.0
"""How often the listener's certificate and tokens are compared with their files."""

ANSWER_MARGIN_BYTES = 256 * 1024
"""Of the largest message, left for what goes with an answer: the decision, the attempts."""

GC_THRESHOLD = 10_000
"""New objects before the youngest are looked over: a call makes thousands, nearly all freed by counting. What is not
(gRPC leaves some ten a call) waits for this: five times as many waiting took 5 MB, and saved nothing measurable."""


def run(
    loaded: Loaded,
    environ: Mapping[str, str],
    *,
    announce: Callable[[str], None],
    json_logs: bool,
    on_stopped: Callable[[], None] = lambda: None,
) -> None:
    """Runs the sidecar until SIGTERM or SIGINT; `announce` gets one line once it is ready. Raises StartError.

    `on_stopped` is called when all is written and closed, but for the event loop.
    """
    telemetry = loaded.configuration.telemetry
    log_writer = stderr_writer()
    configure_logging(
        LogLevel(telemetry.log_level),
        LogFormat.JSON if json_logs else LogFormat(telemetry.log_format),
        log_writer,
        environ,
    )
    log_strays(structlog.get_logger("turnout"), log_writer.drain)
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    give_back_large_buffers()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_until_signal(loaded, environ, announce, log_writer))
            log_writer.drain()
            on_stopped()
    finally:
        log_writer.drain()


async def _until_signal(
    loaded: Loaded, environ: Mapping[str, str], announce: Callable[[str], None], log_writer: LogWriter
) -> None:
    log_unhandled(structlog.get_logger("turnout"), asyncio.get_running_loop())
    stop = asyncio.Event()
    give_back = on_stop_signal(stop.set)
    reload_asked = asyncio.Event()
    on_reload_signal(reload_asked.set)
    async with running(loaded, environ, reload_asked=reload_asked, log_writer=log_writer) as listening:
        # What start-up made stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.enable()
        announce(listening.line())
        await stop.wait()
        # Whoever asks twice does not want to wait: the second signal ends the process as it always does.
        give_back()


@contextlib.asynccontextmanager
async def running(
    loaded: Loaded,
    environ: Mapping[str, str],
    *,
    secrets_every_seconds: float = SECRETS_EVERY_SECONDS,
    listener_files_every_seconds: float = LISTENER_FILES_EVERY_SECONDS,
    files_every_seconds: float = LOOK_EVERY_SECONDS,
    alarms_every_seconds: float = ALARMS_EVERY_SECONDS,
    reload_asked: asyncio.Event | None = None,
    log_writer: LogWriter | None = None,
) -> AsyncIterator[Listening]:
    """Builds everything, serves while the block runs, then stops in order. Raises StartError.

    Whoever sets `reload_asked` has the configuration looked at, whether or not its file has changed.
    """
    log: FilteringBoundLogger = structlog.get_logger("turnout")
    configuration = loaded.configuration
    parts = build(configuration, environ)
    metrics = Metrics(Profile(configuration.telemetry.metrics_profile))
    rng = random.Random()  # noqa: S311 - spreads load, keeps no secret
    telling = Telling(log, metrics.event, wall=time.time)
    access_log = AccessLog(log, clock=time.monotonic, rng=rng, mode=AccessMode(configuration.telemetry.access_log))
    router = Router(
        parts.fleet,
        parts.settings,
        clock=time.monotonic,
        wall=time.time,
        rng=rng,
        new_id=new_id,
        on_event=telling,
        instruments=metrics,
    )

    secrets = Secrets(parts.connections, environ=environ, on_fault=lambda fault: log.warning("secret", fault=fault))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(secrets.aclose)
        secrets.start_commands()
        # Closed after the last snapshot, which is worth more than what a collector keeps waiting; and after all calls
        # have ended, whose spans and counts are in what is sent last.
        flushing = await stack.enter_async_context(Flushing(time.monotonic))
        tracing = begin_tracing(environ, log, flushing)
        keeper = make_keeper(configuration, router, lambda: service.secrets, log)
        if keeper is not None:
            _keep(keeper, telling, metrics, stack)
        alarming = begin_alarming(configuration, telling, metrics, log, stack)
        upstreams = connect_upstreams(parts.connections, secrets)
        executor = Executor(
            router,
            upstreams,
            clock=time.monotonic,
            wall=time.time,
            rng=rng,
            new_id=new_id,
            trace_headers=outgoing_headers,
            trace_attempt=attempt_of_current,
            trace_hop=deciding_again_in_current,
            max_answer_bytes=configuration.limits.max_message_mib * MIB - ANSWER_MARGIN_BYTES,
        )
        stack.push_async_callback(executor.aclose)
        # Their connections stay: only what is known of their models changes.
        local_models = LocalModels(
            configuration,
            environ,
            upstreams,
            adopt=lambda found: router.adopt(found.fleet, found.settings),
            log=log,
        )
        await local_models.first_look()
        request_logging = RequestLogging(log=log, clock=time.monotonic, wall=time.time)
        service = InService(
            configuration,
            environ,
            parts=parts,
            secrets=secrets,
            upstreams=upstreams,
            router=router,
            executor=executor,
            local_models=local_models,
            request_logging=request_logging,
        )
        if keeper is not None:
            resume(keeper)
        stack.push_async_callback(request_logging.aclose)
        begin_request_log(request_logging, configuration)
        listener_files = read_listener_files(configuration, environ, log)
        server = ApiServer(
            router,
            executor,
            with_listener_files(server_settings(configuration), listener_files),
            clock=time.monotonic,
            wall=time.time,
            log=log,
            request_log=request_logging.present,
            tracing=tracing,
            events=telling.ring,
            access_log=access_log,
            observe_call=metrics.call,
            observe_overhead=metrics.overhead,
            changing=RunTimeChanges(service, router, on_event=telling, clock=time.monotonic),
        )
        service.follow = (
            lambda taken: server.follow(server_settings(taken)),
            lambda taken: set_log_level(LogLevel(taken.telemetry.log_level)),
            lambda taken: access_log.follow(AccessMode(taken.telemetry.access_log)),
            alarming.follow,
        )
        request_logging.on_change = server.log_requests
        _watch_counts(metrics, router, server, request_logging, tracing)
        begin_metric_export(metrics, environ, log, flushing)
        _watch_listener_files(listener_files, server, metrics, stack, listener_files_every_seconds)
        # What calls need while they end, and what is asked meanwhile, goes on until the server has stopped.
        for work in (
            _expire(router, server.answering, telling, metrics, access_log),
            *([] if log_writer is None else [_tell_of_dropped_lines(log_writer, metrics, log)]),
            _watch_keys(service, secrets_every_seconds),
            _look_for_alarms(router, alarms_every_seconds),
            _ask_shadows(router, metrics, log),
            local_models.watch(),
        ):
            stack.push_async_callback(_ended, asyncio.create_task(work))
        listening = await listen(configuration, server, metrics, stack)
        reloader = Reloader(
            loaded,
            environ,
            service,
            on_event=telling,
            count=lambda result: metrics.reload(result, time.time()),
            log=log,
            clock=time.monotonic,
            files=WatchedFiles(
                loaded.opened,
                every_seconds=files_every_seconds,
                settled_seconds=min(SETTLED_SECONDS, files_every_seconds),
                asked=reload_asked,
            ),
        )
        # Ended first: what stops does not follow another configuration any more.
        stack.push_async_callback(_ended, asyncio.create_task(reloader.watch()))
        stack.push_async_callback(_ended, asyncio.create_task(Reaching(router, service.upstreams, log).watch()))
        stack.push_async_callback(_ended, asyncio.create_task(executor.checking.watch()))
        if keeper is not None:
            keeper.begin()
        _log_start(log, loaded, listening, router)
        yield listening
        flushing.stopping(service.configuration.drain_seconds)
        log.info("stopping", drain_seconds=service.configuration.drain_seconds, running_count=server.calls.running)
    log.info("stopped")


def _keep(keeper: Keeper, telling: Telling, metrics: Metrics, stack: contextlib.AsyncExitStack) -> None:
    """Has the state kept until the stack ends, after all calls: what they settled is in the last snapshot."""
    kept = keeper.on_event
    telling.others.append(lambda told: kept(told.event))
    stack.push_async_callback(keeper.aclose)
    metrics.watch_keeping(keeper.read)


def _watch_counts(
    metrics: Metrics, router: Router, server: ApiServer, request_logging: RequestLogging, tracing: Tracing | None
) -> None:
    metrics.config_taken(time.time())
    metrics.watch_routing(lambda: router.configured.settings.routing.policy_version)
    metrics.watch_request_log(lambda: request_logging.present)
    metrics.watch(router.status.gauges)
    metrics.watch_policies(lambda: router.configured.settings.routing.policies)
    metrics.watch_budgets(router.budgets.reports)
    metrics.watch_answers(server.answering.once, server.answering.cache)
    metrics.watch_shed(lambda: server.shed_counts)
    metrics.watch_retry_budget(router.further_attempts.retries_remaining)
    metrics.watch_dropped("request_log", request_logging.dropped_count)
    if tracing is not None:
        metrics.watch_dropped("traces", lambda: tracing.export.dropped_count)
    metrics.watch_refusals(server.refusals.counts)
    metrics.watch_checks(router.checks.counts)


def _watch_listener_files(
    files: ListenerFiles | None,
    server: ApiServer,
    metrics: Metrics,
    stack: contextlib.AsyncExitStack,
    every_seconds: float,
) -> None:
    """Keeps what the listener uses in step with its files until the stack ends."""
    if files is not None:
        metrics.watch_listener_files(files)
        stack.push_async_callback(_ended, asyncio.create_task(files.watch(server.renew, every_seconds)))


def _log_start(log: FilteringBoundLogger, loaded: Loaded, listening: Listening, router: Router) -> None:
    for warning in loaded.warnings:
        log.warning("configuration", warning=warning)
    log.info(
        "listening",
        grpc=list(listening.grpc),
        health=listening.health,
        metrics=listening.metrics,
        config=loaded.origin or "none",
        providers=list(router.configured.fleet.providers),
        target_count=len(router.configured.fleet.specs),
        policy_version=router.configured.settings.routing.policy_version,
        version=listening.version,
    )


async def _expire(
    router: Router, answering: Answering, telling: Telling, metrics: Metrics, access_log: AccessLog
) -> None:
    while True:
        due_at = time.monotonic() + EXPIRE_EVERY_SECONDS
        await asyncio.sleep(EXPIRE_EVERY_SECONDS)
        metrics.loop_delay(max(0.0, time.monotonic() - due_at))
        router.passing_time.expire()
        answering.expire()
        router.passing_time.tell_repeated()
        telling.due(time.monotonic())
        access_log.due()


async def _tell_of_dropped_lines(log_writer: LogWriter, metrics: Metrics, log: FilteringBoundLogger) -> None:
    metrics.watch_dropped("logs", lambda: log_writer.dropped_count)
    while True:
        await asyncio.sleep(DROPPED_LINES_EVERY_SECONDS)
        dropped = log_writer.newly_dropped()
        if dropped:
            log.warning("log.dropped", line_count=dropped, reason="nobody read the log")


async def _ask_shadows(router: Router, metrics: Metrics, log: FilteringBoundLogger) -> None:
    turns = ShadowTurns(router, clock=time.monotonic, log=log)
    metrics.watch_shadows(turns.shed_counts)
    try:
        await asyncio.Event().wait()
    finally:
        turns.close()


async def _look_for_alarms(router: Router, every_seconds: float) -> None:
    while True:
        await asyncio.sleep(every_seconds)
        for _ in router.passing_time.alarms():
            # Calls must not wait until hundreds of targets have been looked at.
            await asyncio.sleep(0)


async def _watch_keys(service: InService, every_seconds: float) -> None:
    while True:
        await asyncio.sleep(every_seconds)
        await service.look_at_keys()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
