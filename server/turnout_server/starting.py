"""The parts that a start can fail at, each made or refused with one line that says what is in the way.

Which of them there are is the configuration's to say; what only some need is loaded for them alone.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from structlog.typing import FilteringBoundLogger

from turnout_server.api.server import ServerSettings
from turnout_server.config.faults import ConfigurationError
from turnout_server.config.schema import Configuration
from turnout_server.ids import new_id
from turnout_server.providers.certificates import CertificateError
from turnout_server.providers.secrets import Secrets, SecretUnavailableError
from turnout_server.providers.upstream import build_upstreams
from turnout_server.reloading.alarming import Alarming
from turnout_server.reloading.request_logging import RequestLogging
from turnout_server.router import Router
from turnout_server.telemetry.otlp.exporting import exports

if TYPE_CHECKING:
    from turnout_server.listener_files import ListenerFiles
    from turnout_server.state.keeper import Keeper
    from turnout_server.telemetry.metrics.metrics import Metrics
    from turnout_server.telemetry.otlp.flushing import Flushing
    from turnout_server.telemetry.telling import Telling
    from turnout_server.telemetry.traces.tracer import Tracing


class StartError(Exception):
    """The sidecar cannot start; the message says what is in the way and what to do."""


def connect_upstreams(connections: Any, secrets: Secrets) -> Mapping[str, Any]:
    """Returns what calls each provider. Raises StartError for a certificate file that cannot be used."""
    try:
        return build_upstreams(connections, secrets)
    except CertificateError as error:
        raise StartError(str(error)) from None


def read_listener_files(
    configuration: Configuration, environ: Mapping[str, str], log: FilteringBoundLogger
) -> ListenerFiles | None:
    """Reads what the listener shows and asks for, None where that is nothing. Raises StartError."""
    listen = configuration.listen
    if not listen.tls.cert_file and not listen.auth.tokens:
        return None
    from turnout_server.listener_files import ListenerFiles, ListenerFilesError  # noqa: PLC0415 - most have none

    try:
        return ListenerFiles(listen, environ, log=log, wall=time.time)
    except ListenerFilesError as error:
        raise StartError(str(error)) from None


def with_listener_files(settings: ServerSettings, files: ListenerFiles | None) -> ServerSettings:
    """Returns the settings with the certificate and tokens of the listener, where it has any."""
    return settings if files is None else replace(settings, tls=files.tls, tokens=files.tokens)


def begin_request_log(request_logging: RequestLogging, configuration: Configuration) -> None:
    """Begins to write the request log, where there is to be one. Raises StartError."""
    try:
        request_logging.take(configuration, request_logging.prepare(configuration))
    except ConfigurationError as error:
        raise StartError(str(error)) from None


def begin_metric_export(
    metrics: Metrics, environ: Mapping[str, str], log: FilteringBoundLogger, flushing: Flushing
) -> None:
    """Begins to send metrics where there is a collector for them. Raises StartError."""
    if not exports("metrics", environ):
        return
    from turnout_server.telemetry.otlp.metric_export import make_export  # noqa: PLC0415 - as for spans
    from turnout_server.telemetry.otlp.otlp_exporters import metric_exporter  # noqa: PLC0415 - as for spans
    from turnout_server.telemetry.otlp.otlp_settings import OtlpSettingsError  # noqa: PLC0415 - as for spans

    try:
        exporter = metric_exporter(environ)
    except OtlpSettingsError as error:
        raise StartError(str(error)) from None
    except (ValueError, KeyError, OSError) as error:
        raise StartError(f"OTEL_EXPORTER_OTLP_*: metrics cannot be exported as they say: {error}") from None
    export = make_export(exporter, metrics.collect, environ, log)
    metrics.watch_dropped("metrics", lambda: export.dropped_count)
    flushing.add(export)
    export.start()


def begin_tracing(environ: Mapping[str, str], log: FilteringBoundLogger, flushing: Flushing) -> Tracing | None:
    """Begins to send spans; returns what traces calls, None without a collector to send to.

    What it loads takes a tenth of a second and 6 MB: only who exports pays for it. Raises StartError for what is not
    offered.
    """
    if not exports("traces", environ):
        return None
    from turnout_server.telemetry.otlp.otlp_exporters import span_exporter  # noqa: PLC0415 - as said above
    from turnout_server.telemetry.otlp.otlp_settings import OtlpSettingsError  # noqa: PLC0415 - as said above
    from turnout_server.telemetry.traces.tracer import make_tracing  # noqa: PLC0415 - as said above

    try:
        tracing = make_tracing(span_exporter(environ), environ, log)
    except OtlpSettingsError as error:
        raise StartError(str(error)) from None
    except (ValueError, KeyError, OSError) as error:
        raise StartError(f"OTEL_*: spans cannot be exported as these variables say: {error}") from None
    flushing.add(tracing.export)
    tracing.export.start()
    return tracing


def begin_alarming(
    configuration: Configuration,
    telling: Telling,
    metrics: Metrics,
    log: FilteringBoundLogger,
    stack: contextlib.AsyncExitStack,
) -> Alarming:
    """Begins to post alarms to the operator's address, where there is one, until the stack ends."""
    rng = random.Random()  # noqa: S311 - spreads load, keeps no secret
    alarming = Alarming(new_id=new_id, wall=time.time, rng=rng, log=log)
    stack.push_async_callback(alarming.aclose)
    metrics.watch_dropped("webhook", alarming.dropped_count)
    telling.others.append(alarming.tell)
    alarming.follow(configuration)
    return alarming


def make_keeper(
    configuration: Configuration, router: Router, secrets: Callable[[], Secrets], log: FilteringBoundLogger
) -> Keeper | None:
    """Returns what keeps the state over a restart, None where nothing is kept."""
    wanted = configuration.state
    if not wanted.snapshot_file:
        return None
    from turnout_server.state.keeper import Keeper  # noqa: PLC0415 - most keep nothing

    def secret_of(provider: str, label: str) -> str | None:
        try:
            return secrets().get(provider, label)
        except SecretUnavailableError:
            return None

    return Keeper(
        wanted.snapshot_file,
        router.state_transfer.memory(),
        interval_seconds=wanted.snapshot_interval_seconds,
        clock=time.monotonic,
        wall=time.time,
        log=log,
        secret_of=secret_of,
    )


def resume(keeper: Keeper) -> None:
    """Puts back what was kept. Raises StartError."""
    from turnout_server.state.keeper import KeepingError  # noqa: PLC0415 - it is there by now

    try:
        keeper.start()
    except KeepingError as error:
        raise StartError(f"state.snapshot_file: {error}") from None
