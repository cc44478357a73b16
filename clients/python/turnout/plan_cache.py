"""Plans that may be used again without asking the sidecar: pure, with time and chance as arguments.

What a plan may serve, how long it is kept and what drops it is decision 58, the same in every language.
"""

from __future__ import annotations

import hashlib
import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from turnout.answer import target_name
from turnout.v1 import router_pb2 as pb

MAX_PLAN_COUNT = 256

Tokens = tuple[int | None, int | None]
"""Input and output tokens as a request states them; None where it does not."""


def plan_key(request: pb.RouteRequest) -> bytes:
    """Returns what requests have in common that one plan can serve: everything but request id and tokens.

    It is a digest: a text hint may have a megabyte.
    """
    common = pb.RouteRequest()
    common.CopyFrom(request)
    common.ClearField("request_id")
    if common.HasField("profile"):
        common.profile.ClearField("input_tokens")
        common.profile.ClearField("max_output_tokens")
    return hashlib.sha256(common.SerializeToString(deterministic=True)).digest()


def tokens_of(request: pb.RouteRequest) -> Tokens:
    """Returns the tokens that a request states."""
    profile = request.profile
    return (
        profile.input_tokens if profile.HasField("input_tokens") else None,
        profile.max_output_tokens if profile.HasField("max_output_tokens") else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPlan:
    """A plan as it is kept: `ends_at` is on the clock of `now`, `shares` sum up to 1 or are empty."""

    decision: pb.Decision
    candidates: tuple[pb.Candidate, ...]
    targets: frozenset[str]
    shares: tuple[float, ...]
    tokens: Tokens
    ends_at: float

    def serves(self, tokens: Tokens) -> bool:
        """Tells whether a request of so many tokens is no larger than the one that the plan was made for."""
        return no_more_tokens(tokens, self.tokens)


class PlanCache:
    """At most so many plans, one for each key; the one least recently used goes."""

    def __init__(self, rng: random.Random, max_count: int = MAX_PLAN_COUNT) -> None:
        self._rng = rng
        self._max_count = max_count
        self._plans: OrderedDict[bytes, KeptPlan] = OrderedDict()

    def __len__(self) -> int:
        return len(self._plans)

    def keep(self, key: bytes, tokens: Tokens, decision: pb.Decision, sent_at: float) -> None:
        """Keeps the answer to a request that was sent at a time; what may not be used again takes no place."""
        self._plans.pop(key, None)
        if not may_serve_again(decision):
            return
        candidates = tuple(decision.candidates)
        self._plans[key] = KeptPlan(
            decision=decision,
            candidates=candidates,
            targets=frozenset(target_name(candidate.target) for candidate in candidates),
            shares=_shares(candidates),
            tokens=tokens,
            ends_at=sent_at + _valid_seconds(decision),
        )
        if len(self._plans) > self._max_count:
            self._plans.popitem(last=False)

    def find(self, key: bytes, tokens: Tokens, now: float) -> tuple[pb.Decision, tuple[pb.Candidate, ...]] | None:
        """Returns a decision that serves the request and its candidates in the order for this use; None for none.

        The first is drawn by the shares, so that holders of a plan do not all run to one target.
        """
        plan = self._plans.get(key)
        if plan is None:
            return None
        if now >= plan.ends_at:
            del self._plans[key]
            return None
        if not plan.serves(tokens):
            return None
        self._plans.move_to_end(key)
        return plan.decision, self._drawn(plan)

    def drop(self, target: str) -> None:
        """Drops every plan in which a target is a candidate."""
        for key in [key for key, plan in self._plans.items() if target in plan.targets]:
            del self._plans[key]

    def _drawn(self, plan: KeptPlan) -> tuple[pb.Candidate, ...]:
        candidates = plan.candidates
        if not plan.shares:
            return candidates
        point = self._rng.random()
        for place, share in enumerate(plan.shares):
            point -= share
            if point < 0 and share > 0:
                return candidates if place == 0 else (candidates[place], *candidates[:place], *candidates[place + 1 :])
        # What rounding left over is the first's.
        return candidates


def may_serve_again(decision: pb.Decision) -> bool:
    """Tells whether the sidecar lets a decision serve further requests."""
    return decision.reusable and _valid_seconds(decision) > 0 and len(decision.candidates) > 0


def _valid_seconds(decision: pb.Decision) -> float:
    return decision.valid_for.seconds + decision.valid_for.nanos / 1e9


def _shares(candidates: Sequence[pb.Candidate]) -> tuple[float, ...]:
    """Scales the shares of those listed to 1; empty where nobody has one: then the order stands."""
    shares = [max(0.0, candidate.share) for candidate in candidates]
    total = sum(shares)
    return tuple(share / total for share in shares) if total > 0 else ()


def no_more_tokens(mine: Tokens, plans: Tokens) -> bool:
    """Tells whether a plan made for so many tokens serves a request of mine: unknown only where that was unknown."""
    return _no_more(mine[0], plans[0]) and _no_more(mine[1], plans[1])


def _no_more(mine: int | None, plans: int | None) -> bool:
    if mine is None or plans is None:
        return mine is plans
    return mine <= plans
