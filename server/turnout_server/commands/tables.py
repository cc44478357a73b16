"""`turnout tables`: which targets come first for each policy, task and tier, and where that is said."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from turnout_server.commands.exits import Exit, Failure
from turnout_server.commands.printing import print_columns, print_json

if TYPE_CHECKING:
    from turnout_server.config.tables_in_force import TableInForce

HEADINGS = ("POLICY", "TASK", "TIER", "AT MOST", "FROM", "FIRST", "NOTE")

_EPILOG = """\
\b
Examples:
  turnout tables                       with what the environment configures
  turnout tables -c turnout.yaml       with a file
  turnout tables --task chat --policy default

AT MOST is what a request of the tier may cost. The strategy ranks the rest behind the targets of a table. Rows of a
policy's `tasks` stand in for built-in ones; a built-in row leaves out what is not configured.

Exit codes: 0 shown, 1 the configuration has faults, 2 wrong usage.
"""


@click.command("tables", epilog=_EPILOG)
@click.option("-c", "--config", "file", metavar="FILE", help="turnout.yaml; else the one that TURNOUT_CONFIG names.")
@click.option("--policy", default="", metavar="NAME", help="Only of this policy.")
@click.option("--task", default="", metavar="NAME", help="Only for this task.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def tables(*, file: str | None, policy: str, task: str, as_json: bool) -> None:
    """Show the tables in force: which targets come first for each policy, task and tier."""
    from turnout_server.config.build import build  # noqa: PLC0415 - the help text needs none of it
    from turnout_server.config.faults import ConfigurationError  # noqa: PLC0415
    from turnout_server.config.load import load  # noqa: PLC0415
    from turnout_server.config.tables_in_force import tables_in_force  # noqa: PLC0415

    try:
        configuration = load(file, os.environ, files=False).configuration
    except ConfigurationError as error:
        lines = "\nturnout: ".join(str(fault) for fault in error.faults)
        raise Failure(lines, Exit.FAILED) from None
    parts = build(configuration, os.environ)
    rows = list(tables_in_force(configuration, parts.settings.routing, parts.fleet))
    _check_known("policy", policy, parts.settings.routing.policies)
    _check_known("task", task, {row.task for row in rows if row.task})
    shown = [row for row in rows if policy in ("", row.policy) and (not task or row.task in ("", task))]
    if as_json:
        print_json({"tables": [as_dict(row) for row in shown]})
    else:
        print_tables(shown)


def print_tables(rows: Iterable[TableInForce]) -> None:
    """Prints them for people."""
    print_columns([HEADINGS, *(_cells(row) for row in rows)])


def as_dict(row: TableInForce) -> dict[str, Any]:
    """Returns one row as JSON has it."""
    return {
        "policy": row.policy,
        "task": row.task,
        "tier": row.tier,
        "max_cost_usd": row.max_cost_usd,
        "names": list(row.names),
        "targets": list(row.targets),
        "from": row.source,
        "left_out": list(row.left_out),
        "note": row.note,
    }


def _cells(row: TableInForce) -> tuple[str, ...]:
    notes = [row.note] if row.note else []
    if row.left_out:
        notes.append(f"not configured: {', '.join(row.left_out)}")
    return (
        row.policy,
        row.task or "every task",
        row.tier,
        "-" if row.max_cost_usd is None else f"{row.max_cost_usd:g} USD",
        row.source,
        " > ".join(row.names) or "-",
        "; ".join(notes),
    )


def _check_known(what: str, name: str, known: Iterable[str]) -> None:
    if name and name not in known:
        raise click.UsageError(f"there is no {what} {name}; there are: {', '.join(sorted(known))}")
