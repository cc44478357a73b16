from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core.fleets import (
    NOW,
    SetBreaker,
    SetFleet,
    SetVerdict,
    candidate,
    decided,
    names,
    spec,
    warm,
)
from turnout_server.core.decide import decide, unavailable
from turnout_server.core.decision import Decision
from turnout_server.core.errors import (
    AllTargetsUnavailableError,
    InvalidRequestError,
    NoEligibleTargetError,
    UnknownTargetError,
)
from turnout_server.core.fleet import Fleet
from turnout_server.core.model import (
    BreakerState,
    Caller,
    Complexity,
    FailureKind,
    Outcome,
    Priority,
    ReasoningEffort,
    RejectionReason,
    RequestProfile,
    RouteQuery,
    Strategy,
    Target,
    Usage,
)
from turnout_server.core.settings import FailoverSettings, Policy, RoutingSettings, Settings
from turnout_server.core.state import FleetState


def two() -> SetFleet:
    return SetFleet(spec("a/m"), spec("b/m", price=(9, 9)))


def test_decision_tells_what_it_was_made_for_and_under() -> None:
    decision = decided(
        two(),
        profile=RequestProfile(task="chat", input_tokens=1234, max_output_tokens=50, complexity=Complexity.SIMPLE),
        caller=Caller(tier="pro"),
        settings=RoutingSettings(policy_version="v7"),
        max_candidates=3,
    )

    assert (decision.decision_id, decision.policy, decision.policy_version) == ("d-1", "default", "v7")
    assert (decision.task, decision.tier, decision.complexity) == ("chat", "pro", Complexity.SIMPLE)
    assert (decision.input_tokens, decision.expected_output_tokens) == (1234, 50)
    assert (decision.decided_at, decision.decided_at_wall, decision.max_candidates) == (NOW, 1.7e9, 3)


def test_reason_is_one_sentence_with_the_first_its_factors_and_the_rejected() -> None:
    fleet = two()
    fleet.at("b/m").drained = True
    reason = decided(fleet).reason

    assert reason.startswith("HYBRID (policy default): a/m with score ")
    assert "cost 1.00" in reason
    assert reason.endswith("; 1 of 2 targets rejected (1 DRAINED).")


def test_reason_names_the_second_and_the_chance() -> None:
    reason = decided(SetFleet(spec("a/m"), spec("b/m"))).reason

    assert "/m with 1.00" in reason or "/m with 0." in reason
    assert "taken with a chance of 50%" in reason


def test_empty_fleet_makes_a_decision_without_candidates() -> None:
    decision = decided(SetFleet())

    assert ((), (), None) == (decision.candidates, decision.rejections, decision.expected_output_tokens)
    assert "no target is configured" in decision.reason
    assert not decision.reusable


# Tokens.


def test_tokens_given_are_taken() -> None:
    profile = RequestProfile(task="t", input_tokens=77, input_bytes=4_000_000)

    assert decided(two(), profile=profile).input_tokens == 77


def test_tokens_are_estimated_from_bytes_and_what_is_not_text_is_added() -> None:
    profile = RequestProfile(task="t", input_bytes=4000, extra_input_tokens=50)

    assert decided(two(), profile=profile).input_tokens == 1050


def test_tokens_of_what_is_not_text_count_where_there_is_no_text() -> None:
    assert decided(two(), profile=RequestProfile(task="t", extra_input_tokens=50)).input_tokens == 50


def test_tokens_are_estimated_from_the_hint_where_there_is_nothing_else() -> None:
    assert decided(two(), profile=RequestProfile(task="t", text_hint="é" * 200)).input_tokens == 100


def test_tokens_follow_what_the_models_provider_reported() -> None:
    fleet = SetFleet(spec("a/m"))
    for _ in range(100):
        fleet.token_ratios.observe("a", "m", byte_count=10_000, input_tokens=5000)

    assert decided(fleet, profile=RequestProfile(task="t", input_bytes=4000)).input_tokens == pytest.approx(
        2000, rel=0.01
    )


def test_unknown_prompt_is_shown_as_unknown_and_so_is_its_cost() -> None:
    decision = decided(two(), profile=RequestProfile(task="t"))

    assert decision.input_tokens is None
    assert [c.expected_cost_nano_usd for c in decision.candidates] == [None, None]
    assert names(decision.candidates) == ["a/m", "b/m"]


@pytest.mark.parametrize(
    ("learned", "asked", "of_model", "expected"),
    [(900, None, None, 900), (900, 300, None, 300), (900, None, 200, 200), (100, 300, 200, 100), (900, 300, 200, 200)],
)
def test_expected_output_is_learned_and_capped_by_request_and_model(
    learned: int, asked: int | None, of_model: int | None, expected: int
) -> None:
    fleet = SetFleet(spec("a/m", max_output_tokens=of_model))
    for _ in range(2000):
        fleet.lengths.observe("chat", "a", "m", learned)
    profile = RequestProfile(task="chat", input_tokens=10, max_output_tokens=asked)

    assert decided(fleet, profile=profile).expected_output_tokens == expected


