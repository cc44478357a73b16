"""`turnout reset`: what is held against targets is forgotten, so that they are called at once."""

from __future__ import annotations

import click

from turnout.answer import target_name
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.naming import NameArgument, suggesting
from turnout_server.commands.printing import as_dict, print_json
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling, sidecar_options


@click.command("reset", epilog=EPILOG)
@click.argument("names", metavar="[TARGET|PROVIDER...]", nargs=-1, cls=NameArgument)
@click.option("--all", "everything", is_flag=True, help="All targets.")
@sidecar_options
def reset(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    names: tuple[str, ...],
    everything: bool,
) -> None:
    """Forget what is held against targets, models or providers, so that they are called at once.

    Breakers close, pauses and outages of their keys end, windows of failures empty. What is learned of latency and
    spending stays, and so do drains.
    """
    if bool(names) is everything:
        raise click.UsageError("give what to reset, or --all")
    seconds = timeout_seconds or CALL_SECONDS
    targets: list[pb.Target] = []
    try:
        with calling(address) as client:
            if everything:
                targets += client.reset_health(timeout_seconds=seconds)
            for name in names:
                if not name.partition("/")[0]:
                    raise click.BadParameter(f'"{name}" names nothing: give a provider, provider/model or a target')
                with suggesting(name, client, seconds):
                    targets += client.reset_health(name, timeout_seconds=seconds)
    except click.ClickException:
        # Those before one that fails are reset.
        if targets:
            _tell(targets, as_json=as_json)
        raise
    _tell(targets, as_json=as_json)


def _tell(targets: list[pb.Target], *, as_json: bool) -> None:
    if as_json:
        print_json({"targets": [as_dict(target) for target in targets]})
    else:
        click.echo(f"reset: {', '.join(map(target_name, targets)) or 'nothing, there is no target'}")
