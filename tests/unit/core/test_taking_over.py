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
from turnout_server.core.taking_over import WARNINGS_MAXIMUM, TakenOver, take_over

NOW = 1000.0


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
        return take_over(self.state, self.spending, other.lines(), now=NOW, now_wall=NOW_WALL)

    def availability(self) -> list[float]:
        return [target.availability.value(NOW) for target in self.state.targets]


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