def test_unknown_price_is_shown_as_unknown_cost() -> None:
    assert decided(SetFleet(spec("a/m", price=None))).candidates[0].expected_cost_nano_usd is None


# Reuse.


def test_plan_is_valid_for_five_seconds_and_reusable() -> None:
    decision = decided(two())

    assert (5.0, True) == (decision.valid_for_seconds, decision.reusable)


@pytest.mark.parametrize("gate", ["breaker", "endpoint"])
def test_plan_is_valid_only_until_a_breaker_reopens(gate: str) -> None:
    fleet = two()
    setattr(fleet.at("b/m"), gate, SetBreaker(BreakerState.OPEN, again_at=NOW + 1.5))

    assert decided(fleet).valid_for_seconds == 1.5


def test_plan_is_valid_only_until_a_cool_down_ends() -> None:
    fleet = two()
    cooling = SetVerdict(RejectionReason.COOLING_DOWN, NOW + 2.5, "cools down")
    fleet.credentials.verdicts[fleet.at("b/m").spec.target] = cooling

    assert decided(fleet).valid_for_seconds == 2.5


def test_plan_is_not_valid_longer_because_a_breaker_reopens_later() -> None:
    fleet = two()
    fleet.at("b/m").breaker = SetBreaker(BreakerState.OPEN, again_at=NOW + 60)

    assert decided(fleet).valid_for_seconds == 5.0


def test_validity_is_a_setting_and_never_negative() -> None:
    fleet = two()
    settings = RoutingSettings(plan_valid_seconds=60.0)

    assert decided(fleet, settings=settings).valid_for_seconds == 60.0

    fleet.at("b/m").breaker = SetBreaker(BreakerState.OPEN, again_at=NOW - 1)

    assert decided(fleet, settings=settings).valid_for_seconds == 0.0


@pytest.mark.parametrize("strategy", [Strategy.WEIGHTED, Strategy.ROUND_ROBIN])
def test_plan_of_a_strategy_that_takes_turns_is_not_reusable(strategy: Strategy) -> None:
    assert not decided(two(), strategy=strategy).reusable


def test_plan_with_a_probe_is_not_reusable() -> None:
    fleet = two()
    fleet.at("a/m").breaker = SetBreaker(BreakerState.HALF_OPEN)

    assert not decided(fleet, strategy=Strategy.COST).reusable


def test_plan_with_a_ramp_is_not_reusable() -> None:
    fleet = two()
    fleet.at("a/m").breaker = SetBreaker(ramp=0.5)

    assert not decided(fleet).reusable


def test_attempt_timeout_is_four_times_the_prediction_and_at_least_ten_seconds() -> None:
    fleet = SetFleet(
        spec("a/quick", latency_prior_seconds=0.1, seconds_per_output_token_prior=0.001),
        spec("b/slow", latency_prior_seconds=4.0, seconds_per_output_token_prior=0.0025),
        spec("c/thinks", silent_thinking=True),
    )
    decision = decided(fleet)

    assert candidate(decision, "a/quick").attempt_timeout_seconds == 10.0
    assert candidate(decision, "b/slow").attempt_timeout_seconds == pytest.approx(4 * (4.0 * 1.03 + 1.0))
    assert candidate(decision, "c/thinks").attempt_timeout_seconds == 180.0


def test_attempt_timeout_leaves_time_to_think_where_that_was_asked_for() -> None:
    profile = RequestProfile(task="t", input_tokens=10, reasoning_effort=ReasoningEffort.HIGH)

    assert decided(two(), profile=profile).candidates[0].attempt_timeout_seconds == 180.0


def test_attempt_timeout_follows_the_policys_own_failover_settings() -> None:
    own = replace(FailoverSettings(), first_token_minimum_seconds=33.0)
    settings = RoutingSettings(policies={"default": Policy(failover=own)})

    assert decided(two(), settings=settings).candidates[0].attempt_timeout_seconds == 33.0


# What cannot be asked.


@pytest.mark.parametrize(
    "asked", [{"include": ("a/x",)}, {"exclude": ("a/x",)}, {"force_target": "a/x"}, {"include": ("a/m", "a/x")}]
)
def test_name_that_stands_for_nothing_is_refused_with_the_nearest(asked: dict[str, Any]) -> None:
    with pytest.raises(UnknownTargetError, match="no enabled target is called 'a/x'; did you mean 'a/m'") as caught:
        decided(two(), **asked)

    assert caught.value.name == "a/x"


