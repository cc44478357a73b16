from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import NOW, SetBreaker, SetFleet, SetVerdict, decided, names, reasons, rejection, spec, warm
from turnout_server.core.decide import Hop, unavailable
from turnout_server.core.errors import AllTargetsUnavailableError
from turnout_server.core.fleet import Prefill
from turnout_server.core.forms import Form
from turnout_server.core.model import (
    REASON_ORDER,
    BreakerState,
    Caller,
    Capability,
    Priority,
    RejectionReason,
    RequestProfile,
    Strategy,
    Target,
)
from turnout_server.core.settings import Limits, Policy, RoutingSettings

R = RejectionReason
GOOD = "good/model"


def beside_a_good_one(**facts: Any) -> SetFleet:
    return SetFleet(spec(GOOD, region="eu"), spec("odd/model", **{"region": "eu", **facts}))


def profile(**needs: Any) -> RequestProfile:
    return RequestProfile(**{"task": "chat", "input_tokens": 1000, **needs})


def limited(**limits: Any) -> RoutingSettings:
    return RoutingSettings(policies={"default": Policy(limits=Limits(**limits))})


def test_every_target_ends_as_candidate_or_as_rejection() -> None:
    fleet = SetFleet(*(spec(f"p{i}/m", context_window_tokens=1000 * i) for i in range(1, 6)))
    decision = decided(fleet, profile=profile(input_tokens=2500))

    assert {"p3/m", "p4/m", "p5/m"} == set(names(decision.candidates))
    assert {"p1/m", "p2/m"} == {str(r.target) for r in decision.rejections}


def test_target_excluded_by_name_is_rejected() -> None:
    assert reasons(decided(beside_a_good_one(), exclude=("odd/model",)), "odd/model") == (R.EXCLUDED,)


def test_target_excluded_by_its_providers_name_is_rejected() -> None:
    assert reasons(decided(beside_a_good_one(), exclude=("odd",)), "odd/model") == (R.EXCLUDED,)


def test_target_not_included_is_rejected() -> None:
    assert reasons(decided(beside_a_good_one(), include=(GOOD,)), "odd/model") == (R.EXCLUDED,)


def test_model_name_includes_all_its_endpoints_and_an_endpoint_name_only_one() -> None:
    fleet = SetFleet(spec("openai/gpt@eu"), spec("openai/gpt@us"), spec(GOOD))

    assert {"openai/gpt@eu", "openai/gpt@us"} == set(names(decided(fleet, include=("openai/gpt",)).candidates))
    assert names(decided(fleet, include=("openai/gpt@us",)).candidates) == ["openai/gpt@us"]


def test_other_targets_than_the_forced_one_are_rejected() -> None:
    decision = decided(beside_a_good_one(), force_target=GOOD)

    assert names(decision.candidates) == [GOOD]
    assert reasons(decision, "odd/model") == (R.NOT_FORCED,)


@pytest.mark.parametrize("region", ["us", ""])
def test_target_of_another_or_an_unknown_region_is_rejected(region: str) -> None:
    assert reasons(decided(beside_a_good_one(region=region), regions=("eu",)), "odd/model") == (R.REGION,)


def test_any_of_the_regions_asked_for_will_do() -> None:
    decision = decided(beside_a_good_one(region="us"), regions=("eu", "us"))

    assert {GOOD, "odd/model"} == set(names(decision.candidates))


def test_missing_capability_is_rejected_and_named() -> None:
    fleet = SetFleet(spec(GOOD, capabilities=frozenset({Capability.VISION, Capability.TOOLS})), spec("odd/model"))
    needs = profile(capabilities=frozenset({Capability.VISION, Capability.TOOLS}))
    found = rejection(decided(fleet, profile=needs), "odd/model")

    assert ((R.CAPABILITY,), "lacks TOOLS, VISION") == (found.reasons, found.detail)


def test_missing_custom_capability_is_rejected() -> None:
    fleet = SetFleet(spec(GOOD, custom_capabilities=frozenset({"latin"})), spec("odd/model"))
    decision = decided(fleet, profile=profile(custom_capabilities=frozenset({"latin"})))

    assert reasons(decision, "odd/model") == (R.CAPABILITY,)
    assert names(decision.candidates) == [GOOD]


