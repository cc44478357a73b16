"""The attempts of a call after its first: same-target retries, failovers and hedges, within what is left for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.events import Event, EventName
from turnout_server.core.hedging import HedgeResult, Patience, patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout_server.core.in_force import InForce
    from turnout_server.core.model import FailureKind, RouteQuery, Target
    from turnout_server.core.permits import Permit
    from turnout_server.core.state import FleetState
    from turnout_server.ports import Instruments
    from turnout_server.use_cases.announcing import Announcing
    from turnout_server.use_cases.configured import Configured


class FurtherAttempts:
    """Over one state, whose budgets of retries and hedges it takes from. `clock` is monotonic seconds."""

    __slots__ = ("_announcing", "_clock", "_configured", "_instruments", "_state")

    def __init__(
        self,
        state: FleetState,
        configured: Configured,
        announcing: Announcing,
        *,
        clock: Callable[[], float],
        instruments: Instruments,
    ) -> None:
        self._state = state
        self._configured = configured
        self._announcing = announcing
        self._clock = clock
        self._instruments = instruments

    def try_retry(self, *, after_timeout: bool = False) -> bool:
        """Takes one same-target retry from the retry budget, if there is one."""
        return self._state.retry_budget.try_spend(self._clock(), after_timeout=after_timeout)

    def retries_remaining(self) -> float:
        """Returns how many same-target retries the retry budget allows now."""
        return self._state.retry_budget.remaining(self._clock())

    def failed_over(
        self, from_target: Target, to_target: Target, failure: FailureKind, *, decision_id: str = ""
    ) -> None:
        """Counts a call that moves on after a failure, and tells of it."""
        self._instruments.failover(from_target, to_target, failure)
        troubles = self._announcing.troubles
        self._announcing.tell(troubles.switched(from_target, to_target, failure, decision_id, self._clock()))

    def hedgeable_call(self) -> None:
        """Counts a call that may be hedged: of so many a share may be."""
        self._state.hedge_budget.request(self._clock())

    def patience(
        self,
        permit: Permit,
        query: RouteQuery,
        *,
        input_tokens: int,
        predicted_seconds: float,
        streaming: bool,
        under: InForce | None = None,
    ) -> Patience | None:
        """Returns for how long to wait for an attempt alone before it is hedged, None for as long as it takes.

        `under` is the configuration that the call began with, None for the present one.
        """
        found = (under or self._configured.in_force).find(permit.spec.target)
        if found is None:
            return None
        return patience(
            found.state.latency,
            permit.spec,
            input_tokens=input_tokens,
            predicted_seconds=predicted_seconds,
            effort=query.profile.reasoning_effort,
            streaming=streaming,
            trial=bool(permit.probe_id),
        )

    def may_hedge(self) -> bool:
        """Whether the budgets of hedges and of retries have one left."""
        now = self._clock()
        return min(self._state.hedge_budget.remaining(now), self._state.retry_budget.remaining(now)) >= 1.0

    def hedged(self, first: Permit, second: Permit, waited: Patience) -> None:
        """Takes a hedge from both budgets, after `may_hedge`, and tells of it."""
        now, target = self._clock(), first.spec.target
        self._state.hedge_budget.take(now)
        self._state.retry_budget.take(now)
        fields: dict[str, str | float] = {
            "second": str(second.spec.target),
            "waited_seconds": round(waited.seconds, 3),
            "measure": waited.measure,
            "decision_id": first.decision_id,
        }
        event = Event(
            name=EventName.HEDGED,
            at=now,
            target=target,
            provider=target.provider,
            endpoint=target.endpoint,
            fields=fields,
        )
        self._announcing.tell((event,))

    def hedge_ended(self, first: Target, result: HedgeResult) -> None:
        """Counts what became of a hedge, or that there was none although `first` was late."""
        self._instruments.hedge(first, result)
