"""`turnout drain`: providers, models and targets that get no new calls; `turnout undrain` takes it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from turnout_server.commands.naming import NameArgument, suggesting
from turnout_server.commands.printing import as_dict, print_json
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling, sidecar_options

if TYPE_CHECKING:
    from turnout.v1 import admin_pb2 as pb

SHOWN = 10
"""Targets that are named in a line; `turnout status` has all."""


@click.command("drain", epilog=EPILOG)
@click.argument("names", metavar="TARGET|PROVIDER...", nargs=-1, required=True, cls=NameArgument)
@sidecar_options
def drain(*, address: str | None, timeout_seconds: float | None, as_json: bool, names: tuple[str, ...]) -> None:
    """Have targets, models or providers get no new calls. Calls that run go on.

    It holds until the sidecar starts anew; `routing.drained` of its configuration holds longer.
    """
    change(names, address, timeout_seconds, as_json=as_json, drained=True)


def change(
    names: tuple[str, ...], address: str | None, timeout_seconds: float | None, *, as_json: bool, drained: bool
) -> None:
    """Drains or undrains one after the other, and says what came of each."""
    seconds = timeout_seconds or CALL_SECONDS
    changed: dict[str, pb.RegisteredProvider] = {}
    try:
        with calling(address) as client:
            for name in names:
                if not name.partition("/")[0]:
                    raise click.BadParameter(f'"{name}" names nothing: give a provider, provider/model or a target')
                with suggesting(name, client, seconds):
                    provider = (client.drain if drained else client.undrain)(name, timeout_seconds=seconds)
                changed[provider.provider] = provider
                if not as_json:
                    click.echo(told(name, provider, drained=drained))
    finally:
        # Those before one that fails are changed.
        if as_json and changed:
            print_json({"providers": [as_dict(provider) for provider in changed.values()]})


def told(name: str, provider: pb.RegisteredProvider, *, drained: bool) -> str:
    """Returns what holds now for what was drained or undrained, and what would have to be done besides."""
    if drained:
        return f"{name} gets no new calls; those that run go on"
    if "/" in name:
        if provider.drained:
            whole = provider.provider
            return f"{name} still gets no calls: {whole} is drained as a whole; `turnout undrain {whole}` ends that"
        return f"{name} gets calls again"
    rest = list(provider.drained_targets)
    if not rest:
        return f"{name} gets calls again"
    more = f" and {len(rest) - SHOWN} more" if len(rest) > SHOWN else ""
    return f"{name} gets calls again, but for what is drained alone: {', '.join(rest[:SHOWN])}{more}"