def test_image_by_url_needs_a_wire_that_takes_urls() -> None:
    seeing = frozenset({Capability.VISION})
    fleet = SetFleet(spec(GOOD, capabilities=seeing, url_capabilities=seeing), spec("odd/model", capabilities=seeing))
    decision = decided(fleet, profile=profile(capabilities=seeing, url_capabilities=seeing))

    assert reasons(decision, "odd/model") == (R.CAPABILITY,)
    assert names(decision.candidates) == [GOOD]


def test_a_target_that_lacks_a_form_of_its_capabilities_is_rejected_by_the_forms_name() -> None:
    calling = frozenset({Capability.TOOLS})
    lacking = spec("odd/model", capabilities=calling, lacking_forms=frozenset({Form.FORCED_TOOLS, Form.SERIAL_TOOLS}))
    fleet = SetFleet(spec(GOOD, capabilities=calling), lacking)
    forced = decided(fleet, profile=profile(capabilities=calling, forms=frozenset({Form.FORCED_TOOLS})))
    named = decided(fleet, profile=profile(capabilities=calling, forms=frozenset({Form.NAMED_TOOL})))

    assert [((RejectionReason.CAPABILITY,), "lacks TOOLS with tool_choice REQUIRED")] == [
        (rejection.reasons, rejection.detail) for rejection in forced.rejections
    ]
    assert () == tuple(named.rejections)


@pytest.mark.parametrize(("window", "fits"), [(199_999, False), (200_000, True), (None, False)])
def test_long_context_is_a_window_of_200_000_tokens(window: int | None, fits: bool) -> None:  # noqa: FBT001
    fleet = SetFleet(spec("odd/model", context_window_tokens=window))
    decision = decided(fleet, profile=profile(capabilities=frozenset({Capability.LONG_CONTEXT})))

    assert fits == bool(decision.candidates)


def test_long_context_marked_by_hand_holds_only_where_the_window_is_unknown() -> None:
    marked = frozenset({Capability.LONG_CONTEXT})
    fleet = SetFleet(
        spec("a/unknown", context_window_tokens=None, capabilities=marked),
        spec("b/small", context_window_tokens=10_000, capabilities=marked),
    )
    decision = decided(fleet, profile=profile(capabilities=marked))

    assert names(decision.candidates) == ["a/unknown"]


@pytest.mark.parametrize(("tokens", "fits"), [(900, True), (901, False)])
def test_prompt_and_the_output_asked_for_must_fit_the_window(tokens: int, fits: bool) -> None:  # noqa: FBT001
    fleet = SetFleet(spec("odd/model", context_window_tokens=1000))
    decision = decided(fleet, profile=profile(input_tokens=tokens, max_output_tokens=100))

    assert fits == bool(decision.candidates)


def test_prompt_that_fills_the_window_leaves_no_room_for_an_answer() -> None:
    fleet = SetFleet(spec("odd/model", context_window_tokens=1000))

    assert reasons(decided(fleet, profile=profile(input_tokens=1000)), "odd/model") == (R.CONTEXT_WINDOW,)


def test_output_asked_for_beyond_what_the_model_can_say_takes_no_room() -> None:
    fleet = SetFleet(spec("odd/model", context_window_tokens=1000, max_output_tokens=100))

    assert decided(fleet, profile=profile(input_tokens=900, max_output_tokens=50_000)).candidates


def test_unknown_prompt_length_rejects_nobody() -> None:
    fleet = SetFleet(spec("odd/model", context_window_tokens=500))

    assert decided(fleet, profile=RequestProfile(task="chat")).candidates


def test_unknown_window_rejects_nobody_at_first() -> None:
    fleet = SetFleet(spec("odd/model", context_window_tokens=None))

    assert decided(fleet, profile=profile(input_tokens=10_000_000)).candidates


@pytest.mark.parametrize("quality", [79.9, None])
def test_lower_or_unknown_quality_than_asked_for_is_rejected(quality: float | None) -> None:
    assert reasons(decided(beside_a_good_one(quality=quality), min_quality=80), "odd/model") == (R.QUALITY,)


def test_quality_exactly_as_asked_for_passes() -> None:
    assert len(decided(beside_a_good_one(quality=80), min_quality=80).candidates) == 2


def test_unknown_price_is_rejected_while_the_request_limits_cost() -> None:
    assert reasons(decided(beside_a_good_one(price=None), max_cost_usd=1.0), "odd/model") == (R.UNKNOWN_PRICE,)


