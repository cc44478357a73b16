"""Outcomes on their way to the sidecar: bounded, sent together, and never a reason for the caller's call to fail."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

from turnout.v1 import router_pb2 as pb

MAX_PENDING_COUNT = 1000
MAX_BATCH_COUNT = 100
GATHER_SECONDS = 0.05
"""How long an outcome waits for others to go with it: short, because the next decision should know of a failure."""

logger = logging.getLogger("turnout")


class Outbox:
    """What waits to be sent. Past its bound the oldest is dropped: the newest tell more about health."""

    def __init__(self, max_pending_count: int = MAX_PENDING_COUNT) -> None:
        self._pending: deque[pb.Outcome] = deque(maxlen=max_pending_count)
        self.dropped_count = 0

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, outcome: pb.Outcome) -> None:
        """Adds one outcome."""
        if len(self._pending) == self._pending.maxlen:
            self.dropped_count += 1
        self._pending.append(outcome)

    def take(self, max_count: int = MAX_BATCH_COUNT) -> list[pb.Outcome]:
        """Removes and returns the oldest outcomes, at most `max_count`."""
        return [self._pending.popleft() for _ in range(min(max_count, len(self._pending)))]

    def lost(self, batch: Sequence[pb.Outcome], error: Exception) -> None:
        """Notes that a batch could not be sent; its outcomes will be told of by later calls' outcomes anyway."""
        self.dropped_count += len(batch)
        logger.warning("%d outcomes were not reported to the sidecar: %s", len(batch), error)

    def sent(self, response: pb.ReportOutcomeResponse) -> None:
        """Notes the sidecar's results; a rejection is a mistake that somebody should see."""
        for result in response.results:
            if result.status == pb.OUTCOME_STATUS_REJECTED:
                logger.warning("the sidecar rejected a reported outcome: %s", result.reason)
