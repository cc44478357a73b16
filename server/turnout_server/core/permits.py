"""Leave to use a target once: the key, the place in flight, and the one trial where it is half-open.

A decision only looks; what it found may be gone when somebody acts on it. So everything is checked again here, and
either all of it is taken or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from turnout_server.core.candidates import first_is_trial
from turnout_server.core.decision import Decision, Rejection
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import BreakerState, RejectionReason
from turnout_server.core.target_state import GONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout_server.core.in_force import Found
    from turnout_server.core.state import FleetState, TargetState

TRIAL_TAKEN = "half-open: its one trial is taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Leave to call one target once: counted as in flight until it is finished. `credential` is a label."""

    spec: TargetSpec
    call_id: str
    decision_id: str
    attempt_id: str
    credential: str
    probe_id: str
    started_at: float
    started_at_wall: float
    max_output_tokens: int | None = None
    """The longest answer that what is reserved for it pays for; None where no budget or cap limits it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Who wants a permit, and under which ids.

    `needed_tokens` is what the request takes from a token bucket, 0 for unknown; `output_tokens` is how long the answer
    should be. `tried_credentials` are labels that already failed in this call. `trial_only`: nothing but the trial of a
    half-open target will do. `probe_id` is used where there is a trial to lease, for `lease_seconds`.
    """

    tenant: str
    call_id: str
    decision_id: str
    attempt_id: str
    probe_id: str
    lease_seconds: float
    needed_tokens: int = 0
    output_tokens: int = 1
    tried_credentials: frozenset[str] = frozenset()
    trial_only: bool = False


def take_permit(state: FleetState, found: Found, wanted: Wanted, *, now: float, now_wall: float) -> Permit | None:
    """Takes what one attempt needs; None where the target cannot be called now after all, and then nothing is taken."""
    target, spec = found
    if target.drained or not target.has_room():
        return None
    # Who began under a configuration from before may call what is not in the fleet any more; a drain is of the name.
    if target.index == GONE and state.drains.hold(spec.target):
        return None
    credential = state.credentials.next_credential(
        spec, wanted.tried_credentials, tenant=wanted.tenant, now=now, needed_tokens=wanted.needed_tokens
    )
    if credential is None:
        return None
    probe_id = ""
    if not breakers_closed(target, now):
        expected_seconds = target.latency.predict(wanted.needed_tokens, wanted.output_tokens, now)
        probe = state.lease_probe(
            target,
            now=now,
            lease_seconds=wanted.lease_seconds,
            probe_id=wanted.probe_id,
            expected_seconds=expected_seconds,
        )
        if probe is None:
            return None
        probe_id = probe.probe_id
    elif wanted.trial_only:
        return None
    state.attempt_started(target, credential=credential, call_id=wanted.call_id, attempt_id=wanted.attempt_id, now=now)
    return Permit(
        spec=spec,
        call_id=wanted.call_id,
        decision_id=wanted.decision_id,
        attempt_id=wanted.attempt_id,
        credential=credential,
        probe_id=probe_id,
        started_at=now,
        started_at_wall=now_wall,
    )


def lease_first(
    state: FleetState, decision: Decision, *, plan_valid_seconds: float, new_id: Callable[[], str], now: float
) -> Decision:
    """Returns a plan with the trial of a half-open first candidate leased, for as long as plan and attempt may last.

    Where somebody else has the trial after all, that candidate becomes a rejection. Half-open candidates that are not
    first are in no plan: whoever would choose them first gets their trial.
    """
    if not first_is_trial(decision.candidates):
        return decision
    first = decision.candidates[0]
    index = state.fleet.index(first.target)
    if index is None:
        return decision
    seconds = plan_valid_seconds + first.attempt_timeout_seconds
    probe = state.lease_probe(
        state.targets[index],
        now=now,
        lease_seconds=seconds,
        probe_id=new_id(),
        expected_seconds=first.expected_latency_seconds,
    )
    if probe is not None:
        leased = first._replace(probe=probe)
        return replace(decision, candidates=(leased, *decision.candidates[1:]), reusable=False)
    taken = Rejection(first.target, (RejectionReason.BREAKER_OPEN,), TRIAL_TAKEN, now)
    return replace(decision, candidates=decision.candidates[1:], rejections=(*decision.rejections, taken))


def breakers_closed(target: TargetState, now: float) -> bool:
    """Whether the breakers of a target and of its endpoint are closed."""
    return target.breaker.state(now) is target.endpoint.state(now) is BreakerState.CLOSED