def test_unknown_price_is_rejected_while_a_tier_caps_cost() -> None:
    decision = decided(beside_a_good_one(price=None), caller=Caller(tier="pro"))

    assert reasons(decision, "odd/model") == (R.UNKNOWN_PRICE,)


def test_unknown_price_passes_without_a_cost_limit() -> None:
    assert len(decided(beside_a_good_one(price=None)).candidates) == 2


def test_expected_cost_over_the_requests_limit_is_rejected() -> None:
    # 1,000 tokens in at 100 USD and 400 out at 200 USD per million: 0.18 USD.
    dear = beside_a_good_one(price=(100.0, 200.0))

    assert reasons(decided(dear, max_cost_usd=0.1799), "odd/model") == (R.COST_LIMIT,)
    assert len(decided(dear, max_cost_usd=0.18).candidates) == 2


@pytest.mark.parametrize(("tier", "fits"), [("free", False), ("pro", True), ("ultimate", True), ("", True)])
def test_expected_cost_over_the_tiers_cap_is_rejected(tier: str, fits: bool) -> None:  # noqa: FBT001
    # 0.018 USD: more than free's 0.01, less than pro's 0.10.
    decision = decided(beside_a_good_one(price=(10.0, 20.0)), caller=Caller(tier=tier))

    assert fits == (len(decision.candidates) == 2)
    assert fits or reasons(decision, "odd/model") == (R.TIER,)


def test_policys_cost_limit_rejects_and_the_tighter_of_two_holds() -> None:
    dear = beside_a_good_one(price=(100.0, 200.0))

    assert reasons(decided(dear, settings=limited(max_cost_usd=0.1)), "odd/model") == (R.COST_LIMIT,)
    assert reasons(decided(dear, settings=limited(max_cost_usd=0.1), max_cost_usd=5.0), "odd/model") == (R.COST_LIMIT,)
    assert reasons(decided(dear, settings=limited(max_cost_usd=5.0), max_cost_usd=0.1), "odd/model") == (R.COST_LIMIT,)


def test_policys_quality_limit_rejects() -> None:
    decision = decided(beside_a_good_one(quality=50.0), settings=limited(min_quality=80.0))

    assert reasons(decision, "odd/model") == (R.QUALITY,)


def test_requests_limits_hold_beside_other_limits_of_the_policy() -> None:
    slow = beside_a_good_one(latency_prior_seconds=10.0)
    decision = decided(slow, settings=limited(max_cost_usd=5.0, min_quality=1.0), max_latency_seconds=9.0)

    assert reasons(decision, "odd/model") == (R.LATENCY_LIMIT,)


def test_deprecated_target_is_rejected_unless_named() -> None:
    old = beside_a_good_one(deprecated=True)

    assert reasons(decided(old), "odd/model") == (R.DEPRECATED,)
    assert reasons(decided(old, include=("odd", GOOD)), "odd/model") == (R.DEPRECATED,)
    assert names(decided(old, include=("odd/model",)).candidates) == ["odd/model"]
    assert names(decided(old, force_target="odd/model").candidates) == ["odd/model"]


@pytest.mark.parametrize(
    "policy",
    [
        Policy(preferences=("odd/model",)),
        Policy(tasks={"chat": {"any": ("odd/model",)}}),
        Policy(shares={"odd/model": 1.0}),
    ],
)
def test_deprecated_target_named_in_a_table_is_used(policy: Policy) -> None:
    decision = decided(beside_a_good_one(deprecated=True), settings=RoutingSettings(policies={"default": policy}))

    assert "odd/model" in names(decision.candidates)


@pytest.mark.parametrize("reason", [R.NO_CREDENTIAL, R.CREDENTIALS, R.COOLING_DOWN, R.RATE_LIMIT])
def test_target_without_a_usable_credential_is_rejected(reason: RejectionReason) -> None:
    fleet = beside_a_good_one()
    fleet.credentials.verdicts[fleet.at("odd/model").spec.target] = SetVerdict(reason, NOW + 3, "why")
    found = rejection(decided(fleet), "odd/model")

    assert ((reason,), "why") == (found.reasons, found.detail)


def test_credentials_are_judged_for_the_callers_tenant_and_way_of_calling() -> None:
    fleet = SetFleet(spec(GOOD))
    decided(fleet, caller=Caller(tenant="acme"), executing=True)
    decided(fleet, caller=Caller(tenant="other"))

    assert fleet.credentials.asked == [("acme", True), ("other", False)]


