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
    """What waits to be sent. Past its bound the oldest is dropped: the newest tell more about health.

    Outcomes are numbered as they come; those up to `settled_count` are sent or given up.
    """

    def __init__(self, max_pending_count: int = MAX_PENDING_COUNT) -> None:
        self._pending: deque[pb.Outcome] = deque()
        self._max_pending_count = max_pending_count
        self._urgent_number = 0
        self._quiet = False
        self._full = False
        self.added_count = 0
        self.settled_count = 0
        self.dropped_count = 0

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def pressing(self) -> bool:
        """Whether one is under way or waits that the next decision should know of."""
        return self.settled_count < self._urgent_number

    def add(self, outcome: pb.Outcome, *, urgent: bool = False) -> None:
        """Adds one outcome; `urgent` says that the next decision should know of it."""
        self._pending.append(outcome)
        self.added_count += 1
        if urgent:
            self._urgent_number = self.added_count
        self._drop_oldest()

    def take(self, max_count: int = MAX_BATCH_COUNT) -> list[pb.Outcome]:
        """Removes and returns the oldest outcomes, at most `max_count`."""
        return [self._pending.popleft() for _ in range(min(max_count, len(self._pending)))]

    def put_back(self, batch: Sequence[pb.Outcome], error: Exception) -> None:
        """Takes a batch back that could not be sent because nobody was there; they are the oldest again."""
        self.take_back(batch)
        if not self._quiet:
            self._quiet = True
            logger.warning("outcomes wait until the sidecar is back: %s", error)

    def take_back(self, batch: Sequence[pb.Outcome]) -> None:
        """Takes a batch back that was not sent; they are the oldest again."""
        self._pending.extendleft(reversed(batch))
        self._drop_oldest()

    def lost(self, batch: Sequence[pb.Outcome], error: Exception) -> None:
        """Notes that a batch could not be sent; its outcomes will be told of by later calls' outcomes anyway."""
        self.settled_count += len(batch)
        self.dropped_count += len(batch)
        logger.warning("%d outcomes were not reported to the sidecar: %s", len(batch), error)

    def sent(self, batch: Sequence[pb.Outcome], response: pb.ReportOutcomeResponse) -> None:
        """Notes the sidecar's results; a rejection is a mistake that somebody should see."""
        self._quiet = False
        self._full = self._full and bool(self._pending)
        self.settled_count += len(batch)
        for result in response.results:
            if result.status == pb.OUTCOME_STATUS_REJECTED:
                logger.warning("the sidecar rejected a reported outcome: %s", result.reason)

    def _drop_oldest(self) -> None:
        if len(self._pending) > self._max_pending_count and not self._full:
            self._full = True
            logger.warning(
                "more than %d outcomes wait to be reported: the oldest are dropped, and counted as unreported",
                self._max_pending_count,
            )
        while len(self._pending) > self._max_pending_count:
            self._pending.popleft()
            self.dropped_count += 1
            self.settled_count += 1
