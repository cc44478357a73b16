"""Events over the API: listed newest first, or followed as they happen from any one that is still held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.api.answers import target
from turnout_server.api.faults import MAX_ID_LENGTH, MAX_LIST_LENGTH, Faults
from turnout_server.api.instants import timestamp
from turnout_server.core.errors import SidecarOverloadedError
from turnout_server.core.event_ring import EventFilter
from turnout_server.core.events import EventName
from turnout_server.telemetry.telling import until

if TYPE_CHECKING:
    from turnout_server.api.admission import Draining
    from turnout_server.core.event_ring import EventRing, Told

INTERVAL_SECONDS = 0.25
"""How soon a watcher hears of an event at the latest. It looks at one number; a burst comes in one piece."""
MAX_WATCHERS = 64
EVENTS_AT_ONCE = 100
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
HIGHEST_SEQUENCE = 2**63 - 1

_NAMES = {name.value: name for name in EventName}


class EventFeed:
    """Serves one ring; at most `MAX_WATCHERS` follow it at a time."""

    __slots__ = ("_draining", "_ring", "_watchers")

    def __init__(self, ring: EventRing, draining: Draining) -> None:
        self._ring = ring
        self._draining = draining
        self._watchers = 0

    def page(self, request: pb.ListEventsRequest) -> pb.ListEventsResponse:
        """Lists events, newest first. Raises InvalidRequestError."""
        size, wanted, before = wanted_page(request)
        found = self._ring.newest(wanted, most=size + 1, before=before)
        listed = found[:size]
        return pb.ListEventsResponse(
            events=[event_message(told) for told in listed],
            next_page_token=str(listed[-1].sequence) if len(found) > size else "",
        )

    async def watch(self, request: pb.WatchEventsRequest) -> AsyncGenerator[pb.WatchEventsResponse | None]:
        """Yields None once it watches, then events as they happen, those after `after_sequence` first.

        Raises InvalidRequestError, ResumeTooOldError where the caller was too slow to hear them all or asks for what is
        gone, SidecarOverloadedError, and DrainingError when the server stops.
        """
        self._draining.check()
        wanted, after = wanted_watch(request)
        sequence = self._ring.last_sequence if after is None else after
        if self._watchers >= MAX_WATCHERS:
            raise SidecarOverloadedError(
                f"{MAX_WATCHERS} callers watch events already; end one of them", retry_after_seconds=1.0
            )
        self._watchers += 1
        try:
            # What cannot be resumed is told before anything else is.
            self._ring.after(sequence, most=1)
            yield None
            while True:
                if sequence != self._ring.last_sequence:
                    # After the last of them there may be more: what is told meanwhile is held.
                    for told in self._ring.after(sequence, most=EVENTS_AT_ONCE):
                        sequence = told.sequence
                        if wanted.takes(told.event):
                            yield pb.WatchEventsResponse(event=event_message(told))
                    if sequence == 0:
                        sequence = self._ring.last_sequence
                if sequence == self._ring.last_sequence:
                    await self._pause()
                self._draining.check()
        finally:
            self._watchers -= 1

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(INTERVAL_SECONDS):
                await self._draining.event.wait()
        except TimeoutError:
            return


def wanted_page(request: pb.ListEventsRequest) -> tuple[int, EventFilter, int | None]:
    """Reads how many events are wanted, which, and before which number. Raises InvalidRequestError."""
    faults = Faults()
    size = faults.whole(request.page_size, "page_size", 0, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE
    wanted = EventFilter(
        names=_names(request.names, faults), target=faults.text(request.target, "target", MAX_ID_LENGTH)
    )
    before = _page_token(request.page_token, faults)
    faults.raise_any()
    return size, wanted, before


def wanted_watch(request: pb.WatchEventsRequest) -> tuple[EventFilter, int | None]:
    """Reads which events are wanted and after which, None for those from now on. Raises InvalidRequestError."""
    faults = Faults()
    wanted = EventFilter(names=_names(request.names, faults))
    after = None
    if request.HasField("after_sequence"):
        after = faults.whole(request.after_sequence, "after_sequence", 0, HIGHEST_SEQUENCE)
    faults.raise_any()
    return wanted, after


def event_message(told: Told) -> pb.Event:
    """Writes an event; its target's model is empty where a whole provider or endpoint is meant."""
    event = told.event
    where = None
    if event.target is not None:
        where = target(event.target)
    elif event.provider:
        where = router_pb2.Target(provider=event.provider, endpoint=event.endpoint)
    fields = {name: str(value) for name, value in event.fields.items()}
    fields |= until(told)
    return pb.Event(
        sequence=told.sequence,
        name=event.name.value,
        time=timestamp(told.at_wall),
        target=where,
        fields=fields,
    )


def _names(given: Sequence[str], faults: Faults) -> frozenset[EventName]:
    if faults.count(given, "names", MAX_LIST_LENGTH):
        for place, name in enumerate(given):
            if name not in _NAMES:
                faults.add(f"names[{place}]", f'"{name[:64]}" is no event; they are: {", ".join(_NAMES)}')
    return frozenset(_NAMES[name] for name in given if name in _NAMES)


def _page_token(token: str, faults: Faults) -> int | None:
    if not token:
        return None
    if not (token.isascii() and token.isdigit() and len(token) < 20):  # noqa: PLR2004 - digits of an int64
        faults.add("page_token", "is not one of this list's; give the next_page_token of the page before")
        return None
    return int(token)