def test_drained_target_is_rejected() -> None:
    fleet = beside_a_good_one()
    fleet.at("odd/model").drained = True

    assert reasons(decided(fleet), "odd/model") == (R.DRAINED,)


def test_open_breaker_is_rejected_until_its_reopen_time() -> None:
    fleet = beside_a_good_one()
    fleet.at("odd/model").breaker = SetBreaker(BreakerState.OPEN, again_at=NOW + 4)
    found = rejection(decided(fleet), "odd/model")

    assert ((R.BREAKER_OPEN,), NOW + 4) == (found.reasons, found.retry_at)


def test_open_endpoint_breaker_rejects_its_targets() -> None:
    fleet = beside_a_good_one()
    fleet.at("odd/model").endpoint = SetBreaker(BreakerState.OPEN, again_at=NOW + 9)
    found = rejection(decided(fleet), "odd/model")

    assert ((R.BREAKER_OPEN,), NOW + 9) == (found.reasons, found.retry_at)


def test_both_breakers_open_are_one_reason_and_the_later_time() -> None:
    fleet = beside_a_good_one()
    fleet.at("odd/model").breaker = SetBreaker(BreakerState.OPEN, again_at=NOW + 4)
    fleet.at("odd/model").endpoint = SetBreaker(BreakerState.OPEN, again_at=NOW + 9)
    found = rejection(decided(fleet), "odd/model")

    assert ((R.BREAKER_OPEN,), NOW + 9) == (found.reasons, found.retry_at)


def test_half_open_target_whose_trial_is_taken_is_rejected_until_the_lease_ends() -> None:
    fleet = beside_a_good_one()
    fleet.at("odd/model").breaker = SetBreaker(BreakerState.HALF_OPEN, free=False, again_at=NOW + 12)
    found = rejection(decided(fleet, executing=True), "odd/model")

    assert ((R.BREAKER_OPEN,), NOW + 12) == (found.reasons, found.retry_at)


def test_predicted_latency_over_an_explicit_limit_is_rejected() -> None:
    slow = beside_a_good_one(latency_prior_seconds=10.0)

    assert reasons(decided(slow, max_latency_seconds=9.0), "odd/model") == (R.LATENCY_LIMIT,)
    assert len(decided(slow, max_latency_seconds=20.0).candidates) == 2


def test_predicted_latency_over_the_policys_limit_is_rejected() -> None:
    slow = beside_a_good_one(latency_prior_seconds=10.0)

    assert reasons(decided(slow, settings=limited(max_latency_seconds=9.0)), "odd/model") == (R.LATENCY_LIMIT,)


def test_predicted_first_token_over_an_explicit_limit_is_rejected() -> None:
    slow = beside_a_good_one(latency_prior_seconds=3.0)

    assert reasons(decided(slow, max_time_to_first_token_seconds=2.0), "odd/model") == (R.LATENCY_LIMIT,)
    assert len(decided(slow, max_time_to_first_token_seconds=4.0).candidates) == 2


def test_slow_target_without_an_explicit_limit_is_not_rejected() -> None:
    fleet = beside_a_good_one(latency_prior_seconds=100.0)

    assert len(decided(fleet, priority=Priority.CRITICAL).candidates) == 2


def test_availability_below_an_explicit_minimum_is_rejected() -> None:
    fleet = beside_a_good_one()
    fleet.at("odd/model").availability.current = 0.90

    assert reasons(decided(fleet, min_availability=0.95), "odd/model") == (R.AVAILABILITY,)
    assert reasons(decided(fleet, settings=limited(min_availability=0.95)), "odd/model") == (R.AVAILABILITY,)
    assert len(decided(fleet, min_availability=0.90).candidates) == 2
    assert len(decided(fleet).candidates) == 2


@pytest.mark.parametrize(("in_flight", "fits"), [(7, True), (8, False)])
def test_target_at_its_concurrency_limit_is_rejected(in_flight: int, fits: bool) -> None:  # noqa: FBT001
    fleet = beside_a_good_one(max_concurrency=8)
    fleet.at("odd/model").in_flight = in_flight
    decision = decided(fleet)

    assert fits == (len(decision.candidates) == 2)
    assert fits or reasons(decision, "odd/model") == (R.CONCURRENCY,)


