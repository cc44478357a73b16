"""Whom to call at each provider. One that is replaced is closed when the last call that may use it has ended.

A call may use those that were in force when it began, however often it moves on: it ends under the configuration that
it began with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from turnout_server.ports import Upstream


class Connected:
    """The upstreams in force at one time, by provider; `call_count` calls may use them."""

    __slots__ = ("by_provider", "call_count")

    def __init__(self, by_provider: Mapping[str, Upstream]) -> None:
        self.by_provider = by_provider
        self.call_count = 0


class Upstreams:
    """The upstreams in force, and those before them that calls still use. Owns them: close it with `aclose`."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._present = Connected(dict(upstreams))
        self._former: list[Connected] = []
        self._closing: set[asyncio.Task[None]] = set()

    def take(self) -> Connected:
        """Returns the upstreams in force for one call, to be given back when it has ended."""
        connected = self._present
        connected.call_count += 1
        return connected

    def give_back(self, connected: Connected) -> None:
        """Tells that a call has ended."""
        connected.call_count -= 1
        if not connected.call_count and connected is not self._present:
            self._close_unused(connected)

    def adopt(self, upstreams: Mapping[str, Upstream]) -> None:
        """Takes others from now on, in one step; one that is the same object stays. Needs a running event loop."""
        before = self._present
        self._present = Connected(dict(upstreams))
        self._former.append(before)
        if not before.call_count:
            self._close_unused(before)

    async def aclose(self) -> None:
        """Closes all of them; to be called when no call runs any more."""
        every = (self._present, *self._former)
        left = {id(upstream): upstream for connected in every for upstream in connected.by_provider.values()}
        self._present = Connected({})
        self._former = []
        await asyncio.gather(*self._closing, *(upstream.aclose() for upstream in left.values()))

    def _close_unused(self, ended: Connected) -> None:
        """Closes what only those calls could use of which the last one has ended."""
        if ended not in self._former:
            return
        self._former.remove(ended)
        used = {id(each) for connected in (self._present, *self._former) for each in connected.by_provider.values()}
        left = {id(upstream): upstream for upstream in ended.by_provider.values() if id(upstream) not in used}
        for upstream in left.values():
            task = asyncio.create_task(upstream.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
