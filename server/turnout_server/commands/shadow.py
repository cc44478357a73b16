"""`turnout shadow`: how often shadow policies agree with those in force, and what they would have chosen instead."""

from __future__ import annotations

from collections.abc import Sequence

import click

from turnout.answer import target_name
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.commands.printing import as_dict, print_columns, print_json, printable
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling_admin, sidecar_options

MOST = 1000
"""As many are kept."""
TALLY_HEADINGS = ("POLICY", "SHADOW", "DECISIONS", "AGREED", "DIFFERED", "NOT ASKED")
HEADINGS = ("DECISION", "TIME (UTC)", "POLICY", "CHOSEN", "SCORE", "SHADOW", "WOULD CHOOSE", "SCORE", "COST", "LATENCY")
NOTHING = ("nobody", "-")
UNKNOWN = "unknown"


@click.command("shadow", epilog=EPILOG)
@click.option("--policy", default="", metavar="NAME", help="Of this policy in force alone.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, MOST), help="Differences at most.")
@click.option("--reasons", is_flag=True, help="Print below each why either chose as it did.")
@sidecar_options
def shadow(
    *, address: str | None, timeout_seconds: float | None, as_json: bool, policy: str, limit: int, reasons: bool
) -> None:
    """Show how often shadow policies agree, and list what they would have chosen otherwise, newest first.

    COST and LATENCY are what the shadow's choice was expected to cost and take more than the other; below 0, less.
    """
    request = pb.ListShadowDifferencesRequest(policy=policy, page_size=limit)
    with calling_admin(address) as admin:
        answer = admin.ListShadowDifferences(request, timeout=timeout_seconds or CALL_SECONDS)
    if as_json:
        tallies = [as_dict(tally) for tally in answer.tallies]
        print_json({"tallies": tallies, "differences": [as_dict(difference) for difference in answer.differences]})
        return
    if not answer.tallies:
        whose = f"policy {policy} has no" if policy else "no policy has a"
        click.echo(f"{whose} shadow: routing.policies.NAME.shadow_policy names one")
        return
    print_columns([TALLY_HEADINGS, *map(_tally, answer.tallies)])
    if answer.differences:
        click.echo()
        _print_differences(answer.differences, reasons=reasons)


def _print_differences(differences: Sequence[pb.ShadowDifference], *, reasons: bool) -> None:
    rows = [_row(difference) for difference in differences]
    if not reasons:
        print_columns([HEADINGS, *rows])
        return
    for row, difference in zip(rows, differences, strict=True):
        print_columns([HEADINGS, row])
        # Reasons name the regions that callers ask for.
        click.echo(printable(f"  {difference.policy}: {difference.reason}"))
        click.echo(printable(f"  {difference.shadow_policy}: {difference.shadow_reason}"))


def _tally(tally: pb.ShadowTally) -> tuple[str, ...]:
    count = tally.agreed_count + tally.differed_count
    share = f"{tally.agreed_count / count:.1%}" if count else "-"
    return tally.policy, tally.shadow_policy, str(count), share, str(tally.differed_count), str(tally.shed_count)


def _row(difference: pb.ShadowDifference) -> tuple[str, ...]:
    cost, latency = UNKNOWN, UNKNOWN
    if difference.HasField("cost_difference_usd"):
        cost = f"{difference.cost_difference_usd:+.6f} USD"
    if difference.HasField("latency_difference_seconds"):
        latency = f"{difference.latency_difference_seconds:+.2f} s"
    return (
        difference.decision_id,
        difference.time.ToDatetime().strftime("%H:%M:%S"),
        difference.policy,
        *(_choice(difference.chosen, difference.score) if difference.HasField("chosen") else NOTHING),
        difference.shadow_policy,
        *(
            _choice(difference.shadow_chosen, difference.shadow_score)
            if difference.HasField("shadow_chosen")
            else NOTHING
        ),
        cost,
        latency,
    )


def _choice(target: router_pb2.Target, score: float) -> tuple[str, str]:
    return target_name(target), f"{score:.3f}"
