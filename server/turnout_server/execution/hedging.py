"""An attempt that may get a second one beside it: whose content comes first is read on, the other is let go at once.

Only the wait for the first content needs a task for each of the two; after it the one that leads is read as any other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from turnout_server.core.chat import Delta
from turnout_server.core.hedging import HedgeResult, Patience, is_final
from turnout_server.core.model import FailureKind
from turnout_server.execution.attempt import CLOSE_SECONDS, Attempt, OutOfTimeError
from turnout_server.execution.facts import Chosen
from turnout_server.execution.hops import Hops
from turnout_server.execution.running import Running, Shell
from turnout_server.execution.waits import Suspended
from turnout_server.ports import UpstreamError

Read = tuple[Delta, ...] | None
"""What `Attempt.read` returns."""


@dataclass(slots=True)
class Lane:
    """One of the two. `reading` waits for its first content; `closing` closes its connection."""

    chosen: Chosen
    running: Running
    reading: asyncio.Task[Read | UpstreamError | OutOfTimeError] | None = None
    closing: asyncio.Task[None] | None = None

    def read(self, attempt: Attempt) -> None:
        """Begins to wait for its first content."""
        self.reading = asyncio.create_task(_first_content(attempt))

    async def close(self) -> None:
        """Stops reading and closes the provider's connection."""
        reading, self.reading = self.reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait((reading,), timeout=CLOSE_SECONDS)
            if not reading.done():
                # It was told, and ends when it gets to it: until then nobody else may touch its connection.
                return
            with contextlib.suppress(asyncio.CancelledError, Exception):
                # Whatever it is, it comes too late; a task whose end nobody looked at would keep it.
                reading.result()
        await self.running.close()


