"""`turnout trend`: one measure of a target or a provider over time."""

from __future__ import annotations

import click

from turnout.v1 import admin_pb2 as pb
from turnout_server.commands.numbers import FiniteRange
from turnout_server.commands.printing import print_columns, print_json, usd
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling_admin, sidecar_options

MEASURES = tuple(name.removeprefix("TREND_MEASURE_").lower().replace("_", "-") for name in pb.TrendMeasure.keys()[1:])
DAY_MINUTES = 1440
BAR_WIDTH = 40
SHARES = frozenset({"success-rate", "error-rate", "availability"})


@click.command("trend", epilog=EPILOG)
@click.argument("target")
@click.option("--measure", type=click.Choice(MEASURES), default="latency-p95", show_default=True, help="What to show.")
@click.option(
    "--window", type=FiniteRange(min=1, max=DAY_MINUTES), metavar="MINUTES", help="How far back; default an hour."
)
@click.option(
    "--step",
    type=click.IntRange(1, DAY_MINUTES),
    metavar="MINUTES",
    help="Width of one point; default 1, beyond an hour 15.",
)
@sidecar_options
def trend(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    target: str,
    measure: str,
    window: float | None,
    step: int | None,
) -> None:
    """Show how a measure of TARGET, or of all targets of a provider, has changed."""
    request = pb.GetTrendRequest(target=target)
    request.measure = pb.TrendMeasure.Value(f"TREND_MEASURE_{measure.upper().replace('-', '_')}")
    if window is not None:
        request.window.FromMilliseconds(round(window * 60_000))
    if step is not None:
        request.step.FromSeconds(step * 60)
    with calling_admin(address) as admin:
        answer = admin.GetTrend(request, timeout=timeout_seconds or CALL_SECONDS)
    if as_json:
        print_json(answer)
        return
    highest = max((point.value for point in answer.points), default=0.0)
    print_columns([("TIME (UTC)", "VALUE", "SAMPLES", ""), *(_row(point, measure, highest) for point in answer.points)])
    if answer.HasField("slope_per_hour"):
        sign = "+" if answer.slope_per_hour >= 0 else "-"
        click.echo(f"{sign}{value_text(abs(answer.slope_per_hour), measure)} an hour")


def value_text(value: float, measure: str) -> str:
    """Returns a value in the measure's unit, for people."""
    if measure in SHARES:
        return f"{value:.1%}"
    if measure == "cost":
        return usd(value)
    if measure == "request-rate":
        return f"{value:.3g}/s"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _row(point: pb.TrendPoint, measure: str, highest: float) -> tuple[str, ...]:
    known = point.HasField("value")
    bar = "#" * round(BAR_WIDTH * point.value / highest) if known and highest > 0 else ""
    return (
        f"{point.time.ToDatetime():%H:%M}",
        value_text(point.value, measure) if known else "-",
        str(point.sample_count),
        bar,
    )
