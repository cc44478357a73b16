"""Says at the start which providers cannot be connected to, and when they can: beside everything else, with no request.

Only people are told, by the log and the status. What blocks a target is what calls meet there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from turnout_server.router import Router

AFTER_SECONDS = 1.0
"""After the start, so that the first calls have the sidecar to themselves."""
AT_ONCE = 4
AGAIN_SECONDS = 10.0
AGAIN_MAX_SECONDS = 300.0
"""Between two looks at what cannot be reached; doubling, since nobody may ever want to call it."""


class Reachable(Protocol):
    """What can try to connect to a provider."""

    async def reach(self, base_url: str) -> str:
        """Connects and hangs up; returns why it could not, "" where it could."""
        ...


class Reaching:
    """Looks once at every endpoint, and again at those that could not be reached. `watch` returns when all could."""

    def __init__(self, router: Router, upstreams: Mapping[str, Reachable], log: FilteringBoundLogger) -> None:
        self._router = router
        self._upstreams = upstreams
        self._log = log
        self._room = asyncio.Semaphore(AT_ONCE)
        self._endpoints = dict.fromkeys(self._known(), "")

    async def watch(self) -> None:
        """Looks until every endpoint could be reached once, less and less often."""
        await asyncio.sleep(AFTER_SECONDS)
        pause_seconds = AGAIN_SECONDS
        while self._endpoints:
            looks = await asyncio.gather(*(self._look(*endpoint) for endpoint in self._endpoints))
            self._endpoints = {
                endpoint: reason for endpoint, reason in zip(self._endpoints, looks, strict=True) if reason
            }
            if self._endpoints:
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, AGAIN_MAX_SECONDS)
                known = self._known()
                self._endpoints = {endpoint: why for endpoint, why in self._endpoints.items() if endpoint in known}

    def _known(self) -> set[tuple[str, str, str]]:
        """Returns the endpoints of the fleet as it is: it may have changed."""
        return {
            (spec.target.provider, spec.target.endpoint, spec.base_url)
            for spec in self._router.configured.fleet.specs
            if spec.target.provider in self._upstreams
        }

    async def _look(self, provider: str, endpoint: str, base_url: str) -> str:
        async with self._room:
            upstream = self._upstreams.get(provider)
            # Another configuration may have been taken while it waited: what is gone need not be reached.
            reason = "" if upstream is None else await upstream.reach(base_url)
        before = self._endpoints[(provider, endpoint, base_url)]
        self._router.status.looked_at_endpoint(provider, endpoint, reason)
        if reason != before:
            where = {"provider": provider} | ({"endpoint": endpoint} if endpoint else {})
            if reason:
                self._log.warning("provider.unreachable", **where, base_url=base_url, reason=reason)
            else:
                self._log.info("provider.reachable", **where)
        return reason
