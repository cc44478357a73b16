"""`turnout providers check`: active checks now, of what is named."""

from __future__ import annotations

import click

from turnout.answer import target_name
from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.exits import Exit, Failure
from turnout_server.commands.naming import NameArgument, suggesting
from turnout_server.commands.printing import as_dict, enum_word, print_columns, print_json, seconds, usd
from turnout_server.commands.sidecar import EPILOG, calling, sidecar_options

CHECK_SECONDS = 120.0
"""How long this waits for the sidecar: each check may take ten, and some are made one after the other."""


@click.command("check", epilog=EPILOG)
@click.argument("names", metavar="[TARGET|PROVIDER...]", nargs=-1, cls=NameArgument)
@click.option("--all", "everything", is_flag=True, help="All endpoints.")
@sidecar_options
def check(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    names: tuple[str, ...],
    everything: bool,
) -> None:
    """Check targets, models or providers now; exit code 1 where one does not answer as it should.

    A provider is asked for its list of models at each of its endpoints, which costs nothing. A model or target is
    called for one token, which the provider charges for; one that is open is not called before its time.
    """
    if bool(names) is everything:
        raise click.UsageError("give what to check, or --all")
    limit = timeout_seconds or CHECK_SECONDS
    results: list[admin_pb2.CheckResult] = []
    with calling(address) as client:
        if everything:
            results += client.check_health(timeout_seconds=limit)
        for name in names:
            if not name.partition("/")[0]:
                raise click.BadParameter(f'"{name}" names nothing: give a provider, provider/model or a target')
            with suggesting(name, client, limit):
                results += client.check_health(name, timeout_seconds=limit)
    if as_json:
        print_json({"results": [as_dict(each) for each in results]})
    elif results:
        print_columns([("CHECKED", "RESULT", "TOOK", "COST", "FOUND"), *map(_row, results)])
    else:
        click.echo("nothing was checked: there is no target")
    bad = sum(not each.ok for each in results)
    if bad:
        raise Failure(f"{bad} of {len(results)} did not answer as they should, or were not checked", Exit.FAILED)


def _row(result: admin_pb2.CheckResult) -> tuple[str, ...]:
    made = result.HasField("latency")
    failure = enum_word(pb.FailureKind, result.failure)
    return (
        _name(result.target),
        "ok" if result.ok else failure if made else "not made",
        seconds(result.latency) if made else "-",
        usd(result.cost_usd) if result.HasField("cost_usd") else "-",
        result.detail,
    )


def _name(target: pb.Target) -> str:
    if target.model:
        return target_name(target)
    return f"{target.provider}@{target.endpoint}" if target.endpoint else target.provider
