"""Times RPCs, for `rpc.server.call.duration`: from the moment a request was received to the end of its handler.

Of those that call providers it also tells what of that was spent here, for `turnout.overhead.duration`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from turnout_server.execution.waits import Waits, waits_of_call

Observe = Callable[[str, str, float], None]
"""Is told of each RPC that ended: its method ("turnout.v1.RouterService/Route"), its status ("OK"), its seconds."""

Answer = Callable[[Any, Any], Awaitable[Any]]

CANCELLED = "CANCELLED"
CALLS = frozenset(f"turnout.v1.RouterService/{name}" for name in ("Execute", "ExecuteStream"))
"""The methods that call providers: all others are nothing but our own time."""
STATUS_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class CallTimes:
    """Times all RPCs of a server. `clock` is the monotonic one.

    `observe_overhead` is told of each call to providers that ended how many of its seconds were spent here.
    """

    __slots__ = ("_clock", "_observe", "_observe_overhead")

    def __init__(
        self,
        clock: Callable[[], float],
        observe: Observe,
        observe_overhead: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._clock = clock
        self._observe = observe
        self._observe_overhead = observe_overhead

    def timed(self, method: str, answer: Answer) -> Answer:
        """Returns what answers RPCs of a method just as `answer` does, and is timed.

        What is refused before its request was read is not: such an RPC is counted by whoever refuses it.
        """
        if method in CALLS:
            return self._timed_call(method, answer)
        clock, observe = self._clock, self._observe

        async def timed(request: Any, context: Any) -> Any:
            began_at = clock()
            status = ""
            try:
                return await answer(request, context)
            except asyncio.CancelledError:
                status = CANCELLED
                raise
            finally:
                observe(method, status or _status(context), clock() - began_at)

        return timed

    def _timed_call(self, method: str, answer: Answer) -> Answer:
        clock, observe, observe_overhead = self._clock, self._observe, self._observe_overhead

        async def timed(request: Any, context: Any) -> Any:
            began_at = clock()
            waits = Waits(clock)
            waits_of_call.set(waits)
            status = ""
            try:
                return await answer(request, context)
            except asyncio.CancelledError:
                status = CANCELLED
                raise
            finally:
                seconds = clock() - began_at
                status = status or _status(context)
                observe(method, status, seconds)
                if status != CANCELLED:
                    # Of a call whose caller went away nobody knows how long it would have waited.
                    observe_overhead(max(0.0, seconds - waits.seconds))

        return timed


def _status(context: Any) -> str:
    """A caller who has gone gets none. Otherwise it is what was set: a `StatusCode`, an int, 0 or None for nothing."""
    if context.cancelled():
        return CANCELLED
    code = context.code() or 0
    return code.name if isinstance(code, grpc.StatusCode) else STATUS_NAMES.get(code, "UNKNOWN")
