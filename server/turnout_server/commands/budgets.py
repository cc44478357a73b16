"""`turnout budgets`: what is spent, reserved and left of each budget; `set`, `add` and `delete` change them."""

from __future__ import annotations

from collections.abc import Iterator

import click

from turnout.v1 import admin_pb2 as pb
from turnout_server.commands.exits import Exit, Failure
from turnout_server.commands.numbers import FiniteRange
from turnout_server.commands.printing import as_dict, enum_word, print_columns, print_csv, print_json, usd
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling_admin, sidecar_options

PAGE_SIZE = 1000
HEADINGS = ("BUDGET", "OF", "PERIOD", "LIMIT", "SPENT", "RESERVED", "LEFT", "FORECAST", "ENDS (UTC)")
CSV_HEADINGS = (
    "budget",
    "scope",
    "key",
    "period",
    "limit_usd",
    "spent_usd",
    "reserved_usd",
    "remaining_usd",
    "forecast_usd",
    "ends_at",
)
SCOPES = ("global", "tenant", "user", "tier", "task")
PERIODS = ("minute", "hour", "day", "week", "month", "total")
HIGHEST_USD = 1e9


@click.group("budgets", invoke_without_command=True, epilog=EPILOG)
@click.option("--scope", type=click.Choice(SCOPES), help="Those of this scope.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a line for each value of a budget's scope.")
@sidecar_options
@click.pass_context
def budgets(
    ctx: click.Context,
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    scope: str | None,
    as_csv: bool,
) -> None:
    """List budgets with what is spent, reserved and left in the period under way, and the forecast to its end."""
    if ctx.invoked_subcommand is not None:
        # What stands before `set` holds for it, too.
        ctx.obj = (address, timeout_seconds, as_json)
        return
    if as_csv and as_json:
        raise click.UsageError("give --csv or --json, not both")
    request = pb.ListBudgetsRequest(page_size=PAGE_SIZE)
    if scope is not None:
        request.scope = pb.BudgetScope.Value(f"BUDGET_SCOPE_{scope.upper()}")
    found: list[pb.Budget] = []
    with calling_admin(address) as admin:
        while True:
            page = admin.ListBudgets(request, timeout=timeout_seconds or CALL_SECONDS)
            found += page.budgets
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
    if as_json:
        print_json({"budgets": [as_dict(budget) for budget in found]})
    elif as_csv:
        print_csv([CSV_HEADINGS, *(row for budget in found for row in _csv_rows(budget))])
    elif found:
        print_columns([HEADINGS, *(row for budget in found for row in _rows(budget))])
    else:
        click.echo("no budgets: the configuration has none")


@budgets.command("set", epilog=EPILOG)
@click.argument("name")
@click.option("--limit-usd", type=FiniteRange(min=0, min_open=True, max=HIGHEST_USD), metavar="USD", help="The limit.")
@click.option("--on-exceed", type=click.Choice(("reject", "downgrade")), help="What happens when it is used up.")
@click.option("--alert-at", multiple=True, type=FiniteRange(0, 1), metavar="SHARE", help="May be given several times.")
@click.option("--timezone", metavar="NAME", help="Where its periods begin, as in Europe/Berlin.")
@click.option("--etag", default="", help="Change it only if it is still as it was then.")
@sidecar_options
@click.pass_obj
def set_budget(
    before: tuple[str | None, float | None, bool],
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    name: str,
    limit_usd: float | None,
    on_exceed: str | None,
    alert_at: tuple[float, ...],
    timezone: str | None,
    etag: str,
) -> None:
    """Give the budget NAME other values, until the sidecar starts anew. What is spent stays spent."""
    request = pb.UpdateBudgetRequest(budget=pb.Budget(name=name), etag=etag)
    mask = request.update_mask.paths
    if limit_usd is not None:
        request.budget.limit_usd = limit_usd
        mask.append("limit_usd")
    if on_exceed is not None:
        request.budget.on_exceed = pb.BudgetExceed.Value(f"BUDGET_EXCEED_{on_exceed.upper()}")
        mask.append("on_exceed")
    if alert_at:
        request.budget.alert_at.extend(alert_at)
        mask.append("alert_at")
    if timezone is not None:
        request.budget.timezone = timezone
        mask.append("timezone")
    if not mask:
        raise Failure("nothing to change: give --limit-usd, --on-exceed, --alert-at or --timezone", Exit.USAGE)
    seconds = timeout_seconds or before[1] or CALL_SECONDS
    with calling_admin(address or before[0]) as admin:
        changed = admin.UpdateBudget(request, timeout=seconds).budget
    if as_json or before[2]:
        print_json(changed)
    else:
        print_columns([HEADINGS, *_rows(changed)])


