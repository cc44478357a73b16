"""What is reserved, settled and released, for whom, and when it begins anew."""

from __future__ import annotations

import pytest

from tests.unit.core.budgets import NOW_WALL, PERIOD_SECONDS, EvenCalendar, budget, payer
from turnout_server.core import budget_book, budget_ledger
from turnout_server.core.budget import BudgetPeriod, BudgetScope, BudgetSpec, OnExceed, budget_faults
from turnout_server.core.budget_book import OTHER, AccountReport
from turnout_server.core.budget_ledger import RESTING_MAXIMUM, Ledger, Payer, Reserved, Room
from turnout_server.core.budget_need import FleetRates, Rates
from turnout_server.core.errors import InvalidRequestError, StaleEtagError, UnknownBudgetError

ANYBODY = payer()
RATES = FleetRates(Rates(1_000_000, 2_000_000), (), ())


class Desk:
    """A ledger at one moment, with short words for what is asked of it."""

    def __init__(self, *specs: BudgetSpec) -> None:
        self.ledger = Ledger(specs or (budget(),), NOW_WALL, RATES)
        self.wall = NOW_WALL

    def reserve(self, holder: str, amount: int, *, attempt: str = "a", who: Payer = ANYBODY) -> bool:
        return self.ledger.reserve(holder, attempt, amount, who, self.wall)

    def settle(self, holder: str, cost: int | None, *, attempt: str = "a") -> list[float]:
        return [alert.share for alert in self.ledger.settle(holder, attempt, cost, self.wall)]

    def plan(
        self,
        holder: str,
        amount: int,
        *,
        expires_at: float = 60.0,
        expected: int | None = None,
        who: Payer = ANYBODY,
    ) -> bool:
        return self.ledger.reserve_plan(
            holder, amount, who, expected=expected, expires_at=expires_at, now_wall=self.wall
        )

    def report(self, holder: str, cost: int | None, *, ok: bool = True, who: Payer = ANYBODY) -> list[float]:
        return [alert.share for alert in self.ledger.report(holder, cost, who, self.wall, ok=ok)]

    def room(self, holder: str = "", who: Payer = ANYBODY) -> Room:
        found = self.ledger.room(who, now=0.0, now_wall=self.wall, holder=holder)
        assert found is not None
        return found

    def account(self, name: str = "monthly", key: str = "") -> AccountReport | None:
        accounts = self.ledger.budget(name, self.wall).accounts
        return next((account for account in accounts if account.key == key), None)

    def sums(self, name: str = "monthly", key: str = "") -> tuple[int, int]:
        account = self.account(name, key)
        return (0, 0) if account is None else (account.spent, account.reserved)


def test_what_is_reserved_is_not_there_for_others_until_it_is_settled() -> None:
    desk = Desk()

    assert desk.reserve("one", 600)
    assert not desk.reserve("two", 600)
    assert desk.room().left_nano_usd == 400

    desk.settle("one", 100)
    desk.ledger.end("one")

    assert desk.sums() == (100, 0)
    assert desk.reserve("two", 600)


def test_an_attempt_that_was_not_billed_gives_everything_back() -> None:
    desk = Desk()
    desk.reserve("one", 600)
    desk.settle("one", 0)
    desk.ledger.end("one")

    assert desk.sums() == (0, 0)


def test_an_attempt_of_unknown_cost_costs_what_was_reserved() -> None:
    desk = Desk()
    desk.reserve("one", 600)
    desk.settle("one", None)
    desk.ledger.end("one")

    assert desk.sums() == (600, 0)


def test_what_is_billed_beyond_the_reservation_is_charged_in_full() -> None:
    desk = Desk()
    desk.reserve("one", 600)
    desk.settle("one", 1500)

    assert desk.sums() == (1500, 0)

    desk.ledger.end("one")

    assert desk.sums() == (1500, 0)
    assert desk.room().left_nano_usd == 0


