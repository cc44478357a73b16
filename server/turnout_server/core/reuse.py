"""How long a plan stays true, and whether it may serve a second request at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.model import RejectionReason, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout_server.core.decision import Rejection
    from turnout_server.core.strategies import Line

ONE_TIME_STRATEGIES = frozenset({Strategy.WEIGHTED, Strategy.ROUND_ROBIN})
"""Their point is that the next request goes elsewhere."""
TIMED_REASONS = frozenset({RejectionReason.BREAKER_OPEN, RejectionReason.COOLING_DOWN})


def valid_for_seconds(rejections: Iterable[Rejection], longest_seconds: float, now: float) -> float:
    """Returns how long the plan holds: `longest_seconds`, less when a breaker or cool-down ends sooner."""
    ends = [
        rejection.retry_at - now
        for rejection in rejections
        if rejection.retry_at is not None and not TIMED_REASONS.isdisjoint(rejection.reasons)
    ]
    return max(0.0, min([longest_seconds, *ends]))


def is_reusable(line: Line, strategy: Strategy) -> bool:
    """Whether the plan may serve an equal request.

    Not for a probe, a ramp, where somebody is or may be spared the call, or for a strategy that takes turns.
    """
    if not line.order or line.spared or strategy in ONE_TIME_STRATEGIES:
        return False
    apart = line.scoring.notable
    return not any(apart[place].unsteady for place in line.order if place in apart) if apart else True
