"""Which calls get a line in the log, and what stands in it. Without more ado only those that have gone wrong do.

A line is written where the call ends, so that it carries the call's `trace_id` and `span_id` like every other line.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

SAMPLED_SHARE = 0.01
"""Of the calls that went well, `sampled` logs so many."""
LINES_A_SECOND = 100
"""More are counted instead: a log that is written faster than it is read holds up every call."""
ERROR_CHARACTERS = 500
OK = "OK"
CANCELLED = "CANCELLED"


class AccessMode(StrEnum):
    """Which calls are logged: those that went wrong, also one in a hundred of the others, all."""

    PROBLEMS = "problems"
    SAMPLED = "sampled"
    ALL = "all"


class AccessRecord(NamedTuple):
    """One call that has ended. `result` is OK, CANCELLED (by its caller) or the reason of its error."""

    method: str
    result: str
    latency_seconds: float
    error: str = ""
    decision_id: str = ""
    target: str = ""
    policy: str = ""
    task: str = ""
    tenant: str = ""
    attempt_count: int = 0
    failures: str = ""
    """The kinds of the attempts that failed, in order."""
    is_bug: bool = False

    @property
    def is_problem(self) -> bool:
        """Whether an operator would want to hear of it: it failed, or was served only after something had."""
        return bool(self.failures) or self.result not in {OK, CANCELLED}


class AccessLog:
    """Takes every call that has ended. `clock` is monotonic seconds; `rng` picks what is sampled."""

    def __init__(
        self,
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        mode: AccessMode = AccessMode.PROBLEMS,
    ) -> None:
        self._log = log
        self._clock = clock
        self._rng = rng
        self._mode = mode
        self.problems_only = mode is AccessMode.PROBLEMS
        """Whether a call that went well has no line in any case."""
        self._second = 0
        self._written = 0
        self.left_out_count = 0
        """Lines that were too many in their second."""
        self._untold = 0

    def follow(self, mode: AccessMode) -> None:
        """Logs other calls from now on."""
        self._mode = mode
        self.problems_only = mode is AccessMode.PROBLEMS

    def ended(self, record: AccessRecord) -> None:
        """Takes a call that has ended; writes its line if it is to have one."""
        if not record.is_problem and not self._wanted():
            return
        if not self._room():
            self.left_out_count += 1
            self._untold += 1
            return
        write = self._log.warning if record.result not in {OK, CANCELLED} else self._log.info
        fields = {name: value for name, value in record._asdict().items() if value not in {"", 0}}
        fields["latency_seconds"] = round(record.latency_seconds, 4)
        if record.error:
            fields["error"] = record.error[:ERROR_CHARACTERS]
        write("call", **fields)

    def _wanted(self) -> bool:
        if self._mode is AccessMode.SAMPLED:
            return self._rng.random() < SAMPLED_SHARE
        return self._mode is AccessMode.ALL

    def due(self) -> None:
        """Tells of lines that were too many, once their second is over; to be called now and then."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._written = second, 0
            if self._untold:
                self._log.warning("call.left_out", line_count=self._untold, most_a_second=LINES_A_SECOND)
                self._untold = 0

    def _room(self) -> bool:
        self.due()
        if self._written >= LINES_A_SECOND:
            return False
        self._written += 1
        return True