def test_after_a_failed_attempt_the_next_one_takes_over_what_its_call_holds() -> None:
    desk = Desk()
    desk.reserve("one", 600)
    desk.settle("one", 50)

    assert desk.sums() == (50, 550)
    assert not desk.reserve("two", 450)
    assert desk.room("one").left_nano_usd == 950
    assert desk.reserve("one", 900, attempt="b")
    assert desk.sums() == (50, 900)


def test_several_budgets_are_taken_from_together_or_not_at_all() -> None:
    wide, narrow = budget("wide", 1000), budget("narrow", 100, scope=BudgetScope.TENANT)
    desk = Desk(wide, narrow)

    assert not desk.reserve("one", 200, who=payer("acme"))
    assert desk.sums("wide") == (0, 0)
    assert desk.reserve("two", 100, who=payer("acme"))
    assert desk.reserve("three", 100, who=payer("zeta"))
    assert desk.sums("wide") == (0, 200)
    assert desk.room(who=payer("acme")).budget == "narrow"
    assert desk.room(who=payer("acme")).left_nano_usd == 0


@pytest.mark.parametrize(
    ("scope", "key"),
    [
        (BudgetScope.GLOBAL, ""),
        (BudgetScope.TENANT, "acme"),
        (BudgetScope.USER, "ann"),
        (BudgetScope.TIER, "pro"),
        (BudgetScope.TASK, "chat"),
    ],
)
def test_each_scope_charges_the_value_that_the_call_has_of_it(scope: BudgetScope, key: str) -> None:
    desk = Desk(budget(scope=scope))
    desk.reserve("one", 10, who=payer("acme", "ann", "pro", "chat"))
    desk.settle("one", 7)

    assert desk.sums(key=key) == (7, 3)


def test_calls_without_a_value_share_one_account() -> None:
    desk = Desk(budget(scope=BudgetScope.USER))
    desk.reserve("one", 600)

    assert not desk.reserve("two", 600)
    assert desk.reserve("three", 600, who=payer(user="ann"))


def test_a_limit_among_replicas_is_divided_and_rounded_down() -> None:
    desk = Desk(budget(limit=1000, replicas=3))

    assert desk.room().left_nano_usd == 333


def test_a_new_period_begins_with_nothing_spent_and_keeps_what_is_reserved() -> None:
    desk = Desk()
    desk.reserve("done", 300)
    desk.settle("done", 300)
    desk.ledger.end("done")
    desk.reserve("runs", 500)
    desk.wall += PERIOD_SECONDS

    assert desk.room().left_nano_usd == 500
    assert desk.sums() == (0, 500)

    desk.settle("runs", 200)
    desk.ledger.end("runs")

    assert desk.sums() == (200, 0)


def test_a_clock_that_is_set_back_gives_nothing_back() -> None:
    desk = Desk()
    desk.reserve("one", 800)
    desk.settle("one", 800)
    desk.wall -= 5 * PERIOD_SECONDS

    assert desk.room().left_nano_usd == 200


def test_a_total_budget_never_begins_anew() -> None:
    desk = Desk(budget(period=BudgetPeriod.TOTAL))
    desk.reserve("one", 800)
    desk.settle("one", 800)
    desk.wall += 1e9

    assert desk.room().left_nano_usd == 200
    assert desk.room().retry_at is None


def test_alerts_come_once_for_each_share_and_period() -> None:
    desk = Desk(budget(alert_at=(0.5, 0.8)))
    heard = []
    for number in range(10):
        desk.reserve(f"call-{number}", 100)
        heard.append(desk.settle(f"call-{number}", 100))

    assert heard == [[], [], [], [], [0.5], [], [], [0.8], [], [1.0]]

    desk.wall += PERIOD_SECONDS
    desk.reserve("later", 900)

    assert desk.settle("later", 900) == [0.5, 0.8]