@budgets.command("add", epilog=EPILOG)
@click.argument("name")
@click.option(
    "--limit-usd",
    type=FiniteRange(min=0, min_open=True, max=HIGHEST_USD),
    metavar="USD",
    required=True,
    help="The limit.",
)
@click.option("--scope", type=click.Choice(SCOPES), default="global", show_default=True, help="Whose spending.")
@click.option("--period", type=click.Choice(PERIODS), default="month", show_default=True, help="For how long.")
@click.option("--on-exceed", type=click.Choice(("reject", "downgrade")), help="What happens when it is used up.")
@click.option("--alert-at", multiple=True, type=FiniteRange(0, 1), metavar="SHARE", help="May be given several times.")
@click.option("--timezone", default="", metavar="NAME", help="Where its periods begin, as in Europe/Berlin.")
@click.option("--per-pod", is_flag=True, help="Each sidecar has the whole limit for itself.")
@click.option("--replicas", type=click.IntRange(min=1), help="Among how many sidecars the limit is divided.")
@sidecar_options
@click.pass_obj
def add_budget(
    before: tuple[str | None, float | None, bool],
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    name: str,
    limit_usd: float,
    scope: str,
    period: str,
    on_exceed: str | None,
    alert_at: tuple[float, ...],
    timezone: str,
    per_pod: bool,
    replicas: int | None,
) -> None:
    """Add the budget NAME, until the sidecar starts anew; the configuration holds longer."""
    wanted = pb.Budget(
        name=name,
        scope=pb.BudgetScope.Value(f"BUDGET_SCOPE_{scope.upper()}"),
        period=pb.BudgetPeriod.Value(f"BUDGET_PERIOD_{period.upper()}"),
        limit_usd=limit_usd,
        on_exceed=pb.BudgetExceed.Value(f"BUDGET_EXCEED_{(on_exceed or 'reject').upper()}"),
        alert_at=alert_at,
        timezone=timezone,
        per_pod=per_pod,
        replicas=replicas,
    )
    with calling_admin(address or before[0]) as admin:
        seconds = timeout_seconds or before[1] or CALL_SECONDS
        made = admin.CreateBudget(pb.CreateBudgetRequest(budget=wanted), timeout=seconds).budget
    if as_json or before[2]:
        print_json(made)
    else:
        print_columns([HEADINGS, *_rows(made)])


@budgets.command("delete", epilog=EPILOG)
@click.argument("name")
@click.option("--etag", default="", help="Delete it only if it is still as it was then.")
@sidecar_options
@click.pass_obj
def delete_budget(
    before: tuple[str | None, float | None, bool],
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    name: str,
    etag: str,
) -> None:
    """Have the budget NAME limit nothing any more; one of the configuration comes back with the next start."""
    with calling_admin(address or before[0]) as admin:
        seconds = timeout_seconds or before[1] or CALL_SECONDS
        admin.DeleteBudget(pb.DeleteBudgetRequest(name=name, etag=etag), timeout=seconds)
    if as_json or before[2]:
        print_json({})
    else:
        click.echo(f"{name} limits nothing any more")


def _csv_rows(budget: pb.Budget) -> Iterator[tuple[str, ...]]:
    """Yields what is spent of a budget, one line for each value of its scope; amounts in plain digits."""
    scope = enum_word(pb.BudgetScope, budget.scope).lower()
    period = enum_word(pb.BudgetPeriod, budget.period).lower()
    for spend in budget.spend or (pb.BudgetSpend(remaining_usd=budget.limit_usd / (budget.replicas or 1)),):
        ends = f"{spend.reset_time.ToDatetime().isoformat()}Z" if spend.HasField("reset_time") else ""
        forecast = f"{spend.forecast_usd:.9f}" if spend.HasField("forecast_usd") else ""
        amounts = (budget.limit_usd, spend.spent_usd, spend.reserved_usd, spend.remaining_usd)
        yield budget.name, scope, spend.key, period, *(f"{amount:.9f}" for amount in amounts), forecast, ends


def _rows(budget: pb.Budget) -> Iterator[tuple[str, ...]]:
    """Yields a row for each value of the scope that has spent something, one for a budget of which nothing is spent."""
    limit = usd(budget.limit_usd)
    parts = budget.replicas if budget.HasField("replicas") else 1
    if parts > 1:
        limit = f"{usd(budget.limit_usd / parts)} ({limit} / {parts})"
    period = enum_word(pb.BudgetPeriod, budget.period).lower()
    if budget.timezone != "UTC":
        period += f" ({budget.timezone})"
    scope = enum_word(pb.BudgetScope, budget.scope).lower()
    for spend in budget.spend:
        yield (
            budget.name,
            f"{scope} {spend.key or '(none)'}" if scope != "global" else scope,
            period,
            limit,
            usd(spend.spent_usd),
            usd(spend.reserved_usd),
            usd(spend.remaining_usd),
            usd(spend.forecast_usd) if spend.HasField("forecast_usd") else "-",
            f"{spend.reset_time.ToDatetime():%Y-%m-%d %H:%M}" if spend.HasField("reset_time") else "never",
        )
    if not budget.spend:
        own = usd(budget.limit_usd / parts)
        yield (budget.name, scope, period, limit, usd(0.0), usd(0.0), own, "-", "-")
    left_out = budget.spend_count - len(budget.spend)
    if left_out > 0:
        yield (budget.name, f"and {left_out} more", "", "", "", "", "", "", "")
