"""What the present call waits for, told sideways: whatever else of its time it took was spent here.

A wait is the time for which it is suspended, and no more: writing a request and reading an answer are our own work,
even if they happen while a provider is being asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Waits:
    """How long one call was suspended for others: its providers, its caller, or a call of the same id."""

    __slots__ = ("_clock", "seconds")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.seconds = 0.0

    async def around(self, awaitable: Awaitable[Result]) -> Result:
        """Awaits something for the call, and adds for how long it was suspended by it."""
        waiting = Suspended(awaitable, self._clock)
        # A future holds its error, whose traceback holds this frame: it must not hold the future.
        del awaitable
        try:
            return await waiting
        finally:
            self.seconds += waiting.seconds


waits_of_call: ContextVar[Waits | None] = ContextVar("waits_of_call", default=None)
"""Set for each executed call; None where nobody measures, as in tests and for requests of our own."""


class Suspended(Generic[Result]):
    """Awaits something; `seconds` is then for how long it was suspended, however it ended. `clock` is monotonic."""

    __slots__ = ("_awaitable", "_clock", "seconds")

    def __init__(self, awaitable: Awaitable[Result], clock: Callable[[], float]) -> None:
        self._awaitable: Awaitable[Result] | None = awaitable
        self._clock = clock
        self.seconds = 0.0

    def __await__(self) -> Generator[Any, Any, Result]:
        """Does what `yield from` does (PEP 380), with a look at the clock before and after. May be called once.

        Nothing is kept that holds an error: its traceback holds this frame, and both would stay until the collector
        comes by.
        """
        clock, awaitable, self._awaitable = self._clock, self._awaitable, None
        assert awaitable is not None
        steps: Any = awaitable.__await__()
        del awaitable
        try:
            waits_for = steps.send(None)
            while True:
                began_at = clock()
                try:
                    yield waits_for
                except GeneratorExit:
                    steps.close()
                    raise
                except BaseException as error:  # noqa: BLE001  # whatever it is, it is for what is awaited
                    waits_for = None
                    self.seconds += clock() - began_at
                    waits_for = steps.throw(error)
                else:
                    waits_for = None
                    self.seconds += clock() - began_at
                    waits_for = steps.send(None)
        except StopIteration as ended:
            result: Result = ended.value
            return result
