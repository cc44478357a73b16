"""`turnout forget`: past decisions and the sums over them; health, budgets and what was learned stay."""

from __future__ import annotations

import time

import click

from turnout.v1 import admin_pb2 as pb
from turnout_server.commands.numbers import MAX_MINUTES, FiniteRange
from turnout_server.commands.printing import print_json
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling_admin, sidecar_options


@click.command("forget", epilog=EPILOG)
@click.option(
    "--older-than", type=FiniteRange(min=0, max=MAX_MINUTES), metavar="MINUTES", help="Only those older than that."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@sidecar_options
def forget(
    *, address: str | None, timeout_seconds: float | None, as_json: bool, older_than: float | None, yes: bool
) -> None:
    """Forget past decisions and the sums over them. Health, budgets and what was learned stay."""
    if not yes:
        click.confirm("Forget past decisions?", abort=True)
    request = pb.ClearHistoryRequest()
    if older_than is not None:
        request.before.FromMicroseconds(round((time.time() - older_than * 60) * 1e6))
    with calling_admin(address) as admin:
        answer = admin.ClearHistory(request, timeout=timeout_seconds or CALL_SECONDS)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer.removed_count} decisions forgotten")
