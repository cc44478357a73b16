"""Takes the pictures of `turnout top` in docs/pictures, by the program itself: simulated providers, a real sidecar and
traffic for some minutes; one provider slows down, one fails, one target is drained by its key; then what is on the
screen is kept as SVG. `make pictures` does it, in about five minutes.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import tempfile
import time
from pathlib import Path

import click
import httpx
import yaml
from textual.pilot import Pilot

from turnout import AsyncClient
from turnout.connection import connect
from turnout_server.commands.live.feed import Feed
from turnout_server.commands.live.link import Link
from turnout_server.commands.live.screen import LiveView
from turnout_server.demo.record import Act
from turnout_server.demo.scene import Scene, Times
from turnout_server.demo.sidecar import Sidecar
from turnout_server.demo.traffic import Traffic
from turnout_server.providers.simulated.server import SimulatedServer

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
SIZE = (110, 32)
USUAL_SECONDS = 290.0
LEAST_SECONDS = 20.0
FAILING_SECONDS = 14.0
"""So long before the picture one provider begins to fail: its breaker has opened then."""
SEED = 3
CALLS_PER_SECOND = 5.0
BUDGETS = [
    {"name": "monthly", "scope": "global", "period": "month", "limit_usd": 50, "per_pod": True},
    {"name": "hourly", "scope": "global", "period": "hour", "limit_usd": 2, "per_pod": True},
]
_FONT_FACES = re.compile(r"@font-face\s*\{[^}]*\}\s*")
_TITLE = "turnout top"


@click.command()
@click.option("--seconds", default=USUAL_SECONDS, show_default=True, type=click.FloatRange(min=LEAST_SECONDS))
@click.option("--folder", default=FOLDER, show_default=True, type=click.Path(path_type=Path, file_okay=False))
def main(*, seconds: float, folder: Path) -> None:
    """Write top.svg and top-decision.svg after SECONDS of traffic."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in asyncio.run(_pictures(seconds)).items():
        (folder / name).write_text(svg, encoding="utf-8")
        click.echo(f"{folder / name}: {len(svg) / 1000:.0f} kB")


async def _pictures(seconds: float) -> dict[str, str]:
    times = Times(
        fail_seconds=seconds - FAILING_SECONDS,
        recover_seconds=seconds,
        end_seconds=seconds,
        limit_seconds=seconds + 60.0,
        open_seconds=20.0,
        open_max_seconds=60.0,
        ramp_seconds=5.0,
    )
    scene = Scene(times=times)
    cast = {provider.name: provider.settings() for provider in scene.cast}
    keys = {provider.key_variable: provider.key for provider in scene.cast}
    with tempfile.TemporaryDirectory(prefix="turnout-picture-") as folder:
        path = Path(folder) / "turnout.yaml"
        async with SimulatedServer(cast, seed=SEED) as sim:
            configured = scene.configuration({name: sim.base_url(name) for name in cast}) | {"budgets": BUDGETS}
            path.write_text(yaml.safe_dump(configured), encoding="utf-8")
            sidecar = Sidecar(path, keys, lambda _line: None)
            address = (await sidecar.start()).grpc
            try:
                return await _under_traffic(address, scene, f"{sim.url}/control/providers")
            finally:
                await sidecar.stop()


async def _under_traffic(address: str, scene: Scene, control: str) -> dict[str, str]:
    began = time.monotonic()
    stop = asyncio.Event()
    async with (
        AsyncClient(address) as client,
        httpx.AsyncClient(trust_env=False) as http,
        asyncio.TaskGroup() as running,
    ):
        traffic = Traffic(
            client=client,
            http=http,
            scene=scene,
            clock=lambda: time.monotonic() - began,
            act=lambda: Act.BEFORE,
            on_record=lambda _record: None,
            rng=random.Random(SEED),  # noqa: S311 - a reproducible mix of requests, not a secret
            per_second=CALLS_PER_SECOND,
        )
        running.create_task(traffic.run(stop))
        try:
            return await _watched(address, scene.times.fail_seconds, http, control)
        finally:
            stop.set()


async def _watched(address: str, fail_seconds: float, http: httpx.AsyncClient, control: str) -> dict[str, str]:
    """Watches from the beginning, drains a target, and takes the pictures."""
    link = Link(connect(address, {}), timeout_seconds=10.0)
    feed = Feed(link, window_minutes=1)
    await feed.read_status()
    view = LiveView(feed, link, interval_seconds=1.0, order="configured")
    try:
        async with view.run_test(size=SIZE) as pilot:
            await asyncio.sleep(fail_seconds * 0.6)
            slower = {"latency": {"first_token_seconds": 0.9, "seconds_per_output_token": 0.02, "jitter": 0.25}}
            (await http.patch(f"{control}/cirrus", json=slower)).raise_for_status()
            await asyncio.sleep(fail_seconds * 0.4)
            await _drain_first(pilot)
            broken = {"fault": {"kind": "error", "status": 503}}
            (await http.patch(f"{control}/boreal", json=broken)).raise_for_status()
            await asyncio.sleep(FAILING_SECONDS)
            pictures = {"top.svg": _picture(view)}
            # One that has been answered by now.
            await pilot.press("tab", *"jjjjjjjjjj", "enter")
            await asyncio.sleep(2.0)
            pictures["top-decision.svg"] = _picture(view)
            return pictures
    finally:
        await link.close()


async def _drain_first(pilot: Pilot[None]) -> None:
    """Drains the first target as somebody at the keyboard does."""
    await pilot.press("d")
    await asyncio.sleep(1.0)
    await pilot.press("y")


def _picture(view: LiveView) -> str:
    """Returns the screen as SVG, without fonts from elsewhere: whoever shows it has one of even width."""
    return _FONT_FACES.sub("", view.export_screenshot(title=_TITLE, simplify=True))


if __name__ == "__main__":
    sys.exit(main())
