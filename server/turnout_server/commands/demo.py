"""`turnout demo`: the product at work in half a minute, with no key and no network."""

from __future__ import annotations

import asyncio
import signal
import sys

import click
import orjson
from rich.console import Console

from turnout_server.commands.exits import Exit, Failure
from turnout_server.commands.numbers import MAX_SECONDS, FiniteRange
from turnout_server.demo.lines import LineShow
from turnout_server.demo.play import Play
from turnout_server.demo.report import report_lines
from turnout_server.demo.scene import MINIMUM_SECONDS, Scene, Times
from turnout_server.demo.screen import LiveShow
from turnout_server.demo.show import NoShow, Show
from turnout_server.demo.sidecar import SidecarError
from turnout_server.demo.summary import Summary

_EPILOG = """\
\b
Exit codes: 0 all went as it must; 1 a request failed that should not have, no breaker opened, or traffic never
  returned (the reason is printed); 2 wrong usage; 4 the sidecar did not start; 130 stopped at the keyboard.
"""


@click.command("demo", epilog=_EPILOG)
@click.option(
    "--seconds",
    default=30.0,
    show_default=True,
    type=FiniteRange(min=MINIMUM_SECONDS, max=MAX_SECONDS),
    help="About how long.",
)
@click.option("--seed", default=1, show_default=True, help="Fixes the mix of requests and what the simulation draws.")
@click.option("--json", "as_json", is_flag=True, help="Print nothing but the summary, as JSON.")
def demo(*, seconds: float, seed: int, as_json: bool) -> None:
    """Show the product working: simulated providers, a real sidecar, traffic, a failure and the recovery.

    Everything shown comes from the sidecar's answers and its log. Ends by itself.
    """
    show = _show(as_json=as_json)
    play = Play(scene=Scene(times=Times.of(seconds)), show=show, seed=seed)
    # Being stopped must stop the sidecar too, however it is asked.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        summary = asyncio.run(play.run())
    except SidecarError as error:
        raise Failure(str(error), Exit.CANNOT_START) from None
    except BaseExceptionGroup as group:
        if group.subgroup(BrokenPipeError) is None:
            raise
        # Whoever read the lines has gone: nothing is left to show.
        raise BrokenPipeError from None
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    finally:
        show.close()
    _print(summary, as_json=as_json)
    sys.exit(Exit.FAILED if summary.problems else Exit.OK)


def _show(*, as_json: bool) -> Show:
    if as_json:
        return NoShow()
    if sys.stdout.isatty():
        return LiveShow(Console())
    return LineShow(click.echo)


def _print(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(summary.as_json()).decode())
        return
    click.echo()
    for line in report_lines(summary):
        click.echo(line)
