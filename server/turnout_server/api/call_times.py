"""Times RPCs, for `rpc.server.call.duration`: from the moment a request was received to the end of its handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from turnout_server.execution.arrival import arrived_at

Observe = Callable[[str, str, float], None]
"""Is told of each RPC that ended: its method ("turnout.v1.RouterService/Route"), its status ("OK"), its seconds."""

Answer = Callable[[Any, Any], Awaitable[Any]]

STATUS_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class CallTimes:
    """Times all RPCs of a server. `clock` is the monotonic one."""

    __slots__ = ("_clock", "_observe")

    def __init__(self, clock: Callable[[], float], observe: Observe) -> None:
        self._clock = clock
        self._observe = observe

    def timed(self, method: str, answer: Answer) -> Answer:
        """Returns what answers RPCs of a method just as `answer` does, and is timed.

        What is refused before its request was read is not: such an RPC is counted by whoever refuses it.
        """
        clock, observe = self._clock, self._observe

        async def timed(request: Any, context: Any) -> Any:
            began_at = clock()
            arrived_at.set(began_at)
            status = ""
            try:
                return await answer(request, context)
            except asyncio.CancelledError:
                status = "CANCELLED"
                raise
            finally:
                observe(method, status or _status(context), clock() - began_at)

        return timed


def _status(context: Any) -> str:
    """A caller who has gone gets none. Otherwise it is what was set: a `StatusCode`, an int, 0 or None for nothing."""
    if context.cancelled():
        return "CANCELLED"
    code = context.code() or 0
    return code.name if isinstance(code, grpc.StatusCode) else STATUS_NAMES.get(code, "UNKNOWN")
