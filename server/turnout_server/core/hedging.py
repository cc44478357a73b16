"""Hedging: when the first target is slow to begin, a second one is asked beside it, and whose content comes first wins.

When, whom and how many are decided here; `execution.hedging` carries it out. It is off unless the policy or the request
says otherwise, since the second answer is paid for too.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.deadlines import thinks
from turnout_server.core.failover import RULES
from turnout_server.core.model import FailureKind, Priority
from turnout_server.core.retry_budget import ShareBudget

if TYPE_CHECKING:
    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.latency import LatencyEstimate
    from turnout_server.core.model import ReasoningEffort, RoutingOptions
    from turnout_server.core.settings import Policy
    from turnout_server.core.target_state import TargetState

HEDGE_SHARE = 0.05
"""Of the calls that may be hedged, so many are at most: with the 95th percentile as limit, no more are late in quiet
times, and when a provider is slow as a whole it is failover that has to help (Dean and Barroso, The Tail at Scale)."""
HEDGE_WINDOW_SECONDS = 60.0
HEDGE_FLOOR = 1
"""One in a minute may be hedged where fewer than 20 calls come in that time."""
PREDICTED_FACTOR = 1.5
"""Where too little was measured, a first token is late after so many times the prediction."""

OF_P95 = "the p95 of its time to first token"
OF_PREDICTION = "1.5 times the time predicted"


class HedgeResult(StrEnum):
    """What became of a hedge, or why there was none although the first was late."""

    WON = "won"
    """The second had content first."""
    LOST = "lost"
    """The first had content first."""
    FAILED = "failed"
    """The second failed before either had content."""
    DROPPED = "dropped"
    """The call ended before either had content."""
    NOT_ALLOWED = "not_allowed"
    """There were as many hedges as may be, or as many retries."""
    NOBODY = "nobody"
    """No other target could be asked."""


class Patience(NamedTuple):
    """For how many seconds a first attempt is waited for alone, and what measure that is."""

    seconds: float
    measure: str


class HedgeBudget(ShareBudget):
    """How many calls may be hedged: 5 % of those of the last 60 s that could be, at least one."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(ratio=HEDGE_SHARE, floor=HEDGE_FLOOR, window_seconds=HEDGE_WINDOW_SECONDS)


def wants_hedge(policy: Policy, options: RoutingOptions) -> bool:
    """Whether a call may be hedged: the request's word counts before the policy's.

    Never one of LOW priority, nor one that may be sent to one target only.
    """
    wanted = policy.hedge if options.hedge is None else options.hedge
    return wanted and options.priority is not Priority.LOW and options.allow_fallback is not False


def patience(
    latency: LatencyEstimate,
    spec: TargetSpec,
    *,
    input_tokens: int,
    predicted_seconds: float,
    effort: ReasoningEffort | None,
    streaming: bool,
    trial: bool,
) -> Patience | None:
    """Returns for how long to wait for the first content of an attempt alone; None: as long as it takes.

    `predicted_seconds` is the predicted time to the first token, to the whole answer without streaming. The p95 counts
    of targets that are well and stream; of others 1.5 times the prediction. A model that thinks is not late for being
    silent: without a p95 it is not hedged.
    """
    late = latency.late_first_token(input_tokens) if streaming and not trial else None
    if late is not None:
        return Patience(late, OF_P95)
    if thinks(spec, effort):
        return None
    return Patience(PREDICTED_FACTOR * predicted_seconds, OF_PREDICTION)


def may_be_second(target: TargetState, now: float) -> bool:
    """Whether nothing speaks against a target as the second: a hedge is to help now, not to find out.

    Its breakers are closed and have been for long enough, its calls do not wait suspiciously long, and it takes them.
    """
    breaker, endpoint = target.breaker, target.endpoint
    if not (breaker.closed and endpoint.closed) or target.suspect(now) or target.pressed(now):
        return False
    return breaker.ramp_factor(now) == endpoint.ramp_factor(now) == 1.0


def is_final(failure: FailureKind, *, failover_on_refusal: bool) -> bool:
    """Whether a call ends with such a failure: what is wrong is the request, and nobody else is to be asked.

    What one vendor has refused is not to be had from another by way of a hedge.
    """
    if failure is FailureKind.CONTENT_FILTERED:
        return not failover_on_refusal
    return not RULES[failure]
