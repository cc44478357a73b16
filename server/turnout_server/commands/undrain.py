"""`turnout undrain`: what was drained gets calls again."""

from __future__ import annotations

import click

from turnout_server.commands.drain import change
from turnout_server.commands.naming import NameArgument
from turnout_server.commands.sidecar import EPILOG, sidecar_options


@click.command("undrain", epilog=EPILOG)
@click.argument("names", metavar="TARGET|PROVIDER...", nargs=-1, required=True, cls=NameArgument)
@sidecar_options
def undrain(*, address: str | None, timeout_seconds: float | None, as_json: bool, names: tuple[str, ...]) -> None:
    """Have targets, models or providers that were drained get calls again.

    What the configuration drains comes back with the next start.
    """
    change(names, address, timeout_seconds, as_json=as_json, drained=False)
