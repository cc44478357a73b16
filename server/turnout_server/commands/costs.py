"""`turnout costs`: what was spent, by provider, model, task, tier or tenant, over time; as CSV for other programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC

import click

from turnout.v1 import admin_pb2 as pb
from turnout_server.commands.numbers import FiniteRange
from turnout_server.commands.printing import print_columns, print_csv, print_json, usd
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling_admin, sidecar_options

DIMENSIONS = ("provider", "model", "target", "task", "tier", "tenant")
MONTH_MINUTES = 31 * 1440
HEADINGS = ("NAME", "COST", "OF FAILURES", "SHARE", "UNKNOWN")
CSV_HEADINGS = ("time", "name", "cost_usd", "failed_cost_usd", "priced_count")


@click.command("costs", epilog=EPILOG)
@click.option(
    "--by", "group_by", type=click.Choice(DIMENSIONS), default="model", show_default=True, help="One row each."
)
@click.option(
    "--since",
    type=FiniteRange(min=1, max=MONTH_MINUTES),
    metavar="MINUTES",
    help="How far back; default a day, at most 31 (44640).",
)
@click.option(
    "--step",
    type=click.IntRange(1, MONTH_MINUTES),
    metavar="MINUTES",
    help="Width of one point of --series and --csv; default 60. Beyond a quarter of an hour back a multiple of 15. "
    "More than a day back whole days (1440), which is the default there.",
)
@click.option("--tenant", default="", metavar="NAME", help="Only of this tenant.")
@click.option("--series", "over_time", is_flag=True, help="Each point in time, too.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a line for each point and name.")
@sidecar_options
def costs(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    group_by: str,
    since: float | None,
    step: int | None,
    tenant: str,
    over_time: bool,
    as_csv: bool,
) -> None:
    """Show what attempts cost as far as it is known, and what of it was spent on failures."""
    if as_csv and as_json:
        raise click.UsageError("give --csv or --json, not both")
    request = pb.GetSpendRequest(group_by=pb.Dimension.Value(f"DIMENSION_{group_by.upper()}"), tenant=tenant)
    if since is not None:
        request.start_time.GetCurrentTime()
        request.start_time.FromMilliseconds(request.start_time.ToMilliseconds() - round(since * 60_000))
    if step is not None:
        request.step.FromSeconds(step * 60)
    with calling_admin(address) as admin:
        answer = admin.GetSpend(request, timeout=timeout_seconds or CALL_SECONDS)
    if as_json:
        print_json(answer)
    elif as_csv:
        print_csv([CSV_HEADINGS, *_csv_rows(answer)])
    else:
        _print(answer, over_time=over_time)


def _print(answer: pb.GetSpendResponse, *, over_time: bool) -> None:
    start, end = answer.start_time.ToDatetime(), answer.end_time.ToDatetime()
    until = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%Y-%m-%d %H:%M}"
    covered = f"{start:%Y-%m-%d %H:%M} to {until} UTC"
    unknown = f"; {answer.unknown_count} attempts of unknown cost" if answer.unknown_count else ""
    click.echo(f"{covered}: {usd(answer.total_usd)}, {usd(answer.failed_usd)} of it for failures{unknown}")
    if answer.series:
        print_columns([HEADINGS, *((_name(each), *_amounts(each, answer.total_usd)) for each in answer.series)])
    if over_time and answer.series:
        rows = [
            (f"{points[0].time.ToDatetime():%m-%d %H:%M}", *(usd(point.value) for point in points))
            for points in zip(*(each.points for each in answer.series), strict=True)
        ]
        click.echo("")
        print_columns([("TIME (UTC)", *map(_name, answer.series)), *rows])


def _name(series: pb.SpendSeries) -> str:
    return series.name or "(none)"


def _amounts(series: pb.SpendSeries, total_usd: float) -> tuple[str, str, str, str]:
    share = f"{series.total_usd / total_usd:.0%}" if total_usd else "-"
    return usd(series.total_usd), usd(series.failed_usd), share, str(series.unknown_count or "-")


def _csv_rows(answer: pb.GetSpendResponse) -> Iterator[tuple[str, str, str, str, str]]:
    """Yields a line for each point, the oldest first; amounts to the nano-USD, in plain digits."""
    for points in zip(*(each.points for each in answer.series), strict=True):
        for series, point in zip(answer.series, points, strict=True):
            at = point.time.ToDatetime(tzinfo=UTC).isoformat().replace("+00:00", "Z")
            yield at, series.name, f"{point.value:.9f}", f"{point.failed_value:.9f}", str(point.sample_count)
