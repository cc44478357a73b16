"""What this process has seen fail: which failures speak against a target, and how long ago the last one was."""

from __future__ import annotations

from collections import OrderedDict

from turnout.v1 import router_pb2 as pb

REMEMBERED_SECONDS = 30.0
MAX_COUNT = 1024

NOT_THE_TARGETS = frozenset(
    {
        pb.FAILURE_KIND_UNSPECIFIED,
        pb.FAILURE_KIND_CANCELLED,
        pb.FAILURE_KIND_INVALID_REQUEST,
        pb.FAILURE_KIND_CONTENT_FILTERED,
        pb.FAILURE_KIND_CONTEXT_LENGTH,
    }
)
"""The caller stopped, or the request is the fault: the target may serve the next one."""


def speaks_against(outcome: pb.Outcome) -> bool:
    """Tells whether an outcome is a reason to ask the sidecar anew before its target is used again.

    An unknown failure counts only with an HTTP status: without one it may be a mistake in the caller's own code.
    """
    if outcome.ok or outcome.failure in NOT_THE_TARGETS:
        return False
    return outcome.failure != pb.FAILURE_KIND_UNKNOWN or outcome.HasField("http_status")


class SeenFailures:
    """The last failure of each target, by name; the oldest is forgotten beyond the bound."""

    def __init__(self, max_count: int = MAX_COUNT) -> None:
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._max_count = max_count
        self.count = 0
        """How many failures there were so far: what is asked at one count and answered at another met failures."""

    def add(self, target: str, now: float) -> None:
        """Takes a failure."""
        self.count += 1
        self._seen[target] = (self.count, now)
        self._seen.move_to_end(target)
        if len(self._seen) > self._max_count:
            self._seen.popitem(last=False)

    def since(self, count: int, target: str) -> bool:
        """Tells whether a target has failed since there were so many failures."""
        return target in self._seen and self._seen[target][0] > count

    def lately(self, target: str, now: float) -> bool:
        """Tells whether a target has failed within the last 30 s."""
        return target in self._seen and now - self._seen[target][1] < REMEMBERED_SECONDS