@pytest.mark.parametrize(
    "asked",
    [
        {"force_target": "a/m", "exclude": ("a",)},
        {"force_target": "a/m", "include": ("b/m",)},
        {"include": ("a/m",), "exclude": ("a/m",)},
    ],
)
def test_names_that_contradict_are_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        decided(two(), **asked)


def test_excluding_part_of_what_is_included_is_no_contradiction() -> None:
    fleet = SetFleet(spec("a/m"), spec("a/n"), spec("b/m"))

    assert names(decided(fleet, include=("a",), exclude=("a/n",)).candidates) == ["a/m"]


def test_forcing_a_target_that_is_included_is_no_contradiction() -> None:
    assert names(decided(two(), include=("a/m", "b/m"), force_target="b/m").candidates) == ["b/m"]


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("options.max_cost_usd", {"max_cost_usd": -0.01}),
        ("options.max_cost_usd", {"max_cost_usd": math.nan}),
        ("options.max_latency", {"max_latency_seconds": 0.0}),
        ("options.max_latency", {"max_latency_seconds": math.inf}),
        ("options.max_time_to_first_token", {"max_time_to_first_token_seconds": -1.0}),
        ("options.min_availability", {"min_availability": 1.01}),
        ("options.min_availability", {"min_availability": math.nan}),
        ("options.min_quality", {"min_quality": -1.0}),
        ("options.min_quality", {"min_quality": 100.5}),
        ("options.max_candidates", {"max_candidates": 0}),
        ("profile.input_tokens", {"profile": RequestProfile(input_tokens=-1)}),
        ("profile.max_output_tokens", {"profile": RequestProfile(max_output_tokens=0)}),
    ],
)
def test_senseless_value_is_refused_by_its_field(field: str, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decided(two(), **asked)

    assert [violation.field for violation in caught.value.violations] == [field]


def test_all_senseless_values_are_told_at_once() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decided(two(), min_quality=-1.0, max_candidates=0, profile=RequestProfile(input_tokens=-1))

    assert len(caught.value.violations) == 3


@pytest.mark.parametrize(
    "asked",
    [
        {"max_cost_usd": 0.0},
        {"min_availability": 0.0},
        {"min_availability": 1.0},
        {"min_quality": 100.0},
        {"max_candidates": 1},
        {"max_latency_seconds": 0.001},
        {"profile": RequestProfile(input_tokens=0, max_output_tokens=1)},
    ],
)
def test_value_at_the_edge_of_sense_is_accepted(asked: dict[str, Any]) -> None:
    assert isinstance(decided(two(), **asked), Decision)


# Never and not now.


def test_nobody_who_can_ever_serve_it_is_no_eligible_target() -> None:
    error = unavailable(decided(two(), min_quality=99.0), NOW)

    assert isinstance(error, NoEligibleTargetError)
    assert error.message == "no target can serve this request as asked: 2 QUALITY"
    assert (2, "d-1") == (len(error.rejections), error.decision_id)


def test_no_target_at_all_is_no_eligible_target() -> None:
    error = unavailable(decided(SetFleet()), NOW)

    assert isinstance(error, NoEligibleTargetError)
    assert "no target is configured" in error.message


def test_nobody_for_now_is_unavailable_until_the_soonest_is_back() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"), spec("c/m", quality=1.0))
    fleet.at("a/m").breaker = SetBreaker(BreakerState.OPEN, again_at=NOW + 7)
    fleet.at("b/m").breaker = SetBreaker(BreakerState.OPEN, again_at=NOW + 3)
    # What never fits does not count, however soon it is back.
    fleet.at("c/m").breaker = SetBreaker(BreakerState.OPEN, again_at=NOW + 1)
    error = unavailable(decided(fleet, min_quality=50.0), NOW)

    assert isinstance(error, AllTargetsUnavailableError)
    assert error.retry_after_seconds == 3.0
    assert error.message.startswith("2 targets fit this request, none can be used now: 2 BREAKER_OPEN")
    assert len(error.rejections) == 3


def test_target_blocked_twice_is_back_when_both_are_over() -> None:
    fleet = SetFleet(spec("a/m"))
    fleet.at("a/m").breaker = SetBreaker(BreakerState.OPEN, again_at=NOW + 2)
    cooling = SetVerdict(RejectionReason.COOLING_DOWN, NOW + 6, "cools down")
    fleet.credentials.verdicts[fleet.at("a/m").spec.target] = cooling
    error = unavailable(decided(fleet), NOW)

    assert isinstance(error, AllTargetsUnavailableError)
    assert error.retry_after_seconds == 6.0


def test_unknown_time_of_return_is_a_second() -> None:
    fleet = SetFleet(spec("a/m"))
    fleet.at("a/m").drained = True
    error = unavailable(decided(fleet), NOW)

    assert isinstance(error, AllTargetsUnavailableError)
    assert error.retry_after_seconds == 1.0


def test_time_of_return_that_has_passed_is_not_at_once() -> None:
    fleet = SetFleet(spec("a/m"))
    fleet.at("a/m").breaker = SetBreaker(BreakerState.OPEN, again_at=NOW - 1)
    error = unavailable(decided(fleet), NOW)

    assert isinstance(error, AllTargetsUnavailableError)
    assert error.retry_after_seconds == 0.05


def test_message_of_an_error_stays_short_however_many_targets_there_are() -> None:
    fleet = SetFleet(*(spec(f"provider-with-a-long-name-{i}/m") for i in range(400)))
    error = unavailable(decided(fleet, min_quality=99.0), NOW)

    assert len(error.message.encode()) < 512


def test_soft_limits_never_leave_a_request_without_a_target() -> None:
    fleet = SetFleet(spec("a/m", quality=None, latency_prior_seconds=100.0, price=None))
    warm(fleet.at("a/m"))
    fleet.at("a/m").suspected = True

    assert names(decided(fleet, priority=Priority.CRITICAL).candidates) == ["a/m"]


# On the state that outcomes make.


def outcome(name: str, failure: FailureKind | None, *, attempt: str) -> Outcome:
    provider, _, model = name.partition("/")
    return Outcome(
        target=Target(provider, model),
        failure=failure,
        attempt_id=attempt,
        latency_seconds=1.0,
        time_to_first_token_seconds=0.5,
        streamed=True,
        usage=Usage(input_tokens=100, output_tokens=100),
        task="chat",
    )


def lived_through(*failures: FailureKind | None) -> FleetState:
    """Two targets; a/m has had these outcomes, one second apart, the last of them at NOW."""
    state = FleetState(Fleet((spec("a/m"), spec("b/m", price=(9, 9)))), Settings(), now=0.0, rng=random.Random(1))
    for i, failure in enumerate(failures):
        now = NOW - len(failures) + 1 + i
        state.attempt_started(state.targets[0], credential="", call_id=f"c{i}", attempt_id=f"a{i}", now=now)
        state.record(outcome("a/m", failure, attempt=f"a{i}"), call_id=f"c{i}", now=now, in_flight=True)
    return state


def on(state: FleetState, *, now: float, executing: bool = True) -> Decision:
    return decide(
        RouteQuery(profile=RequestProfile(task="chat", input_tokens=1000), executing=executing),
        state,
        RoutingSettings(),
        now=now,
        now_wall=1.7e9,
        rng=random.Random(1),
        decision_id="d-1",
    )


def test_target_that_fails_is_left_until_it_may_be_tried_and_is_then_used_again() -> None:
    state = lived_through(*[FailureKind.SERVER_ERROR] * 3)
    during = on(state, now=NOW + 1)
    after = on(state, now=NOW + 10)

    assert names(during.candidates) == ["b/m"]
    assert during.rejections[0].reasons == (RejectionReason.BREAKER_OPEN,)
    assert during.rejections[0].retry_at == pytest.approx(NOW + 5, abs=0.5)
    assert (["a/m", "b/m"], True) == (names(after.candidates), after.candidates[0].half_open)


def test_target_that_went_silent_is_probed_off_the_path() -> None:
    state = lived_through(*[FailureKind.TIMEOUT] * 3)
    after = on(state, now=NOW + 10)

    assert (["b/m", "a/m"], ("a/m",)) == (names(after.candidates), tuple(map(str, after.probes_wanted)))


def test_leased_trial_keeps_others_away_until_the_lease_ends() -> None:
    state = lived_through(*[FailureKind.SERVER_ERROR] * 3)
    state.lease_probe(state.targets[0], now=NOW + 10, lease_seconds=7.0, probe_id="p-1")

    assert on(state, now=NOW + 11).rejections[0].retry_at == NOW + 17
    assert names(on(state, now=NOW + 18).candidates) == ["a/m", "b/m"]


def test_outcomes_teach_latency_and_samples() -> None:
    state = lived_through(*[None] * 30)
    found = candidate(on(state, now=NOW), "a/m")

    assert found.sample_count == 30
    assert found.expected_time_to_first_token_seconds == pytest.approx(0.5, rel=0.1)


def test_target_known_to_the_real_state_without_a_key_is_for_others_only() -> None:
    state = FleetState(Fleet((spec("a/m", needs_credential=True),)), Settings(), now=0.0, rng=random.Random(1))

    assert on(state, now=NOW).rejections[0].reasons == (RejectionReason.NO_CREDENTIAL,)
    assert names(on(state, now=NOW, executing=False).candidates) == ["a/m"]
