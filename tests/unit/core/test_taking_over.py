"""A state taken over by a sidecar that runs: what it knows itself is never lost, and spending never falls."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.budgets import NOW_WALL, budget
from turnout_server.core.fleet import Fleet, TargetSpec
from turnout_server.core.keeping import Aged, Memory
from turnout_server.core.kept import Since
from turnout_server.core.model import FailureKind, Outcome, Target
from turnout_server.core.settings import Settings
from turnout_server.core.spending import Spending
from turnout_server.core.state import FleetState
from turnout_server.core.status_report import Steps, finished
from turnout_server.core.taking_over import WARNINGS_MAXIMUM, TakenOver, received, take_over

NOW = 1000.0
UNKNOWN = 0.996
"""The availability of a target that nobody has called."""


class Sidecar:
    """State and spending of one, with targets of one model each at providers of these names."""

    def __init__(self, *names: str, budgets: tuple[str, ...] = ()) -> None:
        targets = (Target(name, "m") for name in names)
        specs = (
            TargetSpec(target=each, name=str(each), wire="openai", base_url="https://a.example") for each in targets
        )
        self.state = FleetState(Fleet(tuple(specs)), Settings(), now=NOW, rng=random.Random(1))
        self.spending = Spending(tuple(budget(name) for name in budgets), self.state, NOW_WALL)

    def tell(self, name: str, count: int = 1, *, failed: bool = False, task: str = "") -> None:
        for number in range(count):
            outcome = Outcome(
                target=Target(name, "m"),
                attempt_id=f"{name}-{number}-{failed}",
                failure=FailureKind.SERVER_ERROR if failed else None,
                latency_seconds=2.0,
                task=task,
            )
            self.state.record(outcome, call_id=str(number), now=NOW, in_flight=False)

    def lines(self) -> list[Aged]:
        return [Aged(line, Since(NOW, 0.0)) for line in Memory(self.state, self.spending).kept(NOW, NOW_WALL)]

    def take(self, other: Sidecar) -> TakenOver:
        document = received(other.lines(), self.state.fleet, Settings(), now=NOW, now_wall=NOW_WALL)
        return finished(take_over(self.state, self.spending, document, now=NOW, now_wall=NOW_WALL))

    def availability(self) -> list[float]:
        return [target.availability.value(NOW) for target in self.state.targets]


def noted(steps: Steps[TakenOver], pauses: list[None]) -> Steps[TakenOver]:
    """The same steps; each pause is noted."""
    while True:
        try:
            pauses.append(next(steps))
        except StopIteration as end:
            taken: TakenOver = end.value
            return taken
        yield


def test_only_targets_that_were_not_called_here_are_taken_over() -> None:
    other, here = Sidecar("a", "b"), Sidecar("a", "b")
    other.tell("a", 5, failed=True)
    other.tell("b", 5, failed=True)
    here.tell("b")
    own = here.availability()
    taken = here.take(other)

    assert taken.targets == [Target("a", "m")]
    assert here.availability() == [other.availability()[0], own[1]]
    assert taken.warnings[0] == "b/m: it was called here, and what is known of it here is newer"


def test_a_target_with_a_call_under_way_is_left_alone() -> None:
    other, here = Sidecar("a"), Sidecar("a")
    other.tell("a", 5, failed=True)
    here.state.targets[0].in_flight += 1

    assert here.take(other).targets == []


def test_warnings_are_bounded() -> None:
    other = Sidecar(*(f"p{number}" for number in range(3 * WARNINGS_MAXIMUM)))
    taken = Sidecar("a").take(other)

    assert len(taken.warnings) == WARNINGS_MAXIMUM
    assert taken.warnings[-1] == f"and {2 * WARNINGS_MAXIMUM + 1} more"


@given(
    theirs=st.dictionaries(st.sampled_from(("", "x", "y")), st.integers(1, 500)),
    ours=st.dictionaries(st.sampled_from(("", "x", "z")), st.integers(1, 500)),
    times=st.integers(1, 3),
)
def test_of_each_account_the_larger_sum_counts_however_often(
    theirs: dict[str, int], ours: dict[str, int], times: int
) -> None:
    other, here = Sidecar(budgets=("b",)), Sidecar(budgets=("b",))
    for sidecar, sums in ((other, theirs), (here, ours)):
        (book,) = sidecar.spending.ledger.books
        for key, amount in sums.items():
            book.spend(book.open(key), amount)
    for _ in range(times):
        assert here.take(other).budgets == ["b"]
    found = {account.key: account.spent for account in here.spending.budget("b", NOW_WALL).accounts}

    assert found == {key: max(theirs.get(key, 0), ours.get(key, 0)) for key in {*theirs, *ours}}


def test_calls_come_between_and_a_target_that_one_of_them_went_to_is_left_alone() -> None:
    names = [f"p{number}" for number in range(400)]
    other, here = Sidecar(*names, budgets=("b",)), Sidecar(*names, budgets=("b",))
    for name in names:
        other.tell(name, 3, failed=True)
    (book,) = other.spending.ledger.books
    for number in range(5000):
        book.spend(book.open(f"key {number}"), 1)
    document = received(other.lines(), here.state.fleet, Settings(), now=NOW, now_wall=NOW_WALL)
    steps = take_over(here.state, here.spending, document, now=NOW, now_wall=NOW_WALL)
    next(steps)
    next(steps)
    here.tell(names[-1])
    own = here.availability()[-1]
    pauses: list[None] = []
    taken = finished(noted(steps, pauses))

    assert len(pauses) >= 38 + 5
    assert len(taken.targets) == 399
    assert here.availability() == [*other.availability()[:-1], own]
    assert here.spending.budget("b", NOW_WALL).account_count == 5000


def test_a_fleet_that_comes_in_the_middle_is_the_one_that_counts() -> None:
    names = [f"p{number}" for number in range(40)]
    other, here = Sidecar(*names), Sidecar(*names)
    for name in names:
        other.tell(name, 3, failed=True)
    document = received(other.lines(), here.state.fleet, Settings(), now=NOW, now_wall=NOW_WALL)
    steps = take_over(here.state, here.spending, document, now=NOW, now_wall=NOW_WALL)
    for _ in range(2):
        next(steps)
    here.state.adopt(Sidecar(*names[:20], "new").state.fleet, Settings())
    taken = finished(steps)

    assert {target.provider for target in taken.targets} == set(names[:20])
    assert here.availability() == [*other.availability()[:20], UNKNOWN]


def test_what_was_spent_elsewhere_is_kept_like_what_was_spent_here() -> None:
    other, here = Sidecar(budgets=("b",)), Sidecar(budgets=("b",))
    (book,) = other.spending.ledger.books
    book.spend(book.open("x"), 70)
    memory = Memory(here.state, here.spending)
    memory.note_settled()
    here.take(other)

    assert [(line.key, line.spent_nano_usd) for line in memory.settled()] == [("x", 70)]
