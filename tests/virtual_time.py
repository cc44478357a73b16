"""An asyncio event loop whose clock jumps: everything scheduled happens, in order, and nobody waits for it.

Whenever nothing is ready to run, time moves to the next timer. A silence of 180 seconds takes microseconds, and two
runs of the same code do the same things at the same times. There is no network and no thread in this world: what
would wait for a socket waits for ever, and is reported as a deadlock.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

P = ParamSpec("P")
T = TypeVar("T")

WALL_EPOCH = 1_800_000_000.0
"""Seconds since the epoch when a loop's time is 0; a date in 2027."""


class DeadlockError(RuntimeError):
    """Nothing is ready and no timer is set, but somebody still waits."""


class TimeLimitError(RuntimeError):
    """Virtual time passed the limit given: something keeps scheduling itself."""


class _JumpingSelector(selectors.BaseSelector):
    """Instead of waiting for sockets it moves the clock; the loop's own wake-up pipe never becomes ready."""

    def __init__(self) -> None:
        self.now = 0.0
        self.limit = float("inf")
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, fileobj if isinstance(fileobj, int) else fileobj.fileno(), events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError(f"at {self.now:g} s nothing is ready and no timer is set, but somebody waits")
        if timeout > 0:
            self.now += timeout
        if self.now > self.limit:
            raise TimeLimitError(f"virtual time passed {self.limit:g} s")
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def close(self) -> None:
        self._keys.clear()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The loop. `time()` starts at 0 and is exact to a nanosecond: no timer fires early, none late.

    Use `clock` and `wall` where the code under test wants its clocks. `advance_limit_seconds` ends a run that would go
    on for ever.
    """

    def __init__(self, *, advance_limit_seconds: float = float("inf")) -> None:
        self._jumping = _JumpingSelector()
        self._jumping.limit = advance_limit_seconds
        self._unhandled: list[dict[str, Any]] = []
        super().__init__(self._jumping)
        # Timers set for the same instant, as computed on different ways, fire together.
        self._clock_resolution = 1e-9
        self.set_exception_handler(lambda _loop, context: self._unhandled.append(context))

    def time(self) -> float:
        return self._jumping.now

    def clock(self) -> float:
        """Monotonic seconds, for code that takes a clock."""
        return self._jumping.now

    def wall(self) -> float:
        """Seconds since the epoch, moving with the clock."""
        return WALL_EPOCH + self._jumping.now

    def call_soon_threadsafe(self, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]  # never returns
        raise NotImplementedError("there are no threads in virtual time")

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> NoReturn:  # type: ignore[override]  # never returns
        raise NotImplementedError("there are no threads in virtual time")

    def raise_unhandled(self) -> None:
        """Raises if a task or callback failed without anybody looking."""
        if self._unhandled:
            context = self._unhandled[0]
            raise AssertionError(f"unhandled in the loop: {context.get('message')}") from context.get("exception")


def run(main: Coroutine[Any, Any, T], *, advance_limit_seconds: float = 1_000_000.0) -> T:
    """Runs a coroutine to its end in a fresh loop; tasks that it leaves behind are cancelled.

    Raises DeadlockError and TimeLimitError as their docstrings say, and AssertionError for errors nobody looked at.
    """
    loop = VirtualTimeLoop(advance_limit_seconds=advance_limit_seconds)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            # Interrupts would need a wake-up by thread; a test run ends in milliseconds anyway.
            result = runner.run(main)
            loop.raise_unhandled()
            return result
    finally:
        loop.close()


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Turns an asynchronous test into one that pytest runs as it is, in a loop of its own."""

    @functools.wraps(test)
    def runner(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return runner


def virtual_loop() -> VirtualTimeLoop:
    """Returns the running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop
