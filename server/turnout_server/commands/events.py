"""`turnout events`: what an operator would want to hear of, as a table, or line by line as it happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import click

from turnout.answer import target_name
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import admin_pb2_grpc
from turnout_server.commands.event_stream import PAGE_SIZE, Follower, Wanted, last_sequence, past_events
from turnout_server.commands.numbers import MAX_MINUTES, FiniteRange
from turnout_server.commands.printing import as_dict, columns, print_json
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, connecting, sidecar_options

NAME_WIDTH = 20
WHERE_WIDTH = 32
DEFAULT_LIMIT = 20


@click.command("events", epilog=EPILOG)
@click.option(
    "--limit",
    default=None,
    type=click.IntRange(0, PAGE_SIZE),
    help=f"As many of the past at most; default {DEFAULT_LIMIT}, with --since all. The sidecar holds {PAGE_SIZE}.",
)
@click.option("--since", type=FiniteRange(min=0, max=MAX_MINUTES), metavar="MINUTES", help="Those of the last minutes.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--name", "names", multiple=True, metavar="NAME", help="Those of this name; may be given several times.")
@click.option("--target", default="", metavar="PROVIDER[/MODEL]", help="Those of this provider or target.")
@sidecar_options
def events(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    limit: int | None,
    since: float | None,
    follow: bool,
    names: tuple[str, ...],
    target: str,
) -> None:
    """List the latest events, oldest first; --follow goes on with what happens. docs/events.md says what they mean.

    With --follow, --json prints one event a line, --timeout ends it after so long, and Ctrl-C with exit code 0. It goes
    on when the sidecar is restarted.
    """
    wanted = Wanted(names=names, target=target, since=0.0 if since is None else time.time() - since * 60)
    if limit is None:
        limit = DEFAULT_LIMIT if since is None else PAGE_SIZE
    # Where it follows, its time is that of following.
    ends_at = time.monotonic() + timeout_seconds if follow and timeout_seconds else None
    call_seconds = CALL_SECONDS if follow or not timeout_seconds else timeout_seconds
    with connecting(address) as connection:
        with connection.channel() as channel:
            admin = admin_pb2_grpc.AdminServiceStub(channel)
            newest = last_sequence(admin, timeout_seconds=call_seconds) if follow else 0
            past = past_events(admin, wanted, most=limit, timeout_seconds=call_seconds)
        if not follow:
            _print(past, as_json=as_json)
            return
        # What came between the two questions is sent by the stream.
        past = [event for event in past if event.sequence <= newest]
        follower = Follower(connection=connection, wanted=wanted, sequence=newest, ends_at=ends_at, tell=_tell)
        with contextlib.suppress(KeyboardInterrupt):
            for event in chain(past, follower.events()):
                if as_json:
                    print_json(event, lines=True)
                else:
                    click.echo(next(_lines([event])))


def _print(past: Sequence[pb.Event], *, as_json: bool) -> None:
    if as_json:
        print_json({"events": [as_dict(event) for event in past]})
        return
    for line in _lines(past) if past else ["no events"]:
        click.echo(line)


def _tell(text: str) -> None:
    """Says on stderr what is no event: whoever reads stdout by a program gets events alone."""
    click.echo(f"turnout: {text}", err=True)


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
