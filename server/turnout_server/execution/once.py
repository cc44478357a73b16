"""A request id stands for one call: whoever sends it again gets that call's answer, and nobody is charged twice.

Arrow line: id -> known? -> other payload: refused; running: wait for it; done: its answer; else: make the call.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from turnout_server.core.call import CallReport, CallResult
from turnout_server.core.decision import Decision
from turnout_server.core.errors import DeadlineError, RequestIdReusedError
from turnout_server.execution.sizes import result_bytes
from turnout_server.execution.waits import waits_of_call

KEPT_SECONDS = 600.0
"""Default: for how long after its end a call's answer is returned for its id."""
KEPT_BYTES = 64 * 1024 * 1024
"""Default: what all answers kept may take, by estimate; the oldest is forgotten first."""
ENTRY_BYTES = 1024
"""What an id takes beside its answer: key, digest and bookkeeping, rounded up."""

OnDecision = Callable[[Decision], None]
Key = tuple[str, str]
"""Who asks, and the id that they gave the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A call that went well. A stream's answer is not kept, only what was asked: `result` is None."""

    digest: bytes
    result: CallResult | None
    forget_at: float
    size_bytes: int


class _Running:
    """A call under way; `task` is None for a stream, and when the call has ended."""

    __slots__ = ("decision", "digest", "task", "told", "waiting")

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.task: asyncio.Task[CallResult] | None = None
        self.waiting = 0
        self.decision: Decision | None = None
        self.told: list[OnDecision] = []

    def decided(self, decision: Decision) -> None:
        """Tells the decision to all who wait."""
        self.decision = decision
        for tell in self.told:
            tell(decision)

    def tell(self, on_decision: OnDecision | None) -> None:
        """Tells the decision to one more, now or as soon as it is there."""
        if on_decision is None:
            return
        if self.decision is not None:
            on_decision(self.decision)
        else:
            self.told.append(on_decision)


