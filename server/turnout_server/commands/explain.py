"""`turnout explain`: everything about one decision, from who asked to how it ended and what it cost."""

from __future__ import annotations

import click

from turnout.v1 import admin_pb2 as pb
from turnout_server.commands.explaining import explanation
from turnout_server.commands.printing import print_json, printable
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling_admin, sidecar_options


@click.command("explain", epilog=EPILOG)
@click.argument("decision_id")
@sidecar_options
def explain(*, address: str | None, timeout_seconds: float | None, as_json: bool, decision_id: str) -> None:
    """Show why DECISION_ID was decided as it was, what was rejected, what was tried, how it ended and what it cost."""
    with calling_admin(address) as admin:
        request = pb.GetDecisionRequest(decision_id=decision_id)
        record = admin.GetDecision(request, timeout=timeout_seconds or CALL_SECONDS).decision
    if as_json:
        print_json(record)
    else:
        for line in explanation(record).split("\n"):
            click.echo(printable(line))