def test_first_token_expected_after_the_callers_deadline_is_rejected() -> None:
    slow = beside_a_good_one(latency_prior_seconds=10.0)
    warm(slow.at("odd/model"), 3)

    assert reasons(decided(slow, executing=True, deadline_seconds=5.0), "odd/model") == (R.DEADLINE,)
    assert len(decided(slow, executing=True, deadline_seconds=15.0).candidates) == 2
    assert len(decided(slow, executing=True).candidates) == 2


@pytest.mark.parametrize("strategy", [Strategy.QUALITY, Strategy.ROUND_ROBIN, Strategy.PRIORITY, Strategy.WEIGHTED])
def test_target_that_only_its_prior_calls_too_slow_is_asked_last(strategy: Strategy) -> None:
    fleet = SetFleet(spec("odd/model", latency_prior_seconds=10.0, quality=99.0), spec(GOOD, quality=50.0))
    for turn in range(4):
        decision = decided(fleet, executing=True, deadline_seconds=5.0, strategy=strategy, turn=turn, seed=turn)

        assert names(decision.candidates) == [GOOD, "odd/model"]


def test_preferred_target_that_its_prior_calls_too_slow_is_asked_last_too() -> None:
    fleet = SetFleet(spec("odd/model", latency_prior_seconds=10.0), spec(GOOD))
    preferring = RoutingSettings(policies={"default": Policy(preferences=("odd/model",))})
    decision = decided(fleet, executing=True, deadline_seconds=5.0, settings=preferring)

    assert names(decision.candidates) == [GOOD, "odd/model"]


def test_slow_prior_is_enough_against_a_target_once_the_call_has_failed_elsewhere() -> None:
    slow = beside_a_good_one(latency_prior_seconds=10.0)
    hop = Hop(tried=frozenset({Target("good", "model")}))

    assert reasons(decided(slow, executing=True, deadline_seconds=5.0, hop=hop), "odd/model") == (R.DEADLINE,)


def test_where_all_are_too_slow_for_the_deadline_no_time_to_try_again_is_told() -> None:
    fleet = SetFleet(spec("a/m", latency_prior_seconds=10.0), spec("b/m", latency_prior_seconds=20.0))
    for target in fleet.targets:
        warm(target, 3)
    decision = decided(fleet, executing=True, deadline_seconds=5.0)
    error = unavailable(decision, NOW)

    assert isinstance(error, AllTargetsUnavailableError)
    assert error.retry_after_seconds is None
    assert "give it a longer deadline" in error.message


def test_where_one_is_only_open_its_time_is_told_although_the_others_are_too_slow() -> None:
    fleet = SetFleet(spec("a/m", latency_prior_seconds=10.0), spec("b/m"))
    warm(fleet.at("a/m"), 3)
    fleet.at("b/m").breaker = SetBreaker(BreakerState.OPEN, again_at=NOW + 4)
    error = unavailable(decided(fleet, executing=True, deadline_seconds=5.0), NOW)

    assert isinstance(error, AllTargetsUnavailableError)
    assert error.retry_after_seconds == 4.0


def test_deadline_of_a_route_call_is_not_the_deadline_of_what_is_routed() -> None:
    slow = beside_a_good_one(latency_prior_seconds=10.0)

    assert len(decided(slow, deadline_seconds=0.1).candidates) == 2


