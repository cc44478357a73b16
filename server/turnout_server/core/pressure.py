"""What an outcome says of how much a target takes: told to its throttle and to its limit of calls at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.events import EventName
from turnout_server.core.model import FailureKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout_server.core.model import Outcome
    from turnout_server.core.target_state import TargetState

REFUSALS = frozenset({FailureKind.RATE_LIMITED, FailureKind.OVERLOADED})
"""The target did not take the call, and said so. A target that breaks or falls silent is the breaker's business."""
TOO_MANY = REFUSALS | {FailureKind.TIMEOUT}
"""Signs of more calls at once than it copes with: a server of one's own that has too many lets them wait."""


def take_refusal(outcome: Outcome, failure: FailureKind | None, target: TargetState, now: float) -> Sequence[EventName]:
    """Takes an outcome that counts for health; `failure` is its kind as it counts, None for success.

    Calls that callers made count as sent when they are reported; of theirs, RATE_LIMITED is of their own keys and
    changes nothing here. How many of them run at once is not known, so that they teach no limit. Returns what begins.
    """
    if outcome.reported:
        if failure is FailureKind.RATE_LIMITED:
            return ()
        target.throttle.sent(now)
        if failure is None:
            target.throttle.accepted(now)
    if failure not in TOO_MANY:
        return ()
    begins = []
    if failure in REFUSALS and target.throttle.refused(now):
        begins.append(EventName.THROTTLED)
    if not outcome.reported and target.concurrency.refused(now - (outcome.latency_seconds or 0.0), now):
        begins.append(EventName.CROWDED)
    return begins
