"""What waits to be sent: calls that have ended, then the spans made of them. Bounded by spans and by bytes."""

from __future__ import annotations

from collections import deque
from typing import Generic

from turnout_server.telemetry.otlp.delivery import Outlet
from turnout_server.telemetry.traces.attempt_spans import AttemptSpan
from turnout_server.telemetry.traces.call_spans import CallSpan
from turnout_server.telemetry.traces.span_building import REPORTS_MAXIMUM
from turnout_server.telemetry.traces.span_making import Made

QUEUE_BYTES = 16 * 1024 * 1024
"""Made spans that wait: 2048 of them, the usual bound, take 3 MB, and 8 MB where each decision lists 100 targets."""
BATCH_BYTES = 2 * 1024 * 1024
"""A message is closed once it is so large; collectors take 4 MiB, the usual bound of gRPC."""

Recorded = CallSpan | AttemptSpan


class SpanQueue(Generic[Made]):
    """A queue of at most `most_spans`, in the order in which calls ended. What has ended is let go of once it is made.

    Made spans are small, and of a known size; what they are made of is not.
    """

    def __init__(self, outlet: Outlet[Made], *, most_spans: int, most_bytes: int = QUEUE_BYTES) -> None:
        self._outlet = outlet
        self._most_spans = most_spans
        self._most_bytes = most_bytes
        self._recorded: deque[tuple[int, Recorded]] = deque()
        self._recorded_spans = 0
        self._made: deque[Made] = deque()
        self._made_bytes = 0

    @property
    def spans(self) -> int:
        """Spans that wait, made or not."""
        return self._recorded_spans + len(self._made)

    @property
    def made_spans(self) -> int:
        """Spans that only wait to be taken."""
        return len(self._made)

    @property
    def made_bytes(self) -> int:
        """Bytes of made spans that wait."""
        return self._made_bytes

    @property
    def has_recorded(self) -> bool:
        """Whether there is something left to be made."""
        return bool(self._recorded)

    def put(self, recorded: Recorded) -> int:
        """Takes what has ended. Returns the number of its spans that there is no room for: all of them, or 0."""
        count = _span_count(recorded)
        if self.spans + count > self._most_spans or self._made_bytes >= self._most_bytes:
            return count
        self._recorded.append((count, recorded))
        self._recorded_spans += count
        return 0

    def make(self) -> None:
        """Makes the spans of what has waited longest. Of one that cannot be made nothing stays."""
        count, recorded = self._recorded.popleft()
        self._recorded_spans -= count
        outlet, made = self._outlet, self._made
        try:
            if isinstance(recorded, CallSpan):
                spans = list(outlet.spans.of_call(recorded))
            else:
                spans = [outlet.spans.of_attempt(recorded)]
        finally:
            let_go(recorded)
        made.extend(spans)
        self._made_bytes += sum(map(outlet.size, spans))

    def take(self, most_spans: int, most_bytes: int = BATCH_BYTES) -> list[Made]:
        """Returns the oldest made spans, one at least where there is any, and removes them."""
        made, size = self._made, self._outlet.size
        taken: list[Made] = []
        taken_bytes = 0
        while made and len(taken) < most_spans:
            taken_bytes += size(made[0])
            if taken and taken_bytes > most_bytes:
                break
            taken.append(made.popleft())
        self._made_bytes -= sum(map(size, taken))
        return taken

    def clear(self) -> int:
        """Forgets everything; returns how many spans that were."""
        count = self.spans
        for _, recorded in self._recorded:
            let_go(recorded)
        self._recorded.clear()
        self._made.clear()
        self._recorded_spans = self._made_bytes = 0
        return count


def let_go(recorded: Recorded) -> None:
    """Lets a call forget what its spans are made of."""
    if isinstance(recorded, CallSpan):
        recorded.let_go()


def _span_count(recorded: Recorded) -> int:
    if isinstance(recorded, AttemptSpan):
        return 1
    reports = min(len(recorded.reports), REPORTS_MAXIMUM)
    return 1 + (recorded.decision is not None) + len(recorded.hops) + len(recorded.attempts) + reports