def test_what_refuses_while_nothing_can_come_back_is_told_as_used_up_once() -> None:
    desk = Desk()
    desk.reserve("one", 990)

    assert desk.ledger.refused("monthly", ANYBODY, desk.wall) == []

    desk.settle("one", 990)
    desk.ledger.end("one")
    told = [alert.share for _ in range(2) for alert in desk.ledger.refused("monthly", ANYBODY, desk.wall)]

    assert told == [1.0]


def test_a_request_that_is_too_large_for_what_is_left_does_not_mean_that_a_budget_is_used_up() -> None:
    desk = Desk()
    desk.reserve("one", 700)
    desk.settle("one", 700)
    desk.ledger.end("one")

    assert desk.ledger.refused("monthly", ANYBODY, desk.wall) == []


def test_a_plan_holds_until_its_report() -> None:
    desk = Desk()

    assert desk.plan("plan", 600)
    assert not desk.plan("other", 600)

    desk.report("plan", 40, ok=False)

    assert desk.sums() == (40, 560)

    desk.report("plan", 60)

    assert desk.sums() == (100, 0)


def test_a_plan_that_nobody_reports_lets_go_when_it_expires() -> None:
    desk = Desk()
    desk.plan("plan", 600, expires_at=60.0)
    desk.ledger.expire(59.9)

    assert desk.sums() == (0, 600)

    desk.ledger.expire(60.0)

    assert desk.sums() == (0, 0)


def test_what_others_hold_of_a_budget_is_told_with_the_first_time_that_some_comes_free() -> None:
    desk = Desk(budget(scope=BudgetScope.TENANT))
    acme, zeta = payer("acme"), payer("zeta")

    assert desk.ledger.reserved("monthly", acme) is None

    desk.plan("late", 100, expires_at=90.0, who=acme)
    desk.plan("early", 200, expires_at=60.0, who=acme)
    desk.plan("another tenant's", 300, expires_at=30.0, who=zeta)
    desk.ledger.reserve("call", "attempt", 400, acme, desk.wall)

    assert desk.ledger.reserved("monthly", acme) == Reserved(700, 60.0)
    assert desk.ledger.reserved("monthly", acme, holder="call") == Reserved(300, 60.0)
    assert desk.ledger.reserved("monthly", acme, holder="early") == Reserved(500, 90.0)
    assert desk.ledger.reserved("monthly", zeta, holder="another tenant's") is None

    desk.report("early", 200, who=acme, ok=False)
    desk.ledger.end("late")

    assert desk.ledger.reserved("monthly", acme) == Reserved(400, None)
    assert desk.ledger.reserved("deleted", acme) is None


def test_a_report_that_comes_after_all_is_charged_to_those_who_spent() -> None:
    desk = Desk(budget(scope=BudgetScope.TENANT))
    desk.plan("plan", 600, expires_at=60.0)
    desk.ledger.expire(60.0)
    desk.report("plan", 80, who=payer("acme"))
    desk.report("unknown", None, who=payer("acme"))

    assert desk.sums(key="acme") == (80, 0)


def test_a_report_without_cost_is_charged_what_was_expected() -> None:
    desk = Desk()
    desk.plan("plan", 600, expected=25)
    desk.report("plan", None)

    assert desk.sums() == (25, 0)


def test_plans_are_bounded_and_the_next_to_expire_lets_go_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_ledger, "PLANS_MAXIMUM", 3)
    desk = Desk()
    for number in range(3):
        desk.plan(f"plan-{number}", 100, expires_at=60.0 + number)
    for number in range(20):
        desk.plan(f"late-{number}", 1, expires_at=100.0)
        desk.report(f"late-{number}", 0)

    assert desk.sums() == (0, 200)
    assert len(desk.ledger._expiries) <= 7


