from __future__ import annotations

import pytest

from turnout_server.core.complexity import infer_complexity
from turnout_server.core.model import Complexity, ReasoningEffort, RequestProfile

SIMPLE, MEDIUM, COMPLEX = Complexity.SIMPLE, Complexity.MEDIUM, Complexity.COMPLEX


def test_given_complexity_is_taken() -> None:
    profile = RequestProfile(complexity=SIMPLE, input_tokens=100_000, reasoning_effort=ReasoningEffort.HIGH)

    assert infer_complexity(profile) is SIMPLE


def test_nothing_known_is_medium() -> None:
    assert infer_complexity(RequestProfile()) is MEDIUM


@pytest.mark.parametrize(
    ("tokens", "expected"), [(20, SIMPLE), (499, SIMPLE), (500, MEDIUM), (2000, MEDIUM), (8000, COMPLEX)]
)
def test_length_makes_complex(tokens: int, expected: Complexity) -> None:
    inferred = infer_complexity(RequestProfile(input_tokens=tokens))

    assert expected is inferred


def test_length_is_estimated_from_bytes_where_no_tokens_are_given() -> None:
    assert infer_complexity(RequestProfile(input_bytes=32_000)) is COMPLEX
    assert infer_complexity(RequestProfile(text_hint="word " * 7000)) is COMPLEX


@pytest.mark.parametrize(("tokens", "expected"), [(100, SIMPLE), (2000, MEDIUM), (8000, MEDIUM)])
def test_requested_output_makes_complex(tokens: int, expected: Complexity) -> None:
    inferred = infer_complexity(RequestProfile(input_tokens=10, max_output_tokens=tokens))

    assert expected is inferred


@pytest.mark.parametrize(
    "hint",
    [
        "fix this:\n```python\nprint(x)\n```",
        "def area(r): return r * r",
        "SELECT name FROM users",
        "#include <stdio.h>",
    ],
)
def test_code_makes_medium(hint: str) -> None:
    assert infer_complexity(RequestProfile(text_hint=hint)) is MEDIUM


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        ("What is the capital of France?", SIMPLE),
        ("Translate 'good morning' into Dutch.", SIMPLE),
        ("Why is the sky blue?", MEDIUM),
        ("Is it blue, and why?", MEDIUM),
        ("Go through it step by step.", MEDIUM),
        ("Who? When? Where did it happen?", MEDIUM),
        ("Compare both and prove which is better", MEDIUM),
        ("Compare these designs, prove the bound, and refactor:\n```\nx = 1\n```", COMPLEX),
    ],
)
def test_shape_of_the_question_counts(hint: str, expected: Complexity) -> None:
    inferred = infer_complexity(RequestProfile(text_hint=hint))

    assert expected is inferred


@pytest.mark.parametrize(
    ("effort", "expected"),
    [
        (ReasoningEffort.NONE, SIMPLE),
        (ReasoningEffort.LOW, SIMPLE),
        (ReasoningEffort.MEDIUM, MEDIUM),
        (ReasoningEffort.HIGH, MEDIUM),
    ],
)
def test_effort_asked_for_counts(effort: ReasoningEffort, expected: Complexity) -> None:
    inferred = infer_complexity(RequestProfile(input_tokens=10, reasoning_effort=effort))

    assert expected is inferred


def test_high_effort_over_a_middling_prompt_is_complex() -> None:
    profile = RequestProfile(input_tokens=600, reasoning_effort=ReasoningEffort.HIGH)

    assert infer_complexity(profile) is COMPLEX


def test_only_the_beginning_of_a_hint_is_read() -> None:
    hint = "x" * 2000 + " why prove design ```"

    assert infer_complexity(RequestProfile(input_tokens=10, text_hint=hint)) is SIMPLE


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (RequestProfile(input_tokens=500, max_output_tokens=2000), MEDIUM),
        (RequestProfile(input_tokens=500, max_output_tokens=8000), COMPLEX),
        (RequestProfile(input_tokens=2000), MEDIUM),
        (RequestProfile(input_tokens=2000, max_output_tokens=1999), MEDIUM),
        (RequestProfile(input_tokens=2000, max_output_tokens=2000), COMPLEX),
        (RequestProfile(input_tokens=500, reasoning_effort=ReasoningEffort.MEDIUM), MEDIUM),
        (RequestProfile(input_tokens=500, text_hint="```"), MEDIUM),
        (RequestProfile(input_tokens=2000, text_hint="```"), COMPLEX),
        (RequestProfile(input_tokens=500, text_hint="a? b? c?"), MEDIUM),
        (RequestProfile(input_tokens=2000, text_hint="a? b? c?"), COMPLEX),
        (RequestProfile(input_bytes=40, extra_input_tokens=8000), COMPLEX),
    ],
)
def test_points_add_up_and_three_make_complex(profile: RequestProfile, expected: Complexity) -> None:
    inferred = infer_complexity(profile)

    assert expected is inferred