def test_all_reasons_that_apply_are_reported_permanent_ones_first() -> None:
    fleet = SetFleet(
        spec(GOOD),
        spec(
            "odd/model",
            region="us",
            context_window_tokens=10,
            quality=1.0,
            price=(1e6, 1e6),
            deprecated=True,
            latency_prior_seconds=50.0,
            max_concurrency=1,
        ),
    )
    odd = fleet.at("odd/model")
    odd.drained, odd.in_flight, odd.availability.current = True, 1, 0.2
    warm(odd, 3)
    odd.breaker = SetBreaker(BreakerState.OPEN, again_at=NOW + 4)
    fleet.credentials.verdicts[odd.spec.target] = SetVerdict(R.COOLING_DOWN, NOW + 2, "cools down")
    decision = decided(
        fleet,
        profile=profile(capabilities=frozenset({Capability.AUDIO})),
        caller=Caller(tier="free"),
        force_target=GOOD,
        exclude=("odd",),
        regions=("eu",),
        min_quality=50.0,
        max_cost_usd=0.5,
        max_latency_seconds=1.0,
        max_time_to_first_token_seconds=1.0,
        min_availability=0.9,
        executing=True,
        deadline_seconds=1.0,
    )

    assert reasons(decision, "odd/model") == (
        R.EXCLUDED,
        R.NOT_FORCED,
        R.TIER,
        R.REGION,
        R.CAPABILITY,
        R.CONTEXT_WINDOW,
        R.QUALITY,
        R.COST_LIMIT,
        R.DEPRECATED,
        R.DRAINED,
        R.BREAKER_OPEN,
        R.COOLING_DOWN,
        R.LATENCY_LIMIT,
        R.AVAILABILITY,
        R.CONCURRENCY,
        R.DEADLINE,
    )


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (SetBreaker(BreakerState.OPEN, again_at=NOW + 4), "breaker open for 4.0 s more"),
        (SetBreaker(BreakerState.OPEN, again_at=NOW - 4), "breaker open for 0.0 s more"),
        (SetBreaker(BreakerState.OPEN), "breaker open"),
        (SetBreaker(BreakerState.HALF_OPEN, free=False), "half-open, its one trial is taken"),
    ],
)
@pytest.mark.parametrize("which", ["breaker", "endpoint"])
def test_rejection_by_a_breaker_says_which_and_for_how_long(which: str, gate: SetBreaker, expected: str) -> None:
    fleet = beside_a_good_one()
    setattr(fleet.at("odd/model"), which, gate)
    prefix = "endpoint " if which == "endpoint" else ""

    assert rejection(decided(fleet), "odd/model").detail == prefix + expected


@pytest.mark.parametrize(
    ("region", "expected"), [("us", "region us, not uk or eu"), ("", "region unknown, not uk or eu")]
)
def test_rejection_by_region_says_where_it_is_and_where_it_should_be(region: str, expected: str) -> None:
    found = rejection(decided(beside_a_good_one(region=region), regions=("uk", "eu")), "odd/model")

    assert expected == found.detail


def test_rejection_by_cost_tells_both_amounts() -> None:
    found = rejection(decided(beside_a_good_one(price=(100.0, 200.0)), max_cost_usd=0.15), "odd/model")

    assert found.detail == "0.18 USD expected, the limit is 0.15 USD"


def test_exactly_at_its_limit_a_target_passes() -> None:
    fleet = SetFleet(
        spec("odd/model", price=(100.0, 200.0), latency_prior_seconds=2.0, seconds_per_output_token_prior=0.005)
    )
    exact: dict[str, Any] = {
        "profile": profile(input_tokens=0),
        "settings": RoutingSettings(tiers={"exact": 0.08}),
        "caller": Caller(tier="exact"),
        "max_cost_usd": 0.08,
        "max_latency_seconds": 4.0,
        "max_time_to_first_token_seconds": 2.0,
        "executing": True,
        "deadline_seconds": 2.0,
    }

    assert decided(fleet, **exact).candidates


def test_target_that_never_fits_has_no_time_to_try_it_again() -> None:
    fleet = beside_a_good_one(quality=1.0)
    fleet.at("odd/model").breaker = SetBreaker(BreakerState.OPEN, again_at=NOW + 4)
    found = rejection(decided(fleet, min_quality=50), "odd/model")

    assert (True, None) == (found.permanent, found.retry_at)


def test_hop_leaves_out_what_was_tried() -> None:
    fleet = beside_a_good_one()
    decision = decided(fleet, executing=True, hop=Hop(tried=frozenset({fleet.at(GOOD).spec.target})))

    assert names(decision.candidates) == ["odd/model"]
    assert reasons(decision, GOOD) == (R.EXCLUDED,)


def test_filters_hold_for_a_hop_as_for_the_first_choice() -> None:
    fleet = SetFleet(
        spec(GOOD, capabilities=frozenset({Capability.TOOLS})),
        spec("no/tools"),
        spec("no/room", capabilities=frozenset({Capability.TOOLS}), context_window_tokens=10),
    )
    decision = decided(
        fleet,
        profile=profile(capabilities=frozenset({Capability.TOOLS})),
        executing=True,
        hop=Hop(tried=frozenset({fleet.at(GOOD).spec.target})),
    )

    assert decision.candidates == ()


THINKS = frozenset({Capability.THINKING})


