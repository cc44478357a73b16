"""Whatever happens to budgets, a process that dies and comes back has spent what one that ran on would have spent.

Charges, periods that end, configurations that take budgets out, bring them back or give them another limit or time
zone, snapshots and ends of the process, in any order.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.budgets import PERIOD_SECONDS, EvenCalendar, budget
from tests.unit.core.test_keeping import Kept, settle
from turnout_server.core.budget import BudgetPeriod, BudgetScope, BudgetSpec
from turnout_server.core.kept import Line

CHOICES: tuple[BudgetSpec, ...] = (
    budget("users", scope=BudgetScope.USER),
    budget("users", 70, scope=BudgetScope.USER),
    budget("users", scope=BudgetScope.TENANT),
    budget("all"),
    budget("total", period=BudgetPeriod.TOTAL),
)
ELSEWHERE = budget("users", scope=BudgetScope.USER, calendar=EvenCalendar(timezone="Europe/Berlin", shift=400.0))


def lives(*choices: BudgetSpec) -> st.SearchStrategy[tuple[tuple[BudgetSpec, ...], list[tuple[str, Any]]]]:
    """Budgets at the start and steps, the end and another start last."""
    configurations = st.lists(st.sampled_from(choices), unique_by=lambda spec: spec.name).map(tuple)
    step = st.one_of(
        st.tuples(st.just("charge"), st.sampled_from(["ann", "bob", "eve"])),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 90.0, 350.0, PERIOD_SECONDS])),
        st.tuples(st.just("reload"), configurations),
        st.tuples(st.just("snapshot"), st.none()),
        st.tuples(st.just("die"), configurations),
    )
    end = st.tuples(st.just("die"), configurations)
    return st.tuples(configurations, st.builds(lambda steps, last: [*steps, last], st.lists(step, max_size=25), end))


class Twins:
    """One sidecar that never ends, and one that does; `disk` has what the latter has written."""

    def __init__(self, budgets: tuple[BudgetSpec, ...]) -> None:
        self.immortal = Kept("a/m", budgets=budgets)
        self.mortal = Kept("a/m", budgets=budgets)
        self.mortal.memory.note_settled()
        self.disk: list[tuple[Line, float]] = []
        self.cost = 0

    def step(self, what: str, given_: Any) -> None:
        both = (self.immortal, self.mortal)
        match what:
            case "charge":
                self.cost += 1
                for each in both:
                    settle(each, given_, self.cost)
            case "wait":
                for each in both:
                    each.now += given_
            case "reload":
                for each in both:
                    each.spending.adopt(given_, each.state.fleet, each.wall)
            case "snapshot":
                self.journal()
                self.disk = self.mortal.lines()
            case _:
                self.journal()
                self.mortal = self.mortal.restarted(budgets=given_, lines=self.disk, after=0.0)
                self.mortal.memory.note_settled()
                self.immortal.spending.adopt(given_, self.immortal.state.fleet, self.immortal.wall)
                # As a start does, before it serves.
                self.disk = self.mortal.lines()

    def journal(self) -> None:
        self.disk += [(line, self.mortal.wall) for line in self.mortal.memory.settled()]


def sums(fleet: Kept) -> dict[tuple[str, str], int]:
    return {
        (report.spec.name, each.key): each.spent
        for report in fleet.spending.budgets(fleet.wall)
        for each in report.accounts
        if each.spent
    }


@given(lives(*CHOICES))
def test_what_was_spent_is_the_same_as_if_nothing_had_ended(
    life: tuple[tuple[BudgetSpec, ...], list[tuple[str, Any]]],
) -> None:
    budgets, steps = life
    twins = Twins(budgets)
    for what, given_ in steps:
        twins.step(what, given_)

        assert sums(twins.mortal) == sums(twins.immortal)


@given(lives(*CHOICES, ELSEWHERE))
def test_nothing_that_was_spent_is_lost_where_the_time_zone_changes_too(
    life: tuple[tuple[BudgetSpec, ...], list[tuple[str, Any]]],
) -> None:
    budgets, steps = life
    twins = Twins(budgets)
    for what, given_ in steps:
        twins.step(what, given_)
        found = sums(twins.mortal)

        assert all(found.get(account, 0) >= spent for account, spent in sums(twins.immortal).items())
