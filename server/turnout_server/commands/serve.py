"""`turnout serve`: starts the sidecar and runs it until it is told to stop."""

from __future__ import annotations

import os

import click

from turnout_server.commands.early_stop import stop_while_starting
from turnout_server.commands.exits import Exit, Failure
from turnout_server.commands.late_end import end_soon
from turnout_server.commands.lean import put_off_collection, without_default_authorities, without_looks
from turnout_server.commands.service_manager import tell_ready

_EPILOG = """\
\b
Prints one line of JSON on stdout once it is ready:
  {"event":"listening","grpc":["127.0.0.1:50151"],"health":"0.0.0.0:50152","metrics":"0.0.0.0:9464","version":"…"}
Logs go to stderr. SIGTERM and SIGINT stop it: running calls get `drain_seconds` to end. SIGHUP has the configuration
read again. systemd (Type=notify) is told when it is ready.

\b
Exit codes: 0 stopped by a signal, 1 the configuration, or a file that it names, has faults (each on a line of
  stderr), 2 wrong usage, 4 it cannot start: address taken, socket in use, certificate unreadable.
"""


@click.command("serve", epilog=_EPILOG)
@click.option(
    "-c", "--config", "file", metavar="FILE", type=click.Path(), help="turnout.yaml; default TURNOUT_CONFIG, else none."
)
@click.option("--json", "as_json", is_flag=True, help="No effect on stdout, which is JSON anyway; logs become JSON.")
def serve(*, file: str | None, as_json: bool) -> None:
    """Start the sidecar, with FILE or with whatever provider keys are in the environment."""
    stop_while_starting()
    put_off_collection()
    # Imported here: the help text needs none of it, and a faulty configuration no server.
    with without_looks(), without_default_authorities():
        from turnout_server.config.faults import ConfigurationError  # noqa: PLC0415
        from turnout_server.config.load import load  # noqa: PLC0415

    try:
        loaded = load(file, os.environ)
    except ConfigurationError as error:
        lines = "\nturnout: ".join(str(fault) for fault in error.faults)
        raise Failure(lines, Exit.FAILED) from None
    with without_looks(), without_default_authorities():
        from turnout_server.app import run  # noqa: PLC0415
        from turnout_server.starting import StartError  # noqa: PLC0415

    try:
        run(loaded, os.environ, announce=_announce, json_logs=as_json, on_stopped=end_soon)
    except StartError as error:
        raise Failure(f"cannot start: {error}", Exit.CANNOT_START) from None


def _announce(line: str) -> None:
    click.echo(line)
    if untold := tell_ready(os.environ):
        click.echo(f"turnout: {untold}", err=True)
