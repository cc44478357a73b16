"""`turnout top`: one sidecar, live on the terminal."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sys

import click

from turnout.connection import Connection
from turnout_server.api.stop_signals import on_stop_signal
from turnout_server.commands.exits import Exit
from turnout_server.commands.live.feed import Feed
from turnout_server.commands.live.figures import BARS, PLAIN_BARS
from turnout_server.commands.live.frame import frame_lines
from turnout_server.commands.live.link import Link
from turnout_server.commands.live.seen import WINDOWS_MINUTES, Seen
from turnout_server.commands.live.target_rows import ORDERS, UNSORTED
from turnout_server.commands.numbers import FiniteRange
from turnout_server.commands.printing import as_dict, print_json
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, connecting, sidecar_options

INSTALL = "pip install 'textual>=8.2'"
LEAST_INTERVAL_SECONDS = 0.2
MOST_INTERVAL_SECONDS = 60.0


@click.command("top", epilog=EPILOG)
@click.option("--once", is_flag=True, help="Print one frame as plain text; so it is where stdout is no terminal, too.")
@click.option(
    "--interval",
    default=1.0,
    show_default=True,
    type=FiniteRange(min=LEAST_INTERVAL_SECONDS, max=MOST_INTERVAL_SECONDS),
    metavar="SECONDS",
    help="How often to look.",
)
@click.option(
    "--window",
    type=click.Choice([str(minutes) for minutes in WINDOWS_MINUTES]),
    default="1",
    show_default=True,
    help="Minutes that rates and latencies look back.",
)
@click.option("--sort", "order", type=click.Choice(list(ORDERS)), default=UNSORTED, show_default=True, help="Order.")
@sidecar_options
def top(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    once: bool,
    interval: float,
    window: str,
    order: str,
) -> None:
    """Watch targets, decisions, events and budgets of a running sidecar, live; drain, undrain and reset by a key.

    ? shows the keys. --json prints what one frame is made of. docs/top.md has the rest.
    """
    reason = _why_once(once=once or as_json)
    with connecting(address) as connection:
        call_seconds = timeout_seconds or CALL_SECONDS
        if reason is None:
            asyncio.run(_live(connection, int(window), call_seconds, interval, order))
            return
        seen = asyncio.run(_look(connection, int(window), call_seconds))
    if as_json:
        print_json(_document(seen))
        return
    width = shutil.get_terminal_size().columns
    for line in frame_lines(seen, width, order=order, bars=_bars()):
        click.echo(line)
    if reason:
        click.echo(f"turnout: {reason}", err=True)


def _why_once(*, once: bool) -> str | None:
    """Returns None for the live view; else what to say beside the one frame, "" where nobody asked for more."""
    # Textual reads keys from stdin and writes to stderr.
    terminal = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    if once or not terminal or os.environ.get("TERM", "dumb") == "dumb":
        return ""
    if importlib.util.find_spec("textual") is None:
        return f"the live view needs Textual, which is not installed here: {INSTALL}"
    return None


async def _live(
    connection: Connection, window_minutes: int, timeout_seconds: float, interval: float, order: str
) -> None:
    # Loaded by nothing else: half a second, and a package that only this needs.
    from turnout_server.commands.live.screen import LiveView  # noqa: PLC0415

    link = Link(connection, timeout_seconds=timeout_seconds)
    try:
        feed = Feed(link, window_minutes=window_minutes)
        await feed.read_status()
        view = LiveView(feed, link, interval_seconds=interval, order=order)
        # However it is asked to stop, the terminal is left as it was.
        on_stop_signal(view.exit)
        await view.run_async()
    finally:
        await link.close()
    if view.return_code:
        sys.exit(Exit.FAILED)


async def _look(connection: Connection, window_minutes: int, timeout_seconds: float) -> Seen:
    link = Link(connection, timeout_seconds=timeout_seconds)
    try:
        feed = Feed(link, window_minutes=window_minutes)
        await feed.read_all()
        return feed.seen
    finally:
        await link.close()


def _bars() -> str:
    try:
        BARS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return PLAIN_BARS
    return BARS


def _document(seen: Seen) -> dict[str, object]:
    """Returns what a frame is made of: the answers of the sidecar, with the contract's names."""
    return {
        "address": seen.address,
        "status": as_dict(seen.status),
        "trends": {name: as_dict(trend) for name, trend in sorted(seen.trends.items())},
        "statistics": as_dict(seen.statistics) if seen.statistics is not None else None,
        "budgets": [as_dict(budget) for budget in seen.budgets],
        "decisions": [as_dict(record) for record in seen.decisions],
        "events": [as_dict(event) for event in seen.events],
        "refused": {part.value: reason for part, reason in seen.refused.items()},
    }
