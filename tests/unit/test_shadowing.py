"""Shadow policies at work: what they read, when they are asked, what is shed, listed and tallied."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import structlog.testing

from tests.unit.core.budgets import budget
from tests.unit.execution.scripted import Instruments, spec
from tests.unit.test_router import Clock
from tests.virtual_time import in_virtual_time, virtual_loop
from turnout_server.core.budget import BudgetSpec
from turnout_server.core.call import AttemptRecord
from turnout_server.core.comparison import Comparison
from turnout_server.core.decision import Decision
from turnout_server.core.errors import TurnoutError
from turnout_server.core.fleet import CredentialSpec, Fleet, TargetSpec
from turnout_server.core.model import (
    FailureKind,
    Outcome,
    RequestProfile,
    RouteQuery,
    RoutingOptions,
    Strategy,
    Target,
    Usage,
)
from turnout_server.core.settings import Policy, PolicySelector, RoutingSettings, Settings
from turnout_server.router import Router
from turnout_server.shadow_turns import AFTER_SECONDS, PAUSE_FACTOR, ShadowTurns
from turnout_server.use_cases.shadowing import DIFFERENCES_MAXIMUM, WAITING_MAXIMUM, Shadowing

A, B, C = Target("a", "m"), Target("b", "m"), Target("c", "m")
SPECS = (spec("a/m"), spec("b/m", 1), spec("c/m", 2))
OTHER = Policy(name="other", strategy=Strategy.PRIORITY, preferences=("b/m",))
OWN = Policy(strategy=Strategy.PRIORITY, shadow_policy="other")
TWIN = Policy(name="other", strategy=Strategy.PRIORITY)
QUERY = RouteQuery(profile=RequestProfile(input_tokens=1000, max_output_tokens=100))
EXECUTING = replace(QUERY, executing=True)


class Desk:
    """A router whose default policy has a shadow, with what it tells."""

    def __init__(
        self,
        *policies: Policy,
        specs: Sequence[TargetSpec] = SPECS,
        budgets: tuple[BudgetSpec, ...] = (),
        instruments: Instruments | None = None,
    ) -> None:
        ids = itertools.count()
        self.clock = Clock()
        self.instruments = instruments or Instruments()
        self.settings = self.settings_of(*(policies or (OWN, OTHER)), budgets=budgets)
        self.router = Router(
            Fleet(tuple(specs)),
            self.settings,
            clock=self.clock,
            wall=self.clock.wall,
            rng=random.Random(3),
            new_id=lambda: f"id-{next(ids)}",
            on_event=lambda _event: None,
            instruments=self.instruments,
        )

    @staticmethod
    def settings_of(*policies: Policy, budgets: tuple[BudgetSpec, ...] = ()) -> Settings:
        return Settings(routing=RoutingSettings(policies={each.name: each for each in policies}), budgets=budgets)

    @property
    def shadowing(self) -> Shadowing:
        assert self.router.shadows.shadowing is not None
        return self.router.shadows.shadowing

    def asked(self) -> Comparison:
        """What the shadow of the decision that waits longest says."""
        before = len(self.instruments.comparisons)
        self.shadowing.step()
        (comparison,) = self.instruments.comparisons[before:]
        return comparison

    def fail(self, target: Target, times: int) -> None:
        """Reports failures of plans until the target's breaker is open."""
        for number in range(times):
            made = self.router.deciding.route(replace(QUERY, options=RoutingOptions(force_target=str(target))))
            self.shadowing.step()
            self.clock.now += 1.0
            outcome = Outcome(
                target=target,
                failure=FailureKind.SERVER_ERROR,
                decision_id=made.decision_id,
                attempt_id=f"failed-{number}",
                reported=True,
                latency_seconds=0.1,
            )
            self.router.reports.take([outcome], [])


def first(decision: Decision) -> Target:
    return decision.candidates[0].target


# Nobody has a shadow.


def test_without_a_shadow_there_is_nothing_at_all() -> None:
    desk = Desk(Policy(), OTHER)

    assert desk.router.shadows.shadowing is None
    assert desk.router.deciding.route(QUERY).shadow is None


def test_a_policy_without_a_shadow_beside_one_that_has_one_is_not_watched() -> None:
    desk = Desk(OWN, OTHER, Policy(name="plain"))
    made = desk.router.deciding.route(replace(QUERY, options=RoutingOptions(policy="plain")))

    assert (made.shadow, desk.shadowing.waiting_count) == (None, 0)


# What a shadow reads is what the decision has read, whatever has happened since.


