"""Who is spared a call: whoever would get it, refuses many or has as many as it copes with, and can be stood in for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.unit.core.fleets import NOW, SetBreaker, SetFleet, decided, names, reasons, rejection, spec
from tests.unit.core.live_fleet import LiveFleet
from tests.unit.core.test_health_in_decisions import KEY, ranked
from turnout_server.core.affinity import AffinityKey
from turnout_server.core.events import EventName
from turnout_server.core.model import BreakerState, Caller, FailureKind, Priority, RejectionReason, Strategy
from turnout_server.core.statistics import MINUTE_SECONDS

KIND = FailureKind
SEEDS = range(200)


def three(**facts: Any) -> SetFleet:
    return SetFleet(*(spec(f"{name}/m", provider_rank=rank, **facts) for rank, name in enumerate("abc")))


def first_of(fleet: SetFleet, seed: int, **options: Any) -> str:
    options = {"strategy": Strategy.PRIORITY, **options}
    return names(decided(fleet, seed=seed, **options).candidates)[0]


def test_a_target_that_comes_first_is_spared_with_its_probability() -> None:
    fleet = three()
    fleet.at("a/m").throttle = 0.7
    firsts = Counter(first_of(fleet, seed) for seed in SEEDS)

    assert set(firsts) == {"a/m", "b/m"}
    assert 0.6 <= firsts["b/m"] / len(SEEDS) <= 0.8


def test_the_rejection_says_that_it_is_throttled_and_by_how_much() -> None:
    fleet = three()
    fleet.at("a/m").throttle = 0.999
    decision = decided(fleet, strategy=Strategy.PRIORITY)

    assert reasons(decision, "a/m") == (RejectionReason.THROTTLED,)
    assert "100% of them go elsewhere" in rejection(decision, "a/m").detail
    assert "1 THROTTLED" in decision.reason
    assert [str(target) for target in decision.spared] == ["a/m"]


def test_a_target_that_would_not_be_chosen_is_spared_nothing() -> None:
    fleet = three()
    fleet.at("b/m").throttle = 0.999
    decision = decided(fleet, strategy=Strategy.PRIORITY)

    assert names(decision.candidates) == ["a/m", "b/m", "c/m"]
    assert decision.spared == ()


def test_a_target_with_as_many_calls_as_it_copes_with_is_spared_while_another_can_stand_in() -> None:
    fleet = three()
    fleet.at("a/m").crowd_limit, fleet.at("a/m").in_flight = 12, 14
    decision = decided(fleet, strategy=Strategy.PRIORITY)

    assert names(decision.candidates) == ["b/m", "c/m"]
    assert reasons(decision, "a/m") == (RejectionReason.CONCURRENCY,)
    assert rejection(decision, "a/m").detail == "14 calls in flight, it copes with about 12 now"


@pytest.mark.parametrize("executing", [True, False])
def test_the_only_target_is_never_spared(executing: bool) -> None:  # noqa: FBT001  # a parameter
    fleet = SetFleet(spec("a/m"))
    fleet.at("a/m").throttle, fleet.at("a/m").crowd_limit = 0.999, 3

    assert {"a/m"} == {first_of(fleet, seed, executing=executing) for seed in SEEDS}


def test_where_all_would_be_spared_the_one_that_refuses_least_gets_the_call() -> None:
    fleet = three()
    for name, throttle in (("a/m", 0.999), ("b/m", 0.99), ("c/m", 0.995)):
        fleet.at(name).throttle = throttle
    decision = decided(fleet, strategy=Strategy.PRIORITY, seed=3)

    assert names(decision.candidates) == ["b/m"]
    assert [str(target) for target in decision.spared] == ["a/m", "c/m"]


@pytest.mark.parametrize("executing", [True, False])
def test_a_trial_is_never_spared_and_stands_in_for_nobody(executing: bool) -> None:  # noqa: FBT001  # a parameter
    fleet = SetFleet(spec("a/m"), spec("b/m"))
    fleet.at("a/m").breaker = SetBreaker(BreakerState.HALF_OPEN)
    fleet.at("a/m").throttle = fleet.at("b/m").throttle = 0.999
    decisions = [decided(fleet, strategy=Strategy.PRIORITY, seed=seed, executing=executing) for seed in SEEDS]

    assert {()} == {decision.spared for decision in decisions}


def test_a_suspect_stands_in_for_nobody() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))
    fleet.at("a/m").throttle = 0.999
    fleet.at("b/m").suspected = True

    assert {"a/m"} == {first_of(fleet, seed) for seed in SEEDS}


def test_a_forced_target_is_never_spared() -> None:
    fleet = three()
    fleet.at("a/m").throttle = 0.999

    assert {"a/m"} == {first_of(fleet, seed, force_target="a/m") for seed in SEEDS}


@pytest.mark.parametrize("strategy", [each for each in Strategy if each is not Strategy.ADAPTIVE])
def test_every_strategy_goes_on_with_the_others(strategy: Strategy) -> None:
    fleet = three()
    fleet.at("a/m").throttle = 0.999
    for seed in SEEDS:
        decision = decided(fleet, seed=seed, strategy=strategy, turn=seed)
        told = {*names(decision.candidates), *(str(r.target) for r in decision.rejections)}

        assert told == {"a/m", "b/m", "c/m"}
        assert names(decision.candidates)[0] != "a/m"
        assert bool(decision.spared) is ("a/m" not in names(decision.candidates))
        # Whoever is spared has no part of the calls of this plan; what is left adds up.
        assert sum(c.share for c in decision.candidates) == pytest.approx(1.0)


def test_a_key_that_stays_at_a_spared_target_goes_to_another_for_this_call() -> None:
    fleet = three()
    fleet.affinity.answered(AffinityKey("", "k", ""), fleet.at("c/m").spec, None, NOW)
    fleet.at("c/m").throttle = 0.999
    decision = decided(fleet, strategy=Strategy.QUALITY, sticky_key="k", caller=Caller())

    assert [str(target) for target in decision.spared] == ["c/m"]
    assert "c/m" not in names(decision.candidates)


@pytest.mark.parametrize("throttle", [0.5, 0.0])
def test_no_plan_is_used_twice_where_chance_may_spare_somebody(throttle: float) -> None:
    fleet = three()
    fleet.at("a/m").throttle = throttle

    assert {throttle == 0.0} == {decided(fleet, strategy=Strategy.PRIORITY, seed=seed).reusable for seed in range(20)}


def test_urgency_changes_nothing() -> None:
    fleet = three()
    fleet.at("a/m").throttle = 0.999

    assert {"b/m"} == {first_of(fleet, 1, priority=priority) for priority in Priority}


# The same with the machines that learn it.


def two() -> LiveFleet:
    return LiveFleet(spec("a/m", credentials=KEY, provider_rank=0), spec("b/m", provider_rank=1))


def refusing(fleet: LiveFleet, *, sent: int, refused: int, kind: FailureKind = KIND.OVERLOADED) -> None:
    """Calls end a tenth of a second apart, refused ones spread evenly; the breaker stays closed."""
    for n in range(sent):
        fleet.now += 0.1
        fleet.ended("a/m", kind if (n + 1) * refused // sent > n * refused // sent else None)


def test_refusals_of_a_key_throttle_its_target_once_its_cool_down_is_over() -> None:
    fleet = two()
    refusing(fleet, sent=20, refused=15, kind=KIND.RATE_LIMITED)
    fleet.now = (
        fleet.state.credentials.verdict(fleet.at("a/m").spec, tenant="", executing=True, now=fleet.now).retry_at
        or fleet.now
    )
    fleet.state.attempt_started(fleet.state.targets[0], credential="k", call_id="c", attempt_id="x", now=fleet.now)

    assert fleet.at("a/m").throttled(fleet.now) == pytest.approx((21 - 2 * 6) / 22)
    assert fleet.names().count(EventName.THROTTLED) == 1


@pytest.mark.parametrize("kind", sorted(set(KIND) - {KIND.RATE_LIMITED, KIND.OVERLOADED}))
def test_what_is_no_refusal_throttles_nobody(kind: FailureKind) -> None:
    fleet = two()
    refusing(fleet, sent=20, refused=20, kind=kind)

    assert fleet.at("a/m").throttle.pressure(fleet.now) == 0.0


def test_callers_rate_limits_are_of_their_own_keys_and_throttle_nobody() -> None:
    fleet = two()
    for _ in range(30):
        fleet.reported("a/m", KIND.RATE_LIMITED, credential="theirs")

    assert fleet.at("a/m").throttle.accepts(fleet.now) == (0, 0)


def test_callers_reports_of_overload_throttle_and_teach_no_limit() -> None:
    fleet = two()
    for _ in range(20):
        fleet.now += 0.01
        fleet.reported("a/m", KIND.OVERLOADED)

    assert fleet.at("a/m").throttle.pressure(fleet.now) > 0.9
    assert fleet.at("a/m").concurrency.limit(fleet.now) is None


def test_closing_its_breaker_forgets_what_was_held_against_a_target() -> None:
    fleet = two()
    fleet.opened("a/m", KIND.OVERLOADED)
    for _ in range(20):
        fleet.state.targets[0].throttle.sent(fleet.now)
        fleet.state.targets[0].throttle.refused(fleet.now)
    fleet.tried("a/m")
    fleet.tried("a/m")

    assert fleet.at("a/m").breaker.closed
    assert (fleet.at("a/m").throttle.troubled, fleet.at("a/m").pressed(fleet.now)) == (False, False)


def test_spared_calls_are_counted_as_requests_by_whoever_decided() -> None:
    fleet = two()
    refusing(fleet, sent=20, refused=12, kind=KIND.OVERLOADED)
    before = fleet.at("a/m").throttle.pressure(fleet.now)
    fleet.state.spared((fleet.at("a/m").spec.target,) * 10, fleet.now)

    assert fleet.at("a/m").throttle.pressure(fleet.now) > before


def test_a_crowd_limits_its_target_until_calls_end() -> None:
    fleet = two()
    attempts = [fleet.started("a/m") for _ in range(40)]
    for attempt_id in attempts[:4]:
        fleet.now += 0.01
        fleet.ended("a/m", KIND.TIMEOUT, attempt_id=attempt_id, call_id="one")

    assert fleet.at("a/m").concurrency_limit(fleet.now) == 28
    assert names(ranked(fleet).candidates) == ["b/m"]

    for attempt_id in attempts[4:13]:
        fleet.ended("a/m", attempt_id=attempt_id)

    assert names(ranked(fleet).candidates) == ["a/m", "b/m"]
    assert EventName.CROWDED in fleet.names()


def test_the_configured_maximum_holds_where_more_was_learned() -> None:
    fleet = LiveFleet(spec("a/m", max_concurrency=5), "b/m")
    for _ in range(40):
        fleet.started("a/m")
    for n in range(4):
        fleet.ended("a/m", KIND.OVERLOADED, attempt_id=f"attempt {n}", call_id="one")

    assert fleet.at("a/m").concurrency_limit(fleet.now) == 5


def test_status_tells_share_and_limit() -> None:
    fleet = two()
    attempts = [fleet.started("a/m") for _ in range(40)]
    for n, attempt_id in enumerate(attempts[:30]):
        fleet.ended("a/m", KIND.OVERLOADED, attempt_id=attempt_id, call_id=f"call {n % 2}")
    report = fleet.state.status(providers=(), window_seconds=MINUTE_SECONDS, now=fleet.now, now_wall=0.0)
    crowded, free = (target for provider in report.providers for target in provider.targets)

    assert crowded.throttle == pytest.approx((40 - 2 * 10) / 41)
    assert (crowded.concurrency_limit, free.throttle, free.concurrency_limit) == (28, 0.0, None)
