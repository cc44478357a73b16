"""Any order of calls, failovers, cancels, plans, reports, expiries and ends of periods: what must hold of a ledger."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.core.budgets import NOW_WALL, PERIOD_SECONDS, budget, payer
from turnout_server.core.budget import BudgetPeriod, BudgetScope
from turnout_server.core.budget_ledger import Ledger, Payer

TENANTS = ("acme", "zeta", "")
LIMITS = {"all": 1000, "ever": 3000, "tenants": 400}
SPECS = (
    budget("all", LIMITS["all"]),
    budget("ever", LIMITS["ever"], period=BudgetPeriod.TOTAL),
    budget("tenants", LIMITS["tenants"], scope=BudgetScope.TENANT),
)


@dataclass
class Held:
    """What the machine thinks a call or plan holds."""

    tenant: str
    spare: int = 0
    attempts: dict[str, int] = field(default_factory=dict)
    expires_at: float | None = None

    @property
    def whole(self) -> int:
        return self.spare + sum(self.attempts.values())


class LedgerMachine(RuleBasedStateMachine):
    """Keeps books of its own in the simplest way there is. No attempt costs more than was reserved for it."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(SPECS, NOW_WALL)
        self.now = 0.0
        self.held: dict[str, Held] = {}
        self.spent = {"ever": {"": 0}, "all": {"": 0}, "tenants": dict.fromkeys(TENANTS, 0)}
        self.ids = (f"id-{number}" for number in itertools.count())

    @property
    def wall(self) -> float:
        return NOW_WALL + self.now

    def who(self, tenant: str) -> Payer:
        return payer(tenant)

    def left(self, tenant: str) -> int:
        """What the machine thinks is left for a tenant."""
        everybody = sum(held.whole for held in self.held.values())
        own = sum(held.whole for held in self.held.values() if held.tenant == tenant)
        return min(
            LIMITS["all"] - self.spent["all"][""] - everybody,
            LIMITS["ever"] - self.spent["ever"][""] - everybody,
            LIMITS["tenants"] - self.spent["tenants"][tenant] - own,
        )

    def charge(self, tenant: str, cost: int) -> None:
        self.spent["all"][""] += cost
        self.spent["ever"][""] += cost
        self.spent["tenants"][tenant] += cost

    def some(self, place: int, *, plans: bool) -> str | None:
        names = [name for name, held in self.held.items() if (held.expires_at is not None) is plans]
        return names[place % len(names)] if names else None

    @rule(tenant=st.sampled_from(TENANTS), amount=st.integers(0, 500))
    def start(self, tenant: str, amount: int) -> None:
        """A call reserves for its first attempt."""
        holder, attempt_id = next(self.ids), next(self.ids)
        fits = amount <= self.left(tenant)

        assert fits is self.ledger.reserve(holder, attempt_id, amount, self.who(tenant), self.wall)

        if fits:
            self.held[holder] = Held(tenant, attempts={attempt_id: amount})

    @rule(place=st.integers(0, 99), amount=st.integers(0, 500))
    def go_on(self, place: int, amount: int) -> None:
        """A call reserves for another attempt, beside one that runs or after one that failed."""
        holder = self.some(place, plans=False)
        if holder is None:
            return
        held, attempt_id = self.held[holder], next(self.ids)
        fits = max(0, amount - held.spare) <= self.left(held.tenant)

        assert fits is self.ledger.reserve(holder, attempt_id, amount, self.who(held.tenant), self.wall)

        if fits:
            held.spare = max(0, held.spare - amount)
            held.attempts[attempt_id] = amount

    @rule(place=st.integers(0, 99), share=st.none() | st.floats(0, 1))
    def settle(self, place: int, share: float | None) -> None:
        """An attempt ends, and costs a part of what was reserved, all of it, nothing, or nobody knows."""
        holder = self.some(place, plans=False)
        if holder is None or not self.held[holder].attempts:
            return
        held = self.held[holder]
        attempt_id, amount = held.attempts.popitem()
        cost = None if share is None else int(share * amount)
        self.ledger.settle(holder, attempt_id, cost, self.wall)
        self.charge(held.tenant, amount if cost is None else cost)
        held.spare += 0 if cost is None else amount - cost

    @rule(place=st.integers(0, 99))
    def end(self, place: int) -> None:
        """A call is over; what still ran of it was cancelled before it cost anything."""
        holder = self.some(place, plans=False)
        if holder is not None:
            del self.held[holder]
            self.ledger.end(holder)
            self.ledger.end(holder)

    @rule(tenant=st.sampled_from(TENANTS), amount=st.integers(0, 500), seconds=st.integers(1, 600))
    def plan(self, tenant: str, amount: int, seconds: int) -> None:
        holder, expires_at = next(self.ids), self.now + seconds
        fits = amount <= self.left(tenant)
        made = self.ledger.reserve_plan(
            holder, amount, self.who(tenant), expected=None, expires_at=expires_at, now_wall=self.wall
        )

        assert fits is made

        if fits:
            self.held[holder] = Held(tenant, amount, expires_at=expires_at)

    @rule(place=st.integers(0, 99), share=st.none() | st.floats(0, 1), ok=st.booleans())
    def report(self, place: int, share: float | None, ok: bool) -> None:  # noqa: FBT001  # a rule's argument
        holder = self.some(place, plans=True)
        if holder is None:
            return
        held = self.held[holder]
        cost = None if share is None else int(share * held.spare)
        self.ledger.report(holder, cost, self.who(held.tenant), self.wall, ok=ok)
        self.charge(held.tenant, held.spare if cost is None else cost)
        held.spare -= held.spare if cost is None else cost
        if ok:
            del self.held[holder]

    @rule(seconds=st.sampled_from([1, 30, 300, PERIOD_SECONDS]))
    def wait(self, seconds: float) -> None:
        period = self.wall // PERIOD_SECONDS
        self.now += seconds
        if self.wall // PERIOD_SECONDS > period:
            for name in ("all", "tenants"):
                self.spent[name] = dict.fromkeys(self.spent[name], 0)
        self.ledger.expire(self.now)
        lapsed = [
            name for name, held in self.held.items() if held.expires_at is not None and held.expires_at <= self.now
        ]
        for name in lapsed:
            del self.held[name]

    @invariant()
    def nothing_is_overspent_and_the_books_agree(self) -> None:
        for report in self.ledger.reports(self.wall):
            for account in report.accounts:
                own = [
                    held.whole
                    for held in self.held.values()
                    if report.spec.scope is BudgetScope.GLOBAL or held.tenant == account.key
                ]

                assert account.spent + account.reserved <= LIMITS[report.spec.name]
                assert account.spent == self.spent[report.spec.name][account.key]
                assert account.reserved == sum(own)

    @invariant()
    def what_is_left_is_what_is_said_to_be_left(self) -> None:
        for tenant in TENANTS:
            room = self.ledger.room(self.who(tenant), now=self.now, now_wall=self.wall)

            assert room is not None
            assert room.left_nano_usd == self.left(tenant)

    @precondition(lambda self: self.held)
    @rule()
    def all_end(self) -> None:
        """Whatever was under way is over: nothing stays reserved."""
        for holder in list(self.held):
            self.ledger.end(holder)
        self.held.clear()

        assert not any(account.reserved for report in self.ledger.reports(self.wall) for account in report.accounts)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


