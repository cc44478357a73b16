"""The parts that a start can fail at, each made or refused with one line that says what is in the way.

Which of them there are is the configuration's to say; what only some need is loaded for them alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from structlog.typing import FilteringBoundLogger

from turnout_server.api.server import ServerSettings
from turnout_server.config.faults import ConfigurationError
from turnout_server.config.schema import Configuration
from turnout_server.providers.certificates import CertificateError
from turnout_server.providers.secrets import Secrets, SecretUnavailableError
from turnout_server.providers.upstream import build_upstreams
from turnout_server.reloading.request_logging import RequestLogging
from turnout_server.router import Router

if TYPE_CHECKING:
    from turnout_server.listener_files import ListenerFiles
    from turnout_server.state.keeper import Keeper


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
        router.memory(),
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
