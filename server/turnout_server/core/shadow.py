"""What another policy would have decided, of exactly what the decision that counts has read, and without acting.

A shadow reserves nothing, leases no trial, keeps no key, takes no turn, tells no event, counts nobody as spared and
teaches nothing. It reads a `Moment`, draws what was drawn (`chance`), and is made when nobody waits for it. So two
equal policies always agree, and a difference is one of the policies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from turnout_server.core.comparison import Choice, Comparison, Shadow
from turnout_server.core.decide import decide
from turnout_server.core.errors import TurnoutError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout_server.core.budget_ledger import Room
    from turnout_server.core.chance import Replayed
    from turnout_server.core.decision import Decision
    from turnout_server.core.model import RouteQuery
    from turnout_server.core.moment import Moment
    from turnout_server.core.settings import Settings

NOBODY = Choice()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A decision that its policy's shadow has yet to be asked about, with all that it was made of.

    `query` holds nothing of the request's content (`without_content`). `drawn` is what chance gave the decision, `turn`
    what the shadow's ROUND_ROBIN counts from.
    """

    decision: Decision
    shadow: Shadow
    query: RouteQuery
    moment: Moment
    settings: Settings
    room: Room | None
    drawn: Sequence[float]
    turn: int


def without_content(query: RouteQuery, decision: Decision) -> RouteQuery:
    """Returns a request as it can be held: what was made of its text stands in the place of the text."""
    profile = query.profile
    if not profile.text_hint or (profile.input_tokens is None and profile.input_bytes is None):
        return query
    return replace(query, profile=replace(profile, text_hint="", complexity=decision.complexity))


def decide_beside(watched: Watched, rng: Replayed) -> tuple[Comparison, str]:
    """Returns what the shadow would have chosen beside what was chosen, and its reason in one sentence.

    Where the shadow refuses the request as it was asked (its regions and the request's have none in common, say), it
    chooses nobody and the reason is the error's.
    """
    made, policy = watched.decision, watched.shadow.policy
    rng.begin(watched.drawn)
    try:
        decision = decide(
            watched.query,
            watched.moment,
            watched.settings.routing,
            now=made.decided_at,
            now_wall=made.decided_at_wall,
            rng=rng,
            decision_id=made.decision_id,
            turn=watched.turn,
            failover=watched.settings.failover,
            room=watched.room,
            as_policy=policy,
        )
    except TurnoutError as error:
        chosen, reason = NOBODY, str(error)
    else:
        chosen, reason = choice(decision), decision.reason
    return Comparison(policy=made.policy, shadow_policy=policy, chosen=choice(made), shadow_chosen=chosen), reason


def choice(decision: Decision) -> Choice:
    """Returns what a decision chose first."""
    if not decision.candidates:
        return NOBODY
    first = decision.candidates[0]
    return Choice(
        target=first.target,
        score=first.score,
        cost_nano_usd=first.expected_cost_nano_usd,
        latency_seconds=first.expected_latency_seconds,
    )
