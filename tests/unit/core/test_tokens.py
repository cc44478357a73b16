from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.tokens import (
    ENTRIES_MAXIMUM,
    OUTPUT_TOKENS,
    TOKENS_PER_BYTE,
    OutputLengths,
    TokenRatios,
    estimate_input_tokens,
)


@pytest.mark.parametrize(("byte_count", "expected"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_tokens_are_bytes_by_ratio_rounded_up(byte_count: int, expected: int) -> None:
    tokens = estimate_input_tokens(byte_count, TOKENS_PER_BYTE)

    assert expected == tokens


def test_ratio_is_a_quarter_until_reported() -> None:
    ratios = TokenRatios()

    assert ratios.ratio("openai", "gpt") == 0.25


def test_ratio_is_learned_from_reports_per_model() -> None:
    ratios = TokenRatios()
    for _ in range(20):
        ratios.observe("openai", "gpt", byte_count=10_000, input_tokens=5_000)

    assert ratios.ratio("openai", "gpt") == pytest.approx(0.5, rel=0.02)
    assert ratios.ratio("openai", "other") == 0.25


def test_ratio_forgets_an_older_tokenizer() -> None:
    ratios = TokenRatios()
    for _ in range(100):
        ratios.observe("openai", "gpt", byte_count=10_000, input_tokens=5_000)
    for _ in range(200):
        ratios.observe("openai", "gpt", byte_count=10_000, input_tokens=2_000)

    assert ratios.ratio("openai", "gpt") == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize(("byte_count", "tokens"), [(10, 9), (10_000, 50_000), (10_000, 10), (0, 5)])
def test_report_that_cannot_be_about_this_text_teaches_nothing(byte_count: int, tokens: int) -> None:
    ratios = TokenRatios()
    ratios.observe("openai", "gpt", byte_count=byte_count, input_tokens=tokens)

    assert ratios.ratio("openai", "gpt") == 0.25


def test_output_length_is_learned_per_task_and_model() -> None:
    lengths = OutputLengths()
    for _ in range(50):
        lengths.observe("chat", "openai", "gpt", 50)
        lengths.observe("planning", "openai", "gpt", 2000)

    assert lengths.expected("chat", "openai", "gpt") == pytest.approx(50, abs=20)
    assert lengths.expected("planning", "openai", "gpt") == pytest.approx(2000, rel=0.05)


def test_unknown_task_takes_the_models_mean() -> None:
    lengths = OutputLengths()
    for _ in range(50):
        lengths.observe("chat", "openai", "gpt", 100)

    assert lengths.expected("new", "openai", "gpt") == lengths.expected("", "openai", "gpt")
    assert lengths.expected("new", "openai", "gpt") == pytest.approx(100, abs=20)


def test_unknown_model_takes_the_prior() -> None:
    lengths = OutputLengths()
    lengths.observe("chat", "openai", "gpt", 100)

    assert lengths.expected("chat", "openai", "other") == OUTPUT_TOKENS


def test_output_length_follows_a_change_of_habit() -> None:
    lengths = OutputLengths()
    for _ in range(500):
        lengths.observe("chat", "openai", "gpt", 1000)
    for _ in range(200):
        lengths.observe("chat", "openai", "gpt", 100)

    assert lengths.expected("chat", "openai", "gpt") == pytest.approx(100, rel=0.2)


def test_negative_length_teaches_nothing() -> None:
    lengths = OutputLengths()
    lengths.observe("chat", "openai", "gpt", -5)

    assert lengths.expected("chat", "openai", "gpt") == OUTPUT_TOKENS


def test_tables_are_bounded_and_forget_what_was_longest_unreported() -> None:
    lengths, ratios = OutputLengths(), TokenRatios()
    for i in range(ENTRIES_MAXIMUM + 10):
        lengths.observe(f"task {i}", "openai", "gpt", 10)
        ratios.observe("openai", f"model {i}", byte_count=1000, input_tokens=1000)

    assert ENTRIES_MAXIMUM >= len(lengths._known)
    assert ENTRIES_MAXIMUM >= len(ratios._known)
    assert ratios.ratio("openai", "model 0") == 0.25
    assert lengths.expected("", "openai", "gpt") != OUTPUT_TOKENS


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=50))
def test_ratio_is_always_between_the_least_and_the_most_possible(
    reports: list[tuple[int, int]],
) -> None:
    ratios = TokenRatios()
    for byte_count, tokens in reports:
        ratios.observe("p", "m", byte_count=byte_count, input_tokens=tokens)

    assert 0.02 <= ratios.ratio("p", "m") <= 2.0


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_expected_length_stays_between_the_lengths_seen_and_the_prior(seen: list[int]) -> None:
    lengths = OutputLengths()
    for tokens in seen:
        lengths.observe("t", "p", "m", tokens)

    assert min(*seen, OUTPUT_TOKENS) - 1e-6 <= lengths.expected("t", "p", "m") <= max(*seen, OUTPUT_TOKENS) + 1e-6
