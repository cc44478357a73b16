"""The last plan of each kind of request, however old: what is left to go by while the sidecar is away."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from turnout.plan_cache import MAX_PLAN_COUNT, may_serve_again
from turnout.targets import allowed
from turnout.v1 import router_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class LastPlan:
    """A plan and when it was made, on the clock of `now`; `same` says that it was made for an equal request."""

    decision: pb.Decision
    candidates: tuple[pb.Candidate, ...]
    made_at: float
    task: str
    tenant: str
    same: bool = True


class LastPlans:
    """At most so many plans, one for each key; the one longest without an answer goes."""

    def __init__(self, max_count: int = MAX_PLAN_COUNT) -> None:
        self._max_count = max_count
        self._plans: OrderedDict[bytes, LastPlan] = OrderedDict()

    def __len__(self) -> int:
        return len(self._plans)

    def keep(self, key: bytes, request: pb.RouteRequest, decision: pb.Decision, now: float) -> None:
        """Keeps an answer. The ids of trials are left out: a trial is leased once, and for seconds."""
        if not decision.candidates:
            return
        if any(candidate.HasField("probe") for candidate in decision.candidates):
            original, decision = decision, pb.Decision()
            decision.CopyFrom(original)
            for candidate in decision.candidates:
                candidate.ClearField("probe")
        self._plans[key] = LastPlan(
            decision=decision,
            candidates=tuple(decision.candidates),
            made_at=now,
            task=request.profile.task,
            tenant=request.caller.tenant,
        )
        self._plans.move_to_end(key)
        if len(self._plans) > self._max_count:
            self._plans.popitem(last=False)

    def served_once(self, key: bytes) -> bool:
        """Tells whether the last answer to such a request was for its asker alone."""
        plan = self._plans.get(key)
        return plan is not None and not may_serve_again(plan.decision)

    def find(self, key: bytes, request: pb.RouteRequest) -> LastPlan | None:
        """Returns the last plan for an equal request, else the newest for the same task and tenant; None for none.

        Another request's plan was not made under this one's limits: what names and regions rule out is left out of it.
        """
        plan = self._plans.get(key)
        if plan is not None:
            return plan
        for other in reversed(self._plans.values()):
            if other.task != request.profile.task or other.tenant != request.caller.tenant:
                continue
            candidates = allowed(other.candidates, request.options)
            if candidates:
                return LastPlan(
                    decision=other.decision,
                    candidates=candidates,
                    made_at=other.made_at,
                    task=other.task,
                    tenant=other.tenant,
                    same=False,
                )
        return None
