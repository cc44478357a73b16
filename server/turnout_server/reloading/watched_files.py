"""Tells when the files of a configuration have changed: by what is in them, looked at about once a second.

Through the path and every link on it, so that a ConfigMap, whose files are links into a folder that is replaced as one,
is a change like any other. docs/decisions/0039 says why nothing here waits for the system's notice.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from turnout_server.config.load import look

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout_server.config.load import Opened

LOOK_EVERY_SECONDS = 1.0
SETTLED_SECONDS = 0.5
"""A change is taken once nothing more has changed for so long: whoever writes in several steps is not caught at one."""
AGAIN_LOOKS = 15
"""A refused configuration is tried again after so many: a file that it names may have come."""
SETTLED_LOOKS = 10
"""After so many looks it is taken as it is: a file that never rests would never be read."""


class WatchedFiles:
    """The files of one configuration. `opened` is what was read of them last, for whatever purpose.

    Whoever sets `asked` has `changed` return at once, whether or not anything has; several before that are one.
    """

    def __init__(
        self,
        opened: Opened,
        *,
        every_seconds: float = LOOK_EVERY_SECONDS,
        settled_seconds: float = SETTLED_SECONDS,
        asked: asyncio.Event | None = None,
    ) -> None:
        self.opened = opened
        self._every_seconds = every_seconds
        self._settled_seconds = settled_seconds
        self._asked = asyncio.Event() if asked is None else asked

    async def changed(self, *, again: bool = False) -> bool:
        """Returns when the files are others than `opened` says and rest, or when asked; tells whether it was asked.

        `again` has it return after some looks in any case: what was wrong may have been elsewhere.
        """
        for count in itertools.count(1):
            if await self._paused():
                return True
            now = await _looked(self.opened)
            if now == self.opened:
                if again and count >= AGAIN_LOOKS:
                    return False
                continue
            for _ in range(SETTLED_LOOKS):
                await asyncio.sleep(self._settled_seconds)
                before, now = now, await _looked(self.opened)
                if now == before:
                    break
            if now != self.opened:
                return False
        raise AssertionError("it never ends by itself")

    async def _paused(self) -> bool:
        try:
            async with asyncio.timeout(self._every_seconds if self.opened else None):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True


async def _looked(paths: Iterable[str]) -> Opened:
    # Off the loop: the disk may be a network's.
    return await asyncio.to_thread(look, tuple(paths))
