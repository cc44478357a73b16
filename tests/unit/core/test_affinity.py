"""A key stays at the target that answered it, for its prompt cache, unless another is much better."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.unit.core.fleets import NOW, SetBreaker, SetFleet, decided, spec, warm
from tests.unit.core.live_fleet import LiveFleet
from turnout_server.core.affinity import PRIOR_CACHED_SHARE, Affinity, AffinityKey, Kept, affinity_key
from turnout_server.core.asking import Hop
from turnout_server.core.explain import HELD
from turnout_server.core.fleet import Fleet, Price, TargetSpec
from turnout_server.core.model import (
    BreakerState,
    Caller,
    Capability,
    FailureKind,
    Outcome,
    RequestProfile,
    RouteQuery,
    RoutingOptions,
    Strategy,
    Usage,
)
from turnout_server.core.settings import AffinitySettings, Policy, RoutingSettings, Settings

KEY = AffinityKey("", "k", "")
CACHING: dict[str, Any] = {"capabilities": frozenset({Capability.PROMPT_CACHING})}
A, B = spec("a/m", **CACHING), spec("b/m", **CACHING)
FLEET = Fleet((A, B))
LONG = RequestProfile(input_tokens=100_000, max_output_tokens=10, task="chat")


def cached(share: float, tokens: int = 1000) -> Usage:
    return Usage(input_tokens=tokens, output_tokens=1, cached_input_tokens=round(share * tokens))


def share_of(table: Affinity) -> float:
    kept = table.kept(KEY, FLEET, NOW)
    assert kept is not None
    return kept.cached_share


def test_a_sticky_key_goes_before_the_session_and_tenants_never_mix() -> None:
    assert affinity_key(tenant="t", sticky_key="", session_id="") is None
    assert affinity_key(tenant="t", sticky_key="k", session_id="s") == AffinityKey("t", "k", "")
    assert affinity_key(tenant="t", sticky_key="", session_id="k") != affinity_key(
        tenant="t", sticky_key="k", session_id=""
    )
    assert affinity_key(tenant="t", sticky_key="k", session_id="") != affinity_key(
        tenant="u", sticky_key="k", session_id=""
    )


def test_share_is_learned_from_what_answers_tell() -> None:
    table = Affinity(AffinitySettings())
    table.answered(KEY, A, cached(0.0), NOW)

    assert table.kept(KEY, FLEET, NOW) == Kept(0, PRIOR_CACHED_SHARE)

    table.answered(KEY, A, cached(0.9), NOW)

    assert share_of(table) == pytest.approx(0.7)

    for silent in (None, Usage(input_tokens=10, output_tokens=1), Usage(output_tokens=1, cached_input_tokens=5)):
        table.answered(KEY, A, silent, NOW)

    assert share_of(table) == pytest.approx(0.7)


def test_another_target_starts_anew() -> None:
    table = Affinity(AffinitySettings())
    for _ in range(5):
        table.answered(KEY, A, cached(1.0), NOW)
    table.answered(KEY, B, cached(1.0), NOW)

    assert table.kept(KEY, FLEET, NOW) == Kept(1, PRIOR_CACHED_SHARE)


def test_a_target_without_a_cache_is_kept_without_a_share() -> None:
    table = Affinity(AffinitySettings())
    plain = spec("a/m")
    for _ in range(2):
        table.answered(KEY, plain, cached(1.0), NOW)

    assert table.kept(KEY, Fleet((plain,)), NOW) == Kept(0, 0.0)


def test_a_price_for_cached_input_tells_of_a_cache() -> None:
    table = Affinity(AffinitySettings())
    priced = spec("a/m", price=Price(input_per_million=10, output_per_million=10, cached_input_per_million=1))
    table.answered(KEY, priced, None, NOW)

    assert table.kept(KEY, Fleet((priced,)), NOW) == Kept(0, PRIOR_CACHED_SHARE)


def test_keys_are_forgotten_an_hour_after_their_last_answer() -> None:
    table = Affinity(AffinitySettings(ttl_seconds=100.0))
    table.answered(KEY, A, None, NOW)
    table.answered(KEY, A, None, NOW + 90.0)

    assert table.kept(KEY, FLEET, NOW + 189.0) is not None
    assert table.kept(KEY, FLEET, NOW + 190.0) is None
    assert len(table) == 0


def test_the_key_longest_without_an_answer_makes_room() -> None:
    table = Affinity(AffinitySettings(max_entries=2))
    first, second, third = (AffinityKey("", name, "") for name in "xyz")
    table.answered(first, A, None, NOW)
    table.answered(second, A, None, NOW)
    table.answered(first, A, None, NOW)
    table.answered(third, A, None, NOW)

    assert [table.kept(key, FLEET, NOW) is not None for key in (first, second, third)] == [True, False, True]


def test_targets_that_are_gone_take_their_keys_with_them() -> None:
    table = Affinity(AffinitySettings())
    table.answered(KEY, A, None, NOW)
    table.answered(AffinityKey("", "other", ""), B, None, NOW)
    table.adopt(AffinitySettings(), Fleet((B,)))

    assert table.kept(KEY, FLEET, NOW) is None
    assert table.kept(AffinityKey("", "other", ""), Fleet((B,)), NOW) == Kept(0, PRIOR_CACHED_SHARE)


# In decisions.


def pair(**facts: Any) -> SetFleet:
    """Two well-known targets that are alike, and a key that the second answered."""
    fleet = SetFleet(spec("a/m", **CACHING), spec("b/m", **CACHING, **facts))
    for target in fleet.targets:
        warm(target)
    fleet.affinity.answered(KEY, fleet.at("b/m").spec, None, NOW)
    return fleet


def firsts(fleet: SetFleet, count: int = 40, **asked: Any) -> set[str]:
    asked = {"sticky_key": "k", **asked}
    return {str(decided(fleet, seed=seed, **asked).candidates[0].target) for seed in range(count)}


def test_of_near_equals_the_one_that_answered_is_taken_and_the_decision_says_so() -> None:
    fleet = pair()

    assert firsts(fleet, sticky_key="") == {"a/m", "b/m"}
    assert firsts(fleet) == {"b/m"}

    decision = decided(fleet, sticky_key="k")
    first = decision.candidates[0]

    assert (first.share, first.reason, first.factors["cached_share"]) == (1.0, HELD, PRIOR_CACHED_SHARE)
    assert "cached_share" not in decision.candidates[1].factors
    assert f", {HELD}, before a/m" in decision.reason


def test_a_session_keeps_its_target_and_another_tenant_has_keys_of_its_own() -> None:
    fleet = pair()
    fleet.affinity.answered(AffinityKey("", "", "s"), fleet.at("b/m").spec, None, NOW)

    assert firsts(fleet, caller=Caller(tenant="t")) == {"a/m", "b/m"}


@pytest.mark.parametrize(("quality", "winner"), [(90.0 * 1.19, "b/m"), (90.0 * 1.21, "a/m")])
def test_another_must_be_a_fifth_better(quality: float, winner: str) -> None:
    fleet = SetFleet(spec("a/m", quality=quality * 0.8), spec("b/m", quality=90.0 * 0.8))
    for target in fleet.targets:
        warm(target)
    fleet.affinity.answered(KEY, fleet.at("b/m").spec, None, NOW)

    assert firsts(fleet, strategy=Strategy.QUALITY) == {winner}


def test_what_is_cached_is_cheaper_and_quicker() -> None:
    price = Price(input_per_million=10**9, output_per_million=10**9, cached_input_per_million=10**8)
    fleet = pair(price=price)
    without = next(c for c in decided(fleet, profile=LONG).candidates if str(c.target) == "b/m")
    kept, other = decided(fleet, profile=LONG, sticky_key="k").candidates

    assert str(kept.target) == "b/m"
    assert kept.expected_cost_nano_usd == 50_000 * 1000 + 50_000 * 100 + 10 * 1000
    assert without.expected_cost_nano_usd == 100_000 * 1000 + 10 * 1000
    assert kept.expected_time_to_first_token_seconds < without.expected_time_to_first_token_seconds
    assert kept.factors["cost"] > 1.5 * other.factors["cost"]
    assert kept.factors["latency"] > other.factors["latency"]


def test_a_limit_is_held_against_what_it_costs_with_the_cache() -> None:
    price = Price(input_per_million=10**9, output_per_million=10**9, cached_input_per_million=10**8)
    fleet = pair(price=price)

    assert [str(c.target) for c in decided(fleet, profile=LONG, max_cost_usd=0.08).candidates] == []
    assert [str(c.target) for c in decided(fleet, profile=LONG, max_cost_usd=0.08, sticky_key="k").candidates] == [
        "b/m"
    ]


def test_a_target_that_cannot_be_used_is_left_and_not_forgotten() -> None:
    fleet = pair()
    fleet.at("b/m").drained = True

    assert firsts(fleet) == {"a/m"}

    fleet.at("b/m").drained = False

    assert firsts(fleet) == {"b/m"}


@pytest.mark.parametrize(
    "happened",
    [
        {"suspected": True},
        {"breaker": SetBreaker(BreakerState.HALF_OPEN)},
        {"breaker": SetBreaker(ramp=0.1)},
    ],
)
def test_a_target_in_trouble_is_not_kept_to(happened: dict[str, Any]) -> None:
    fleet = pair()
    for name, value in happened.items():
        setattr(fleet.at("b/m"), name, value)

    assert "a/m" in firsts(fleet)


def test_a_failover_does_not_come_back_to_it() -> None:
    fleet = pair()
    hop = Hop(tried=frozenset({fleet.at("b/m").spec.target}))

    assert firsts(fleet, hop=hop, executing=True) == {"a/m"}


def test_a_table_goes_before_the_cache() -> None:
    policy = Policy(preferences=("a/m",))

    assert firsts(pair(), settings=RoutingSettings(policies={"default": policy})) == {"a/m"}


def test_strategies_that_take_turns_take_them() -> None:
    fleet = pair()

    turns = [decided(fleet, sticky_key="k", strategy=Strategy.ROUND_ROBIN, turn=turn) for turn in range(2)]

    assert {str(each.candidates[0].target) for each in turns} == {"a/m", "b/m"}


# From answers.


def answered_by(fleet: LiveFleet, key: AffinityKey = KEY) -> str | None:
    kept = fleet.state.affinity.kept(key, fleet.state.fleet, fleet.now)
    return None if kept is None else fleet.state.fleet.specs[kept.target_index].name


def test_answers_of_ours_keep_and_failures_change_nothing() -> None:
    fleet = LiveFleet("a/m", "b/m")
    fleet.ended("a/m", sticky_key="k")
    fleet.ended("b/m", FailureKind.SERVER_ERROR, sticky_key="k")

    assert answered_by(fleet) == "a/m"

    fleet.ended("b/m", sticky_key="k", caller=Caller(tenant="t"))

    assert answered_by(fleet) == "a/m"
    assert answered_by(fleet, AffinityKey("t", "k", "")) == "b/m"

    fleet.ended("b/m", session_id="s")

    assert answered_by(fleet, AffinityKey("", "", "s")) == "b/m"


def test_a_report_is_of_the_key_that_its_decision_was_for() -> None:
    fleet = LiveFleet("a/m", "b/m")
    decision = fleet._decision
    query = RouteQuery(options=RoutingOptions(sticky_key="k"), caller=Caller(tenant="t"))
    fleet.state.history.add(decision, query)
    fleet.reported("b/m", decision_id=decision.decision_id, session_id="other")

    assert answered_by(fleet, AffinityKey("t", "k", "")) == "b/m"
    assert len(fleet.state.affinity) == 1


def test_an_answer_of_a_removed_target_keeps_nothing() -> None:
    fleet = LiveFleet("a/m", "b/m")
    attempt_id, gone = fleet.started("a/m"), fleet.at("a/m").spec.target
    fleet.state.adopt(Fleet((spec("b/m"),)), Settings())
    outcome = Outcome(target=gone, attempt_id=attempt_id, sticky_key="k")
    fleet.state.record(outcome, call_id="c", now=fleet.now, in_flight=True)

    assert len(fleet.state.affinity) == 0


def test_no_key_asks_nothing_of_the_table() -> None:
    fleet = pair()
    fleet.affinity = None  # type: ignore[assignment]

    assert decided(fleet).candidates


NAMES = st.sampled_from(["x", "y", "z", "w"])
TARGETS: tuple[TargetSpec, ...] = (A, B, spec("c/m"))


class AffinityMachine(RuleBasedStateMachine):
    """Any answers, pauses and fleets, against a list of all that was ever answered."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = AffinitySettings(ttl_seconds=60.0, max_entries=3)
        self.table = Affinity(self.settings)
        self.now = NOW
        self.fleet = Fleet(TARGETS)
        self.answers: list[tuple[float, AffinityKey, str]] = []

    @rule(name=NAMES, which=st.integers(0, 2), share=st.none() | st.floats(-1, 2))
    def answer(self, name: str, which: int, share: float | None) -> None:
        target = self.fleet.specs[which % len(self.fleet.specs)]
        key = AffinityKey("", name, "")
        usage = None if share is None else cached(share)
        self.table.answered(key, target, usage, self.now)
        self.answers = [each for each in self.answers if each[1] != key]
        lately = [each for each in self.answers if self.now - each[0] < 60.0]
        self.answers = [*lately, (self.now, key, target.name)][-self.settings.max_entries :]

    @rule(seconds=st.sampled_from([0.0, 1.0, 30.0, 59.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(left=st.integers(1, 3), most=st.integers(1, 3))
    def adopt(self, left: int, most: int) -> None:
        self.fleet = Fleet(TARGETS[:left])
        self.settings = AffinitySettings(ttl_seconds=60.0, max_entries=most)
        self.table.adopt(self.settings, self.fleet)
        here = {each.name for each in self.fleet.specs}
        lately = [each for each in self.answers if self.now - each[0] < 60.0]
        self.answers = [each for each in lately if each[2] in here][-most:]

    @invariant()
    def the_last_answers_are_known_and_no_others(self) -> None:
        known = {key: name for at, key, name in self.answers if self.now - at < 60.0}
        for name in ("x", "y", "z", "w"):
            kept = self.table.kept(AffinityKey("", name, ""), self.fleet, self.now)
            found = None if kept is None else self.fleet.specs[kept.target_index].name

            assert found == known.get(AffinityKey("", name, ""))
            assert kept is None or 0.0 <= kept.cached_share <= 1.0
        assert len(self.table) <= self.settings.max_entries


TestAffinityMachine = AffinityMachine.TestCase
TestAffinityMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