class Pair:
    """An asynchronous context manager around a first attempt and what is begun beside it.

    `start` it, ask for a `second`, begin that, `read` until None. Like `Running` it keeps failures of targets, and lets
    all else through. Afterwards `lead` is the one that counts: that answered, or failed last; `others` are those that
    were let go or failed before it, in that order.
    """

    def __init__(self, shell: Shell, hops: Hops, first: Chosen, running: Running, waits: Patience) -> None:
        self._shell = shell
        self._hops = hops
        self._first = Lane(first, running)
        self._second: Lane | None = None
        self._waits = waits
        self._lead: Lane | None = None
        self._refused: Lane | None = None
        """The second, where it failed for the request's sake while the first went on."""
        self._result = HedgeResult.DROPPED
        self.others: list[Running] = []
        self.alone_seconds = 0.0
        """For how long the first was waited for alone."""
        self.closing_seconds = 0.0
        """For how long its end was held up by providers' connections."""

    @property
    def lead(self) -> Lane:
        """The attempt that is read, or that ended last."""
        return self._lead or self._first

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that is read."""
        return self.lead.running.attempt

    @property
    def attempt_id(self) -> str:
        """Its id, as deltas carry it."""
        return self.lead.running.attempt_id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        kept = True
        lanes = [self._first] if self._second is None else [self._first, self._second]
        for lane in lanes:
            if not lane.running.settled:
                kept = lane.running.settle(error)
        if self._second is not None:
            self._shell.router.further_attempts.hedge_ended(self._first.chosen.permit.spec.target, self._result)
            # Both at once: each may take its time.
            for lane in lanes:
                self._close(lane)
        for lane in lanes:
            closing = Suspended(lane.closing or lane.close(), self._shell.clock)
            await closing
            self.closing_seconds += closing.seconds
        return kept

    def start(self, attempt: Attempt) -> None:
        """Begins to wait for the first's content."""
        self._first.read(attempt)

    async def second(self, run: Callable[[Chosen], Running]) -> Chosen | None:
        """Waits for the first; returns the attempt to begin beside it once it is late, None where there is none."""
        reading = self._first.reading
        assert reading is not None
        began_at = self._shell.clock()
        await asyncio.wait((reading,), timeout=self._waits.seconds)
        self.alone_seconds = self._shell.clock() - began_at
        if reading.done():
            return None
        chosen = self._hops.hedge(self._first.chosen, self._waits)
        if chosen is not None:
            self._second = Lane(chosen, run(chosen))
        return chosen

    def start_second(self, begin: Callable[[Running, Chosen], Attempt]) -> None:
        """Begins the second, unless there is no more need of it: the caller may have been slow to hear of it."""
        second = self._second
        assert second is not None
        reading = self._first.reading
        if reading is not None and reading.done():
            came = reading.result()
            if not isinstance(came, UpstreamError) or self._is_final(came.kind):
                return
        try:
            attempt = begin(second.running, second.chosen)
        except UpstreamError as error:
            self._drop(second, error)
        else:
            second.read(attempt)

    async def read(self) -> Read:
        """Returns what `Attempt.read` does, of whichever has content first, and raises the same."""
        if self._lead is None:
            return await self._race()
        assert self._lead.running.attempt is not None
        return await self._lead.running.attempt.read()

    async def _race(self) -> Read:
        while True:
            racing = [lane for lane in (self._first, self._second) if lane is not None and lane.reading is not None]
            await asyncio.wait([lane.reading for lane in racing if lane.reading], return_when=asyncio.FIRST_COMPLETED)
            # The first comes first where both are there.
            lane = next(lane for lane in racing if lane.reading is not None and lane.reading.done())
            reading, lane.reading = lane.reading, None
            assert reading is not None
            came = _result(reading)
            if isinstance(came, UpstreamError) and self._goes_on_without(lane, came):
                continue
            if isinstance(came, BaseException):
                self._leads(lane, "the call ended")
                raise came
            self._leads(lane, f"{lane.chosen.permit.spec.target} had content first")
            self._won(lane)
            return came

    def _goes_on_without(self, lane: Lane, error: UpstreamError) -> bool:
        """Whether the other one is still waited for after a failure."""
        other = self._second if lane is self._first else self._first
        final = self._is_final(error.kind)
        if other is None or other.reading is None or (final and lane is self._first):
            if self._refused is not None:
                # Nobody else is asked after a refusal: the call ends as if that had come last.
                self._drop(lane, error)
                self._lead = self._refused
                self.others.remove(self._refused.running)
                assert self._refused.running.error is not None
                raise self._refused.running.error
            if lane is self._second:
                self._result = HedgeResult.FAILED
            return False
        self._drop(lane, error)
        if final:
            self._refused = lane
        return True

    def _drop(self, lane: Lane, error: UpstreamError) -> None:
        """Takes one that failed out of the race."""
        if lane is self._second:
            self._result = HedgeResult.FAILED
        lane.running.settle(error)
        self.others.append(lane.running)
        self._hops.note(lane.chosen, error.kind)
        self._close(lane)

    def _leads(self, lane: Lane, why: str) -> None:
        """Decides the race; the other, if it still runs, is let go."""
        self._lead = lane
        other = self._second if lane is self._first else self._first
        if other is None or other.running.settled:
            return
        other.running.settle(UpstreamError(FailureKind.CANCELLED, f"was let go: {why}"))
        self.others.append(other.running)
        self._close(other)

    def _won(self, lane: Lane) -> None:
        if self._second is None or self._result is HedgeResult.FAILED:
            return
        self._result = HedgeResult.WON if lane is self._second else HedgeResult.LOST
        lost = self._first.running.record
        if lane is self._second and lost is not None and lost.failure is FailureKind.CANCELLED:
            self._hops.lost(self._first.chosen, lost.latency_seconds or 0.0)

    def _is_final(self, failure: FailureKind) -> bool:
        return is_final(failure, failover_on_refusal=self._hops.failover_on_refusal)

    def _close(self, lane: Lane) -> None:
        if lane.closing is None:
            lane.closing = asyncio.create_task(lane.close())


async def _first_content(attempt: Attempt) -> Read | UpstreamError | OutOfTimeError:
    """Returns failures too, without their traceback: that holds the task, which would hold the failure."""
    try:
        return await attempt.read()
    except (UpstreamError, OutOfTimeError) as error:
        return error.with_traceback(None)


def _result(reading: asyncio.Task[Read | UpstreamError | OutOfTimeError]) -> Read | BaseException:
    """Returns what came of it; faults of ours are exceptions like any other."""
    try:
        return reading.result()
    except BaseException as error:  # noqa: BLE001  # raised again by whoever asked
        return error
