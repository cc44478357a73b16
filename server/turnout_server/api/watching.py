"""Following the state of providers: everything first, then what changed, never more often than four times a second.

Revisions of the core begin anew with each start. The ones told to callers stand on the time of this start, so that one
from before a restart is recognised and refused instead of being taken for something else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from turnout.v1 import router_pb2 as pb
from turnout_server.api.answers import target
from turnout_server.api.instants import timestamp
from turnout_server.api.provider_states import in_turns, provider_states
from turnout_server.core.errors import ResumeTooOldError, SidecarOverloadedError

if TYPE_CHECKING:
    from turnout_server.api.admission import Draining
    from turnout_server.api.instants import Instants
    from turnout_server.core.model import Target
    from turnout_server.router import Router

INTERVAL_SECONDS = 0.25
MAX_WATCHERS = 64
REVISION_BITS = 20
"""Milliseconds since the epoch take 41 bits; a start later by a second is a billion revisions away."""


class Watching:
    """Serves watchers of one router, at most `MAX_WATCHERS` at a time."""

    __slots__ = ("_base", "_draining", "_router", "_watchers")

    def __init__(self, router: Router, instants: Instants, draining: Draining) -> None:
        self._router = router
        self._draining = draining
        self._base = int(instants.wall() * 1000) << REVISION_BITS
        self._watchers = 0

    async def watch(
        self, providers: Sequence[str], window_seconds: float, resume_revision: int | None
    ) -> AsyncGenerator[pb.WatchProviderStatusResponse]:
        """Yields a snapshot, or where a revision to resume from is given what changed since; then what changes.

        Raises UnknownProviderError, ResumeTooOldError, SidecarOverloadedError, and DrainingError when the server stops.
        """
        self._draining.check()
        if self._watchers >= MAX_WATCHERS:
            raise SidecarOverloadedError(
                f"{MAX_WATCHERS} callers watch already; end one of them", retry_after_seconds=1.0
            )
        self._watchers += 1
        try:
            revision = self._router.status.changes(0).revision
            if resume_revision is None:
                yield await self._response(self._all(providers), window_seconds, revision, snapshot=True)
            else:
                # An unknown provider must be told before a wait without end.
                self._router.configured.check_providers(providers)
                revision = self._resumed(resume_revision, revision)
            while True:
                changes = self._router.status.changes(revision)
                gone = [t for t in changes.removed if not providers or t.provider in providers]
                names = self._names(changes.changed, providers)
                revision = changes.revision
                if names or gone:
                    yield await self._response(names, window_seconds, revision, removed=gone)
                await self._pause()
                self._draining.check()
        finally:
            self._watchers -= 1

    def _all(self, providers: Sequence[str]) -> Sequence[str]:
        return providers or self._router.configured.fleet.providers

    def _names(self, changed: Sequence[int], providers: Sequence[str]) -> Sequence[str]:
        specs = self._router.configured.fleet.specs
        names = {specs[index].target.provider for index in changed}
        return [name for name in self._all(providers) if name in names]

    def _resumed(self, resume_revision: int, current: int) -> int:
        since = resume_revision - self._base
        if not 0 <= since <= current:
            raise ResumeTooOldError(
                f"revision {resume_revision} is not one of this start; watch again without it, for a snapshot"
            )
        return since

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(INTERVAL_SECONDS):
                await self._draining.event.wait()
        except TimeoutError:
            return

    async def _response(
        self,
        names: Sequence[str],
        window_seconds: float,
        revision: int,
        *,
        removed: Sequence[Target] = (),
        snapshot: bool = False,
    ) -> pb.WatchProviderStatusResponse:
        report = await in_turns(self._router.status.steps(names, window_seconds))
        return pb.WatchProviderStatusResponse(
            # Without names it tells of all.
            changed=await in_turns(provider_states(report)) if names or snapshot else [],
            removed=[target(each) for each in removed],
            snapshot=snapshot,
            revision=self._base + revision,
            as_of=timestamp(report.as_of_wall),
        )