def test_values_beyond_the_bound_share_one_limit_until_the_period_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_book, "KEYS_MAXIMUM", 2)
    desk = Desk(budget(scope=BudgetScope.USER))
    for user in ("ann", "bob", "cid", "dan"):
        desk.reserve(user, 600, who=payer(user=user))
        desk.settle(user, 600)
        desk.ledger.end(user)

    assert [desk.sums(key=user) for user in ("ann", "bob", "cid", OTHER)] == [(600, 0), (600, 0), (0, 0), (600, 0)]
    assert desk.room(who=payer(user="eve")).left_nano_usd == 400
    assert desk.room(who=payer(user="ann")).left_nano_usd == 400

    desk.wall += PERIOD_SECONDS

    assert desk.room(who=payer(user="eve")).left_nano_usd == 1000
    assert desk.reserve("eve", 700, who=payer(user="eve"))
    assert desk.sums(key="eve") == (0, 700)


def test_values_that_spent_nothing_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_book, "KEYS_MAXIMUM", 2)
    desk = Desk(budget(scope=BudgetScope.USER))
    for number in range(50):
        desk.reserve("call", 2000, who=payer(user=f"too-much-{number}"))
    desk.reserve("real", 100, who=payer(user="ann"))

    assert desk.sums(key="ann") == (0, 100)


def test_forecast_is_linear_over_what_was_seen_and_unknown_before_a_twentieth() -> None:
    desk = Desk()
    desk.reserve("one", 100)
    desk.settle("one", 100)
    start = desk.wall
    forecasts = []
    for seconds in (0, 49, 50, 250, 1000 - 1):
        desk.wall = start + seconds
        account = desk.account()
        forecasts.append(None if account is None else account.forecast)

    assert forecasts == [None, None, 2000, 400, 100]


def test_forecast_counts_from_when_the_sidecar_began() -> None:
    desk = Desk()
    desk.ledger = Ledger((budget(),), NOW_WALL + 500, RATES)
    desk.wall = NOW_WALL + 500
    desk.reserve("one", 100)
    desk.settle("one", 100)
    desk.wall += 250
    account = desk.account()

    assert account is not None
    assert account.forecast == 200


def test_a_changed_budget_keeps_what_is_spent_and_has_another_etag() -> None:
    desk = Desk()
    desk.reserve("one", 900)
    desk.settle("one", 900)
    before = desk.ledger.budget("monthly", desk.wall).etag
    report = desk.ledger.change(budget(limit=2000, on_exceed=OnExceed.DOWNGRADE), before, desk.wall)

    assert report.etag != before
    assert desk.sums() == (900, 0)
    assert desk.room().left_nano_usd == 1100
    assert desk.room().downgrades
    with pytest.raises(StaleEtagError):
        desk.ledger.change(budget(limit=3000), before, desk.wall)


def test_a_share_that_is_no_longer_reached_is_told_again_when_it_is() -> None:
    desk = Desk(budget(alert_at=(0.5,)))
    desk.reserve("one", 600)

    assert desk.settle("one", 600) == [0.5]

    desk.ledger.change(budget(limit=2000, alert_at=(0.5,)), "", desk.wall)
    desk.reserve("two", 500)

    assert desk.settle("two", 500) == [0.5]


def test_a_change_to_what_no_budget_may_be_is_refused() -> None:
    desk = Desk()
    with pytest.raises(InvalidRequestError, match="per_pod"):
        desk.ledger.change(budget(per_pod=False), "", desk.wall)
    with pytest.raises(UnknownBudgetError, match="the budgets are: monthly"):
        desk.ledger.change(budget("weekly"), "", desk.wall)


