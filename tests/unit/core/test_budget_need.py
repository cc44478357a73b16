"""The most that a request can cost, and the output limit that makes it so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import spec
from turnout_server.core.budget_need import (
    FRAMING_TOKENS,
    UNKNOWN_OUTPUT_TOKENS,
    Claim,
    claim,
    fleet_rates,
    least_need,
    lowered_output,
    worst_input_tokens,
    worst_rates,
)
from turnout_server.core.cost import cost_nano_usd
from turnout_server.core.fleet import Price, PriceTier, TargetSpec
from turnout_server.core.model import Usage

PLENTY = 10**18
# 1,000 and 2,000 nano-USD a token.
PLAIN = spec("a/m", price=(1.0, 2.0), max_output_tokens=8000)


def wanted(left: int = PLENTY, *, asked: int | None = None, input_tokens: int = 100, **facts: object) -> Claim | None:
    target = spec("a/m", **{"max_output_tokens": 8000, **facts})
    return claim(target, input_tokens=input_tokens, asked=asked, expected_tokens=400, left_nano_usd=left)


def test_the_callers_limit_is_reserved_and_sent() -> None:
    assert wanted(asked=500) == Claim(100 * 1000 + 500 * 2000, 500)


def test_without_a_limit_the_models_longest_answer_is_reserved_and_nothing_need_be_sent() -> None:
    assert wanted() == Claim(100 * 1000 + 8000 * 2000, None)


def test_where_that_does_not_fit_the_limit_is_lowered_until_it_does() -> None:
    assert wanted(100 * 1000 + 1000 * 2000) == Claim(100 * 1000 + 1000 * 2000, 1000)


def test_a_limit_below_what_the_answer_should_need_is_no_use() -> None:
    assert wanted(100 * 1000 + 400 * 2000) == Claim(100 * 1000 + 400 * 2000, 400)
    assert wanted(100 * 1000 + 400 * 2000 - 1) is None


def test_the_callers_limit_is_never_lowered() -> None:
    assert wanted(100 * 1000 + 1000 * 2000, asked=1001) is None


def test_where_the_longest_answer_is_unknown_a_limit_is_sent() -> None:
    assert wanted(max_output_tokens=None) == Claim(100 * 1000 + UNKNOWN_OUTPUT_TOKENS * 2000, UNKNOWN_OUTPUT_TOKENS)


def test_what_the_window_leaves_is_sent_since_it_rests_on_an_estimate() -> None:
    assert wanted(context_window_tokens=1100) == Claim(100 * 1000 + 1000 * 2000, 1000)


def test_a_free_target_always_fits() -> None:
    assert wanted(0, price=(0.0, 0.0), max_output_tokens=None) == Claim(0, None)


def test_a_target_without_a_price_never_does() -> None:
    assert wanted(price=None) is None


def test_an_estimate_has_a_margin_and_a_count_none() -> None:
    assert worst_input_tokens(1000, counted=True) == 1000
    assert worst_input_tokens(1000, counted=False) == 1250 + FRAMING_TOKENS


RATE = st.integers(0, 10**11)
MAYBE = st.none() | RATE
PRICES = st.builds(
    Price,
    input_per_million=RATE,
    output_per_million=RATE,
    cached_input_per_million=MAYBE,
    cache_write_per_million=MAYBE,
    cache_write_1h_per_million=MAYBE,
    reasoning_per_million=MAYBE,
    audio_input_per_million=MAYBE,
    cached_audio_input_per_million=MAYBE,
)
TIERED = st.builds(
    lambda price, dearer, above: Price(
        input_per_million=price.input_per_million,
        output_per_million=price.output_per_million,
        tiers=(PriceTier(above_input_tokens=above, price=dearer),),
    ),
    PRICES,
    PRICES,
    st.integers(0, 2000),
)
PARTS = st.none() | st.integers(0, 3000)


USAGES = st.builds(
    Usage,
    input_tokens=st.integers(0, 2000),
    output_tokens=st.integers(0, 2000),
    cached_input_tokens=PARTS,
    cache_write_tokens=PARTS,
    cache_write_1h_tokens=PARTS,
    reasoning_tokens=PARTS,
    audio_input_tokens=PARTS,
    cached_audio_input_tokens=PARTS,
)


TARGETS = st.builds(
    lambda most, *prices: spec("a/m", price=prices, max_output_tokens=most),
    st.none() | st.integers(1, 9000),
    st.floats(0, 10),
    st.floats(0, 10),
)


@given(price=PRICES | TIERED, usage=USAGES, more=st.integers(0, 1000))
def test_no_usage_within_the_worst_case_costs_more_than_is_reserved(price: Price, usage: Usage, more: int) -> None:
    tokens, output, cost = (usage.input_tokens or 0) + more, usage.output_tokens or 0, cost_nano_usd(usage, price)
    reserved = worst_rates(price, tokens).need(tokens, output)

    assert cost is not None
    assert cost <= reserved
    assert reserved <= fleet_rates([spec("a/m", price=price)]).dearest.need(tokens, output)


@given(
    left=st.integers(0, 10**8),
    tokens=st.integers(0, 5000),
    asked=st.none() | st.integers(1, 9000),
    expected=st.integers(1, 5000),
    target=TARGETS,
)
def test_a_claim_fits_into_what_is_left_and_pays_for_the_limit_that_is_sent(
    left: int, tokens: int, asked: int | None, expected: int, *, target: TargetSpec
) -> None:
    found = claim(target, input_tokens=tokens, asked=asked, expected_tokens=expected, left_nano_usd=left)
    assert target.price is not None
    rates, most = worst_rates(target.price, tokens), target.max_output_tokens

    needed = least_need(target.price, target, input_tokens=tokens, asked=asked, expected_tokens=expected)

    assert (found is None) is (needed > left)

    if found is None:
        least = min(expected if asked is None else asked, most or expected)

        assert rates.need(tokens, least) > left or asked is not None
    else:
        sent = found.output_tokens if found.output_tokens is not None else most

        assert found.nano_usd <= left
        assert not rates.output_per_million or (sent is not None and rates.need(tokens, sent) <= found.nano_usd)
        assert asked is None or sent == min(asked, most or asked)


@given(
    cap=st.integers(0, 10**8),
    left=st.integers(0, 10**8),
    tokens=st.integers(0, 5000),
    asked=st.none() | st.integers(1, 9000),
    expected=st.integers(1, 5000),
    target=TARGETS,
)
def test_a_budget_needs_what_the_cap_of_the_call_leaves_of_it(
    cap: int, left: int, tokens: int, asked: int | None, expected: int, *, target: TargetSpec
) -> None:
    assert target.price is not None

    def claimed(much: int, at_most: int | None = None, *, may_lower: bool) -> Claim | None:
        return claim(
            target,
            input_tokens=tokens,
            asked=asked,
            expected_tokens=expected,
            left_nano_usd=much,
            may_lower=may_lower,
            at_most=at_most,
        )

    lowered = lowered_output(
        target.price, target, input_tokens=tokens, asked=asked, expected_tokens=expected, left_nano_usd=cap
    )
    needed = least_need(
        target.price,
        target,
        input_tokens=tokens,
        asked=asked,
        expected_tokens=expected,
        at_most=None if asked is None else lowered,
    )
    under_the_cap = claimed(cap, may_lower=True)
    if under_the_cap is None:
        # Then it is the cap that is too low, and the budget needs no more than the least that makes sense.
        assert needed > cap
        return
    found = claimed(left, under_the_cap.output_tokens, may_lower=False)

    assert (found is None) is (needed > left)
    assert found is None or found.nano_usd <= under_the_cap.nano_usd
    assert asked is None or under_the_cap.output_tokens == lowered
