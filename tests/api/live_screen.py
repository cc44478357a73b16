"""The live view of `turnout top`, driven by keys on a terminal without a terminal, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from textual.pilot import Pilot

from turnout.connection import connect
from turnout_server.commands.live.feed import Feed
from turnout_server.commands.live.link import Link
from turnout_server.commands.live.screen import LiveView
from turnout_server.commands.live.tables import Table

GENEROUS_SECONDS = 60


@dataclass(frozen=True)
class Watched:
    """A live view that runs."""

    view: LiveView
    pilot: Pilot[None]

    @property
    def lines(self) -> list[str]:
        """What stands on the screen now."""
        strips = self.view.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def until(self, reached: Callable[[str], bool]) -> str:
        """Waits until what stands on the screen is so; returns it."""
        try:
            async with asyncio.timeout(GENEROUS_SECONDS):
                while not reached(self.text):
                    await self.pilot.pause(0.02)
        except TimeoutError:
            raise AssertionError(self.text) from None
        return self.text

    async def shows(self, *words: str) -> str:
        return await self.until(lambda text: all(word in text for word in words))

    async def ended(self) -> None:
        """Waits until it has been left."""
        async with asyncio.timeout(GENEROUS_SECONDS):
            while self.view.is_running and not self.view._exit:  # noqa: ASYNC110 - it tells of its end in no other way
                await asyncio.sleep(0.02)

    async def choose(self, name: str) -> None:
        """Moves to a target of this name, as it stands in the first table."""
        await self.shows(name)
        await self.pilot.press("home")
        for _ in range(100):
            if self.view.screen.query_one("#targets", Table).chosen == name:
                return
            await self.pilot.press("j")
        raise AssertionError(self.text)


@asynccontextmanager
async def watching(
    address: str, *, token: str = "", size: tuple[int, int] = (80, 24), window_minutes: int = 60
) -> AsyncIterator[Watched]:
    """Opens one on a screen of so many columns and lines."""
    link = Link(connect(address, {}, token=token), timeout_seconds=GENEROUS_SECONDS)
    try:
        feed = Feed(link, window_minutes=window_minutes)
        await feed.read_status()
        view = LiveView(feed, link, interval_seconds=0.2, order="configured")
        async with view.run_test(size=size, notifications=True) as pilot:
            yield Watched(view, pilot)
    finally:
        await link.close()