class Once:
    """The calls of one process by their ids. `clock` is monotonic seconds.

    Errors are not kept: an id whose call failed, or that nobody waited for any more, is free for another call.
    """

    def __init__(
        self, clock: Callable[[], float], *, kept_seconds: float = KEPT_SECONDS, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._clock = clock
        self._kept_seconds = kept_seconds
        self._kept_bytes = kept_bytes
        self._running: dict[Key, _Running] = {}
        # In the order in which they ended, which is that in which they are forgotten.
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self.size_bytes = 0
        """What is kept, by estimate."""
        self.joined_count = 0
        """How many requests got the answer of an earlier one."""

    def __len__(self) -> int:
        return len(self._kept)

    async def answer(
        self,
        key: Key,
        digest: bytes,
        make: Callable[[OnDecision], Awaitable[CallResult]],
        *,
        on_decision: OnDecision | None,
        ends_at: float,
    ) -> tuple[CallResult, bool]:
        """Returns the answer to the request of that id, and whether it is that of an earlier one.

        `make` makes the call where there is none; `ends_at` is when this caller's time is over (monotonic). The call
        goes on while anybody waits for it, and is cancelled when the last one leaves. One that ran out of the time of
        whoever began it is made anew by those who have time left.

        Raises what the call raises, RequestIdReusedError for another payload or a stream that still runs, and
        DeadlineError where this caller's time is over before the call is.
        """
        while True:
            known = self._known(key, digest)
            if isinstance(known, CallResult):
                if on_decision is not None:
                    on_decision(known.decision)
                self.joined_count += 1
                return known, True
            joins = known is not None
            running = known or self._begin(key, digest, make)
            running.tell(on_decision)
            try:
                result = await self._wait(key, running, ends_at if joins else None)
            except DeadlineError:
                if not joins or self._clock() >= ends_at:
                    raise
                continue
            self.joined_count += joins
            return result, joins

    async def earlier(self, key: Key, digest: bytes, *, ends_at: float) -> CallResult | None:
        """Returns the answer of an earlier unary call of that id, for a stream; None where there is none to wait for.

        Raises as `answer` does.
        """
        known = self._known(key, digest)
        if isinstance(known, _Running):
            try:
                known = await self._wait(key, known, ends_at)
            except DeadlineError:
                if self._clock() >= ends_at:
                    raise
                return None
        self.joined_count += known is not None
        return known

    @contextmanager
    def stream(self, key: Key, digest: bytes) -> Iterator[Callable[[], None]]:
        """Runs a stream of that id; what it yields is to be called when the answer is complete.

        Raises RequestIdReusedError where another call of the id has begun meanwhile.
        """
        if key in self._running:
            raise _still_running(key)
        running = self._running[key] = _Running(digest)
        complete = False

        def completed() -> None:
            nonlocal complete
            complete = True

        try:
            yield completed
        finally:
            if self._running.get(key) is running:
                del self._running[key]
            if complete:
                self._keep(key, digest, None)

    def expire(self) -> None:
        """Forgets what was kept long enough; to be called now and then."""
        now = self._clock()
        while self._kept and next(iter(self._kept.values())).forget_at <= now:
            self._forget_oldest()

    def _known(self, key: Key, digest: bytes) -> CallResult | _Running | None:
        self.expire()
        running, kept = self._running.get(key), self._kept.get(key)
        known = running or kept
        if known is None:
            return None
        if known.digest != digest:
            raise RequestIdReusedError(
                f'request_id "{key[1]}" was given to another request within the last {self._kept_seconds / 60:g} '
                "minutes; give each request an id of its own",
                running=False,
            )
        if running is None:
            return None if kept is None else kept.result
        if running.task is None:
            raise _still_running(key)
        return running

    def _begin(self, key: Key, digest: bytes, make: Callable[[OnDecision], Awaitable[CallResult]]) -> _Running:
        running = self._running[key] = _Running(digest)
        task = running.task = asyncio.ensure_future(make(running.decided))

        def ended(_: object) -> None:
            if self._running.get(key) is running:
                del self._running[key]
            # An error knows the frames that it came through, and these know this: it must not lead back to the error.
            running.task = None
            # Looked at in any case: a failure that everybody left before it came is nobody's to raise.
            if not task.cancelled() and task.exception() is None:
                self._keep(key, digest, task.result())

        task.add_done_callback(ended)
        return running

    async def _wait(self, key: Key, running: _Running, ends_at: float | None) -> CallResult:
        task = running.task
        assert task is not None
        running.waiting += 1
        scope = asyncio.timeout(None if ends_at is None else max(0.0, ends_at - self._clock()))
        # Whoever began the call waits for what it waits for; whoever joins it waits for all of it.
        waits = None if ends_at is None else waits_of_call.get()
        try:
            async with scope:
                return await (asyncio.shield(task) if waits is None else waits.around(asyncio.shield(task)))
        except TimeoutError:
            if not scope.expired():
                raise
            raise DeadlineError(
                "the call's time ran out while an earlier request of the same request_id was waited for; give it a "
                "longer deadline",
                report=CallReport(),
                decision_id="" if running.decision is None else running.decision.decision_id,
            ) from None
        finally:
            running.waiting -= 1
            if not running.waiting and not task.done():
                # Whoever comes now must not join what is being given up.
                if self._running.get(key) is running:
                    del self._running[key]
                task.cancel()
                await asyncio.wait({task})
            del task

    def _keep(self, key: Key, digest: bytes, result: CallResult | None) -> None:
        size = ENTRY_BYTES + len(key[0]) + len(key[1]) + (0 if result is None else result_bytes(result))
        if size > self._kept_bytes:
            return
        self._drop(self._kept.pop(key, None))
        self._kept[key] = _Kept(
            digest=digest, result=result, forget_at=self._clock() + self._kept_seconds, size_bytes=size
        )
        self.size_bytes += size
        while self.size_bytes > self._kept_bytes:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._drop(self._kept.popitem(last=False)[1])

    def _drop(self, kept: _Kept | None) -> None:
        if kept is not None:
            self.size_bytes -= kept.size_bytes


def _still_running(key: Key) -> RequestIdReusedError:
    return RequestIdReusedError(
        f'a stream of request_id "{key[1]}" is still running; end it first, or give the request an id of its own',
        running=True,
    )
