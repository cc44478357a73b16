"""What is remembered of decisions and their outcomes for those who look back; no decision depends on it.

Arrow line: decision or outcome -> history (each one, for a while), chronicle (sums, for a day), accuracy of estimates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.accuracy import Accuracies
from turnout_server.core.candidates import Candidates, first_score, first_spec
from turnout_server.core.chronicle import Chronicle, Heading
from turnout_server.core.daily_costs import DailyCosts
from turnout_server.core.history import History

if TYPE_CHECKING:
    from turnout_server.core.decision import Decision
    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.history import DecisionRecord
    from turnout_server.core.model import Outcome, RouteQuery, Target
    from turnout_server.core.tokens import OutputLengths

CHRONICLE_SHARE = 0.25
"""The part of `history.max_mib` that is for sums; the rest is for single decisions."""
COSTS_SHARE = 0.125
"""The part of that which is for what days cost."""


class Past:
    """History, chronicle, costs and accuracy, within `max_bytes` together; the accuracy takes next to nothing."""

    __slots__ = ("accuracies", "chronicle", "costs", "history")

    def __init__(self, max_bytes: int, *, now: float) -> None:
        sums = int(max_bytes * CHRONICLE_SHARE)
        self.history = History(max_bytes - sums)
        costs = int(sums * COSTS_SHARE)
        self.costs = DailyCosts(costs)
        self.chronicle = Chronicle(sums - costs, started_at=now, left=self.costs.add)
        self.accuracies = Accuracies()

    def bound(self, max_bytes: int) -> None:
        """Takes another bound; what is beyond it is dropped now."""
        sums = int(max_bytes * CHRONICLE_SHARE)
        self.history.bound(max_bytes - sums)
        costs = int(sums * COSTS_SHARE)
        self.chronicle.bound(sums - costs)
        self.costs.bound(costs)

    def decided(self, decision: Decision, query: RouteQuery) -> None:
        """Keeps a decision."""
        self.history.add(decision, query)
        first = first_spec(decision.candidates)
        caller = query.caller
        self.chronicle.decided(
            Heading(None if first is None else first.target, decision.task, caller.tier, caller.tenant),
            score=first_score(decision.candidates),
            confidence=decision.confidence,
            now=decision.decided_at,
        )

    def ended(self, outcome: Outcome, now: float) -> float | None:
        """Keeps how an attempt ended; returns a judgement of it that came before, None for none."""
        record = self.history.get(outcome.decision_id)
        heading = _heading(outcome, record)
        if record is not None:
            left = _left(record, outcome)
            if left is not None:
                self.chronicle.moved(heading._replace(target=left), now)
        self.chronicle.ended(heading, outcome, now)
        quality = self.history.attempt(outcome)
        if quality is not None:
            self.chronicle.judged(heading, quality, now)
        return quality

    def judged(self, outcome: Outcome, quality: float, now: float) -> None:
        """Takes a judgement of an attempt in the history, 0 to 1."""
        self.chronicle.judged(_heading(outcome, self.history.get(outcome.decision_id)), quality, now)

    def compare_estimates(self, outcome: Outcome, index: int, spec: TargetSpec, lengths: OutputLengths) -> None:
        """Compares what was expected of a complete answer with what it came to, before anything is learned from it.

        `index` is the target's place in the fleet.
        """
        record = self.history.get(outcome.decision_id)
        candidates = () if record is None else record.decision.candidates
        expected = candidates.expected(index, spec.target) if isinstance(candidates, Candidates) else None
        self.accuracies.observe(spec, outcome, expected, lengths)

    def clear(self, before_wall: float | None, before: float | None) -> int:
        """Forgets decisions made before a moment, given by both clocks, all without one; returns how many."""
        self.chronicle.clear(before)
        self.costs.clear(before_wall)
        return self.history.clear(before_wall)


def _heading(outcome: Outcome, record: DecisionRecord | None) -> Heading:
    """What stood in the request is known best by its decision: a report need not repeat it."""
    if record is None:
        return Heading(outcome.target, outcome.task, outcome.caller.tier, outcome.caller.tenant)
    return Heading(outcome.target, record.decision.task, record.caller.tier, record.caller.tenant)


def _left(record: DecisionRecord, outcome: Outcome) -> Target | None:
    """Returns the target that a call was moved away from with this attempt, None where it was not.

    A call of ours is moved once, however many targets it goes to; a plan may be used for many calls. A hedge moves
    nothing: it is made beside an attempt that goes on.
    """
    made = [attempt.outcome for attempt in record.attempts if not attempt.outcome.hedge]
    if not made or outcome.hedge:
        return None
    before = made[-1]
    if before.ok or before.target == outcome.target:
        return None
    moved_before = record.executing and any(one.target != before.target for one in made)
    return None if moved_before else before.target
