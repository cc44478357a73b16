"""One attempt of the sidecar's own: takes what it needs before it begins, and records how it ended."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from turnout_server.core.attempt_need import AttemptNeed, attempt_need
from turnout_server.core.model import Caller, RequestProfile, RouteQuery
from turnout_server.core.permits import Permit, Wanted, take_permit

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout_server.core.call import AttemptRecord
    from turnout_server.core.cost_cap import CostCap
    from turnout_server.core.decision import Decision
    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.in_force import Found, InForce
    from turnout_server.core.model import Outcome, Target
    from turnout_server.core.spending import Spending
    from turnout_server.core.state import FleetState
    from turnout_server.ports import Instruments
    from turnout_server.use_cases.announcing import Announcing
    from turnout_server.use_cases.configured import Configured

PROBE_PROFILE = RequestProfile(input_tokens=64, max_output_tokens=1)
"""The most that a trial off every caller's path comes to, vendors' framing included."""


class Attempts:
    """Over one state and what is spent. `clock` is monotonic, `wall` seconds since the epoch; `new_id` makes ids.

    A call is attempts in turn: `begin`, `finish` for each permit, `end_call` when there will be no further one.
    """

    __slots__ = ("_announcing", "_clock", "_configured", "_instruments", "_new_id", "_spending", "_state", "_wall")

    def __init__(
        self,
        state: FleetState,
        configured: Configured,
        spending: Spending,
        announcing: Announcing,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        new_id: Callable[[], str],
        instruments: Instruments,
    ) -> None:
        self._state = state
        self._configured = configured
        self._spending = spending
        self._announcing = announcing
        self._clock = clock
        self._wall = wall
        self._new_id = new_id
        self._instruments = instruments

    def begin(
        self,
        spec: TargetSpec,
        decision: Decision,
        query: RouteQuery,
        *,
        call_id: str,
        lease_seconds: float,
        tried_credentials: frozenset[str] = frozenset(),
        cap: CostCap | None = None,
        under: InForce | None = None,
    ) -> Permit | None:
        """Takes what one attempt needs: the credential, the trial of a half-open target, a place in flight, money.

        `tried_credentials` are labels that already failed in this call; `cap` is what the call may cost, and whoever
        makes the attempt settles it there; `under` is the configuration that it began with, None for the present one.
        Returns None where the target cannot be called now after all; nothing is taken then.
        """
        wanted = Wanted(
            tenant=query.caller.tenant,
            call_id=call_id,
            decision_id=decision.decision_id,
            attempt_id=self._new_id(),
            probe_id=self._new_id(),
            lease_seconds=lease_seconds,
            needed_tokens=decision.input_tokens or 0,
            output_tokens=decision.expected_output_tokens or 1,
            tried_credentials=tried_credentials,
        )
        return self._permit((under or self._configured.in_force).find(spec.target), wanted, query, cap)

    def begin_probe(
        self, target: Target, *, lease_seconds: float, tenant: str = "", trial_only: bool = True
    ) -> Permit | None:
        """Takes the trial of a half-open target for a request of our own, off every caller's path; None if taken.

        `tenant` is the one for whose call it is made: a target may have keys for its tenants only. Without `trial_only`
        a target whose breakers are closed will do as well.
        """
        wanted = Wanted(
            tenant=tenant,
            call_id=self._new_id(),
            decision_id="",
            attempt_id=self._new_id(),
            probe_id=self._new_id(),
            lease_seconds=lease_seconds,
            trial_only=trial_only,
        )
        query = RouteQuery(profile=PROBE_PROFILE, caller=Caller(tenant=tenant))
        return self._permit(self._configured.in_force.find(target), wanted, query)

    def affords(self, target: Target, query: RouteQuery, cap: CostCap, under: InForce | None = None) -> bool:
        """Whether a call's cap leaves enough for another attempt at a target."""
        found = (under or self._configured.in_force).find(target)
        return found is not None and cap.affords(found.spec, query.profile, self._need(found.spec, query))

    def first_token(self, permit: Permit) -> None:
        """Tells that the first content of an attempt has come."""
        self._state.first_token(
            permit.attempt_id, self._clock(), began_at=permit.started_at, credential=permit.credential
        )

    def finish(self, permit: Permit, outcome: Outcome, record: AttemptRecord) -> None:
        """Records how a permitted attempt ended; to be called once for each permit, whatever happened."""
        now, tell = self._clock(), self._announcing.tell
        recorded = self._state.record(outcome, call_id=permit.call_id, now=now, in_flight=True)
        if outcome.failure is not None:
            tell(self._announcing.troubles.failed(outcome, now))
        tell(recorded.events)
        if self._spending.settles:
            cost, now_wall = record.cost_nano_usd, self._wall()
            tell(self._spending.settle(permit.call_id, permit.attempt_id, cost, now=now, now_wall=now_wall))
            if outcome.off_path:
                self._spending.end(permit.call_id)
        self._instruments.attempt(record)

    def end_call(self, call_id: str) -> None:
        """Tells that a call makes no further attempt: what it still holds of budgets is free. May be told twice."""
        self._spending.end(call_id)

    def _permit(
        self, found: Found | None, wanted: Wanted, query: RouteQuery, cap: CostCap | None = None
    ) -> Permit | None:
        if found is None:
            return None
        if cap is None:
            return self._paid_permit(found, wanted, query)
        need = self._need(found.spec, query)
        claim = cap.claim(found.spec, query.profile, need, wanted.attempt_id)
        if claim is None:
            return None
        permit = self._paid_permit(found, wanted, query, at_most=claim.output_tokens)
        if permit is None:
            cap.release(wanted.attempt_id)
        return permit

    def _paid_permit(
        self, found: Found, wanted: Wanted, query: RouteQuery, *, at_most: int | None = None
    ) -> Permit | None:
        """Takes a permit where budgets leave enough for it; `at_most` is the output limit of the call's cap."""
        now, now_wall = self._clock(), self._wall()
        if not self._spending.active:
            permit = take_permit(self._state, found, wanted, now=now, now_wall=now_wall)
            if permit is None or at_most is None:
                return permit
            return dataclasses.replace(permit, max_output_tokens=at_most)
        holder, attempt_id = wanted.call_id, wanted.attempt_id
        claim = self._spending.reserve(
            found.spec, query, holder=holder, attempt_id=attempt_id, now=now, now_wall=now_wall, at_most=at_most
        )
        if claim is None:
            return None
        permit = take_permit(self._state, found, wanted, now=now, now_wall=now_wall)
        if permit is None:
            self._spending.release(holder, attempt_id, now_wall)
            if not wanted.decision_id:
                self._spending.end(holder)
            return None
        return dataclasses.replace(permit, max_output_tokens=claim.output_tokens)

    def _need(self, spec: TargetSpec, query: RouteQuery) -> AttemptNeed:
        return attempt_need(spec, query.profile, self._state.token_ratios, self._state.lengths)
