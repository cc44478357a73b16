"""What callers report of the calls that they made themselves: how attempts ended, and what answers were worth."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnout_server.core.call import AttemptRecord
from turnout_server.core.cost import settled_cost_nano_usd
from turnout_server.core.recorded import Recorded, RecordResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.model import Feedback, Outcome
    from turnout_server.core.spending import Spending
    from turnout_server.core.state import FleetState
    from turnout_server.ports import Instruments
    from turnout_server.use_cases.announcing import Announcing
    from turnout_server.use_cases.configured import Configured


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportResults:
    """What became of each report, in the order given."""

    outcomes: tuple[Recorded, ...]
    feedback: tuple[Recorded, ...]


class Reports:
    """Over one state and what is spent. `clock` is monotonic, `wall` seconds since the epoch."""

    __slots__ = ("_announcing", "_clock", "_configured", "_instruments", "_spending", "_state", "_wall")

    def __init__(
        self,
        state: FleetState,
        configured: Configured,
        spending: Spending,
        announcing: Announcing,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        instruments: Instruments,
    ) -> None:
        self._state = state
        self._configured = configured
        self._spending = spending
        self._announcing = announcing
        self._clock = clock
        self._wall = wall
        self._instruments = instruments

    def take(self, outcomes: Sequence[Outcome], feedback: Sequence[Feedback]) -> ReportResults:
        """Records what callers did themselves; each report is accepted, a duplicate, or rejected with the reason."""
        now = self._clock()
        return ReportResults(
            outcomes=tuple(self._reported(outcome, now) for outcome in outcomes),
            feedback=tuple(self._state.feedback(judgement, now) for judgement in feedback),
        )

    def _reported(self, outcome: Outcome, now: float) -> Recorded:
        spec = self._spec(outcome)
        if spec is not None and (outcome.cost_nano_usd is None or spec.region):
            cost = outcome.cost_nano_usd
            if cost is None:
                cost = settled_cost_nano_usd(None, outcome.usage, spec.price) if outcome.possibly_billed else 0
            outcome = dataclasses.replace(outcome, cost_nano_usd=cost, region=spec.region)
        recorded = self._state.record(outcome, call_id=outcome.attempt_id, now=now, in_flight=False)
        tell = self._announcing.tell
        if outcome.failure is not None and recorded.result is RecordResult.ACCEPTED:
            tell(self._announcing.troubles.failed(outcome, now))
        tell(recorded.events)
        self._instruments.outcome(recorded.result.value.lower())
        if recorded.result is RecordResult.ACCEPTED:
            if self._spending.settles:
                tell(self._spending.report(outcome, now=now, now_wall=self._wall()))
            self._instruments.attempt(_record_of(outcome, self._wall()))
        return recorded

    def _spec(self, outcome: Outcome) -> TargetSpec | None:
        """Returns the facts of a target that a caller tells of; of one that was removed, those of its decision."""
        fleet = self._configured.fleet
        index = fleet.index(outcome.target)
        if index is not None:
            return fleet.specs[index]
        record = self._state.history.get(outcome.decision_id)
        candidates = () if record is None else record.decision.candidates
        return next((each.spec for each in candidates if each.target == outcome.target), None)


def _record_of(outcome: Outcome, now_wall: float) -> AttemptRecord:
    """A caller's own attempt, as those that are made here are told of."""
    finished_at = now_wall if outcome.finished_at_wall is None else outcome.finished_at_wall
    return AttemptRecord(
        target=outcome.target,
        attempt_id=outcome.attempt_id,
        started_at_wall=finished_at - (outcome.latency_seconds or 0.0),
        credential=outcome.credential,
        failure=outcome.failure,
        http_status=outcome.http_status,
        latency_seconds=outcome.latency_seconds,
        time_to_first_token_seconds=outcome.time_to_first_token_seconds,
        usage=outcome.usage,
        cost_nano_usd=outcome.cost_nano_usd,
        possibly_billed=outcome.possibly_billed,
        retry_reason=outcome.retry_reason,
        region=outcome.region,
        streamed=outcome.streamed,
    )
