"""Budgets in the use cases: plans that expire, reports that come late, trials of our own, another configuration."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random

import pytest

from tests.unit.core.budgets import budget
from tests.unit.execution.scripted import Instruments, spec
from turnout.v1 import admin_pb2 as pb
from turnout_server.api.budgets import list_budgets
from turnout_server.core.budget import BudgetScope, BudgetSpec
from turnout_server.core.call import AttemptRecord
from turnout_server.core.decision import Decision
from turnout_server.core.errors import BudgetExhaustedError
from turnout_server.core.events import Event
from turnout_server.core.fleet import Fleet, TargetSpec
from turnout_server.core.model import Caller, FailureKind, Outcome, RequestProfile, RouteQuery, Strategy, Target, Usage
from turnout_server.core.settings import Policy, RoutingSettings, Settings
from turnout_server.router import Router

# 1,000 tokens in and 100 out, at 1,000 and 2,000 nano-USD each.
PROFILE = RequestProfile(input_tokens=1000, max_output_tokens=100, task="chat")
NEEDED = 1000 * 1000 + 100 * 2000
QUERY = RouteQuery(profile=PROFILE, caller=Caller(tenant="acme"))
TENANTS = budget(limit=10 * NEEDED, scope=BudgetScope.TENANT)


class Desk:
    """A router whose clocks stand still until a test moves them."""

    def __init__(self, *budgets: BudgetSpec, specs: tuple[TargetSpec, ...] = (spec("a/m"), spec("b/m", 1))) -> None:
        ids = itertools.count()
        self.attempts = itertools.count()
        self.now = 1000.0
        self.events: list[Event] = []
        self.settings = Settings(
            routing=RoutingSettings(policies={"default": Policy(strategy=Strategy.PRIORITY)}), budgets=budgets
        )
        self.router = Router(
            Fleet(specs),
            self.settings,
            clock=lambda: self.now,
            wall=lambda: 1_800_000_000.0 + self.now,
            rng=random.Random(3),
            new_id=lambda: f"id-{next(ids)}",
            on_event=self.events.append,
            instruments=Instruments(),
        )

    def report(self, decision: Decision | None = None, **facts: object) -> None:
        outcome = Outcome(
            target=Target("a", "m"),
            decision_id="" if decision is None else decision.decision_id,
            attempt_id=f"attempt-{next(self.attempts)}",
            reported=True,
            usage=Usage(input_tokens=1000, output_tokens=10),
        )
        self.router.reports.take([dataclasses.replace(outcome, **facts)], [])  # type: ignore[arg-type]  # tests name fields

    def sums(self, key: str = "acme") -> tuple[int, int]:
        accounts = self.router.budgets.report("monthly").accounts
        return next(((each.spent, each.reserved) for each in accounts if each.key == key), (0, 0))


COST = 1000 * 1000 + 10 * 2000


def test_a_plan_reserves_its_first_candidate_at_worst_and_a_report_settles_it() -> None:
    desk = Desk(TENANTS)
    decision = desk.router.deciding.route(QUERY)

    assert desk.sums() == (0, NEEDED)

    desk.report(decision)

    assert desk.sums() == (COST, 0)


def test_a_plan_that_is_not_reported_lets_go_once_plan_and_attempt_can_have_ended() -> None:
    desk = Desk(TENANTS)
    decision = desk.router.deciding.route(QUERY)
    desk.now += 5.0 + decision.candidates[0].attempt_timeout_seconds - 0.1
    desk.router.passing_time.expire()

    assert desk.sums() == (0, NEEDED)

    desk.now += 0.2
    desk.router.passing_time.expire()

    assert desk.sums() == (0, 0)


def test_a_report_after_that_is_charged_to_whom_the_decision_was_for() -> None:
    desk = Desk(TENANTS)
    decision = desk.router.deciding.route(QUERY)
    desk.now += 500.0
    desk.router.passing_time.expire()
    desk.report(decision)

    assert desk.sums() == (COST, 0)


def test_a_report_of_a_call_that_was_never_decided_here_is_charged_to_whom_it_names() -> None:
    desk = Desk(TENANTS)
    desk.report(caller=Caller(tenant="zeta"))

    assert desk.sums("zeta") == (COST, 0)


def test_a_report_counts_once() -> None:
    desk = Desk(TENANTS)
    decision = desk.router.deciding.route(QUERY)
    for _ in range(3):
        desk.report(decision, attempt_id="the-same")

    assert desk.sums() == (COST, 0)


def test_a_report_of_a_failure_keeps_the_plans_room_for_the_next_attempt() -> None:
    desk = Desk(TENANTS)
    decision = desk.router.deciding.route(QUERY)
    desk.report(decision, failure=FailureKind.RATE_LIMITED, usage=None, possibly_billed=False)

    assert desk.sums() == (0, NEEDED)


def test_plans_cannot_promise_more_than_there_is() -> None:
    desk = Desk(TENANTS)
    for _ in range(10):
        desk.router.deciding.route(QUERY)
    with pytest.raises(BudgetExhaustedError) as caught:
        desk.router.deciding.route(QUERY)

    assert desk.sums() == (0, 10 * NEEDED)
    assert "and 0.012 USD reserved for calls and plans under way, some of which comes free within" in str(caught.value)
    assert all(each.retry_at is not None and each.retry_at < desk.now + 300 for each in caught.value.rejections)
    assert desk.router.looking_back.decision(caught.value.decision_id).decision.candidates == ()
    assert desk.router.deciding.route(dataclasses.replace(QUERY, caller=Caller(tenant="zeta"))).candidates


def test_a_trial_of_our_own_is_paid_for_and_leaves_nothing_reserved() -> None:
    desk = Desk(budget(limit=10 * NEEDED))
    state = desk.router.state.targets[0]
    for number in range(3):
        decision = desk.router.deciding.route(dataclasses.replace(QUERY, request_id=str(number)))
        desk.report(decision, failure=FailureKind.TIMEOUT, usage=None, possibly_billed=False)
        desk.now += 1.0
    desk.now += 600.0
    desk.router.passing_time.expire()

    assert not state.breaker.closed
    assert desk.sums("") == (0, 0)

    permit = desk.router.attempts.begin_probe(Target("a", "m"), lease_seconds=10.0)

    assert permit is not None
    assert desk.sums("") == (0, 64 * 1000 + 2000)
    assert desk.router.attempts.begin_probe(Target("a", "m"), lease_seconds=10.0) is None
    assert desk.sums("") == (0, 64 * 1000 + 2000)

    made = {"target": permit.spec.target, "attempt_id": permit.attempt_id, "cost_nano_usd": 9000}
    outcome = Outcome(**made, probe_id=permit.probe_id, off_path=True)  # type: ignore[arg-type]  # as above
    desk.router.attempts.finish(permit, outcome, AttemptRecord(**made, started_at_wall=0.0))  # type: ignore[arg-type]

    assert desk.sums("") == (9000, 0)


def test_another_configuration_keeps_what_is_spent_and_its_new_budgets_hold_at_once() -> None:
    desk = Desk(TENANTS)
    desk.report(desk.router.deciding.route(QUERY))
    narrow = budget("narrow", limit=NEEDED - 1, scope=BudgetScope.TASK)
    desk.router.adopt(desk.router.configured.fleet, dataclasses.replace(desk.settings, budgets=(TENANTS, narrow)))

    assert desk.sums() == (COST, 0)
    with pytest.raises(BudgetExhaustedError, match="budget narrow"):
        desk.router.deciding.route(QUERY)

    desk.router.adopt(desk.router.configured.fleet, dataclasses.replace(desk.settings, budgets=()))

    assert desk.router.deciding.route(QUERY).reusable
    assert desk.router.budgets.reports() == []


async def test_a_list_of_budgets_lets_others_have_their_turn_and_minds_what_is_deleted_meanwhile() -> None:
    desk = Desk(*(budget(name, limit=NEEDED, scope=BudgetScope.TASK) for name in "abc"))
    listing = asyncio.create_task(list_budgets(pb.ListBudgetsRequest(), desk.router))
    # The first is summed up, and the list waits for others to have their turn.
    await asyncio.sleep(0)
    assert not listing.done()
    desk.router.budgets.delete("b", by="test")

    assert [each.name for each in (await listing).budgets] == ["a", "c"]


def test_what_calls_and_plans_hold_is_let_go_though_all_budgets_were_taken_out() -> None:
    desk = Desk(TENANTS)
    query = dataclasses.replace(QUERY, executing=True)
    decision = desk.router.deciding.for_call(query)
    spec = decision.candidates[0].spec
    permit = desk.router.attempts.begin(spec, decision, query, call_id="call", lease_seconds=30.0)
    desk.router.deciding.route(QUERY)
    without = dataclasses.replace(desk.settings, budgets=())
    desk.router.adopt(desk.router.configured.fleet, without)
    assert permit is not None
    facts = {"target": spec.target, "attempt_id": permit.attempt_id, "cost_nano_usd": COST}
    outcome = Outcome(decision_id=permit.decision_id, **facts)  # type: ignore[arg-type]  # named as both have them
    desk.router.attempts.finish(permit, outcome, AttemptRecord(started_at_wall=0.0, **facts))  # type: ignore[arg-type]  # likewise
    desk.router.attempts.end_call("call")
    desk.now += 100.0
    desk.router.passing_time.expire()

    assert not desk.router._spending._ledger._claims
    assert not desk.router._spending.settles

    desk.router.adopt(desk.router.configured.fleet, desk.settings)

    assert desk.sums() == (COST, 0)


def test_models_that_are_found_later_do_not_undo_a_change_of_a_budget() -> None:
    desk = Desk(TENANTS)
    desk.router.budgets.change(dataclasses.replace(TENANTS, limit_nano_usd=5), by="a test")
    desk.router.adopt(Fleet((*desk.router.configured.fleet.specs, spec("c/m", 2))), desk.settings)

    assert desk.router.budgets.report("monthly").spec.limit_nano_usd == 5


def test_without_a_budget_a_plan_may_be_used_again() -> None:
    assert Desk().router.deciding.route(QUERY).reusable
    assert not Desk(TENANTS).router.deciding.route(QUERY).reusable
