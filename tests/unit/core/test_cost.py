from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.cost import cost_nano_usd, expected_cost_nano_usd, price_for, settled_cost_nano_usd
from turnout_server.core.fleet import Price, PriceTier
from turnout_server.core.model import NANO_USD, Usage

PRICE = Price(
    input_per_million=3 * NANO_USD,
    output_per_million=15 * NANO_USD,
    cached_input_per_million=NANO_USD // 2,
    cache_write_per_million=4 * NANO_USD,
    cache_write_1h_per_million=6 * NANO_USD,
    reasoning_per_million=20 * NANO_USD,
)
MILLION = 1_000_000


def test_every_token_is_charged_in_exactly_one_class() -> None:
    usage = Usage(
        input_tokens=10 * MILLION,
        cached_input_tokens=4 * MILLION,
        cache_write_tokens=3 * MILLION,
        cache_write_1h_tokens=1 * MILLION,
        output_tokens=5 * MILLION,
        reasoning_tokens=2 * MILLION,
    )

    # 3 plain, 4 cached, 2 written for minutes, 1 for an hour; 3 said, 2 thought.
    assert cost_nano_usd(usage, PRICE) == (3 * 3 + 4 * 0.5 + 2 * 4 + 1 * 6 + 3 * 15 + 2 * 20) * NANO_USD


@pytest.mark.parametrize(
    ("missing", "like"),
    [
        ("cached_input_per_million", "input_per_million"),
        ("cache_write_per_million", "input_per_million"),
        ("cache_write_1h_per_million", "cache_write_per_million"),
        ("reasoning_per_million", "output_per_million"),
    ],
)
def test_class_without_a_price_is_charged_as_the_class_it_is_part_of(missing: str, like: str) -> None:
    usage = Usage(
        input_tokens=10 * MILLION,
        cached_input_tokens=4 * MILLION,
        cache_write_tokens=3 * MILLION,
        cache_write_1h_tokens=1 * MILLION,
        output_tokens=5 * MILLION,
        reasoning_tokens=2 * MILLION,
    )
    unpriced: dict[str, Any] = {missing: None}
    alike = replace(PRICE, **{missing: getattr(PRICE, like)})
    without = replace(PRICE, **unpriced)

    assert cost_nano_usd(usage, alike) == cost_nano_usd(usage, without)


@pytest.mark.parametrize(
    "usage", [Usage(input_tokens=None, output_tokens=5), Usage(input_tokens=5, output_tokens=None), Usage()]
)
def test_unknown_tokens_make_an_unknown_cost(usage: Usage) -> None:
    assert cost_nano_usd(usage, PRICE) is None


def test_unknown_price_makes_an_unknown_cost() -> None:
    assert cost_nano_usd(Usage(input_tokens=1, output_tokens=1), None) is None
    assert expected_cost_nano_usd(None, input_tokens=1, output_tokens=1) is None


def test_part_larger_than_its_whole_is_cut_to_it() -> None:
    inconsistent = Usage(input_tokens=100, cached_input_tokens=500, output_tokens=10, reasoning_tokens=50)
    consistent = Usage(input_tokens=100, cached_input_tokens=100, output_tokens=10, reasoning_tokens=10)

    assert cost_nano_usd(consistent, PRICE) == cost_nano_usd(inconsistent, PRICE)


def test_token_both_cached_and_written_is_charged_once() -> None:
    overlapping = Usage(input_tokens=100, cached_input_tokens=80, cache_write_tokens=50, output_tokens=0)
    disjoint = Usage(input_tokens=100, cached_input_tokens=80, cache_write_tokens=20, output_tokens=0)

    assert cost_nano_usd(disjoint, PRICE) == cost_nano_usd(overlapping, PRICE)


