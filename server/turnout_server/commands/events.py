"""`turnout events`: what an operator would want to hear of, as a table, or line by line as it happens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click
import grpc

from turnout.answer import target_name
from turnout.status import error_from_rpc
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import admin_pb2_grpc
from turnout_server.commands.printing import as_dict, columns, print_json
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling_admin, sidecar_options

PAGE_SIZE = 1000
NAME_WIDTH = 20
WHERE_WIDTH = 32


@click.command("events", epilog=EPILOG)
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="As many of the past at most."
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--name", "names", multiple=True, metavar="NAME", help="Those of this name; may be given several times.")
@click.option("--target", default="", metavar="PROVIDER[/MODEL]", help="Those of this provider or target.")
@sidecar_options
def events(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    limit: int,
    follow: bool,
    names: tuple[str, ...],
    target: str,
) -> None:
    """List the latest events, oldest first; --follow goes on with what happens. docs/events.md says what they mean.

    With --follow, --json prints one event a line, and --timeout ends it after so long.
    """
    request = pb.ListEventsRequest(page_size=limit, names=names, target=target)
    with calling_admin(address) as admin:
        # Where it follows, its time is that of following.
        page = admin.ListEvents(request, timeout=CALL_SECONDS if follow or not timeout_seconds else timeout_seconds)
        past = list(reversed(page.events))
        if follow:
            _follow(admin, past, names=names, target=target, timeout_seconds=timeout_seconds, as_json=as_json)
        elif as_json:
            print_json({"events": [as_dict(event) for event in past]})
        elif past:
            for line in _lines(past):
                click.echo(line)
        else:
            click.echo("no events")


def _follow(
    admin: admin_pb2_grpc.AdminServiceStub,
    past: list[pb.Event],
    *,
    names: tuple[str, ...],
    target: str,
    timeout_seconds: float | None,
    as_json: bool,
) -> None:
    """Prints the past and then what happens; nothing between the two is left out."""
    # Without a past, whatever of it there is by now has happened since the list was read.
    request = pb.WatchEventsRequest(names=names, after_sequence=past[-1].sequence if past else 0)
    # Watching begins before the past is printed: a terminal may be slow.
    call = admin.WatchEvents(request, timeout=timeout_seconds)
    for event in _both(past, call, target):
        if as_json:
            print_json(event, lines=True)
        else:
            click.echo(next(_lines([event])))


def _both(past: Iterable[pb.Event], call: Iterable[pb.WatchEventsResponse], target: str) -> Iterator[pb.Event]:
    yield from past
    try:
        for response in call:
            if not target or target in {response.event.target.provider, target_name(response.event.target)}:
                yield response.event
    except grpc.RpcError as error:
        # The time that was asked for is over.
        if error_from_rpc(error).code is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise


def _lines(events: Iterable[pb.Event]) -> Iterator[str]:
    rows = [
        (
            f"{event.time.ToDatetime():%Y-%m-%d %H:%M:%S}Z",
            event.name.ljust(NAME_WIDTH),
            (_where(event) or "-").ljust(WHERE_WIDTH),
            "  ".join(f"{name}={_short(event.fields[name])}" for name in sorted(event.fields)),
        )
        for event in events
    ]
    return columns(rows)


def _where(event: pb.Event) -> str:
    if event.target.model:
        return target_name(event.target)
    return "@".join(part for part in (event.target.provider, event.target.endpoint) if part)


def _short(value: str) -> str:
    """Returns a value as one word, or in quotes; texts of several lines come in one."""
    line = " ".join(value.split())
    return f'"{line}"' if " " in line or not line else line
