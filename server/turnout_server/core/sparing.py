"""Who is spared a call that it would get: a target that refuses part of its calls, or has as many as it copes with.

Only whoever comes first is asked, with its own probability; then whoever comes first without it, and so on. A target
that nobody can stand in for is not spared: its caller would get an error for certain instead of a likely one, and
breaker, cool-down and retry budget protect the provider as before. A trial is never spared, since it is the one call
that the target needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.decision import Rejection
from turnout_server.core.filters import CLEAR
from turnout_server.core.groups import LATE, SUSPECT
from turnout_server.core.model import RejectionReason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from turnout_server.core.model import Target
    from turnout_server.core.passing import Notable

NO_STAND_IN = LATE | SUSPECT
"""Whoever would hardly answer in time stands in for nobody."""


def is_spared(notable: Notable | None, rng: Random) -> bool:
    """Whether a target that comes first is spared this call; draws only where chance decides."""
    if notable is None or notable.standing is not CLEAR:
        return False
    if notable.crowd_limit is not None:
        return True
    return notable.throttle > 0.0 and rng.random() < notable.throttle


def can_stand_in(place: int, groups: Sequence[int], notable: Mapping[int, Notable]) -> bool:
    """Whether a target can take the call of one that is spared: closed, and neither suspect nor late."""
    found = notable.get(place)
    return (found is None or found.standing is CLEAR) and not groups[place] & NO_STAND_IN


def sparing(target: Target, notable: Notable, in_flight: int) -> Rejection:
    """Returns the rejection of a target that was spared."""
    if notable.crowd_limit is not None:
        detail = f"{in_flight} calls in flight, it copes with about {notable.crowd_limit} now"
        return Rejection(target, (RejectionReason.CONCURRENCY,), detail)
    detail = f"refuses many of its calls: {notable.throttle:.0%} of them go elsewhere for now"
    return Rejection(target, (RejectionReason.THROTTLED,), detail)