def test_cached_share_costs_as_much_as_input_where_the_vendor_states_no_price_for_it() -> None:
    price = replace(PRICE, cached_input_per_million=None)
    cost = expected_cost_nano_usd(price, input_tokens=MILLION, output_tokens=0, cached_input_tokens=MILLION // 2)

    assert cost == 3 * NANO_USD


def test_cost_that_the_provider_reports_wins() -> None:
    usage = Usage(input_tokens=100, output_tokens=100)

    assert settled_cost_nano_usd(7, usage, PRICE) == 7
    assert settled_cost_nano_usd(0, usage, PRICE) == 0
    assert cost_nano_usd(usage, PRICE) == settled_cost_nano_usd(None, usage, PRICE)
    assert settled_cost_nano_usd(None, None, PRICE) is None


def test_cached_share_makes_a_request_cheaper() -> None:
    cost = expected_cost_nano_usd(PRICE, input_tokens=MILLION, output_tokens=0, cached_input_tokens=MILLION // 2)

    assert cost == (1.5 + 0.25) * NANO_USD


def test_half_a_nano_usd_is_rounded_up() -> None:
    price = Price(input_per_million=500_000, output_per_million=0)

    assert (0, 1) == (
        cost_nano_usd(Usage(input_tokens=0, output_tokens=1), price),
        cost_nano_usd(Usage(input_tokens=1, output_tokens=1), price),
    )


tokens = st.integers(0, 10**9)
rates = st.integers(0, 10**12)
prices = st.builds(
    Price,
    input_per_million=rates,
    output_per_million=rates,
    cached_input_per_million=st.none() | rates,
    cache_write_per_million=st.none() | rates,
    cache_write_1h_per_million=st.none() | rates,
    reasoning_per_million=st.none() | rates,
)
usages = st.builds(
    Usage,
    input_tokens=tokens,
    output_tokens=tokens,
    cached_input_tokens=st.none() | tokens,
    cache_write_tokens=st.none() | tokens,
    cache_write_1h_tokens=st.none() | tokens,
    reasoning_tokens=st.none() | tokens,
)


@given(usage=usages, price=prices)
def test_cost_is_between_all_tokens_at_the_cheapest_and_at_the_dearest_rate(usage: Usage, price: Price) -> None:
    known = [
        price.input_per_million,
        price.output_per_million,
        price.cached_input_per_million,
        price.cache_write_per_million,
        price.cache_write_1h_per_million,
        price.reasoning_per_million,
    ]
    each = [rate for rate in known if rate is not None]
    count = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    cost = cost_nano_usd(usage, price)

    assert cost is not None
    assert Fraction(count * min(each), MILLION) - 1 <= cost <= Fraction(count * max(each), MILLION) + 1


@given(input_tokens=tokens, output_tokens=tokens, price=prices)
def test_expected_cost_is_the_cost_of_a_usage_without_parts(
    input_tokens: int, output_tokens: int, price: Price
) -> None:
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)

    assert cost_nano_usd(usage, price) == expected_cost_nano_usd(
        price, input_tokens=input_tokens, output_tokens=output_tokens
    )


@given(usage=usages, more=st.integers(0, 10**6), price=prices)
def test_more_output_never_costs_less(usage: Usage, more: int, price: Price) -> None:
    # The further tokens are no reasoning, and a part cut to its whole must not grow with the whole.
    before = replace(usage, reasoning_tokens=0)
    after = replace(before, output_tokens=(usage.output_tokens or 0) + more)
    cheap, dear = cost_nano_usd(before, price), cost_nano_usd(after, price)

    assert cheap is not None
    assert dear is not None
    assert cheap <= dear


TIERED = Price(
    input_per_million=1000,
    output_per_million=2000,
    tiers=(
        PriceTier(above_input_tokens=100, price=Price(input_per_million=3000, output_per_million=4000)),
        PriceTier(above_input_tokens=200, price=Price(input_per_million=5000, output_per_million=6000)),
    ),
)


@pytest.mark.parametrize(
    ("tokens", "rate"), [(0, 1000), (100, 1000), (101, 3000), (200, 3000), (201, 5000), (9999, 5000)]
)
def test_long_request_is_charged_by_its_tier_from_the_first_token_on(tokens: int, rate: int) -> None:
    million_fold = Usage(input_tokens=tokens, output_tokens=1_000_000)

    assert rate == price_for(TIERED, tokens).input_per_million
    assert (tokens * rate + 500_000) // 1_000_000 + rate + 1000 == cost_nano_usd(million_fold, TIERED)
    assert cost_nano_usd(million_fold, TIERED) == expected_cost_nano_usd(
        TIERED, input_tokens=tokens, output_tokens=1_000_000
    )


def test_cached_tokens_count_for_the_length_of_a_request() -> None:
    usage = Usage(input_tokens=150, cached_input_tokens=140, output_tokens=1_000_000)

    assert 4000 == (cost_nano_usd(usage, TIERED) or 0) // 1 - (150 * 3000 + 500_000) // 1_000_000


def test_sound_is_charged_at_its_own_price_cached_or_not() -> None:
    price = replace(PRICE, audio_input_per_million=9 * NANO_USD, cached_audio_input_per_million=NANO_USD)
    usage = Usage(
        input_tokens=10 * MILLION,
        cached_input_tokens=4 * MILLION,
        audio_input_tokens=5 * MILLION,
        cached_audio_input_tokens=2 * MILLION,
        output_tokens=0,
    )

    # 3 read as text and 3 as sound, 2 cached as text and 2 as sound.
    assert cost_nano_usd(usage, price) == (3 * 3 + 3 * 9 + 2 * 0.5 + 2 * 1) * NANO_USD


def test_sound_without_a_price_of_its_own_is_charged_as_text() -> None:
    usage = Usage(input_tokens=10, cached_input_tokens=4, output_tokens=1)
    sound = replace(usage, audio_input_tokens=8, cached_audio_input_tokens=3)

    assert cost_nano_usd(usage, PRICE) == cost_nano_usd(sound, PRICE)


def test_more_sound_than_input_is_cut_to_it() -> None:
    price = replace(PRICE, audio_input_per_million=9 * NANO_USD)
    usage = Usage(
        input_tokens=MILLION, audio_input_tokens=5 * MILLION, cached_audio_input_tokens=MILLION, output_tokens=0
    )

    assert cost_nano_usd(usage, price) == 9 * NANO_USD
