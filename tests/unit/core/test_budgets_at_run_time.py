"""Budgets that are added and taken out at run time, and how they meet a changed configuration."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.core.budgets import NOW_WALL, PERIOD_SECONDS, budget, payer
from turnout_server.core.budget import BUDGETS_MAXIMUM, BudgetScope, BudgetSpec
from turnout_server.core.budget_ledger import Ledger
from turnout_server.core.budget_need import NO_RATES
from turnout_server.core.errors import AlreadyExistsError, InvalidRequestError, StaleEtagError, UnknownBudgetError

FILE = budget("file", 1000)
ADDED = budget("added", 500)


def spend(ledger: Ledger, amount: int, wall: float = NOW_WALL) -> None:
    assert ledger.reserve("call", "attempt", amount, payer(), wall)
    ledger.settle("call", "attempt", amount, wall)
    ledger.end("call")


def spent(ledger: Ledger, name: str, wall: float = NOW_WALL) -> int:
    return sum(account.spent for account in ledger.budget(name, wall).accounts)


def names(ledger: Ledger) -> dict[str, bool]:
    """All budgets, and whether each was created at run time."""
    return {report.spec.name: report.created for report in ledger.reports(NOW_WALL)}


def adopt(ledger: Ledger, *specs: BudgetSpec, wall: float = NOW_WALL) -> None:
    ledger.adopt(specs, wall, NO_RATES)


def test_a_created_budget_holds_from_the_next_call_on() -> None:
    ledger = Ledger((), NOW_WALL)
    without = ledger.room(payer(), now=0.0, now_wall=NOW_WALL)
    ledger.create(ADDED, NOW_WALL)
    room = ledger.room(payer(), now=0.0, now_wall=NOW_WALL)

    assert without is None
    assert room is not None
    assert room.left_nano_usd == 500
    assert names(ledger) == {"added": True}


def test_a_name_that_is_taken_faults_and_too_many_are_refused() -> None:
    ledger = Ledger((FILE,), NOW_WALL)
    with pytest.raises(AlreadyExistsError, match="'file'"):
        ledger.create(budget("file", 7), NOW_WALL)
    with pytest.raises(InvalidRequestError, match="limit_usd"):
        ledger.create(budget("x", 0), NOW_WALL)
    for number in range(BUDGETS_MAXIMUM - 1):
        ledger.create(budget(f"added-{number}", 5), NOW_WALL)
    with pytest.raises(InvalidRequestError, match="there are 100 budgets"):
        ledger.create(ADDED, NOW_WALL)

    assert len(ledger.books) == BUDGETS_MAXIMUM
    assert ledger.budget("file", NOW_WALL).spec == FILE


def test_a_deleted_budget_limits_nothing_and_calls_under_way_end_with_it() -> None:
    ledger = Ledger((FILE,), NOW_WALL)
    assert ledger.reserve("call", "attempt", 900, payer(), NOW_WALL)
    ledger.delete("file", "", NOW_WALL)
    free = ledger.room(payer(), now=0.0, now_wall=NOW_WALL)
    ledger.settle("call", "attempt", 700, NOW_WALL)
    ledger.end("call")
    ledger.create(FILE, NOW_WALL)

    assert free is None
    assert not ledger.owes
    # What the call cost stays spent: taking a budget out and adding it does not grant its limit anew.
    assert spent(ledger, "file") == 700


def test_a_stale_etag_and_an_unknown_name_delete_nothing() -> None:
    ledger = Ledger((FILE,), NOW_WALL)
    etag = ledger.budget("file", NOW_WALL).etag
    ledger.change(budget("file", 2000), etag, NOW_WALL)
    with pytest.raises(StaleEtagError):
        ledger.delete("file", etag, NOW_WALL)
    with pytest.raises(UnknownBudgetError, match="the budgets are: file"):
        ledger.delete("other", "", NOW_WALL)

    assert names(ledger) == {"file": False}


def test_what_is_created_after_the_period_begins_at_zero() -> None:
    ledger = Ledger((FILE,), NOW_WALL)
    spend(ledger, 600)
    ledger.delete("file", "", NOW_WALL)
    later = NOW_WALL + PERIOD_SECONDS
    ledger.create(FILE, later)

    assert spent(ledger, "file", later) == 0


def test_one_that_comes_back_has_the_values_that_it_is_given() -> None:
    ledger = Ledger((), NOW_WALL)
    ledger.create(ADDED, NOW_WALL)
    ledger.change(dataclasses.replace(ADDED, limit_nano_usd=9), "", NOW_WALL)
    ledger.delete("added", "", NOW_WALL)
    ledger.create(ADDED, NOW_WALL)

    assert ledger.budget("added", NOW_WALL).spec.limit_nano_usd == 500


def test_a_changed_configuration_leaves_what_it_says_nothing_new_of() -> None:
    other = budget("other", 300)
    ledger = Ledger((FILE, other), NOW_WALL)
    ledger.create(ADDED, NOW_WALL)
    ledger.delete("file", "", NOW_WALL)
    spend(ledger, 100)
    adopt(ledger, FILE, dataclasses.replace(other, limit_nano_usd=400))

    assert names(ledger) == {"added": True, "other": False}
    assert (spent(ledger, "added"), spent(ledger, "other")) == (100, 100)


def test_the_configuration_s_later_word_holds() -> None:
    ledger = Ledger((FILE,), NOW_WALL)
    spend(ledger, 100)
    ledger.delete("file", "", NOW_WALL)
    ledger.create(ADDED, NOW_WALL)
    adopt(ledger, dataclasses.replace(FILE, limit_nano_usd=2000), dataclasses.replace(ADDED, limit_nano_usd=50))

    assert names(ledger) == {"added": False, "file": False}
    assert (ledger.budget("file", NOW_WALL).spec.limit_nano_usd, spent(ledger, "file")) == (2000, 100)
    assert ledger.budget("added", NOW_WALL).spec.limit_nano_usd == 50


def test_one_that_the_configuration_lost_and_has_again_is_not_deleted_any_more() -> None:
    ledger = Ledger((FILE,), NOW_WALL)
    ledger.delete("file", "", NOW_WALL)
    adopt(ledger)
    adopt(ledger, FILE)

    assert names(ledger) == {"file": False}


def test_one_of_another_scope_in_the_configuration_takes_the_name_of_a_created_one() -> None:
    ledger = Ledger((), NOW_WALL)
    ledger.create(ADDED, NOW_WALL)
    spend(ledger, 100)
    adopt(ledger, budget("added", 70, scope=BudgetScope.TENANT))

    assert names(ledger) == {"added": False}
    assert spent(ledger, "added") == 0