@pytest.mark.parametrize(
    ("prefill", "thinking", "first", "fallback"),
    [
        (Prefill.TAKEN, False, True, True),
        (Prefill.TAKEN, True, True, True),
        (Prefill.TAKEN_WITHOUT_THINKING, False, True, True),
        (Prefill.TAKEN_WITHOUT_THINKING, True, False, False),
        (Prefill.UNKNOWN, False, True, False),
        (Prefill.REFUSED, False, False, False),
    ],
)
def test_conversation_that_ends_with_the_assistant_goes_to_no_fallback_that_may_refuse_it(
    prefill: Prefill, *, thinking: bool, first: bool, fallback: bool
) -> None:
    fleet = SetFleet(
        spec(GOOD, prefill=Prefill.TAKEN, capabilities=THINKS), spec("odd/model", prefill=prefill, capabilities=THINKS)
    )
    asked = profile(prefilled=True, capabilities=THINKS if thinking else frozenset())
    good = fleet.at(GOOD).spec.target
    # A target may be asked again after it failed: then it is among those asked, and not among those left out.
    hops = [Hop(tried=frozenset({good}), asked=frozenset({good})), Hop(asked=frozenset({good}))]
    decisions = [decided(fleet, profile=asked, executing=True, hop=hop) for hop in (None, *hops)]

    assert [first, fallback, fallback] == ["odd/model" in names(d.candidates) for d in decisions]
    assert all(
        reasons(d, "odd/model") == (R.CAPABILITY,) and "assistant" in rejection(d, "odd/model").detail
        for d in decisions
        if "odd/model" not in names(d.candidates)
    )


def test_first_choice_of_which_nothing_is_known_may_be_asked_again() -> None:
    fleet = SetFleet(spec(GOOD), spec("odd/model"))
    hop = Hop(asked=frozenset({fleet.at(GOOD).spec.target}))
    decision = decided(fleet, profile=profile(prefilled=True), executing=True, hop=hop)

    assert [GOOD] == names(decision.candidates)


def test_who_refuses_a_prefill_takes_every_other_conversation() -> None:
    fleet = beside_a_good_one(prefill=Prefill.REFUSED)
    hop = Hop(asked=frozenset({fleet.at(GOOD).spec.target}))

    assert {GOOD, "odd/model"} == set(names(decided(fleet, executing=True, hop=hop).candidates))


@pytest.mark.parametrize(
    ("hop", "window", "fits"),
    [
        (Hop(minimum_context=32_001), 32_000, False),
        (Hop(minimum_context=32_001), 32_001, True),
        (Hop(required_window_over=32_000), 32_000, False),
        (Hop(required_window_over=32_000), 32_001, True),
        (Hop(minimum_context=32_001), None, False),
        (Hop(required_window_over=32_000), None, False),
    ],
)
def test_hop_after_a_window_too_small_asks_for_a_larger_one(
    hop: Hop,
    window: int | None,
    fits: bool,  # noqa: FBT001
) -> None:
    fleet = SetFleet(spec("odd/model", context_window_tokens=window))

    assert fits == bool(decided(fleet, executing=True, hop=hop).candidates)


switches = st.fixed_dictionaries(
    {
        "region": st.sampled_from(["eu", "us", ""]),
        "quality": st.none() | st.floats(0, 100),
        "price": st.none() | st.tuples(st.floats(0, 1000), st.floats(0, 1000)),
        "deprecated": st.booleans(),
        "context_window_tokens": st.none() | st.integers(1, 10_000),
        "latency_prior_seconds": st.floats(0, 20),
    }
)


@given(
    facts=st.lists(switches, max_size=6),
    options=st.fixed_dictionaries(
        {},
        optional={
            "regions": st.just(("eu",)),
            "min_quality": st.floats(0, 100),
            "max_cost_usd": st.floats(0, 0.1),
            "max_latency_seconds": st.floats(0.1, 30),
            "min_availability": st.floats(0, 1),
        },
    ),
    drained=st.integers(0, 63),
)
def test_nobody_is_lost_and_reasons_are_in_order(
    facts: list[dict[str, Any]], options: dict[str, Any], drained: int
) -> None:
    fleet = SetFleet(*(spec(f"p{i}/m", **fact) for i, fact in enumerate(facts)))
    for i, target in enumerate(fleet.targets):
        target.drained = bool(drained >> i & 1)
    decision = decided(fleet, **options)
    accounted = [c.target for c in decision.candidates] + [r.target for r in decision.rejections]

    assert sorted(accounted) == sorted(s.target for s in fleet.fleet.specs)
    for found in decision.rejections:
        order = [REASON_ORDER[reason] for reason in found.reasons]
        assert order == sorted(set(order))
        assert found.detail