def test_a_trial_that_the_plan_has_leased_is_free_for_its_shadow() -> None:
    desk = Desk(OWN, TWIN)
    desk.fail(A, 3)
    desk.clock.now += 30.0
    made = desk.router.deciding.route(QUERY)
    other = desk.router.deciding.route(QUERY)

    assert (first(made), made.candidates[0].probe is not None, first(other)) == (A, True, B)
    assert desk.asked().shadow_chosen.target == A
    assert desk.asked().shadow_chosen.target == B


def test_the_last_place_that_the_call_has_taken_is_free_for_its_shadow() -> None:
    desk = Desk(OWN, TWIN, specs=(replace(SPECS[0], max_concurrency=1), *SPECS[1:]))
    made = desk.router.deciding.for_call(EXECUTING)
    permit = desk.router.attempts.begin(made.candidates[0].spec, made, EXECUTING, call_id="call", lease_seconds=10.0)
    full = desk.router.deciding.for_call(EXECUTING)

    assert permit is not None
    assert (first(made), first(full)) == (A, B)
    assert (desk.asked().shadow_chosen.target, desk.asked().shadow_chosen.target) == (A, B)


def test_what_the_plan_has_reserved_is_there_for_its_shadow() -> None:
    # 1,000 tokens in and 100 out at 1,000 and 2,000 nano-USD each: room for one.
    desk = Desk(OWN, TWIN, specs=SPECS[:1], budgets=(budget("narrow", limit=2_000_000),))
    made = desk.router.deciding.route(QUERY)
    with pytest.raises(TurnoutError, match="budget narrow"):
        desk.router.deciding.route(QUERY)
    allowed, refused = desk.asked(), desk.asked()

    assert (allowed.chosen.target, allowed.shadow_chosen.target) == (A, A)
    assert first(made) == A
    assert (refused.chosen.target, refused.shadow_chosen.target) == (None, None)
    assert refused.agreed


def test_a_target_that_failed_since_is_as_well_for_the_shadow_as_it_was() -> None:
    desk = Desk(OWN, TWIN)
    made = desk.router.deciding.route(QUERY)
    for number in range(5):
        desk.clock.now += 1.0
        outcome = Outcome(
            target=A,
            failure=FailureKind.SERVER_ERROR,
            decision_id=made.decision_id,
            attempt_id=f"late-{number}",
            reported=True,
        )
        desk.router.reports.take([outcome], [])
    later = desk.router.deciding.route(QUERY)

    assert (first(made), first(later)) == (A, B)
    assert (desk.asked().shadow_chosen.target, desk.asked().shadow_chosen.target) == (A, B)


def test_a_credential_that_is_free_again_is_as_blocked_for_the_shadow_as_it_was() -> None:
    keyed = replace(SPECS[0], credentials=(CredentialSpec(label="main"),), needs_credential=True)
    desk = Desk(OWN, TWIN, specs=(keyed, *SPECS[1:]))
    made = desk.router.deciding.for_call(EXECUTING)
    permit = desk.router.attempts.begin(made.candidates[0].spec, made, EXECUTING, call_id="call", lease_seconds=10.0)
    assert permit is not None
    limited = Outcome(
        target=A,
        failure=FailureKind.RATE_LIMITED,
        decision_id=made.decision_id,
        attempt_id=permit.attempt_id,
        credential="main",
        retry_after_seconds=60.0,
    )
    record = AttemptRecord(target=A, attempt_id=permit.attempt_id, started_at_wall=desk.clock.wall(), credential="main")
    desk.router.attempts.finish(permit, limited, record)
    blocked = desk.router.deciding.for_call(EXECUTING)
    desk.router.administration.credential_changed("a", "main")
    free = desk.router.deciding.for_call(EXECUTING)

    assert [A, B, A] == [first(made), first(blocked), first(free)]
    assert [A, B, A] == [desk.asked().shadow_chosen.target for _ in range(3)]


def test_answers_that_were_longer_since_cost_the_shadow_what_was_expected_then() -> None:
    desk = Desk(OWN, TWIN)
    query = replace(QUERY, profile=RequestProfile(input_tokens=1000))
    made = desk.router.deciding.route(query)
    long = Outcome(
        target=A,
        decision_id=made.decision_id,
        attempt_id="long",
        reported=True,
        latency_seconds=9.0,
        usage=Usage(input_tokens=1000, output_tokens=7000),
    )
    desk.router.reports.take([long], [])
    later = desk.router.deciding.route(query)
    before, after = desk.asked(), desk.asked()

    assert made.candidates[0].expected_cost_nano_usd != later.candidates[0].expected_cost_nano_usd
    assert (before.chosen, after.chosen) == (before.shadow_chosen, after.shadow_chosen)


