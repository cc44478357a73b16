"""`turnout state export` and `import`: what a sidecar has learned and spent, carried to another one."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import grpc

from turnout.answer import target_name
from turnout.status import error_from_rpc
from turnout.v1 import admin_pb2, admin_pb2_grpc
from turnout_server.commands.exits import Exit, Failure
from turnout_server.commands.printing import print_json
from turnout_server.commands.sidecar import EPILOG, connecting, sidecar_options

STATE_SECONDS = 30.0
STANDARD = "-"
OWN_FILE = 0o600
MESSAGE_BYTES = 1024 * 1024 * 1024
"""The most that `limits.max_message_mib` may be: the sidecar's own limit is what counts."""


@contextlib.contextmanager
def _administering(address: str | None) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    with connecting(address) as connection, connection.channel(MESSAGE_BYTES) as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)


@click.group("state", epilog=EPILOG)
def state() -> None:
    """Carry what a sidecar has learned and spent to another one."""


@state.command("export", epilog=EPILOG)
@click.argument("file")
@click.option("--history", is_flag=True, help="With the sums over the past, as in `turnout statistics` and `costs`.")
@sidecar_options
def export_state(
    *, address: str | None, timeout_seconds: float | None, as_json: bool, file: str, history: bool
) -> None:
    """Write the state of the sidecar to FILE, - for the standard output."""
    with _administering(address) as admin:
        request = admin_pb2.ExportStateRequest(include_history=history)
        data = admin.ExportState(request, timeout=timeout_seconds or STATE_SECONDS).state
    if file == STANDARD:
        sys.stdout.buffer.write(data)
        return
    try:
        # Callers' words stand in it, so that nobody else may read it.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWN_FILE), "wb") as stream:
            if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                # Also where it was there before, and others could.
                os.fchmod(stream.fileno(), OWN_FILE)
            stream.write(data)
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror or error}", Exit.FAILED) from None
    if as_json:
        print_json({"file": file, "bytes": len(data)})
    else:
        click.echo(f"{len(data)} bytes written to {file}")


@state.command("import", epilog=EPILOG)
@click.argument("file")
@sidecar_options
def import_state(*, address: str | None, timeout_seconds: float | None, as_json: bool, file: str) -> None:
    """Have the sidecar take over the state in FILE, - for the standard input.

    Of targets that it has not called yet it takes what is known of them, of budgets what is spent where that is more.
    """
    try:
        data = sys.stdin.buffer.read() if file == STANDARD else Path(file).read_bytes()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror or error}", Exit.USAGE) from None
    with _administering(address) as admin:
        request = admin_pb2.ImportStateRequest(state=data)
        try:
            answer = admin.ImportState(request, timeout=timeout_seconds or STATE_SECONDS)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or error_from_rpc(error).reason:
                raise
            # gRPC refuses it before the sidecar sees it, and names neither the file nor the setting.
            size = f"{len(data) / 1024**2:.1f} MiB, more than the sidecar takes in one message"
            raise Failure(f"{file} has {size}; raise its limits.max_message_mib", Exit.FAILED) from None
    if as_json:
        print_json(answer)
        return
    click.echo(f"taken over: {', '.join(map(target_name, answer.targets)) or 'no target'}")
    for warning in answer.warnings:
        click.echo(f"not taken: {warning}")
