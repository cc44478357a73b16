"""Makes decisions: gathers what the core needs to know for one, asks it, and keeps what it says."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from turnout_server.core.decide import decide, unavailable
from turnout_server.core.decision import kept_candidate
from turnout_server.core.errors import AllTargetsUnavailableError, BudgetExhaustedError
from turnout_server.core.model import Strategy
from turnout_server.core.permits import lease_first

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from turnout_server.core.budget_ledger import Room
    from turnout_server.core.decide import Hop
    from turnout_server.core.decision import Decision
    from turnout_server.core.errors import TurnoutError
    from turnout_server.core.in_force import InForce
    from turnout_server.core.model import RouteQuery, Target
    from turnout_server.core.spending import Spending
    from turnout_server.core.state import FleetState
    from turnout_server.ports import Instruments
    from turnout_server.use_cases.announcing import Announcing
    from turnout_server.use_cases.configured import Configured
    from turnout_server.use_cases.shadows import Shadows


class Deciding:
    """Over one state and what is spent. `clock` is monotonic, `wall` seconds since the epoch; `new_id` makes ids.

    `expire` lets time take effect. `rng` is the only chance; `shadows` may ask it again what it said.
    """

    __slots__ = (
        "_announcing",
        "_clock",
        "_configured",
        "_expire",
        "_instruments",
        "_new_id",
        "_rng",
        "_shadows",
        "_spending",
        "_state",
        "_turn",
        "_wall",
    )

    def __init__(
        self,
        state: FleetState,
        configured: Configured,
        spending: Spending,
        announcing: Announcing,
        shadows: Shadows,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        rng: random.Random,
        new_id: Callable[[], str],
        expire: Callable[[], None],
        instruments: Instruments,
    ) -> None:
        self._state = state
        self._configured = configured
        self._spending = spending
        self._announcing = announcing
        self._shadows = shadows
        self._clock = clock
        self._wall = wall
        self._rng = rng
        self._new_id = new_id
        self._expire = expire
        self._instruments = instruments
        self._turn = 0
        """What ROUND_ROBIN counts from."""

    def route(self, query: RouteQuery) -> Decision:
        """Decides for a caller who makes the call itself; a half-open first candidate comes with its trial's lease.

        Raises NoEligibleTargetError, AllTargetsUnavailableError, UnknownPolicyError, UnknownTargetError,
        InvalidRequestError or NotYetError.
        """
        now = self._clock()
        valid_seconds = self._configured.settings.routing.plan_valid_seconds
        decision = lease_first(
            self._state,
            self._decide(query, now),
            plan_valid_seconds=valid_seconds,
            new_id=self._new_id,
            now=now,
        )
        self._keep(decision, query)
        if not decision.candidates:
            raise self.unavailable(decision, query)
        if self._spending.active:
            self._spending.plan(decision, query, plan_valid_seconds=valid_seconds, now=now)
        return decision

    def for_call(self, query: RouteQuery) -> Decision:
        """Decides for a call that the sidecar makes. Raises as `route` does; leases are taken by `Attempts.begin`."""
        now = self._clock()
        decision = self._decide(query, now)
        self._keep(decision, query)
        self._state.retry_budget.request(now)
        return decision

    def look_ahead(self, query: RouteQuery) -> Decision:
        """Returns what would be decided now; nothing is kept, counted or told. Raises as `decide` does."""
        now, now_wall = self._clock(), self._wall()
        return self._decided(query, now, now_wall, room=self._room(query, now, now_wall), rng=self._rng)

    def for_hop(
        self, query: RouteQuery, first: Decision, hop: Hop, *, call_id: str, under: InForce | None = None
    ) -> Decision:
        """Ranks again for the next attempt of a call; no candidates when there is nowhere left to go. Never raises.

        The history and the caller keep the first decision; this one has the same id. `under` is the configuration that
        the call began with, None for the present one: what could be decided once under it can be again.
        """
        under = under or self._configured.in_force
        now, now_wall = self._clock(), self._wall()
        decision = decide(
            query,
            under.reading,
            under.settings.routing,
            now=now,
            now_wall=now_wall,
            rng=self._rng,
            decision_id=first.decision_id,
            turn=self._turn,
            hop=hop,
            failover=under.settings.failover,
            room=under.room(self._spending.room(query, now=now, now_wall=now_wall, holder=call_id)),
        )
        if decision.spared:
            self._state.spared(decision.spared, now)
        return decision

    def answered_before(self, made: Decision, target: Target, query: RouteQuery, *, age_seconds: float) -> Decision:
        """Returns the decision that goes with an answer kept for `age_seconds`, and keeps it in the history.

        `made` is the one that the answer came of, `target` the one that gave it. Nothing is called and nothing counted
        as chosen. To be asked only while the target is known.
        """
        now, found = self._clock(), self._configured.in_force.find(target)
        assert found is not None
        decision = dataclasses.replace(
            made,
            decision_id=self._new_id(),
            candidates=(kept_candidate(found.spec, found.state.health(now)),),
            rejections=(),
            reason=f"{target} answered an equal request {age_seconds:.0f} s ago; policy {made.policy} keeps answers",
            confidence=1.0,
            decided_at=now,
            decided_at_wall=self._wall(),
            valid_for_seconds=0.0,
            reusable=False,
            probes_wanted=(),
            max_candidates=query.options.max_candidates,
            shadow=None,
        )
        self._state.past.history.add(decision, dataclasses.replace(query, executing=True), cached=True)
        return decision

    def unavailable(self, decision: Decision, query: RouteQuery, *, call_id: str = "") -> TurnoutError:
        """Returns the error for a decision without candidates, and tells of the budget that is used up, if one is."""
        now, now_wall = self._clock(), self._wall()
        room = self._spending.room(query, now=now, now_wall=now_wall, holder=call_id)
        error = unavailable(
            decision,
            now,
            room,
            reserved=None if room is None else self._spending.reserved(query, room.budget, holder=call_id),
            regions=[spec.region for spec in self._state.fleet.specs] if decision.regions else (),
        )
        if isinstance(error, BudgetExhaustedError):
            self._announcing.tell(self._spending.refused(query, error.budget, now=now, now_wall=now_wall))
        elif isinstance(error, AllTargetsUnavailableError):
            self._announcing.tell(self._announcing.troubles.nobody(decision, error.message, now))
        return error

    def _decide(self, query: RouteQuery, now: float) -> Decision:
        self._expire()
        now_wall = self._wall()
        room, rng, shadowing = self._room(query, now, now_wall), self._rng, self._shadows.shadowing
        if shadowing is not None and shadowing.active:
            rng = shadowing.recorded
            rng.begin()
        decision = self._decided(query, now, now_wall, room=room, rng=rng)
        if shadowing is not None and shadowing.active:
            decision = shadowing.watch(decision, query, self._configured.settings, room=room, turn=self._turn, now=now)
        if decision.spared:
            self._state.spared(decision.spared, now)
        if not decision.candidates:
            self._keep(decision, query)
            raise self.unavailable(decision, query)
        if decision.strategy is Strategy.ROUND_ROBIN:
            self._turn += 1
        return decision

    def _decided(
        self, query: RouteQuery, now: float, now_wall: float, *, room: Room | None, rng: random.Random
    ) -> Decision:
        settings = self._configured.settings
        return decide(
            query,
            self._state,
            settings.routing,
            now=now,
            now_wall=now_wall,
            rng=rng,
            decision_id=self._new_id(),
            turn=self._turn,
            failover=settings.failover,
            room=room,
        )

    def _room(self, query: RouteQuery, now: float, now_wall: float) -> Room | None:
        return self._spending.room(query, now=now, now_wall=now_wall) if self._spending.active else None

    def _keep(self, decision: Decision, query: RouteQuery) -> None:
        self._state.past.decided(decision, query)
        self._instruments.decision(decision)
