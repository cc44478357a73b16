"""`turnout providers`: what can be changed of a running sidecar's providers, by the names that each also has alone."""

from __future__ import annotations

import click

from turnout_server.commands.drain import drain
from turnout_server.commands.reset import reset
from turnout_server.commands.sidecar import EPILOG
from turnout_server.commands.undrain import undrain


@click.group("providers", epilog=EPILOG)
def providers() -> None:
    """Drain, undrain or reset providers and targets: as `turnout drain`, `undrain` and `reset` do."""


providers.add_command(drain)
providers.add_command(undrain)
providers.add_command(reset)
