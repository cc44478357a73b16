"""`turnout status`: what the sidecar knows of its providers and targets."""

from __future__ import annotations

from collections.abc import Iterator

import click

from turnout.answer import target_name
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.printing import enum_word, print_columns, print_json, seconds, usd
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling, sidecar_options

HEADINGS = ("TARGET", "HEALTH", "SCORE", "BREAKER", "CALLS", "SUCCESS", "P50", "P95", "IN FLIGHT", "COST")
ESTIMATE_HEADINGS = ("MODEL", "INPUT TOKENS", "OUTPUT TOKENS", "COST", "ANSWERS")
TROUBLE_HEADINGS = ("TROUBLE", "FAILURES", "IN A ROW", "FREE IN")
KEY_HEADINGS = ("KEY", "STATE", "FREE IN", "MODELS")
CLOSED: int = pb.BREAKER_STATE_CLOSED
WINDOWS_MINUTES = ("1", "5", "15", "60")


@click.command("status", epilog=EPILOG)
@click.argument("providers", nargs=-1)
@click.option("--estimates", is_flag=True, help="Also how far tokens and cost are estimated off, and which way.")
@click.option("--window", type=click.Choice(WINDOWS_MINUTES), default="5", show_default=True, help="Minutes back.")
@sidecar_options
def status(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    providers: tuple[str, ...],
    window: str,
    estimates: bool,
) -> None:
    """Show health, breaker, latency and cost of all targets, or those of PROVIDERS.

    Below that what targets fail with and for how long they are left alone, and keys where one cannot be used.
    """
    with calling(address) as client:
        report = client.status(
            *providers, window_seconds=int(window) * 60, timeout_seconds=timeout_seconds or CALL_SECONDS
        )
    if as_json:
        print_json(report)
        return
    rows: list[tuple[str, ...]] = [HEADINGS]
    for provider in report.providers:
        breakers = {endpoint.endpoint: endpoint.breaker for endpoint in provider.endpoints}
        rows += [target_row(target, breakers.get(target.target.endpoint, CLOSED)) for target in provider.targets]
    if len(rows) == 1:
        click.echo("no targets: no provider is configured")
        return
    print_columns(rows)
    troubles = trouble_rows(report)
    if troubles:
        print_columns([TROUBLE_HEADINGS, *troubles])
    for line in unreachable(report):
        click.echo(line)
    keys = [row for provider in report.providers for row in _key_rows(provider, report.as_of.ToNanoseconds())]
    if keys:
        print_columns([KEY_HEADINGS, *keys])
    if estimates:
        known = {row[0]: row for provider in report.providers for row in map(_estimate_row, provider.targets)}
        print_columns([ESTIMATE_HEADINGS, *known.values()])
    total = report.aggregate
    click.echo(
        f"{total.available_target_count} of {total.target_count} targets available, {total.request_count} calls in "
        f"{seconds(report.actual_window)}, {total.in_flight} in flight, {usd(total.cost_usd)}"
    )


def trouble_rows(report: pb.ProviderStatusResponse) -> list[tuple[str, ...]]:
    """Returns a row for each target that failed in the window or is left alone: with what, and for how long yet."""
    now = report.as_of.ToNanoseconds()
    rows: list[tuple[str, ...]] = []
    for provider in report.providers:
        endpoints = {endpoint.endpoint: endpoint for endpoint in provider.endpoints}
        for target in provider.targets:
            endpoint = endpoints.get(target.target.endpoint, pb.EndpointState())
            ends = [state.reopen_time.ToNanoseconds() for state in (target, endpoint) if state.HasField("reopen_time")]
            if target.HasField("cool_down_until"):
                ends.append(target.cool_down_until.ToNanoseconds())
            if ends or target.error_rates:
                kinds = sorted(target.error_rates.items(), key=lambda kind: (-kind[1], kind[0]))
                rows.append(
                    (
                        target_name(target.target),
                        ", ".join(f"{kind} {share:.0%}" for kind, share in kinds) or "-",
                        str(target.consecutive_failures),
                        f"{max(0.0, (max(ends) - now) / 1e9):.0f} s" if ends else "-",
                    )
                )
    return rows


def unreachable(report: pb.ProviderStatusResponse) -> Iterator[str]:
    """Yields a line for each endpoint that could not be connected to when somebody looked."""
    for provider in report.providers:
        for endpoint in provider.endpoints:
            if endpoint.unreachable:
                name = provider.provider + (f"@{endpoint.endpoint}" if endpoint.endpoint else "")
                yield f"{name} could not be reached when it was last looked at: {endpoint.unreachable}"


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


def _estimate_row(target: pb.TargetState) -> tuple[str, ...]:
    """Returns the mean absolute error of each estimate and its bias: "12 % (+3 %)"."""
    figures = (
        (target.HasField("input_estimate"), target.input_estimate),
        (target.HasField("output_estimate"), target.output_estimate),
        (target.HasField("cost_estimate"), target.cost_estimate),
    )
    cells = [f"{each.mean_absolute_error:.1%} ({each.bias:+.1%})" if there else "-" for there, each in figures]
    answers = max(each.sample_count for _, each in figures)
    return (f"{target.target.provider}/{target.target.model}", *cells, str(answers))


def breaker_word(target: pb.TargetState, of_endpoint: int) -> str:
    """Returns the breaker that keeps the target away: its own, else that of its endpoint, where that is not closed."""
    if target.breaker == CLOSED != of_endpoint:
        return f"{enum_word(pb.BreakerState, of_endpoint)} (endpoint)"
    return enum_word(pb.BreakerState, target.breaker)


def target_row(target: pb.TargetState, of_endpoint: int) -> tuple[str, ...]:
    """Returns the cells of a target; `of_endpoint` is the breaker of its endpoint."""
    marks = [word for word, on in (("drained", target.drained), ("suspect", target.suspect)) if on]
    if target.throttle:
        marks.append(f"throttled {target.throttle:.0%}")
    if target.HasField("drift"):
        marks.append(f"drifting (score x {target.drift:.2f})")
    measured = target.HasField("latency")
    return (
        " ".join([target_name(target.target), *marks]),
        enum_word(pb.HealthState, target.health),
        f"{target.score:.0f}",
        breaker_word(target, of_endpoint),
        str(target.request_count),
        f"{target.success_rate:.0%}" if target.HasField("success_rate") else "-",
        seconds(target.latency.p50) if measured else "-",
        seconds(target.latency.p95) if measured else "-",
        f"{target.in_flight} of {target.concurrency_limit}"
        if target.HasField("concurrency_limit")
        else str(target.in_flight),
        usd(target.cost_usd) if target.cost_usd else "-",
    )
