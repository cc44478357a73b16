"""Any order of configurations, calls, failovers, plans and reports: what must hold of a router whatever is adopted."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.core.budgets import budget
from tests.unit.execution.scripted import Instruments, spec
from turnout_server.core.asking import Hop
from turnout_server.core.budget import BudgetScope, BudgetSpec
from turnout_server.core.budget_book import Account, Book
from turnout_server.core.call import AttemptRecord
from turnout_server.core.decision import Decision
from turnout_server.core.errors import TurnoutError
from turnout_server.core.fleet import CredentialSpec, Fleet, Price, TargetSpec
from turnout_server.core.in_force import InForce
from turnout_server.core.model import Caller, FailureKind, Outcome, RequestProfile, RouteQuery, Strategy, Target, Usage
from turnout_server.core.permits import Permit
from turnout_server.core.settings import FailoverSettings, Policy, RoutingSettings, Settings
from turnout_server.core.state import RecordResult
from turnout_server.core.target_state import TargetState
from turnout_server.router import Router

NAMES = ("a/m", "a/n", "b/m", "c/m")
DEAR = Price(input_per_million=3_000_000_000, output_per_million=4_000_000_000)
KINDS = (None, FailureKind.SERVER_ERROR, FailureKind.RATE_LIMITED, FailureKind.AUTHENTICATION, FailureKind.CONNECTION)
BUDGETS = (
    ("day", BudgetScope.GLOBAL, 40_000_000),
    ("day", BudgetScope.GLOBAL, 15_000_000),
    ("each", BudgetScope.TENANT, 20_000_000),
)

TARGETS = st.dictionaries(
    st.sampled_from(NAMES),
    st.fixed_dictionaries(
        {
            "price": st.sampled_from([None, DEAR]),
            "base_url": st.sampled_from(["http://one", "http://two"]),
            "max_concurrency": st.sampled_from([None, 1]),
            "labels": st.sampled_from([(), ("k",), ("k", "l"), ("l",)]),
        }
    ),
)


def target(name: str, facts: dict[str, Any], rank: int) -> TargetSpec:
    keys = tuple(CredentialSpec(label=label) for label in facts["labels"])
    given: dict[str, object] = {
        "base_url": facts["base_url"],
        "max_concurrency": facts["max_concurrency"],
        "credentials": keys,
        "needs_credential": bool(keys),
    }
    if facts["price"] is not None:
        given["price"] = facts["price"]
    return spec(name, rank, **given)


def budgets(chosen: list[int]) -> tuple[BudgetSpec, ...]:
    found = {BUDGETS[n][0]: BUDGETS[n] for n in chosen}
    return tuple(budget(name, limit, scope=scope) for name, scope, limit in found.values())


@dataclass
class Call:
    under: InForce
    query: RouteQuery
    decision: Decision
    call_id: str
    permit: Permit | None = None
    tried: set[Target] = field(default_factory=set)


class ReloadingMachine(RuleBasedStateMachine):
    """Drives a router as execution does: a call keeps the configuration that it began with."""

    @initialize(wanted=TARGETS, chosen=st.lists(st.integers(0, 2)))
    def begin(self, wanted: dict[str, dict[str, Any]], chosen: list[int]) -> None:
        self.now = 1000.0
        self.ids = itertools.count()
        self.calls: list[Call] = []
        self.plans: list[tuple[Decision, Fleet]] = []
        self.running: dict[str, TargetState] = {}
        self.known: dict[int, TargetState] = {}
        self.router = Router(
            Fleet(tuple(target(name, facts, rank) for rank, (name, facts) in enumerate(wanted.items()))),
            self.settings(chosen, "default"),
            clock=lambda: self.now,
            wall=lambda: 1_800_000_000.0 + self.now,
            rng=random.Random(5),
            new_id=self.new_id,
            on_event=lambda _: None,
            instruments=Instruments(),
        )

    def new_id(self) -> str:
        return f"id-{next(self.ids)}"

    def settings(self, chosen: list[int], policy: str, attempts: int = 4) -> Settings:
        policies = {name: Policy(name=name, strategy=Strategy.PRIORITY) for name in {policy, "default"}}
        return Settings(
            routing=RoutingSettings(policies=policies, default_policy=policy, policy_version=f"{policy}{attempts}"),
            failover=FailoverSettings(max_attempts=attempts, retry_budget_ratio=0.1 * attempts),
            budgets=budgets(chosen),
        )

    @rule(
        wanted=TARGETS,
        chosen=st.lists(st.integers(0, 2)),
        policy=st.sampled_from(["default", "other"]),
        attempts=st.integers(2, 5),
    )
    def adopt(self, wanted: dict[str, dict[str, Any]], chosen: list[int], policy: str, attempts: int) -> None:
        before = {id(state): self.told(state) for state in self.router.state.targets}
        stays = {(s.spec.target, s.spec.wire, s.spec.base_url): s for s in self.router.state.targets}
        money, remaining = self.money(), self.router.state.retry_budget._spent_total
        fleet = Fleet(tuple(target(name, facts, rank) for rank, (name, facts) in enumerate(wanted.items())))
        self.router.adopt(fleet, self.settings(chosen, policy, attempts))

        assert money == self.money()
        assert remaining == self.router.state.retry_budget._spent_total
        assert fleet.specs == self.router.configured.fleet.specs
        for state in self.router.state.targets:
            old = stays.get((state.spec.target, state.spec.wire, state.spec.base_url))
            assert old is None or state is old
            if old is not None:
                assert before[id(old)] == self.told(state)
            else:
                assert self.told(state)[:3] == ((True, 0.0), 0, 0)

    def told(self, state: TargetState) -> tuple[Any, ...]:
        gate = state.breaker
        return (
            (gate.closed, gate.reopen_at),
            state.in_flight,
            gate.consecutive_failures,
            state.availability.value(self.now),
            state.latency.sample_count,
            state.latency.rates(self.now) if state.latency.sample_count else None,
            state.statistics.last_request_at,
        )

    def money(self) -> list[tuple[str, str, int, int]]:
        """All that is known of spending: also of budgets that rest, and of those that calls still hold."""
        return sorted(
            (book.configured.name, account.key, account.spent, account.reserved)
            for book, account in self.accounts()
            if account.spent or account.reserved
        )

    def accounts(self) -> list[tuple[Book, Account]]:
        ledger = self.router._spending._ledger
        books = {id(book): book for book in (*ledger._books.values(), *ledger._resting.values())}
        books |= {id(book): book for claim in ledger._claims.values() for book, _ in claim.held}
        return [(book, account) for book in books.values() for account in book._every()]

    @rule(tenant=st.sampled_from(["", "acme"]), tokens=st.sampled_from([100, 3000]))
    def call(self, tenant: str, tokens: int) -> None:
        query = RouteQuery(
            profile=RequestProfile(input_tokens=tokens, max_output_tokens=100),
            caller=Caller(tenant=tenant),
            executing=True,
        )
        under = self.router.configured.in_force
        try:
            decision = self.router.deciding.for_call(query)
        except TurnoutError:
            return
        self.accounted(decision, under.fleet)
        call = Call(under, query, decision, self.new_id())
        self.calls.append(call)
        self.attempt(call, decision)

    def attempt(self, call: Call, decision: Decision) -> None:
        for candidate in decision.candidates:
            call.permit = self.router.attempts.begin(
                candidate.spec, call.decision, call.query, call_id=call.call_id, lease_seconds=30.0, under=call.under
            )
            if call.permit is not None:
                # The address, price and keys of then, whatever was adopted since.
                place = call.under.fleet.index(call.permit.spec.target)
                assert place is not None
                assert call.permit.spec is call.under.fleet.specs[place]
                labels = {each.label for each in call.permit.spec.credentials}
                assert call.permit.credential in (labels or {""})
                state = self.router.state._running[call.permit.attempt_id]
                self.running[call.permit.attempt_id] = state
                self.known[id(state)] = state
                return
        self.router.attempts.end_call(call.call_id)
        self.calls.remove(call)

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 50), kind=st.sampled_from(KINDS), moves=st.booleans(), cost=st.integers(0, 500_000))
    def end(self, which: int, kind: FailureKind | None, moves: bool, cost: int) -> None:  # noqa: FBT001  # drawn
        call = self.calls[which % len(self.calls)]
        assert call.permit is not None
        permit, call.permit = call.permit, None
        self.running.pop(permit.attempt_id)
        facts: dict[str, Any] = {"latency_seconds": 1.0, "failure": kind, "cost_nano_usd": cost}
        outcome = Outcome(
            target=permit.spec.target,
            attempt_id=permit.attempt_id,
            decision_id=permit.decision_id,
            credential=permit.credential,
            probe_id=permit.probe_id,
            **facts,
        )
        record = AttemptRecord(target=permit.spec.target, attempt_id=permit.attempt_id, started_at_wall=0.0, **facts)
        self.router.attempts.finish(permit, outcome, record)
        call.tried.add(permit.spec.target)
        kept = self.router.looking_back.decision(call.decision.decision_id)
        assert permit.attempt_id in {each.outcome.attempt_id for each in kept.attempts}
        if kind is None or not moves:
            self.router.attempts.end_call(call.call_id)
            self.calls.remove(call)
            return
        hop = self.router.deciding.for_hop(
            call.query, call.decision, Hop(tried=frozenset(call.tried)), call_id=call.call_id, under=call.under
        )
        self.accounted(hop, call.under.fleet)
        assert hop.policy_version == call.decision.policy_version
        self.attempt(call, hop)

    @rule()
    def plan(self) -> None:
        try:
            decision = self.router.deciding.route(
                RouteQuery(profile=RequestProfile(input_tokens=100, max_output_tokens=10))
            )
        except TurnoutError:
            return
        self.accounted(decision, self.router.configured.fleet)
        self.plans.append((decision, self.router.configured.fleet))

    @precondition(lambda self: self.plans)
    @rule(which=st.integers(0, 50), ok=st.booleans())
    def report(self, which: int, ok: bool) -> None:  # noqa: FBT001  # drawn
        decision, _ = self.plans.pop(which % len(self.plans))
        first = decision.candidates[0]
        outcome = Outcome(
            target=first.target,
            decision_id=decision.decision_id,
            attempt_id=self.new_id(),
            probe_id=first.probe.probe_id if first.probe is not None else "",
            reported=True,
            failure=None if ok else FailureKind.SERVER_ERROR,
            usage=Usage(input_tokens=100, output_tokens=10),
            latency_seconds=1.0,
        )
        (recorded,) = self.router.reports.take([outcome], []).outcomes

        assert recorded.result is RecordResult.ACCEPTED

    @rule(seconds=st.sampled_from([0.1, 2.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.router.passing_time.expire()

    def accounted(self, decision: Decision, fleet: Fleet) -> None:
        """Every target of the configuration in force is a candidate or a rejection, once."""
        told = [candidate.target for candidate in decision.candidates]
        told += [rejection.target for rejection in decision.rejections]

        assert sorted(map(str, told)) == sorted(str(each.target) for each in fleet.specs)

    @invariant()
    def calls_in_flight_agree(self) -> None:
        assert set(self.router.state._running) == set(self.running)
        for state in {**self.known, **{id(each): each for each in self.router.state.targets}}.values():
            assert state.in_flight == sum(each is state for each in self.running.values())

    @invariant()
    def what_is_reserved_is_what_calls_and_plans_hold(self) -> None:
        held: dict[int, int] = {}
        for claim in self.router._spending._ledger._claims.values():
            for _, account in claim.held:
                held[id(account)] = held.get(id(account), 0) + claim.spare + sum(claim.attempts.values())
        for _, account in self.accounts():
            assert account.reserved == held.get(id(account), 0)
            assert account.spent >= 0

    @invariant()
    def status_and_vitals_can_be_told(self) -> None:
        state = self.router.state
        told = self.router.status.report()

        assert len(state.vitals(self.now).each) == len(state.fleet.specs)
        assert told.aggregate.target_count == len(state.fleet.specs)

    def teardown(self) -> None:
        """At the end all calls end, and nothing is left of them."""
        for call in list(getattr(self, "calls", ())):
            self.end(self.calls.index(call), None, moves=False, cost=1)
        if hasattr(self, "router"):
            self.now += 1000.0
            self.router.passing_time.expire()

            assert not self.router.state._running
            assert not self.router._spending._ledger._claims


TestReloadingMachine = ReloadingMachine.TestCase
TestReloadingMachine.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
