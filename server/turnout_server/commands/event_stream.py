"""Events as they happen, followed over lost connections and restarts of the sidecar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc

from turnout.answer import target_name
from turnout.connection import Connection
from turnout.errors import DrainingError, ResumeTooOldError, SidecarOverloadedError, TurnoutError
from turnout.status import error_from_rpc
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import admin_pb2_grpc
from turnout_server.commands.sidecar import CALL_SECONDS

PAGE_SIZE = 1000
"""All that a sidecar holds."""
AGAIN_AFTER_SECONDS = 0.5
_LOST = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
"""What a stream ends with when its connection does, or nobody answers; from our sidecar they come with a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events; empty is all. `since` is seconds since the epoch."""

    names: tuple[str, ...] = ()
    target: str = ""
    since: float = 0.0

    def takes(self, event: pb.Event) -> bool:
        """Whether an event that has one of the names is one of them."""
        if self.target and self.target not in {event.target.provider, target_name(event.target)}:
            return False
        return event.time.ToMicroseconds() >= self.since * 1e6


def past_events(
    admin: admin_pb2_grpc.AdminServiceStub, wanted: Wanted, *, most: int, timeout_seconds: float
) -> list[pb.Event]:
    """Returns the newest events that the sidecar holds, oldest first; at most so many, and none for 0."""
    if not most:
        return []
    request = pb.ListEventsRequest(page_size=most, names=wanted.names, target=wanted.target)
    page = admin.ListEvents(request, timeout=timeout_seconds)
    return [event for event in reversed(page.events) if wanted.takes(event)]


def last_sequence(admin: admin_pb2_grpc.AdminServiceStub, *, timeout_seconds: float) -> int:
    """Returns the number of the newest event, 0 where there is none yet."""
    newest = admin.ListEvents(pb.ListEventsRequest(page_size=1), timeout=timeout_seconds).events
    return newest[0].sequence if newest else 0


@dataclass(slots=True, kw_only=True)
class Follower:
    """Follows what comes after the event `sequence`, until the time `ends_at` (monotonic), None for ever.

    `tell` is told what whoever reads the events should know of them. A failure that trying again does not mend is
    raised as gRPC's.
    """

    connection: Connection
    wanted: Wanted
    sequence: int
    ends_at: float | None
    tell: Callable[[str], None]
    _is_lost: bool = False

    def events(self) -> Iterator[pb.Event]:
        """Yields events, each once."""
        while self._has_time():
            try:
                # A new one each time: the token may have been replaced meanwhile.
                with self.connection.channel() as channel:
                    yield from self._watched(admin_pb2_grpc.AdminServiceStub(channel))
            except grpc.RpcError as error:
                found = error_from_rpc(error)
                if not self._has_time():
                    return
                if not _may_pass(found):
                    raise
                if not self._is_lost:
                    why = found.reason or ("" if found.code is None else found.code.name)
                    self.tell(f"{self.connection.address} is lost ({why}); trying again until it is back")
                self._is_lost = True
            left = self._left_seconds()
            time.sleep(AGAIN_AFTER_SECONDS if left is None else max(0.0, min(AGAIN_AFTER_SECONDS, left)))

    def _watched(self, admin: admin_pb2_grpc.AdminServiceStub) -> Iterator[pb.Event]:
        """Yields until the stream ends. What is too old to be resumed is listed, and followed from there."""
        while True:
            request = pb.WatchEventsRequest(names=self.wanted.names, after_sequence=self.sequence)
            call = admin.WatchEvents(request, timeout=self._left_seconds())
            try:
                # They come when it has begun to watch, or has failed.
                call.initial_metadata()
                if self._is_lost and call.is_active():
                    self.tell("connected again")
                    self._is_lost = False
                for response in call:
                    self.sequence = response.event.sequence
                    if self.wanted.takes(response.event):
                        yield response.event
            except grpc.RpcError as error:
                if not isinstance(error_from_rpc(error), ResumeTooOldError):
                    raise
            else:
                return
            finally:
                call.cancel()
            yield from self._listed(admin)

    def _listed(self, admin: admin_pb2_grpc.AdminServiceStub) -> Iterator[pb.Event]:
        newest = last_sequence(admin, timeout_seconds=CALL_SECONDS)
        missed = past_events(admin, self.wanted, most=PAGE_SIZE, timeout_seconds=CALL_SECONDS)
        self.tell("the sidecar was restarted, or does not hold them any more: events may be missing here")
        seen = self.sequence
        # What came after the newest is sent by the stream that begins there; without one, all is.
        self.sequence = newest
        yield from (event for event in missed if seen < event.sequence <= self.sequence)

    def _left_seconds(self) -> float | None:
        return None if self.ends_at is None else self.ends_at - time.monotonic()

    def _has_time(self) -> bool:
        left = self._left_seconds()
        return left is None or left > 0


def _may_pass(error: TurnoutError) -> bool:
    if isinstance(error, DrainingError | SidecarOverloadedError):
        return True
    return not error.reason and error.code in _LOST
