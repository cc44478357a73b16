"""When shadows of policies are asked: after answers are on their way, one at a time, a tenth of the time at most.

A decision takes some tenths of a millisecond on the one event loop that all calls share. So a shadow waits until what
the call itself does next is done, and after each one there is a pause nine times as long as it took: however many calls
come, nine tenths of the loop are theirs. What comes faster than that is shed by `Shadowing`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from turnout_server.router import Router

AFTER_SECONDS = 0.002
"""After a decision: a plan's answer is written by then, a call has been sent to its provider. And before spans are made
of a call that has ended (10 ms), so that they can say what its shadow would have done."""
PAUSE_FACTOR = 9.0
"""How much longer the pause after a shadow's decision is than the decision took."""


class ShadowTurns:
    """Has the router's shadows decide on the running event loop. `clock` is monotonic seconds."""

    def __init__(self, router: Router, *, clock: Callable[[], float], log: FilteringBoundLogger) -> None:
        self._router = router
        self._clock = clock
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.TimerHandle | None = None
        self._failed = False
        # Not the context of the call that happens to come first: spans hang on it.
        self._context = Context()
        router.shadows.wake = self._wake

    def close(self) -> None:
        """Ends it: whatever still waits is not decided."""
        self._router.shadows.wake = _nobody
        if self._next is not None:
            self._next.cancel()

    def shed_counts(self) -> Mapping[tuple[str, str], int]:
        """Returns how many decisions were not compared since too many waited, by policy and shadow."""
        shadowing = self._router.shadows.shadowing
        return {} if shadowing is None else {pair: tally.shed for pair, tally in shadowing.tallies()}

    def _wake(self) -> None:
        if self._next is None:
            self._next = self._loop.call_later(AFTER_SECONDS, self._turn, context=self._context)

    def _turn(self) -> None:
        self._next = None
        shadowing = self._router.shadows.shadowing
        if shadowing is None:
            return
        began_at = self._clock()
        try:
            shadowing.step()
        except Exception:  # noqa: BLE001  # the outermost edge: nobody waits for what a shadow says
            if not self._failed:
                self._failed = True
                self._log.exception("shadow.failed", note="told once; further faults of shadows are not")
        if shadowing.waiting_count:
            pause_seconds = PAUSE_FACTOR * (self._clock() - began_at)
            self._next = self._loop.call_later(pause_seconds, self._turn, context=self._context)


def _nobody() -> None:
    """Wakes nobody."""
