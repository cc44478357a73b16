"""What a budget makes of a decision: who does not fit, what then happens, and what the caller is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import NOW, SetFleet, decided, names, reasons, rejection, spec
from turnout_server.core.budget_ledger import Reserved, Room
from turnout_server.core.budget_need import fleet_rates
from turnout_server.core.decide import unavailable
from turnout_server.core.errors import AllTargetsUnavailableError, BudgetExhaustedError, NoEligibleTargetError
from turnout_server.core.model import BreakerState, RejectionReason, RequestProfile, Strategy
from turnout_server.core.rejections import first_reasons
from turnout_server.core.settings import Policy, RoutingSettings

# For a thousand tokens in and a hundred out, at most 1.1, 0.011 and 0 USD / 1,000.
DEAR = spec("a/dear", price=(1.0, 1.0), max_output_tokens=8000, quality=95.0)
CHEAP = spec("b/cheap", price=(0.01, 0.01), max_output_tokens=8000, quality=70.0)
FREE = spec("c/free", price=(0.0, 0.0), quality=50.0)
UNKNOWN = spec("d/unknown", price=None)
PROFILE = RequestProfile(input_tokens=1000, max_output_tokens=100, task="chat")
DEAR_NANO_USD = 1_100_000


def room(left: int, fleet: SetFleet, *, downgrades: bool = False, retry_at: float | None = None) -> Room:
    return Room(left, "monthly", downgrades, retry_at, fleet_rates(fleet.fleet.specs))


def test_without_a_budget_nothing_changes() -> None:
    decision = decided(SetFleet(DEAR, CHEAP, UNKNOWN), profile=PROFILE)

    assert len(decision.candidates) == 3
    assert decision.reusable


def test_a_target_that_does_not_fit_is_rejected_until_the_period_ends() -> None:
    decision = decided(
        fleet := SetFleet(DEAR, CHEAP), profile=PROFILE, room=room(DEAR_NANO_USD - 1, fleet, retry_at=NOW + 60)
    )

    assert names(decision.candidates) == ["b/cheap"]
    assert reasons(decision, "a/dear") == (RejectionReason.BUDGET,)
    assert rejection(decision, "a/dear").retry_at == NOW + 60
    assert rejection(decision, "a/dear").detail == "needs up to 0.0011 USD, budget monthly has 0.0011 USD left"


def test_a_target_that_fits_to_the_last_nano_usd_is_a_candidate() -> None:
    decision = decided(fleet := SetFleet(DEAR, CHEAP), profile=PROFILE, room=room(DEAR_NANO_USD, fleet))

    assert len(decision.candidates) == 2


def test_a_decision_under_a_budget_serves_one_request_only() -> None:
    decision = decided(fleet := SetFleet(DEAR, CHEAP), profile=PROFILE, room=room(10**15, fleet))

    assert not decision.reusable


def test_an_unknown_price_is_never_within_a_budget() -> None:
    decision = decided(fleet := SetFleet(DEAR, UNKNOWN), profile=PROFILE, room=room(10**15, fleet))

    assert reasons(decision, "d/unknown") == (RejectionReason.UNKNOWN_PRICE,)


def test_a_free_target_fits_where_nothing_is_left() -> None:
    decision = decided(fleet := SetFleet(DEAR, CHEAP, FREE), profile=PROFILE, room=room(0, fleet))

    assert names(decision.candidates) == ["c/free"]


def test_with_downgrade_the_cheapest_that_fits_comes_before_what_tables_and_scores_prefer() -> None:
    middling = spec("b/middling", price=(0.5, 0.5), max_output_tokens=8000, quality=99.0)
    settings = RoutingSettings(policies={"default": Policy(strategy=Strategy.QUALITY, preferences=("b/middling",))})
    fleet = SetFleet(DEAR, middling, CHEAP)
    plenty = decided(fleet, profile=PROFILE, settings=settings, room=room(10**9, fleet, downgrades=True))
    tight = decided(fleet, profile=PROFILE, settings=settings, room=room(DEAR_NANO_USD - 1, fleet, downgrades=True))
    rejecting = decided(fleet, profile=PROFILE, settings=settings, room=room(DEAR_NANO_USD - 1, fleet))

    assert names(plenty.candidates)[0] == "b/middling"
    assert names(tight.candidates) == ["b/cheap", "b/middling"]
    assert tight.strategy is Strategy.COST
    assert "budget monthly runs out: the cheapest that fits" in tight.reason
    assert names(rejecting.candidates)[0] == "b/middling"


def test_where_budgets_keep_all_from_being_used_the_error_says_so_and_for_how_long() -> None:
    fleet = SetFleet(DEAR, CHEAP)
    left = room(5, fleet, retry_at=NOW + 60)
    decision = decided(fleet, profile=PROFILE, room=left)
    error = unavailable(decision, NOW, left)

    assert isinstance(error, BudgetExhaustedError)
    assert error.budget == "monthly"
    assert "none fits into budget monthly, which has 5e-09 USD left for 60 s" in error.message


def test_what_is_only_reserved_is_told_with_when_some_of_it_comes_free() -> None:
    fleet = SetFleet(DEAR, CHEAP)
    fleet.at("b/cheap").drained = True
    left = room(5, fleet, retry_at=NOW + 74141)
    decision = decided(fleet, profile=PROFILE, room=left)
    error = unavailable(decision, NOW, left, reserved=Reserved(500_000_000, NOW + 31))

    assert error.message == (
        "2 targets fit this request, none fits into budget monthly, which has 5e-09 USD left and 0.5 USD reserved for "
        "calls and plans under way, some of which comes free within 31.0 s; report how plans end, ask for fewer "
        "tokens, or raise the budget"
    )
    # Money alone does not bring back the one that is drained.
    assert [NOW + 31, NOW + 74141] == [each.retry_at for each in error.rejections]


def test_what_calls_under_way_hold_comes_free_as_they_end() -> None:
    left = room(5, fleet := SetFleet(DEAR), retry_at=NOW + 74141)
    decision = decided(fleet, profile=PROFILE, room=left)
    error = unavailable(decision, NOW, left, reserved=Reserved(500_000_000, None))

    assert error.message == (
        "1 target fits this request, none fits into budget monthly, which has 5e-09 USD left and 0.5 USD reserved for "
        "calls and plans under way, of which what they do not spend comes free as they end; ask for fewer tokens, or "
        "raise the budget"
    )
    assert [NOW + 74141] == [each.retry_at for each in error.rejections]


def test_a_target_that_something_else_holds_up_would_be_too_dear_afterwards_as_well() -> None:
    fleet = SetFleet(DEAR, CHEAP)
    fleet.at("a/dear").breaker.current = BreakerState.OPEN
    left = room(5, fleet)

    assert isinstance(unavailable(decided(fleet, profile=PROFILE, room=left), NOW, left), BudgetExhaustedError)


def test_a_target_that_fits_and_is_only_held_up_makes_it_a_matter_of_waiting() -> None:
    fleet = SetFleet(DEAR, CHEAP)
    fleet.at("b/cheap").breaker.current = BreakerState.OPEN
    left = room(DEAR_NANO_USD - 1, fleet)

    assert isinstance(unavailable(decided(fleet, profile=PROFILE, room=left), NOW, left), AllTargetsUnavailableError)


def test_what_never_fits_is_no_budgets_doing() -> None:
    fleet = SetFleet(UNKNOWN)
    left = room(5, fleet)
    error = unavailable(decided(fleet, profile=PROFILE, room=left), NOW, left)

    assert isinstance(error, NoEligibleTargetError)


@pytest.mark.parametrize("tokens", [RequestProfile(task="chat"), RequestProfile(task="chat", text_hint="x" * 4000)])
def test_without_an_output_limit_what_an_answer_should_need_must_fit(tokens: RequestProfile) -> None:
    # 1,000 tokens with a quarter and the framing on top, and the 400 that an answer has where nothing is known.
    needed = 1000 * (1250 + 64 + 400)
    fits = decided(fleet := SetFleet(DEAR), profile=tokens, room=room(needed, fleet))
    fails = decided(fleet := SetFleet(DEAR), profile=tokens, room=room(needed - 1, fleet))

    assert len(fits.candidates) == 1
    assert reasons(fails, "a/dear") == (RejectionReason.BUDGET,)


@given(
    left=st.integers(0, 3 * DEAR_NANO_USD),
    asked=st.none() | st.integers(1, 2000),
    open_breaker=st.booleans(),
    max_cost_usd=st.none() | st.floats(0, 0.002),
    downgrades=st.booleans(),
)
def test_columns_and_words_agree_on_who_fits(
    left: int,
    asked: int | None,
    open_breaker: bool,  # noqa: FBT001  # drawn
    max_cost_usd: float | None,
    downgrades: bool,  # noqa: FBT001  # drawn
) -> None:
    fleet = SetFleet(DEAR, CHEAP, FREE, UNKNOWN, spec("e/tool", price=(2.0, 9.0), context_window_tokens=1100))
    if open_breaker:
        fleet.at("b/cheap").breaker.current = BreakerState.OPEN
    profile = RequestProfile(input_tokens=1000, max_output_tokens=asked, task="chat")
    left_room = room(left, fleet, downgrades=downgrades)
    decision = decided(fleet, profile=profile, room=left_room, max_cost_usd=max_cost_usd)
    counted = first_reasons(decision.rejections)
    told = [each.reasons[0] for each in decision.rejections]

    assert dict(counted) == {reason: told.count(reason) for reason in told}
    assert len(decision.candidates) + len(told) == 5
    for candidate in decision.candidates:
        price = candidate.spec.price
        assert price is not None
        window = candidate.spec.context_window_tokens or 10**9
        least = min(asked or 400, candidate.spec.max_output_tokens or 10**9, window - 1000)
        assert fleet_rates([candidate.spec]).dearest.need(1000, least) <= left