class Storm:
    """Three hundred calls and plans, begun and ended in an order that chance draws; adds up what they cost."""

    def __init__(self, seed: int, limit: int) -> None:
        self.rng = random.Random(seed)
        self.limit = limit
        self.ledger = Ledger((budget(limit=limit, period=BudgetPeriod.TOTAL),), NOW_WALL)
        self.running: dict[str, int] = {}
        self.plans: dict[str, int] = {}
        self.begun = 0
        self.now = 0.0
        self.spent = 0
        self.refused = 0

    def go_on(self) -> bool:
        """Takes one step; false when all have begun and ended."""
        self.now += self.rng.random()
        self.ledger.expire(self.now)
        steps = [
            step
            for step, possible in (
                (self.begin, self.begun < 300),
                (self.settle, self.running),
                (self.report, self.plans),
            )
            if possible
        ]
        if steps:
            self.rng.choice(steps)()
        return bool(steps)

    def begin(self) -> None:
        holder, amount = f"call-{self.begun}", self.rng.randint(1, 2000)
        self.begun += 1
        if self.begun % 5 == 0:
            expires_at = self.now + self.rng.randint(1, 50)
            if self.ledger.reserve_plan(
                holder, amount, payer(), expected=amount, expires_at=expires_at, now_wall=NOW_WALL
            ):
                self.plans[holder] = amount
        elif self.ledger.reserve(holder, "a", amount, payer(), NOW_WALL):
            self.running[holder] = amount
        else:
            self.refused += 1

    def settle(self) -> None:
        """An attempt ends; where it failed, another may follow it."""
        holder, amount = self.rng.choice(list(self.running.items()))
        cost = self.rng.choice((0, amount, self.rng.randint(0, amount)))
        self.ledger.settle(holder, "a", cost, NOW_WALL)
        self.spent += cost
        again = self.rng.randint(1, 2000)
        if self.rng.random() < 0.3 and self.ledger.reserve(holder, "a", again, payer(), NOW_WALL):
            self.running[holder] = again
        else:
            self.ledger.end(holder)
            del self.running[holder]

    def report(self) -> None:
        """A plan is reported, or was left to expire."""
        holder, amount = self.plans.popitem()
        if self.rng.random() < 0.5 and holder in self.ledger._claims:
            cost = self.rng.randint(0, amount)
            self.ledger.report(holder, cost, payer(), NOW_WALL, ok=True)
            self.spent += cost


@pytest.mark.parametrize("seed", range(20))
def test_three_hundred_calls_in_any_order_spend_what_their_attempts_cost_and_no_more(seed: int) -> None:
    storm = Storm(seed, limit=20_000)
    while storm.go_on():
        for account in storm.ledger.budget("monthly", NOW_WALL).accounts:
            assert account.spent + account.reserved <= storm.limit

    storm.ledger.expire(storm.now + 1000)
    (account,) = storm.ledger.budget("monthly", NOW_WALL).accounts

    assert (storm.spent, 0) == (account.spent, account.reserved)
    assert storm.refused
