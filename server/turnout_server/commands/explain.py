"""`turnout explain`: everything about one decision, from its candidates to how it ended."""

from __future__ import annotations

import click

from turnout.v1 import admin_pb2 as pb
from turnout_server.commands.printing import enum_word, print_attempts, print_decision, print_json
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling_admin, sidecar_options


@click.command("explain", epilog=EPILOG)
@click.argument("decision_id")
@sidecar_options
def explain(*, address: str | None, timeout_seconds: float | None, as_json: bool, decision_id: str) -> None:
    """Show why DECISION_ID was decided as it was, what was rejected, what was tried, and how it ended."""
    with calling_admin(address) as admin:
        request = pb.GetDecisionRequest(decision_id=decision_id)
        record = admin.GetDecision(request, timeout=timeout_seconds or CALL_SECONDS).decision
    if as_json:
        print_json(record)
        return
    print_decision(record.decision)
    if record.attempts:
        print_attempts(record.attempts)
    click.echo(f"result: {enum_word(pb.DecisionResult, record.result)}")
    for feedback in record.feedback:
        click.echo(f"feedback: {feedback.quality:.2f}")
