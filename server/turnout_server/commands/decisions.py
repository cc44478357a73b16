"""`turnout decisions`: the latest decisions, newest first."""

from __future__ import annotations

import time

import click

from turnout.answer import target_name
from turnout.v1 import admin_pb2 as pb
from turnout_server.commands.numbers import MAX_MINUTES, FiniteRange
from turnout_server.commands.printing import as_dict, enum_word, print_columns, print_json
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling_admin, sidecar_options

PAGE_SIZE = 100
RESULTS = ("ok", "failed", "unknown")


@click.command("decisions", epilog=EPILOG)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10000), help="As many at most.")
@click.option("--target", default="", metavar="PROVIDER/MODEL", help="Those that chose or tried this target.")
@click.option("--task", default="", help="Those of this task.")
@click.option("--tenant", default="", help="Those of this tenant.")
@click.option("--result", type=click.Choice(RESULTS), help="Those that ended so.")
@click.option("--since", type=FiniteRange(min=0, max=MAX_MINUTES), metavar="MINUTES", help="Those of the last minutes.")
@sidecar_options
def decisions(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    limit: int,
    target: str,
    task: str,
    tenant: str,
    result: str | None,
    since: float | None,
) -> None:
    """List the latest decisions, newest first."""
    request = pb.ListDecisionsRequest(target=target, task=task, tenant=tenant)
    if result is not None:
        request.result = pb.DecisionResult.Value(f"DECISION_RESULT_{result.upper()}")
    if since is not None:
        request.start_time.FromMicroseconds(round((time.time() - since * 60) * 1e6))
    records: list[pb.DecisionRecord] = []
    with calling_admin(address) as admin:
        while len(records) < limit:
            request.page_size = min(PAGE_SIZE, limit - len(records))
            page = admin.ListDecisions(request, timeout=timeout_seconds or CALL_SECONDS)
            records += page.decisions
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
    if as_json:
        print_json({"decisions": [as_dict(record) for record in records]})
    elif records:
        print_columns([("DECISION", "TIME (UTC)", "KIND", "RESULT", "CHOSEN", "TASK", "REASON"), *map(_row, records)])
    else:
        click.echo("no decisions")


def _row(record: pb.DecisionRecord) -> tuple[str, ...]:
    decision = record.decision
    chosen = target_name(decision.candidates[0].target) if decision.candidates else "-"
    if record.attempts:
        chosen = target_name(record.attempts[-1].target)
    return (
        decision.decision_id,
        decision.decided_at.ToDatetime().strftime("%H:%M:%S"),
        enum_word(pb.DecisionKind, record.kind),
        enum_word(pb.DecisionResult, record.result),
        chosen,
        decision.task or "-",
        decision.reason,
    )