def test_another_configuration_keeps_spending_and_changes_where_it_says_the_same() -> None:
    desk = Desk(budget("a"), budget("b"), budget("gone"))
    for name in ("one",):
        desk.reserve(name, 400)
        desk.settle(name, 400)
    desk.ledger.change(budget("a", 5000), "", desk.wall)
    desk.ledger.change(budget("b", 5000), "", desk.wall)
    desk.ledger.adopt((budget("a"), budget("b", 700), budget("new")), desk.wall, RATES)
    limits = {report.spec.name: report.spec.limit_nano_usd for report in desk.ledger.reports(desk.wall)}

    assert limits == {"a": 5000, "b": 700, "new": 1000}
    assert [desk.sums(name) for name in limits] == [(400, 0), (400, 0), (0, 0)]


def test_a_budget_that_was_taken_out_and_comes_back_has_spent_what_it_had_and_what_calls_cost_meanwhile() -> None:
    desk = Desk()
    desk.reserve("one", 500)
    desk.settle("one", 300)
    desk.reserve("one", 200, attempt="b")
    desk.ledger.adopt((), desk.wall, RATES)

    assert desk.ledger.room(ANYBODY, now=0.0, now_wall=desk.wall) is None
    assert desk.ledger.owes

    desk.settle("one", 150, attempt="b")
    desk.ledger.end("one")
    desk.ledger.adopt((budget(limit=2000),), desk.wall, RATES)

    assert desk.sums() == (450, 0)
    assert desk.room().left_nano_usd == 1550
    assert not desk.ledger.owes


def test_a_budget_that_comes_back_in_another_period_or_as_another_kind_begins_anew() -> None:
    for wall, back in ((PERIOD_SECONDS, budget()), (0.0, budget(scope=BudgetScope.TENANT))):
        desk = Desk()
        desk.reserve("one", 500)
        desk.settle("one", 300)
        desk.ledger.end("one")
        desk.ledger.adopt((), desk.wall, RATES)
        desk.wall += wall
        desk.ledger.adopt((back,), desk.wall, RATES)

        assert desk.sums() == (0, 0)


def test_time_zone_that_changes_after_the_period_has_ended_takes_nothing_into_the_next_one() -> None:
    desk = Desk()
    desk.reserve("one", 500)
    desk.settle("one", 300)
    desk.ledger.end("one")
    desk.wall += PERIOD_SECONDS
    desk.ledger.adopt((budget(calendar=EvenCalendar(timezone="Europe/Berlin")),), desk.wall, RATES)

    assert desk.sums() == (0, 0)


def test_only_so_many_budgets_that_were_taken_out_are_remembered() -> None:
    desk = Desk(*(budget(f"b{n}", period=BudgetPeriod.TOTAL) for n in range(2 * RESTING_MAXIMUM)))
    desk.ledger.adopt((), desk.wall, RATES)

    assert len(desk.ledger._resting) == RESTING_MAXIMUM


def test_where_there_is_plenty_the_dearest_target_fits() -> None:
    desk = Desk(budget(limit=100))

    assert desk.room().holds_all(40, 30)
    assert not desk.room().holds_all(41, 30)


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"limit": 0}, "limit_usd"),
        ({"limit": 2, "replicas": 3}, "limit_usd"),
        ({"alert_at": (0.0,)}, "alert_at"),
        ({"alert_at": (1.1,)}, "alert_at"),
        ({"per_pod": True, "replicas": 2}, "replicas"),
        ({"per_pod": False}, "per_pod"),
        ({"per_pod": False, "scope": BudgetScope.TENANT}, "per_pod"),
        ({"per_pod": False, "scope": BudgetScope.USER}, "per_pod"),
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
    ],
)
def test_what_no_budget_may_be_is_named_by_its_field(facts: dict[str, object], field: str) -> None:
    found = [fault.field for fault in budget_faults(budget(**facts))]  # type: ignore[arg-type]  # tests name fields

    assert found == [field]


@pytest.mark.parametrize("scope", [BudgetScope.TIER, BudgetScope.TASK])
def test_tiers_and_tasks_need_no_word_on_pods(scope: BudgetScope) -> None:
    assert not list(budget_faults(budget(scope=scope, per_pod=False)))
