"""What is known of one target: its facts, what was learned of it, and what speaks against calling it now.

Only reads. `under` is the configuration that a call began with, None for the present one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.hedging import may_be_second
from turnout_server.core.model import RejectionReason
from turnout_server.core.permits import breakers_closed
from turnout_server.core.state import LATE_CANCEL_FACTOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.in_force import InForce
    from turnout_server.core.model import RouteQuery, Target
    from turnout_server.core.state import FleetState, TargetState
    from turnout_server.use_cases.configured import Configured


class Targets:
    """Over one state. `clock` is monotonic seconds."""

    __slots__ = ("_clock", "_configured", "_state")

    def __init__(self, state: FleetState, configured: Configured, *, clock: Callable[[], float]) -> None:
        self._state = state
        self._configured = configured
        self._clock = clock

    def spec(self, target: Target) -> TargetSpec:
        """Returns the static facts of a target that is known to exist."""
        return self._known(target).spec

    def predicted_first_token_seconds(self, target: Target) -> float:
        """Returns how soon the target should answer a request of a few tokens."""
        return self._known(target).latency.time_to_first_token(0, self._clock())

    def tokens_per_byte(self, target: Target) -> float:
        """Returns what the target's model makes of text, as far as reports have taught it."""
        return self._state.token_ratios.ratio(target.provider, target.model)

    def cool_down_ends(self, spec: TargetSpec, query: RouteQuery) -> float | None:
        """Returns when a target whose credentials all cool can be used again, None where they do not cool."""
        verdict = self._state.credentials.verdict(spec, tenant=query.caller.tenant, executing=True, now=self._clock())
        return verdict.retry_at if verdict.reason is RejectionReason.COOLING_DOWN else None

    def free_at(self, target: Target, query: RouteQuery, under: InForce | None = None) -> float | None:
        """Returns when a target that is held back now can be called; None where it can be, or was removed."""
        found = (under or self._configured.in_force).find(target)
        if found is None:
            return None
        now = self._clock()
        state, spec = found
        verdict = self._state.credentials.verdict(spec, tenant=query.caller.tenant, executing=True, now=now)
        times = (state.breaker.retry_at(now), state.endpoint.retry_at(now), verdict.retry_at)
        return max((at for at in times if at is not None), default=None)

    def may_retry(self, target: Target, under: InForce | None = None) -> bool:
        """Whether a call may try a target again that has just failed it; false for one that was removed.

        The breakers of target and endpoint are closed, and no other call has failed to connect there meanwhile.
        """
        found = (under or self._configured.in_force).find(target)
        if found is None:
            return False
        state = found.state
        return breakers_closed(state, self._clock()) and state.endpoint.connection_failures <= 1

    def may_be_second(self, target: Target, under: InForce | None = None) -> bool:
        """Whether nothing speaks against a target as the second of a hedge."""
        found = (under or self._configured.in_force).find(target)
        return found is not None and may_be_second(found.state, self._clock())

    def was_silent(
        self, target: Target, waited_seconds: float, *, streaming: bool, under: InForce | None = None
    ) -> bool:
        """Whether an attempt that brought nothing in so long was silent, and not merely slower than another."""
        found = (under or self._configured.in_force).find(target)
        if found is None:
            return True
        latency = found.state.latency
        usual = latency.p95_time_to_first_token if streaming else latency.p95_latency
        return waited_seconds > LATE_CANCEL_FACTOR * usual

    def _known(self, target: Target) -> TargetState:
        index = self._configured.fleet.index(target)
        assert index is not None
        return self._state.targets[index]
