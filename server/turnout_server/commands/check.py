"""`turnout check`: everything that is wrong with a configuration, without starting anything."""

from __future__ import annotations

import json
import os

import click

from turnout_server.commands.exits import Exit, Failure
from turnout_server.config.build import build
from turnout_server.config.faults import ConfigurationError, Fault, dotted
from turnout_server.config.load import load


@click.command("check", epilog="\b\nExit codes: 0 no faults, 1 faults (each on a line of its own), 2 wrong usage.")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--no-files", is_flag=True, help="Do not look whether key and certificate files are there.")
@click.option("--live", is_flag=True, hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(*, file: str | None, no_files: bool, live: bool, as_json: bool) -> None:
    """Validate FILE, or the file that TURNOUT_CONFIG names, with the environment laid over it.

    Prints every fault as FILE:LINE:COLUMN: PATH: what is wrong; warnings go to stderr.
    """
    if live:
        raise Failure("check --live is not in this version yet", Exit.USAGE)
    try:
        loaded = load(file, os.environ, files=not no_files)
    except ConfigurationError as error:
        _print_faults(error.faults, as_json=as_json)
        raise SystemExit(Exit.FAILED) from None
    parts = build(loaded.configuration, os.environ)
    if as_json:
        answer = {
            "ok": True,
            "file": loaded.origin,
            "faults": [],
            "warnings": list(loaded.warnings),
            "targets": [spec.name for spec in parts.fleet.specs],
            "policy_version": parts.settings.routing.policy_version,
        }
        click.echo(json.dumps(answer))
        return
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    where = loaded.origin or "the environment"
    click.echo(f"{where}: ok, {len(parts.fleet.providers)} providers, {len(parts.fleet.specs)} targets")


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
