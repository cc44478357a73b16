"""`turnout check`: everything that is wrong with a configuration, without starting anything.

With `--live` it asks the providers, too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import time
from typing import TYPE_CHECKING, Any

import click

from turnout_server.commands.exits import Exit, Failure
from turnout_server.commands.numbers import MAX_SECONDS, FiniteRange
from turnout_server.config.build import Parts, build
from turnout_server.config.catalog import local_row
from turnout_server.config.faults import ConfigurationError, Fault, dotted
from turnout_server.config.load import load
from turnout_server.config.tables_in_force import tables_in_force

if TYPE_CHECKING:
    from turnout_server.config.schema import Configuration
    from turnout_server.providers.key_check import KeyReport

_EPILOG = """\
\b
Exit codes: 0 no faults; 1 faults (each on a line of its own), or with --live a provider that cannot be reached or does
  not take a key; 2 wrong usage.
"""


@click.command("check", epilog=_EPILOG)
@click.argument("file", required=False, metavar="[FILE]", type=click.Path())
@click.option("--no-files", is_flag=True, help="Do not look whether key and certificate files are there.")
@click.option("--live", is_flag=True, help="Ask every provider whether it takes every key and has the models.")
@click.option(
    "--timeout",
    "timeout_seconds",
    default=10.0,
    show_default=True,
    type=FiniteRange(min=0.001, max=MAX_SECONDS),
    metavar="SECONDS",
    help="With --live: for each provider and key.",
)
@click.option(
    "--max-tokens",
    default=16,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="With --live: of an answer, where a server has no list of models and must be called instead.",
)
@click.option("--tables", "with_tables", is_flag=True, help="Show which targets come first for each task and tier.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(  # an option each
    *,
    file: str | None,
    no_files: bool,
    live: bool,
    timeout_seconds: float,
    max_tokens: int,
    with_tables: bool,
    as_json: bool,
) -> None:
    """Validate FILE, or the file that TURNOUT_CONFIG names, with the environment laid over it.

    Prints every fault as FILE:LINE:COLUMN: PATH: what is wrong; warnings go to stderr. With --live it also asks each
    provider for its list of models with each key, which costs nothing; a server without one gets a call of one line.
    """
    try:
        loaded = load(file, os.environ, files=not no_files)
    except ConfigurationError as error:
        _print_faults(error.faults, as_json=as_json)
        raise SystemExit(Exit.FAILED) from None
    parts = build(loaded.configuration, os.environ)
    finding = tuple(each.provider for each in parts.connections if each.provider not in parts.fleet.providers)
    reports = _ask(loaded.configuration, parts, finding, timeout_seconds, max_tokens) if live else ()
    ok = all(report.outcome.good for report in reports)
    if as_json:
        answer: dict[str, Any] = {
            "ok": ok,
            "file": loaded.origin,
            "faults": [],
            "warnings": list(loaded.warnings),
            "targets": [spec.name for spec in parts.fleet.specs],
            "policy_version": parts.settings.routing.policy_version,
        }
        if with_tables:
            answer["tables"] = _tables_as_json(loaded.configuration, parts)
        if live:
            answer["live"] = [_report_as_json(report) for report in reports]
        click.echo(json.dumps(answer))
    else:
        for warning in loaded.warnings:
            click.echo(f"warning: {warning}", err=True)
        where = loaded.origin or "the environment"
        found = f"; the models of {', '.join(finding)} are found when it runs" if finding else ""
        click.echo(f"{where}: ok, {len(parts.connections)} providers, {len(parts.fleet.specs)} targets{found}")
        if with_tables:
            _print_tables(loaded.configuration, parts)
        if live:
            _print_reports(reports)
    if not ok:
        raise SystemExit(Exit.FAILED)


def _print_tables(configuration: Configuration, parts: Parts) -> None:
    # Imported here: it brings gRPC along.
    from turnout_server.commands.tables import print_tables  # noqa: PLC0415

    print_tables(tables_in_force(configuration, parts.settings.routing, parts.fleet))


def _tables_as_json(configuration: Configuration, parts: Parts) -> list[dict[str, Any]]:
    from turnout_server.commands.tables import as_dict  # noqa: PLC0415 - see above

    return [as_dict(row) for row in tables_in_force(configuration, parts.settings.routing, parts.fleet)]


def _ask(
    configuration: Configuration, parts: Parts, finding: tuple[str, ...], timeout_seconds: float, max_tokens: int
) -> tuple[KeyReport, ...]:
    """Asks every provider; `finding` are those that have no target yet, of which only the list of models is asked."""
    # Imported here: a check without --live needs no HTTP.
    from turnout_server.providers.certificates import CertificateError  # noqa: PLC0415
    from turnout_server.providers.key_check import KeyCheck  # noqa: PLC0415
    from turnout_server.providers.secrets import Secrets  # noqa: PLC0415

    if not parts.connections:
        raise Failure("no provider is configured, so there is none to ask; set a key or name one", Exit.FAILED)
    asking = KeyCheck(
        secrets=Secrets(parts.connections, environ=os.environ),
        clock=time.monotonic,
        timeout_seconds=timeout_seconds,
        max_output_tokens=max_tokens,
    )
    # The address to ask at is that of a target: one of no real model stands for those that are to be found.
    nameless = {name: (local_row("-", None, frozenset()),) for name in finding}
    specs = build(configuration, os.environ, found=nameless).fleet.specs if finding else parts.fleet.specs
    try:
        reports = asyncio.run(asking.all(parts.connections, specs))
    except CertificateError as error:
        raise Failure(str(error), Exit.FAILED) from None
    return tuple(
        dataclasses.replace(report, unlisted_models=()) if report.provider in finding else report for report in reports
    )


def _print_reports(reports: tuple[KeyReport, ...]) -> None:
    # Imported here: it brings gRPC along.
    from turnout_server.commands.printing import print_columns  # noqa: PLC0415

    rows = [("PROVIDER", "KEY", "RESULT", "TIME", "MODELS", "DETAIL")]
    for report in reports:
        detail = report.detail
        if report.unlisted_models:
            detail = f"not on its list: {', '.join(report.unlisted_models)}"
        listed = "-" if report.listed_count is None else str(report.listed_count)
        seconds = f"{report.seconds:.1f} s"
        rows.append((report.provider, report.credential or "-", report.outcome.value, seconds, listed, detail))
    print_columns(rows)


def _report_as_json(report: KeyReport) -> dict[str, object]:
    return {
        "provider": report.provider,
        "base_url": report.base_url,
        "credential": report.credential,
        "ok": report.outcome.good,
        "result": report.outcome.value,
        "seconds": round(report.seconds, 3),
        "listed_count": report.listed_count,
        "unlisted_models": list(report.unlisted_models),
        "detail": report.detail,
    }


def _print_faults(faults: tuple[Fault, ...], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"ok": False, "faults": [_as_json(fault) for fault in faults]}))
        return
    for fault in faults:
        click.echo(str(fault))


def _as_json(fault: Fault) -> dict[str, object]:
    return {
        "origin": fault.origin,
        "path": dotted(fault.path),
        "line": fault.place.line if fault.place else None,
        "column": fault.place.column if fault.place else None,
        "message": fault.message,
    }
