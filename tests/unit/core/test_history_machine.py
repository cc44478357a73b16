"""The history against a plain list of what was decided and done: whatever happens in whatever order."""

from __future__ import annotations

import dataclasses

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.unit.core.fleets import NOW, SetFleet, decided, spec
from turnout_server.core.history import ATTEMPTS_MAXIMUM, DecisionFilter, DecisionResult, History
from turnout_server.core.model import Caller, FailureKind, Feedback, Outcome, RequestProfile, RouteQuery, Target

TARGETS = (Target("a", "m"), Target("b", "m"))
DECISION = decided(SetFleet(spec("a/m"), spec("b/m")), profile=RequestProfile(input_tokens=10))
NUMBERS = st.integers(0, 12)
WORDS = st.sampled_from(["", "chat", "plan"])
FILTERS = st.builds(
    DecisionFilter,
    target=st.none() | st.sampled_from(TARGETS),
    task=WORDS,
    tenant=WORDS,
    result=st.none() | st.sampled_from(DecisionResult),
)


@dataclasses.dataclass
class Known:
    """One decision as the model has it."""

    decision_id: str
    wall: float
    task: str
    tenant: str
    attempts: dict[str, Target] = dataclasses.field(default_factory=dict)
    succeeded: bool = False
    judged: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def result(self) -> DecisionResult:
        if self.succeeded:
            return DecisionResult.OK
        return DecisionResult.FAILED if self.attempts else DecisionResult.UNKNOWN

    def fits(self, wanted: DecisionFilter) -> bool:
        targets = list(self.attempts.values()) or [DECISION.candidates[0].target]
        return (
            (wanted.target is None or wanted.target in targets)
            and wanted.task in ("", self.task)
            and wanted.tenant in ("", self.tenant)
            and wanted.result in (None, self.result)
            and (wanted.from_wall is None or self.wall >= wanted.from_wall)
            and (wanted.until_wall is None or self.wall < wanted.until_wall)
        )


class HistoryMachine(RuleBasedStateMachine):
    """Oldest first in `known`; what the history pushed out is taken out of the model from its old end."""

    def __init__(self) -> None:
        super().__init__()
        self.max_bytes = 60_000
        self.history = History(self.max_bytes)
        self.known: dict[str, Known] = {}
        self.made: set[str] = set()
        self.wall = 1.7e9
        self.number = 0

    def _follow(self) -> None:
        """Only the oldest may have gone."""
        while self.known and self.history.get(next(iter(self.known))) is None:
            del self.known[next(iter(self.known))]

    @rule(number=NUMBERS, task=WORDS, tenant=WORDS, seconds=st.integers(0, 5), length=st.integers(0, 3000))
    def decide(self, number: int, task: str, tenant: str, seconds: int, length: int) -> None:
        self.wall += seconds
        decision = dataclasses.replace(DECISION, decision_id=f"d{number}", task=task, decided_at_wall=self.wall)
        query = RouteQuery(caller=Caller(tenant=tenant), request_id="r" * length)
        self.history.add(decision, query)
        self.known.pop(f"d{number}", None)
        self.known[f"d{number}"] = Known(f"d{number}", self.wall, task, tenant)
        self.made.add(f"d{number}")
        self._follow()

    @rule(number=NUMBERS, where=st.sampled_from(TARGETS), ok=st.booleans(), length=st.integers(0, 3000))
    def attempt(self, number: int, where: Target, ok: bool, length: int) -> None:  # noqa: FBT001
        self.number += 1
        attempt_id = f"attempt {self.number % 200}"
        known = self.known.get(f"d{number}")
        if known is not None and attempt_id in known.attempts:
            return
        failure = None if ok else FailureKind.TIMEOUT
        outcome = Outcome(
            target=where, failure=failure, decision_id=f"d{number}", attempt_id=attempt_id, detail="x" * length
        )
        quality = self.history.attempt(outcome)

        assert quality == (None if known is None else known.judged.get(attempt_id))

        if known is not None and len(known.attempts) < ATTEMPTS_MAXIMUM:
            known.attempts[attempt_id] = where
            known.succeeded |= ok
        self._follow()

    @rule(number=NUMBERS, ahead=st.integers(-3, 3), quality=st.floats(0.0, 1.0))
    def judge(self, number: int, ahead: int, quality: float) -> None:
        attempt_id = f"attempt {(self.number + ahead) % 200}"
        known = self.known.get(f"d{number}")
        first = self.history.judged(Feedback(decision_id=f"d{number}", attempt_id=attempt_id, quality=quality))

        assert first == (None if known is None else attempt_id not in known.judged)

        if known is not None:
            known.judged.setdefault(attempt_id, quality)

    @rule(max_bytes=st.sampled_from([0, 15_000, 60_000]))
    def bound(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.history.bound(max_bytes)
        self._follow()

    @rule(seconds=st.none() | st.integers(0, 10))
    def clear(self, seconds: int | None) -> None:
        before = None if seconds is None else self.wall - seconds
        gone = [known for known in self.known.values() if before is None or known.wall < before]

        assert self.history.clear(before) == len(gone)

        for known in gone:
            del self.known[known.decision_id]

    @rule(wanted=FILTERS, back=st.none() | st.integers(0, 20), page_size=st.integers(1, 4))
    def pages_hold_what_fits_newest_first(self, wanted: DecisionFilter, back: int | None, page_size: int) -> None:
        if back is not None:
            wanted = dataclasses.replace(wanted, from_wall=self.wall - back)
        found: list[str] = []
        token = ""
        while True:
            page = self.history.page(wanted, page_size=page_size, page_token=token)
            found += [record.decision.decision_id for record in page.records]
            token = page.next_page_token

            assert len(page.records) <= page_size

            if not token:
                break

        assert found == [known.decision_id for known in reversed(self.known.values()) if known.fits(wanted)]

    @invariant()
    def bytes_are_bounded_and_add_up(self) -> None:
        entries = self.history._entries.values()

        assert self.history.size_bytes == sum(entry.size for entry in entries) <= self.max_bytes

    @invariant()
    def every_decision_has_its_attempts_and_judgements(self) -> None:
        assert list(self.known) == list(self.history._entries)

        for known in self.known.values():
            record = self.history.get(known.decision_id)

            assert record is not None
            assert record.result is known.result
            assert [a.outcome.attempt_id for a in record.attempts] == list(known.attempts)
            assert [a.quality for a in record.attempts] == [known.judged.get(name) for name in known.attempts]

    @invariant()
    def ids_outlive_decisions(self) -> None:
        assert all(self.history.made(decision_id, NOW + 1.0) for decision_id in self.made)


TestHistoryMachine = HistoryMachine.TestCase
TestHistoryMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
