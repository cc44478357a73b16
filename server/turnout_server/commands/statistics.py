"""`turnout statistics`: sums over past decisions, grouped."""

from __future__ import annotations

import time

import click

from turnout.answer import target_name
from turnout.v1 import admin_pb2 as pb
from turnout_server.commands.numbers import MAX_MINUTES, FiniteRange
from turnout_server.commands.printing import print_columns, print_json, seconds, usd
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling_admin, sidecar_options

GROUPS = ("provider", "model", "target", "task", "tier", "tenant")
HEADINGS = ("DECISIONS", "UNSERVED", "CALLS", "SUCCESS", "MOVED", "P50", "P95", "TOKENS", "COST", "SCORE", "CONFIDENCE")


@click.command("statistics", epilog=EPILOG)
@click.option("--by", "group_by", type=click.Choice(GROUPS), help="One line for each of these.")
@click.option("--task", default="", help="Only this task.")
@click.option("--tenant", default="", help="Only this tenant.")
@click.option("--since", type=FiniteRange(min=0, max=MAX_MINUTES), metavar="MINUTES", help="Only the last minutes.")
@sidecar_options
def statistics(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    group_by: str | None,
    task: str,
    tenant: str,
    since: float | None,
) -> None:
    """Show what was decided and what came of it: calls, failovers, latency, tokens, cost, preferred targets."""
    request = pb.GetStatisticsRequest(task=task, tenant=tenant)
    if group_by is not None:
        request.group_by = pb.Dimension.Value(f"DIMENSION_{group_by.upper()}")
    if since is not None:
        request.start_time.FromMicroseconds(round((time.time() - since * 60) * 1e6))
    with calling_admin(address) as admin:
        answer = admin.GetStatistics(request, timeout=timeout_seconds or CALL_SECONDS)
    if as_json:
        print_json(answer)
        return
    heading = (group_by or "all").upper()
    rows: list[tuple[str, ...]] = [(heading, *HEADINGS, "PREFERRED")]
    rows += [
        (group.name or ("-" if group_by else "calls"), *figures(group), _preferred(group)) for group in answer.groups
    ]
    print_columns(rows)
    click.echo(covered(answer))


def figures(group: pb.StatisticsGroup) -> tuple[str, ...]:
    """Returns the cells below `HEADINGS`."""
    moved = f"{group.failover_rate:.1%}" if group.HasField("failover_rate") else "-"
    cost = usd(group.cost_usd) if group.attempt_count > group.unknown_cost_count else "-"
    return (
        str(group.decision_count),
        str(group.unserved_count),
        str(group.attempt_count),
        f"{group.success_rate:.1%}" if group.HasField("success_rate") else "-",
        moved,
        seconds(group.latency.p50) if group.HasField("latency") else "-",
        seconds(group.latency.p95) if group.HasField("latency") else "-",
        f"{group.input_tokens}+{group.output_tokens}",
        cost + (f" ({group.unknown_cost_count} unknown)" if 0 < group.unknown_cost_count < group.attempt_count else ""),
        f"{group.mean_score:.2f}" if group.HasField("mean_score") else "-",
        f"{group.mean_confidence:.2f}" if group.HasField("mean_confidence") else "-",
    )


def covered(answer: pb.GetStatisticsResponse | pb.CompareTargetsResponse) -> str:
    """Returns the time that an answer covers, for people."""
    start, end = answer.start_time.ToDatetime(), answer.end_time.ToDatetime()
    minutes = (end - start).total_seconds() / 60
    return f"{minutes:.0f} min, from {start:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC"


def _preferred(group: pb.StatisticsGroup) -> str:
    if not group.HasField("preferred_target"):
        return "-"
    return f"{target_name(group.preferred_target)} {group.preferred_share:.0%}"