def test_a_key_that_was_answered_elsewhere_since_stays_where_it_was_for_the_shadow() -> None:
    twins = (Policy(shadow_policy="other"), Policy(name="other"))
    desk = Desk(*twins, specs=(spec("a/m"), spec("b/m")))
    query = replace(QUERY, options=RoutingOptions(sticky_key="talk"))
    desk.router.deciding.route(query)
    for target in (A, B):
        made = desk.router.deciding.route(query)
        desk.router.reports.take(
            [
                Outcome(
                    target=target,
                    decision_id=made.decision_id,
                    attempt_id=f"at-{target}",
                    reported=True,
                    latency_seconds=0.5,
                    usage=Usage(input_tokens=1000, output_tokens=100),
                    sticky_key="talk",
                )
            ],
            [],
        )
    kept = [desk.router.deciding.route(query) for _ in range(5)]
    found = [desk.asked() for _ in range(8)]

    assert {B} == {first(made) for made in kept}
    assert [] == [each for each in found if each.chosen != each.shadow_chosen]


def test_a_shadow_holds_nothing_of_the_text_and_decides_as_with_it() -> None:
    hint = "Design and prove an architecture; compare trade-offs step by step. def f(x):\n" * 500
    profile = RequestProfile(text_hint=hint, input_bytes=len(hint), max_output_tokens=4000)
    hybrids = (Policy(shadow_policy="other"), Policy(name="other"))
    desk = Desk(*hybrids, specs=(spec("a/m", quality=95.0), spec("b/m", quality=40.0)))
    made = desk.router.deciding.route(RouteQuery(profile=profile))
    held = desk.shadowing._waiting[0].query

    assert held.profile.text_hint == ""
    assert held.profile.complexity is made.complexity
    comparison = desk.asked()
    assert comparison.chosen == comparison.shadow_chosen


# It acts on nothing.


def test_a_shadow_takes_turns_of_its_own_and_none_of_the_policys() -> None:
    turning = Policy(name="other", strategy=Strategy.ROUND_ROBIN)
    desk = Desk(OWN, turning)
    made = [first(desk.router.deciding.route(QUERY)) for _ in range(4)]
    shadows = [desk.asked().shadow_chosen.target for _ in range(4)]
    turned = [
        first(desk.router.deciding.route(replace(QUERY, options=RoutingOptions(policy="other")))) for _ in range(2)
    ]

    assert [A, A, A, A] == made
    assert [A, B, C, A] == shadows
    assert [A, B] == turned


def test_a_shadow_that_takes_turns_beside_a_policy_that_does_takes_the_same() -> None:
    desk = Desk(
        Policy(strategy=Strategy.ROUND_ROBIN, shadow_policy="other"),
        Policy(name="other", strategy=Strategy.ROUND_ROBIN),
        Policy(name="beside", strategy=Strategy.PRIORITY, shadow_policy="other"),
    )
    beside = replace(QUERY, options=RoutingOptions(policy="beside"))
    for query in (beside, QUERY, QUERY, beside, QUERY, QUERY):
        desk.router.deciding.route(query)
    found = [desk.asked() for _ in range(6)]

    assert [A, B, C, A] == [each.chosen.target for each in found if each.policy == "default"]
    assert all(each.agreed for each in found if each.policy == "default")
    assert [A, B] == [each.shadow_chosen.target for each in found if each.policy == "beside"]


def test_an_answer_that_was_kept_is_compared_with_nothing() -> None:
    desk = Desk()
    made = desk.router.deciding.route(QUERY)
    desk.shadowing.step()
    kept = desk.router.deciding.answered_before(made, A, QUERY, age_seconds=1.0)

    assert (made.shadow is not None, kept.shadow) == (True, None)
    assert 0 == desk.shadowing.waiting_count


# What waits, and what is kept.


def test_shadow_decides_beside_a_policy_that_callers_are_bound_to() -> None:
    desk = Desk()
    bound = PolicySelector(policy="default", binding=True)
    routing = replace(desk.settings.routing, select=(bound,))
    desk.router.adopt(Fleet(SPECS), replace(desk.settings, routing=routing))
    desk.router.deciding.route(QUERY)

    assert desk.asked().shadow_chosen.target == B


def test_what_finds_no_room_is_shed_and_counted_and_the_call_goes_on() -> None:
    desk = Desk()
    made = [desk.router.deciding.route(QUERY) for _ in range(WAITING_MAXIMUM + 3)]

    assert [True] * WAITING_MAXIMUM + [False] * 3 == [each.shadow is not None for each in made]
    assert WAITING_MAXIMUM == desk.shadowing.waiting_count
    for _ in range(WAITING_MAXIMUM):
        desk.shadowing.step()
    desk.shadowing.step()
    ((pair, tally),) = desk.shadowing.tallies()

    assert ("default", "other") == pair
    assert (0, WAITING_MAXIMUM, 3) == (tally.agreed, tally.differed, tally.shed)
    assert desk.router.deciding.route(QUERY).shadow is not None


