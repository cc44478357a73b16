"""`turnout sim`: the simulated providers alone, for trying a configuration or a client without a key."""

from __future__ import annotations

import asyncio
import os

import click
import orjson

from turnout_server.api.stop_signals import on_stop_signal
from turnout_server.commands.exits import Exit, Failure
from turnout_server.providers.simulated.faults import FaultKind
from turnout_server.providers.simulated.flags import providers_from_flags
from turnout_server.providers.simulated.server import SimulatedServer

DEFAULT_PORT = 50160

_EPILOG = f"""\
\b
Examples:
  turnout sim
  turnout sim --provider north=openai --provider south=anthropic \\
      --latency 'north:first_token_seconds=0.3,seconds_per_output_token=0.01' \\
      --fault 'south:error,status=529,share=0.5,retry_after_seconds=2'

\b
Faults: {", ".join(list(FaultKind)[:7])},
  {", ".join(list(FaultKind)[7:])}.

While it runs: GET /control/providers tells settings and counts; PATCH /control/providers/NAME changes settings, as
in {{"fault": {{"kind": "stall", "share": 0.2}}}} or {{"fault": null}}.

Exit codes: 0 stopped by a signal, 2 wrong usage, 4 the address cannot be used.
"""


@click.command("sim", epilog=_EPILOG)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--provider", "names", multiple=True, metavar="NAME=WIRE", help="A provider; absent: one for each wire.")
@click.option("--latency", "latencies", multiple=True, metavar="NAME:KEY=VALUE,…", help="How slow it is.")
@click.option("--fault", "faults", multiple=True, metavar="NAME:KIND,KEY=VALUE,…", help="How it goes wrong.")
@click.option("--set", "settings", multiple=True, metavar="NAME:KEY=VALUE,…", help="Other settings: models, api_key, …")
@click.option("--seed", default=0, show_default=True, help="Fixes everything drawn by chance.")
@click.option("--json", "as_json", is_flag=True, help="No effect: the output is one JSON line either way.")
def sim(
    *,
    host: str,
    port: int,
    names: tuple[str, ...],
    latencies: tuple[str, ...],
    faults: tuple[str, ...],
    settings: tuple[str, ...],
    seed: int,
    as_json: bool,
) -> None:
    """Start the simulated providers: a real HTTP server speaking the vendors' wires.

    Prints one JSON line with the addresses once it listens, and runs until it is stopped. NAME is a provider's name,
    or * for all of them.
    """
    del as_json
    try:
        providers = providers_from_flags(names, latencies=latencies, faults=faults, settings=settings)
        server = SimulatedServer(providers, host=host, port=port, seed=seed)
    except ValueError as error:
        # FlagError, or a name that the server cannot serve.
        raise click.UsageError(str(error)) from None
    try:
        asyncio.run(_serve(server))
    except OSError as error:
        # asyncio puts a sentence of its own there; a host that is not known has no number of the system's.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise Failure(f"cannot listen on {host}:{port}: {reason}; choose another --port", Exit.CANNOT_START) from None


async def _serve(server: SimulatedServer) -> None:
    stop = asyncio.Event()
    on_stop_signal(stop.set)
    async with server:
        providers = {
            name: {"wire": provider.settings.wire.value, "base_url": server.base_url(name)}
            for name, provider in server.providers.items()
        }
        line = {
            "event": "listening",
            "url": server.url,
            "control": f"{server.url}/control/providers",
            "providers": providers,
        }
        click.echo(orjson.dumps(line).decode())
        await stop.wait()
