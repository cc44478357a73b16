"""Who gets in: bounded calls, a short bounded queue, bounded bytes, and LOW priority shed first.

A sidecar that takes on more than it can carry fails everybody slowly; this one fails a few at once and says so.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from turnout_server.core.errors import DrainingError, FieldViolation, InvalidRequestError, SidecarOverloadedError
from turnout_server.core.model import Priority

CALLS, LOW, BYTES = "calls", "low", "bytes"
"""The bounds that a call may be refused for: room for calls, the share of LOW ones, the size of all requests."""
QUEUE_SECONDS = 0.1
LOW_SHARE = 0.5
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionLimits:
    """`max_running` calls run and `max_waiting` wait, at most `wait_seconds`; LOW gets `low_share` of both.

    `max_bytes` bounds the requests of all running and waiting calls together, of which LOW ones get in only up to
    `low_share`; None is no bound.
    """

    max_running: int
    max_waiting: int = 0
    max_bytes: int | None = None
    wait_seconds: float = QUEUE_SECONDS
    low_share: float = LOW_SHARE


class Draining:
    """Whether the server is stopping; one for all gates, set once."""

    __slots__ = ("event", "refused_count")

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.refused_count = 0

    def check(self) -> None:
        """Raises DrainingError once the server is stopping."""
        if self.event.is_set():
            self.refused_count += 1
            raise DrainingError("the sidecar is stopping and takes no new calls; nothing was sent")


class Admission:
    """One gate. `enter` before a call, `leave` after it, always with the same priority and size.

    Waiting calls enter in order of arrival, LOW ones only when none of the others waits; when the queue is full, the
    LOW call that came last makes room for one that is not LOW.
    """

    __slots__ = (
        "_bytes",
        "_idle",
        "_limits",
        "_low_running",
        "_name",
        "_running",
        "_waiting",
        "draining",
        "shed_counts",
    )

    def __init__(self, name: str, limits: AdmissionLimits, draining: Draining) -> None:
        self._name = name
        self._limits = limits
        self._running = 0
        self._low_running = 0
        self._bytes = 0
        self._waiting: tuple[OrderedDict[asyncio.Future[None], None], ...] = (OrderedDict(), OrderedDict())
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = draining
        self.shed_counts = {CALLS: 0, LOW: 0, BYTES: 0}
        """Calls that were refused, by the bound that they met."""

    def follow(self, limits: AdmissionLimits) -> None:
        """Takes other limits: calls that are in or wait stay, and those that may enter now do."""
        self._limits = limits
        self._let_in()

    @property
    def running(self) -> int:
        """Calls that are in."""
        return self._running

    async def enter(self, priority: Priority, size_bytes: int = 0) -> None:
        """Returns when the call may run.

        Raises SidecarOverloadedError when there is no room in time, DrainingError when the server is stopping, and
        InvalidRequestError for a request that could never get in.
        """
        self.draining.check()
        low = priority is Priority.LOW
        self._check_bytes(size_bytes, low=low)
        self._bytes += size_bytes
        if self._admits(low=low) and not self._waiting[low] and not (low and self._waiting[False]):
            self._take(low=low)
            return
        try:
            await self._wait(low=low)
        except BaseException:
            self._bytes -= size_bytes
            raise

    def weigh(self, size_bytes: int) -> None:
        """Looks whether a request of this size has room, before it is read; raises as `enter` does for its size."""
        self._check_bytes(size_bytes)

    def leave(self, priority: Priority, size_bytes: int = 0) -> None:
        """Ends a call that had entered, and lets the next ones in."""
        self._running -= 1
        self._low_running -= priority is Priority.LOW
        self._bytes -= size_bytes
        self._let_in()
        if not self._running:
            self._idle.set()

    async def idle(self) -> None:
        """Returns when no call is in."""
        await self._idle.wait()

    def _admits(self, *, low: bool) -> bool:
        if self._running >= self._limits.max_running:
            return False
        return not low or self._low_running < max(1, int(self._limits.max_running * self._limits.low_share))

    def _take(self, *, low: bool) -> None:
        self._running += 1
        self._low_running += low
        self._idle.clear()

    def _check_bytes(self, size_bytes: int, *, low: bool = False) -> None:
        limit = self._limits.max_bytes
        if limit is None:
            return
        if size_bytes > limit:
            raise InvalidRequestError(
                [
                    FieldViolation(
                        field="input",
                        description=f"the request has {size_bytes} bytes; limits.max_inflight_mib allows {limit}",
                    )
                ]
            )
        # A LOW request that is larger than its share has its turn when nothing else is there.
        most = limit * self._limits.low_share if low and self._bytes else limit
        if self._bytes + size_bytes > most:
            bound = LOW if most < limit else BYTES
            raise self._overloaded(bound, f"calls under way hold {self._bytes / MIB:.1f} MiB of {most / MIB:.1f} MiB")

    async def _wait(self, *, low: bool) -> None:
        self._make_room(low=low)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[low][turn] = None
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # Let in and given up in the same moment: hand the place on.
                self._running -= 1
                self._low_running -= low
                self._let_in()
                if not self._running:
                    self._idle.set()
            if isinstance(error, TimeoutError):
                wait = f"{self._limits.wait_seconds * 1000:.0f} ms"
                bound = LOW if low and self._running < self._limits.max_running else CALLS
                raise self._overloaded(bound, f"no room within {wait}") from None
            raise
        finally:
            self._waiting[low].pop(turn, None)

    def _make_room(self, *, low: bool) -> None:
        urgent, patient = self._waiting
        limit = self._limits.max_waiting
        if low and len(patient) >= int(limit * self._limits.low_share):
            raise self._overloaded(LOW, f"{len(patient)} calls of priority LOW wait, which is all that may")
        if len(urgent) + len(patient) < limit:
            return
        if low or not patient:
            raise self._overloaded(CALLS, f"{self._running} calls run and {len(urgent) + len(patient)} wait")
        shed, _ = patient.popitem(last=True)
        if not shed.done():
            shed.set_exception(self._overloaded(LOW, "shed for a call of higher priority"))

    def _let_in(self) -> None:
        for low, waiting in ((False, self._waiting[0]), (True, self._waiting[1])):
            while waiting and self._admits(low=low):
                turn, _ = waiting.popitem(last=False)
                if not turn.done():
                    self._take(low=low)
                    turn.set_result(None)

    def _overloaded(self, bound: str, why: str) -> SidecarOverloadedError:
        self.shed_counts[bound] += 1
        return SidecarOverloadedError(
            f"the sidecar has no room for more {self._name}: {why}; nothing was sent",
            retry_after_seconds=self._limits.wait_seconds,
        )
