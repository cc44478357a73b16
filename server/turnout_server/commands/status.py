"""`turnout status`: what the sidecar knows of its providers and targets."""

from __future__ import annotations

import click

from turnout.answer import target_name
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.printing import enum_word, print_columns, print_json, seconds, usd
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling, sidecar_options

HEADINGS = ("TARGET", "HEALTH", "SCORE", "BREAKER", "CALLS", "SUCCESS", "P50", "P95", "IN FLIGHT", "COST")
KEY_HEADINGS = ("KEY", "STATE", "FREE IN", "MODELS")
WINDOWS_MINUTES = ("1", "5", "15", "60")


@click.command("status", epilog=EPILOG)
@click.argument("providers", nargs=-1)
@click.option("--window", type=click.Choice(WINDOWS_MINUTES), default="5", show_default=True, help="Minutes back.")
@sidecar_options
def status(
    *, address: str | None, timeout_seconds: float | None, as_json: bool, providers: tuple[str, ...], window: str
) -> None:
    """Show health, breaker, latency and cost of all targets, or those of PROVIDERS; keys where one cannot be used."""
    with calling(address) as client:
        report = client.status(
            *providers, window_seconds=int(window) * 60, timeout_seconds=timeout_seconds or CALL_SECONDS
        )
    if as_json:
        print_json(report)
        return
    rows: list[tuple[str, ...]] = [HEADINGS]
    rows += [_row(target) for provider in report.providers for target in provider.targets]
    if len(rows) == 1:
        click.echo("no targets: no provider is configured")
        return
    print_columns(rows)
    keys = [row for provider in report.providers for row in _key_rows(provider, report.as_of.ToNanoseconds())]
    if keys:
        print_columns([KEY_HEADINGS, *keys])
    total = report.aggregate
    click.echo(
        f"{total.available_target_count} of {total.target_count} targets available, {total.request_count} calls in "
        f"{seconds(report.actual_window)}, {total.in_flight} in flight, {usd(total.cost_usd)}"
    )


def _key_rows(provider: pb.ProviderState, now_nanoseconds: int) -> list[tuple[str, ...]]:
    """Returns the keys of a provider, none where all can be used: its endpoints have the same ones."""
    rows: dict[tuple[str, ...], bool] = {}
    for endpoint in provider.endpoints:
        for key in endpoint.credentials:
            left = (key.retry_at.ToNanoseconds() - now_nanoseconds) / 1e9
            row = (
                f"{provider.provider} {key.label or '(no key)'}" + (" (a caller's)" if key.reported else ""),
                "ok" if key.usable else enum_word(pb.FailureKind, key.failure),
                f"{max(0.0, left):.0f} s" if key.HasField("retry_at") else "-",
                ", ".join(key.models) or "all",
            )
            rows[row] = key.usable
    return [] if all(rows.values()) else list(rows)


def _row(target: pb.TargetState) -> tuple[str, ...]:
    marks = [word for word, on in (("drained", target.drained), ("suspect", target.suspect)) if on]
    measured = target.HasField("latency")
    return (
        " ".join([target_name(target.target), *marks]),
        enum_word(pb.HealthState, target.health),
        f"{target.score:.0f}",
        enum_word(pb.BreakerState, target.breaker),
        str(target.request_count),
        f"{target.success_rate:.0%}" if target.HasField("success_rate") else "-",
        seconds(target.latency.p50) if measured else "-",
        seconds(target.latency.p95) if measured else "-",
        str(target.in_flight),
        usd(target.cost_usd) if target.cost_usd else "-",
    )
