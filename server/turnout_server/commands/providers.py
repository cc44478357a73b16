"""`turnout providers`: what can be changed of a running sidecar's providers, by the names that each also has alone."""

from __future__ import annotations

import click

from turnout_server.commands.check_health import check
from turnout_server.commands.drain import drain
from turnout_server.commands.register import add, remove, set_provider
from turnout_server.commands.reset import reset
from turnout_server.commands.sidecar import EPILOG
from turnout_server.commands.undrain import undrain


@click.group("providers", epilog=EPILOG)
def providers() -> None:
    """Add, change or remove providers; drain, undrain, reset or check them and their targets.

    `drain`, `undrain` and `reset` are the commands of these names.
    """


providers.add_command(add)
providers.add_command(set_provider)
providers.add_command(remove)
providers.add_command(drain)
providers.add_command(undrain)
providers.add_command(reset)
providers.add_command(check)
