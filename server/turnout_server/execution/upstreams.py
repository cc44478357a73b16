"""Whom to call at each provider. Replaced while calls run, an upstream is closed when the last of them has ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from turnout_server.ports import Upstream


class Upstreams:
    """The upstreams by provider, each counted while calls use it. Owns them: close it with `aclose`."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._by_provider = dict(upstreams)
        self._calls: Counter[int] = Counter()
        self._replaced: dict[int, Upstream] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def take(self, provider: str) -> Upstream | None:
        """Returns a provider's upstream for one call, to be given back; None where the provider is gone."""
        upstream = self._by_provider.get(provider)
        if upstream is not None:
            self._calls[id(upstream)] += 1
        return upstream

    def give_back(self, upstream: Upstream) -> None:
        """Tells that the call has ended."""
        self._calls[id(upstream)] -= 1
        self._close_unused(upstream)

    def adopt(self, upstreams: Mapping[str, Upstream]) -> None:
        """Takes others from now on, in one step; one that is the same object stays. Needs a running event loop."""
        staying = {id(upstream) for upstream in upstreams.values()}
        before = {id(upstream): upstream for upstream in self._by_provider.values()}
        self._by_provider = dict(upstreams)
        for key in staying:
            self._replaced.pop(key, None)
        for key, upstream in before.items():
            if key not in staying:
                self._replaced[key] = upstream
                self._close_unused(upstream)

    async def aclose(self) -> None:
        """Closes all of them; to be called when no call runs any more."""
        left = {id(upstream): upstream for upstream in (*self._by_provider.values(), *self._replaced.values())}
        self._by_provider = {}
        self._replaced = {}
        await asyncio.gather(*self._closing, *(upstream.aclose() for upstream in left.values()))

    def _close_unused(self, upstream: Upstream) -> None:
        key = id(upstream)
        if self._calls[key]:
            return
        del self._calls[key]
        if self._replaced.pop(key, None) is not None:
            task = asyncio.create_task(upstream.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