def test_the_oldest_differences_are_pushed_out_and_pages_go_on_over_new_ones() -> None:
    desk = Desk()
    for _ in range(DIFFERENCES_MAXIMUM + 5):
        desk.router.deciding.route(QUERY)
        desk.shadowing.step()
    newest = desk.shadowing.differences(page_size=DIFFERENCES_MAXIMUM + 5)
    page = desk.shadowing.differences(page_size=2)
    desk.router.deciding.route(QUERY)
    desk.shadowing.step()
    following = desk.shadowing.differences(page_size=2, page_token=page.next_page_token)
    numbers = [each.number for each in newest.differences]

    assert list(range(DIFFERENCES_MAXIMUM + 5, 5, -1)) == numbers
    assert "" == newest.next_page_token
    assert numbers[:4] == [each.number for each in (*page.differences, *following.differences)]


def test_differences_before_a_moment_are_forgotten() -> None:
    desk = Desk()
    at = []
    for _ in range(3):
        desk.clock.now += 10.0
        at.append(desk.clock.wall())
        desk.router.deciding.route(QUERY)
        desk.shadowing.step()
    desk.shadowing.clear(at[1])

    assert at[:0:-1] == [each.at_wall for each in desk.shadowing.differences().differences]


def test_what_waits_across_another_configuration_is_decided_under_its_own() -> None:
    desk = Desk()
    desk.router.deciding.route(QUERY)
    desk.router.adopt(Fleet(SPECS[1:]), desk.settings_of(Policy(strategy=Strategy.PRIORITY)))
    comparison = desk.asked()

    assert (A, B) == (comparison.chosen.target, comparison.shadow_chosen.target)
    assert desk.router.deciding.route(QUERY).shadow is None
    assert 0 == desk.shadowing.waiting_count


def test_a_shadow_that_comes_with_another_configuration_decides_from_then_on() -> None:
    desk = Desk(Policy(strategy=Strategy.PRIORITY), OTHER)
    desk.router.deciding.route(QUERY)
    desk.router.adopt(Fleet(SPECS), desk.settings_of(OWN, OTHER))
    desk.router.deciding.route(QUERY)

    assert B == desk.asked().shadow_chosen.target


# When shadows are asked.


def turns(desk: Desk, clock: itertools.count[float] | None = None) -> ShadowTurns:
    ticks = clock or itertools.repeat(0.0)
    return ShadowTurns(desk.router, clock=lambda: float(next(ticks)), log=structlog.get_logger("turnout"))


@in_virtual_time
async def test_shadows_are_asked_after_the_answer_with_pauses_as_long_as_nine_of_them() -> None:
    at: list[float] = []

    class Told(Instruments):
        def shadow(self, comparison: Comparison) -> None:
            super().shadow(comparison)
            at.append(virtual_loop().time())

    desk = Desk(instruments=Told())
    # Each decision of a shadow takes a second by this clock.
    turns(desk, itertools.count(0.0, 1.0))
    for _ in range(3):
        desk.router.deciding.route(QUERY)

    assert [] == at
    await asyncio.sleep(100.0)

    assert [AFTER_SECONDS, AFTER_SECONDS + PAUSE_FACTOR, AFTER_SECONDS + 2 * PAUSE_FACTOR] == pytest.approx(at)


@in_virtual_time
async def test_a_fault_of_a_shadow_is_told_once_and_the_next_is_asked() -> None:
    class Failing(Instruments):
        def shadow(self, comparison: Comparison) -> None:
            super().shadow(comparison)
            if len(self.comparisons) < 3:
                raise RuntimeError("planted")

    desk = Desk(instruments=Failing())
    with structlog.testing.capture_logs() as log:
        turns(desk)
        for _ in range(4):
            desk.router.deciding.route(QUERY)
        await asyncio.sleep(1.0)

    assert ["shadow.failed"] == [line["event"] for line in log]
    assert 4 == len(desk.instruments.comparisons)
    assert 2 == len(desk.shadowing.differences().differences)


@in_virtual_time
async def test_once_closed_no_shadow_is_asked() -> None:
    desk = Desk()
    turned = turns(desk)
    desk.router.deciding.route(QUERY)
    turned.close()
    desk.router.deciding.route(QUERY)
    await asyncio.sleep(1.0)

    assert ([], 2) == (desk.instruments.comparisons, desk.shadowing.waiting_count)
