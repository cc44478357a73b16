"""`turnout compare`: what was measured of several targets, side by side."""

from __future__ import annotations

import time

import click

from turnout.answer import target_name
from turnout.v1 import admin_pb2 as pb
from turnout_server.commands.numbers import MAX_MINUTES, FiniteRange
from turnout_server.commands.printing import print_columns, print_json, usd
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling_admin, sidecar_options
from turnout_server.commands.statistics import HEADINGS, covered, figures


@click.command("compare", epilog=EPILOG)
@click.argument("targets", nargs=-1, required=True)
@click.option("--task", default="", help="Only this task.")
@click.option("--since", type=FiniteRange(min=0, max=MAX_MINUTES), metavar="MINUTES", help="Only the last minutes.")
@sidecar_options
def compare(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    targets: tuple[str, ...],
    task: str,
    since: float | None,
) -> None:
    """Compare TARGETS, two or more, by what was measured of them."""
    request = pb.CompareTargetsRequest(targets=targets, task=task)
    if since is not None:
        request.start_time.FromMicroseconds(round((time.time() - since * 60) * 1e6))
    with calling_admin(address) as admin:
        answer = admin.CompareTargets(request, timeout=timeout_seconds or CALL_SECONDS)
    if as_json:
        print_json(answer)
        return
    rows: list[tuple[str, ...]] = [("TARGET", *HEADINGS, "PER CALL", "QUALITY", "FEEDBACK")]
    rows += [_row(compared) for compared in answer.targets]
    print_columns(rows)
    click.echo(covered(answer))


def _row(compared: pb.TargetComparison) -> tuple[str, ...]:
    sums = compared.statistics
    return (
        target_name(compared.target),
        *figures(sums),
        usd(compared.cost_per_request_usd) if compared.HasField("cost_per_request_usd") else "-",
        f"{compared.quality:g}" if compared.HasField("quality") else "-",
        f"{sums.mean_feedback:.2f}" if sums.HasField("mean_feedback") else "-",
    )
