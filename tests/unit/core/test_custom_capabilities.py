"""Capabilities of the operator's naming: those needed reject, those preferred are a share of HYBRID's score."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import SetFleet, candidate, decided, names, reasons, spec, warm
from tests.unit.core.test_budgets_in_decisions import room
from turnout_server.core.decision import Decision
from turnout_server.core.errors import InvalidRequestError
from turnout_server.core.model import Complexity, RejectionReason, RequestProfile, Strategy, Weights
from turnout_server.core.preferences import CAPABILITY_SHARE
from turnout_server.core.scoring import FACTORS, SINGLE_FACTOR
from turnout_server.core.settings import Policy, RoutingSettings

TYPED, BOTH = frozenset({"typescript"}), frozenset({"typescript", "code-generation"})


def fleet() -> SetFleet:
    """Three that are alike, but for what they have been taught; the first is a little cheaper."""
    made = SetFleet(
        spec("none/m", price=(0.9, 1.8)),
        spec("one/m", custom_capabilities=TYPED),
        spec("both/m", custom_capabilities=BOTH),
    )
    for target in made.targets:
        warm(target)
    return made


def preferring(*wanted: str, needed: tuple[str, ...] = (), **more: Any) -> Decision:
    profile = RequestProfile(
        input_tokens=1000,
        task=more.pop("task", "chat"),
        complexity=more.pop("complexity", None),
        preferred_capabilities=frozenset(wanted),
        custom_capabilities=frozenset(needed),
    )
    return decided(more.pop("on", None) or fleet(), profile=profile, **more)


def test_those_who_have_more_of_what_is_preferred_come_first_and_nobody_is_rejected() -> None:
    decision = preferring("typescript", "code-generation")

    assert ["both/m", "one/m", "none/m"] == names(decision.candidates)
    assert [1.0, 0.5, 0.0] == [each.factors["capability"] for each in decision.candidates]
    assert () == tuple(decision.rejections)
    assert ", capability 1.00)" in decision.reason


def test_score_is_the_weighted_mean_and_the_share_of_preferred_capabilities() -> None:
    plain, decision = preferring(), preferring("typescript", "code-generation")
    for name, share in (("none/m", 0.0), ("one/m", 0.5), ("both/m", 1.0)):
        before = candidate(plain, name).score
        expected = (1.0 - CAPABILITY_SHARE) * before + CAPABILITY_SHARE * share
        assert expected == pytest.approx(candidate(decision, name).score)

    assert 0.0 == plain.capability_share
    assert CAPABILITY_SHARE == decision.capability_share
    assert all("capability" not in each.factors for each in plain.candidates)


@pytest.mark.parametrize(
    ("asked", "of_policy", "share"),
    [
        (None, Weights(), 0.2),
        (None, Weights(capability=1.0), 0.5),
        (Weights(capability=0.0), Weights(capability=1.0), 0.0),
        (Weights(cost=3, latency=0, availability=0, capability=1.0), Weights(), 0.25),
        (Weights(cost=3, latency=0, availability=0), Weights(capability=3.0), 0.5),
    ],
)
def test_weight_of_the_request_counts_before_the_policys_and_a_fifth_without_any(
    asked: Weights | None, of_policy: Weights, share: float
) -> None:
    settings = RoutingSettings(policies={"default": Policy(weights=of_policy)})

    assert share == pytest.approx(preferring("typescript", weights=asked, settings=settings).capability_share)


@pytest.mark.parametrize("strategy", [each for each in Strategy if each is not Strategy.ADAPTIVE])
def test_strategies_of_one_factor_show_the_share_and_do_not_count_it(strategy: Strategy) -> None:
    plain, decision = preferring(strategy=strategy), preferring("typescript", strategy=strategy)
    counted = strategy not in SINGLE_FACTOR

    assert counted == bool(decision.capability_share)
    assert 1.0 == candidate(decision, "one/m").factors["capability"]
    assert counted == (candidate(plain, "one/m").score != candidate(decision, "one/m").score)


def test_complexity_that_takes_quality_does_not_count_it_and_one_that_tilts_does() -> None:
    assert 0.0 == preferring("typescript", task="", complexity=Complexity.COMPLEX).capability_share
    assert CAPABILITY_SHARE == preferring("typescript", task="", complexity=Complexity.SIMPLE).capability_share


def test_budget_that_runs_out_takes_the_cheapest_whatever_is_preferred() -> None:
    here = SetFleet(*fleet().fleet.specs, spec("dear/m", price=(900, 900)))
    decision = preferring("typescript", on=here, room=room(50_000_000, here, downgrades=True))

    assert "none/m" == names(decision.candidates)[0]
    assert 0.0 == decision.capability_share


def test_target_that_ramps_up_has_its_share_ramped_too() -> None:
    here = fleet()
    here.at("both/m").breaker.ramp = 0.5
    half, whole = preferring("code-generation", on=here), preferring("code-generation")

    assert candidate(whole, "both/m").score / 2 == pytest.approx(candidate(half, "both/m").score)


def test_what_is_needed_rejects_and_what_is_preferred_beside_it_ranks() -> None:
    decision = preferring("code-generation", needed=("typescript",))

    assert ["both/m", "one/m"] == names(decision.candidates)
    assert (RejectionReason.CAPABILITY,) == reasons(decision, "none/m")


def test_decisions_with_and_without_a_preference_do_not_take_each_others_shape_or_ranking() -> None:
    here, settings = fleet(), RoutingSettings()
    for wanted in ((), ("typescript",), (), ("code-generation",), ("typescript", "code-generation")):
        decision = preferring(*wanted, on=here, settings=settings)
        expected = {} if not wanted else {"both/m": 1.0, "one/m": len({"typescript"} & set(wanted)) / len(wanted)}

        assert bool(wanted) == bool(decision.capability_share)
        for name in ("both/m", "one/m"):
            assert expected.get(name) == candidate(decision, name).factors.get("capability")


@pytest.mark.parametrize(
    ("field", "asked", "words"),
    [
        ("custom_capabilities", {"typescrpt"}, "no target has 'typescrpt'; did you mean 'typescript'? known are code"),
        ("preferred_capabilities", {"cobol"}, "no target has 'cobol'; known are code-generation, typescript"),
        ("preferred_capabilities", {f"x{n}" for n in range(9)}, "'x0', 'x1', 'x2', 'x3', 'x4' and 4 more; known are"),
    ],
)
def test_name_that_no_target_has_is_refused_with_the_known_ones(field: str, asked: set[str], words: str) -> None:
    profile = RequestProfile(input_tokens=1, **{field: frozenset(asked)})  # type: ignore[arg-type]  # one of two
    with pytest.raises(InvalidRequestError) as caught:
        decided(fleet(), profile=profile)

    (violation,) = caught.value.violations
    assert f"profile.{field}" == violation.field
    assert words in violation.description


def test_where_nobody_has_any_the_refusal_says_where_they_are_set() -> None:
    profile = RequestProfile(custom_capabilities=TYPED, preferred_capabilities=BOTH)
    with pytest.raises(InvalidRequestError) as caught:
        decided(SetFleet(spec("a/m")), profile=profile)

    first, second = caught.value.violations
    assert "no target has 'typescript': none is configured with custom_capabilities" == first.description
    assert "profile.preferred_capabilities" == second.field


def test_weight_that_is_no_number_is_refused() -> None:
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidRequestError):
            preferring("typescript", weights=Weights(capability=wrong))


@given(
    weights=st.tuples(*[st.floats(0, 1e308)] * 6).filter(lambda w: 0 < sum(w[:5]) < float("inf")),
    wanted=st.frozensets(st.sampled_from(sorted(BOTH)), max_size=2),
)
def test_scores_stay_between_zero_and_one_whatever_the_weights(
    weights: tuple[float, ...], wanted: frozenset[str]
) -> None:
    asked = Weights(**dict(zip((*FACTORS, "capability"), weights, strict=True)))
    decision = preferring(*wanted, weights=asked, strategy=Strategy.HYBRID)

    assert 0.0 <= decision.capability_share <= 1.0
    assert all(0.0 <= each.score <= 1.0 for each in decision.candidates)
