"""Deciding over columns comes to what asking every target one by one comes to, and the kept columns are never stale.

The columns are the fast way; `filters.examine` and `Expectation.of` are the plain one, target by target.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from tests.unit.core.fleets import NOW, SetBreaker, SetFleet, SetVerdict, decided, spec, warm
from tests.unit.core.test_state_machine import NAME, SPECS, FleetMachine
from turnout_server.core.affinity import AffinityKey
from turnout_server.core.candidates import Candidates, brief, explained, remember
from turnout_server.core.columns import COST_GRAIN_NANO_USD, Facts, Selection
from turnout_server.core.decision import Decision, Rejection
from turnout_server.core.expectation import Expectation
from turnout_server.core.explain import HELD
from turnout_server.core.filters import examine
from turnout_server.core.fleet import Fleet, Prefill, Price, PriceTier, TargetSpec
from turnout_server.core.model import (
    HEALTH_FAILURES,
    BreakerState,
    Caller,
    Capability,
    FailureKind,
    HealthState,
    Priority,
    RateLimitReading,
    RejectionReason,
    RequestProfile,
    RouteQuery,
    Strategy,
    Usage,
)
from turnout_server.core.model import RateLimitBucket as Bucket
from turnout_server.core.preferences import resolve_ranking, select_policy
from turnout_server.core.rejections import Rejections, first_reasons
from turnout_server.core.scoring import SINGLE_FACTOR
from turnout_server.core.settings import FailoverSettings, RoutingSettings, Settings
from turnout_server.core.state import FADING_SECONDS
from turnout_server.core.vitals import Vitals, take_vitals

PROVIDERS = ("a", "b", "c")
ABILITIES = (Capability.TOOLS, Capability.VISION, Capability.LONG_CONTEXT, Capability.PROMPT_CACHING)
TIERED = Price(
    input_per_million=1_000_000_000,
    output_per_million=4_000_000_000,
    tiers=(PriceTier(above_input_tokens=2000, price=Price(input_per_million=3 * 10**9, output_per_million=9 * 10**9)),),
)
CACHED = Price(input_per_million=3 * 10**9, output_per_million=15 * 10**9, cached_input_per_million=3 * 10**8)
PRICES: st.SearchStrategy[Any] = st.sampled_from([None, TIERED, CACHED, (0.0, 0.0), (0.1, 0.4), (3.0, 15.0)])
ABLE = st.frozensets(st.sampled_from(ABILITIES), max_size=3)
ASKED = st.sampled_from([frozenset(), frozenset(), frozenset({Capability.TOOLS}), frozenset({Capability.LONG_CONTEXT})])
MAYBE = st.sampled_from([True, False, False, False])
KEY = AffinityKey("", "k", "")
USAGES = st.sampled_from(
    [None, *(Usage(input_tokens=1000, output_tokens=1, cached_input_tokens=cached) for cached in (0, 333, 1000))]
)


@st.composite
def specs(draw: st.DrawFn) -> list[TargetSpec]:
    """Up to nine targets at three providers, each with gaps of its own."""
    count = draw(st.integers(1, 9))
    return [
        spec(
            f"{PROVIDERS[i % 3]}/m{i}",
            price=draw(PRICES),
            context_window_tokens=draw(st.sampled_from([None, 1500, 8000, 200_000])),
            max_output_tokens=draw(st.sampled_from([None, 200, 4096])),
            quality=draw(st.sampled_from([None, 50.0, 70.0, 95.0])),
            capabilities=draw(ABLE),
            region=draw(st.sampled_from(["", "eu", "us"])),
            deprecated=draw(MAYBE),
            prefill=draw(st.sampled_from(Prefill)),
            latency_prior_seconds=draw(st.sampled_from([0.01, 0.4, 3.0, 30.0])),
            seconds_per_output_token_prior=draw(st.sampled_from([0.001, 0.02])),
            max_concurrency=draw(st.sampled_from([None, 1])),
            provider_rank=i % 3,
        )
        for i in range(count)
    ]


GATES = st.builds(
    SetBreaker,
    current=st.sampled_from([BreakerState.OPEN, BreakerState.HALF_OPEN]),
    free=st.booleans(),
    again_at=st.sampled_from([None, NOW + 1.0, NOW + 9.0]),
    opened_by_silence=st.booleans(),
) | st.just(SetBreaker(ramp=0.3))
VERDICTS = st.sampled_from(
    [
        SetVerdict(RejectionReason.COOLING_DOWN, NOW + 2.0, "cools"),
        SetVerdict(RejectionReason.CREDENTIALS, None, "wrong key"),
    ]
)
HAPPENINGS: dict[str, st.SearchStrategy[Any]] = {
    "breaker": GATES,
    "endpoint": GATES,
    "availability": st.sampled_from([0.999, 0.9, 0.3]),
    "in_flight": st.integers(1, 2),
    "drained": st.just(True),  # noqa: FBT003  # as it is drawn
    "suspected": st.just(True),  # noqa: FBT003  # likewise
    "health_state": st.sampled_from(HealthState),
    "samples": st.sampled_from([1, 3, 30]),
    "verdict": VERDICTS,
    "room": st.sampled_from([-1.0, 10.0, 5000.0]),
    "throttle": st.sampled_from([0.1, 0.5, 0.99]),
    "crowd_limit": st.sampled_from([3, 30]),
    "drift_factor": st.sampled_from([0.5, 0.8]),
}
HAPPENED = st.lists(st.sampled_from(sorted(HAPPENINGS)), max_size=2, unique=True)


@st.composite
def fleets(draw: st.DrawFn) -> SetFleet:
    """A fleet to most of whose targets one thing or another has happened."""
    fleet = SetFleet(*draw(specs()))
    for target in fleet.targets:
        for name in draw(HAPPENED):
            value = draw(HAPPENINGS[name])
            match name:
                case "availability":
                    target.availability.current = value
                case "samples":
                    warm(target, value)
                case "verdict":
                    fleet.credentials.verdicts[target.spec.target] = value
                case "room":
                    fleet.credentials.rooms[target.spec.target] = value
                case _:
                    setattr(target, name, value)
    kept = draw(st.none() | st.sampled_from(fleet.targets))
    if kept is not None:
        fleet.affinity.answered(KEY, kept.spec, None, NOW)
        fleet.affinity.answered(KEY, kept.spec, draw(USAGES), NOW)
    return fleet


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    """What is asked of the fleet, limits included."""
    tokens = draw(st.sampled_from([None, 0, 1200, 2500, 7900, 150_000]))
    profile = RequestProfile(
        task=draw(st.sampled_from(["", "chat"])),
        input_tokens=tokens,
        input_bytes=draw(st.sampled_from([None, 9000])) if tokens is None else None,
        max_output_tokens=draw(st.sampled_from([None, 1, 300, 5000])),
        capabilities=draw(ASKED),
        prefilled=draw(MAYBE),
    )
    limits = {
        "max_cost_usd": st.sampled_from([None, None, None, 0.0, 0.002, 0.1]),
        "max_latency_seconds": st.sampled_from([None, None, None, 1.0, 20.0]),
        "max_time_to_first_token_seconds": st.sampled_from([None, None, None, 0.5]),
        "min_availability": st.sampled_from([None, None, 0.9, 0.95]),
        "min_quality": st.sampled_from([None, None, None, 60.0]),
        "strategy": st.sampled_from([None, *(each for each in Strategy if each is not Strategy.ADAPTIVE)]),
        "priority": st.sampled_from(Priority),
        "regions": st.sampled_from([(), (), ("eu",), ("us", "eu")]),
    }
    return {
        "profile": profile,
        "caller": Caller(tier=draw(st.sampled_from(["", "free", "pro"]))),
        "executing": draw(st.booleans()),
        "deadline_seconds": draw(st.sampled_from([None, 0.2, 60.0])),
        "request_id": draw(st.sampled_from(["", "r"])),
        "sticky_key": draw(st.sampled_from(["", "k"])),
        "turn": draw(st.integers(0, 9)),
        **{name: draw(values) for name, values in limits.items()},
    }


def examined(fleet: SetFleet, found: Rejections) -> dict[int, Rejection]:
    """Whom the filters reject, asked one by one."""
    answers = {
        index: examine(
            target,
            index,
            found._expectation.of(index),
            demand=found._demand,
            state=fleet,
            now=NOW,
        )
        for index, target in enumerate(fleet.targets)
    }
    return {index: answer for index, answer in answers.items() if isinstance(answer, Rejection)}


def rejections_of(decision: Decision) -> Rejections:
    assert isinstance(decision.rejections, Rejections)
    return decision.rejections


@given(fleet=fleets(), question=questions(), seed=st.integers(0, 5))
@settings(max_examples=3 * settings().max_examples)
def test_columns_reject_whom_the_filters_reject_one_by_one(
    fleet: SetFleet, question: dict[str, Any], seed: int
) -> None:
    decision = decided(fleet, seed=seed, **question)
    found = rejections_of(decision)
    expected = examined(fleet, found)
    told = list(found)
    added = told[len(expected) :]

    assert told[: len(expected)] == list(expected.values())
    # Those added have passed: their one trial goes to somebody else, or they are spared this call.
    assert {r.target for r in added}.isdisjoint(r.target for r in expected.values())
    spared = [r.target for r in added if r.reasons[0] in {RejectionReason.THROTTLED, RejectionReason.CONCURRENCY}]
    assert set(decision.spared) == set(spared)
    names = [str(each.target) for each in told] + [str(each.target) for each in decision.candidates]
    assert sorted(names) == sorted(str(each.spec.target) for each in fleet.targets)
    for candidate in decision.candidates:
        target = fleet.at(str(candidate.target))
        closed = target.breaker.current is target.endpoint.current is BreakerState.CLOSED

        assert candidate.half_open is not closed
        assert candidate.health is target.health_state
        assert candidate.reason == HELD or ("suspect" in candidate.reason) is target.suspected


@given(fleet=fleets(), question=questions())
def test_first_reasons_are_counted_as_they_are_told(fleet: SetFleet, question: dict[str, Any]) -> None:
    found = rejections_of(decided(fleet, **question))
    told = Counter((str(r.target), r.reasons[0]) for r in found)
    shared = found.shared.by_target if found.shared is not None else ()

    assert Counter([*shared, *found.by_target()]) == told
    assert first_reasons(found) == Counter(r.reasons[0] for r in found)
    assert len(found) == told.total()


@given(fleet=fleets(), question=questions())
def test_scores_are_made_of_the_factors_that_are_shown(fleet: SetFleet, question: dict[str, Any]) -> None:
    decision = decided(fleet, **question)
    routing = RoutingSettings()
    query = RouteQuery(profile=question["profile"])
    query = dataclasses.replace(query, options=dataclasses.replace(query.options, strategy=question["strategy"]))
    ranking = resolve_ranking(query, select_policy(query, routing), decision.complexity)
    single = SINGLE_FACTOR.get(decision.strategy)
    weights = dict(zip(("cost", "latency", "availability", "quality", "priority"), ranking.weights, strict=True))

    for candidate in decision.candidates:
        factors = dict(candidate.factors)
        ramp, drift = factors.pop("ramp", 1.0), factors.pop("drift", 1.0)
        factors.pop("cached_share", None)  # shown beside the factors: it is in the cost already
        score = factors[single] if single else sum(weights[name] * value for name, value in factors.items())

        target = fleet.at(str(candidate.target))

        assert ramp == min(target.breaker.ramp, target.endpoint.ramp)
        assert drift == target.drift_factor
        assert all(0.0 <= value <= 1.0 + 1e-9 for value in factors.values())
        assert candidate.score == pytest.approx(score * ramp * drift, rel=1e-9, abs=1e-12)


@given(fleet=fleets(), question=questions(), most=st.integers(0, 10))
@settings(max_examples=settings().max_examples // 4)
def test_what_is_read_in_short_is_what_is_written_out(fleet: SetFleet, question: dict[str, Any], most: int) -> None:
    candidates = decided(fleet, **question).candidates
    assert isinstance(candidates, Candidates)
    written = tuple(candidates)

    assert brief(candidates, most) == brief(written, most)
    assert explained(candidates, most) == explained(written, most)
    remember(candidates, read=True)
    # Reading others, or fewer, is no harm.
    for read in (candidates[2:], candidates[:5], candidates[:1]):
        assert read is not None
        assert explained(candidates, most) == explained(written, most)
    remember(candidates, read=False)
    assert candidates[:5] == written[:5]
    assert candidates._read is None


@given(fleet=fleets(), question=questions())
def test_columns_expect_what_is_expected_of_each(fleet: SetFleet, question: dict[str, Any]) -> None:
    facts = Facts(fleet.fleet)
    vitals = fleet.vitals(NOW)
    profile = question["profile"]
    kept = fleet.affinity.kept(KEY, fleet.fleet, NOW) if question["sticky_key"] else None
    expectation = Expectation(profile, facts, fleet.prepared.outputs(profile.task, vitals, fleet.lengths), kept)
    everybody = Selection(range(len(fleet.targets)), facts)
    costs, latencies = expectation.columns(everybody)
    firsts = expectation.first_tokens(everybody)

    for index, target in enumerate(fleet.targets):
        expected = expectation.of(index)

        assert latencies[index] == pytest.approx(expected.latency_seconds)
        assert firsts[index] == pytest.approx(expected.first_token_seconds)
        assert costs[index] == pytest.approx(expectation.cost(index, expected))
        assert expected.first_token_seconds == pytest.approx(
            target.latency.time_to_first_token(expected.input_tokens - expectation.cached_tokens(index), NOW)
        )
        assert firsts[index] <= expectation.slowest_first_token_seconds * (1 + 1e-9)
        if expected.cost_nano_usd is not None:
            assert costs[index] - COST_GRAIN_NANO_USD == pytest.approx(expected.cost_nano_usd, rel=1e-9, abs=1.0)


COLUMNS = (
    "first_seconds",
    "token_seconds",
    "strengths",
    "tokens_per_byte",
    "special",
    "rooms",
    "ratio",
    "slowest_first_seconds",
)


class KeptColumns(FleetMachine):
    """The same storms as on any fleet, and an operator's doings; after each step a decision may read the columns."""

    @rule(name=NAME, drained=st.booleans())
    def drain(self, name: str, drained: bool) -> None:  # noqa: FBT001  # drawn
        self.fleet.state.set_drained(self.fleet.at(name).index, drained=drained)

    @rule(label=st.sampled_from(["k1", "k2"]))
    def change_key(self, label: str) -> None:
        self.fleet.state.credential_changed("a", label, self.fleet.now)

    @rule(which=st.integers(0, 100))
    def first_token(self, which: int) -> None:
        if self.running:
            attempt_id = list(self.running)[which % len(self.running)]
            self.fleet.state.first_token(attempt_id, self.fleet.now, began_at=self.fleet.now - 1.0)

    @rule(names=st.lists(NAME, min_size=3, max_size=4), kind=st.sampled_from([None, *sorted(HEALTH_FAILURES)]))
    def burst(self, names: list[str], kind: FailureKind | None) -> None:
        """Calls that ran side by side end at the same moment."""
        for name in names:
            self.fleet.ended(name, kind)

    @rule(name=NAME, seconds=st.sampled_from([0.2, 2.0, 30.0]), tokens=st.sampled_from([100, 900]))
    def teach(self, name: str, seconds: float, tokens: int) -> None:
        """An answer that says how long it took, what its bytes made, and what is left."""
        bucket = Bucket(limit=1000, remaining=tokens, reset_seconds=1.0)
        self.fleet.ended(
            name,
            latency_seconds=seconds,
            time_to_first_token_seconds=seconds / 2,
            streamed=True,
            usage=Usage(input_tokens=tokens, output_tokens=50),
            estimated_input_tokens=500,
            input_bytes=2000,
            rate_limit=RateLimitReading(tokens=bucket),
        )

    @rule(seconds=st.sampled_from([0.01, 0.1, 1.0, 6.0]))
    def let_time_pass(self, seconds: float) -> None:
        """Nobody is told of it: a hop decides without."""
        self.fleet.now += seconds

    @rule(specs=st.permutations(SPECS))
    def reorder(self, specs: list[TargetSpec]) -> None:
        """Another configuration: the same targets at other places."""
        chosen = Settings(failover=FailoverSettings(breaker=self.breaker), history_max_bytes=20_000)
        self.fleet.state.adopt(Fleet(tuple(specs)), chosen)

    @invariant()
    def nothing_special_is_missed(self) -> None:
        state, now = self.fleet.state, self.fleet.now
        kept, fresh = state.vitals(now), take_vitals(state.targets, state.credentials, state.token_ratios, now)

        assert fresh.special <= kept.special
        for index, room in fresh.rooms.items():
            # Buckets fill again by themselves: less than there is can be known, never more.
            assert kept.rooms.get(index, float("inf")) <= room
        for ours, true in zip(kept.each, fresh.each, strict=True):
            assert (ours.in_flight, ours.sample_count) == (true.in_flight, true.sample_count)
            assert ours.tokens_per_byte == true.tokens_per_byte
        for index, (ours, true) in enumerate(zip(kept.each, fresh.each, strict=True)):
            # Where nothing has ended, nothing fades; what is special is asked itself for what time changes.
            if index not in state._fading and index not in kept.special:
                assert ours._replace(room_tokens=true.room_tokens) == true

    @invariant()
    def columns_say_what_each_says(self) -> None:
        kept = self.fleet.state.vitals(self.fleet.now)
        anew = Vitals(kept.each)

        for column in COLUMNS:
            assert getattr(kept, column) == getattr(anew, column), column

    @rule()
    def what_fades_is_soon_read_anew(self) -> None:
        self.fleet.now += FADING_SECONDS
        state, now = self.fleet.state, self.fleet.now
        kept, fresh = state.vitals(now), take_vitals(state.targets, state.credentials, state.token_ratios, now)

        assert kept.each == fresh.each
        for column in COLUMNS:
            assert getattr(kept, column) == getattr(fresh, column), column


TestKeptColumns = KeptColumns.TestCase
TestKeptColumns.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
