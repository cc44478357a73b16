from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ("Compare both, and say which is better", MEDIUM),
        ("Compare both and prove which is better", COMPLEX),
        ("Beweise, dass es keine größte Primzahl gibt.", COMPLEX),
        ("证明素数有无穷多个。", COMPLEX),
        ("Design a logo", MEDIUM),
        ("Design a logo that a printer, a tailor and a sign painter can use", COMPLEX),
        ("Plan my evening", MEDIUM),
        ("Plan my evening and recommend a review", COMPLEX),
        ("法国的首都是哪里", SIMPLE),
        ("请解释什么是利率。", MEDIUM),
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
    long = "x" * 2000
    asked = RequestProfile(input_tokens=10, text_hint=long + " why prove design ```")

    assert infer_complexity(asked) is infer_complexity(RequestProfile(input_tokens=10, text_hint=long)) is MEDIUM


def test_words_count_where_the_task_stands_and_not_in_what_it_is_asked_of() -> None:
    material = RequestProfile(text_hint="Summarise this." + " " * 500 + "prove analyse design strategy")

    assert infer_complexity(material) is MEDIUM


@pytest.mark.parametrize(
    ("hint", "tokens", "expected"),
    [
        (
            "Translate this into Dutch, keeping the names, the numbers, the units and the headings as they are:",
            9000,
            SIMPLE,
        ),
        ("Korrigiere: Er sagt das er komt.", None, SIMPLE),
        ("Extract the risks", 3000, SIMPLE),
        ("Extract the hypotheses and prove them", None, COMPLEX),
        ("Is this an advertisement? Answer yes or no. " + "Buy two, pay one. " * 9, 900, SIMPLE),
    ],
)
def test_what_is_done_in_one_step_is_simple_however_long_the_text_is(
    hint: str, tokens: int | None, expected: Complexity
) -> None:
    inferred = infer_complexity(RequestProfile(text_hint=hint, input_tokens=tokens))

    assert expected is inferred


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        ("word " * 8, SIMPLE),
        ("word " * 11, MEDIUM),
        ("word " * 40, MEDIUM),
        ("one, two, three, " + "word " * 33, COMPLEX),
        ("слово " * 8, SIMPLE),
        ("字" * 17, SIMPLE),
        ("字" * 18, MEDIUM),
    ],
)
def test_the_more_a_task_says_the_harder_it_is(hint: str, expected: Complexity) -> None:
    inferred = infer_complexity(RequestProfile(text_hint=hint))

    assert expected is inferred


@pytest.mark.parametrize(
    ("tokens", "expected"), [(600, SIMPLE), (1999, SIMPLE), (2000, MEDIUM), (7999, MEDIUM), (8000, COMPLEX)]
)
def test_tools_and_earlier_turns_make_a_short_turn_no_harder_up_to_2000_tokens(
    tokens: int, expected: Complexity
) -> None:
    inferred = infer_complexity(RequestProfile(text_hint="Play the next song.", input_tokens=tokens))

    assert expected is inferred


@pytest.mark.parametrize(
    "hint",
    [
        "Pick out the names.\n\n" + "Ann, Bo, Cy, Di and Ed went out, came back, and sat down. " * 8,
        "What is her name? " + "Ann came in, sat down, ate, drank, and left. " * 8,
        "The colour of the door: " + "it was green, then red, then blue, and then gone. " * 8,
        "Which lines are empty?\n```\n" + "one, two, three, four\n" * 20,
    ],
)
def test_material_behind_a_task_makes_it_no_harder_than_its_length_does(hint: str) -> None:
    profile = RequestProfile(text_hint=hint, input_tokens=100)

    assert infer_complexity(profile) is (MEDIUM if "```" in hint else SIMPLE)


@given(
    hint=st.text(alphabet=st.characters(), max_size=700),
    tokens=st.none() | st.integers(0, 10**6),
    output=st.none() | st.integers(1, 10**6),
    effort=st.none() | st.sampled_from(ReasoningEffort),
)
def test_anything_is_of_some_complexity_and_more_effort_makes_it_no_easier(
    hint: str, tokens: int | None, output: int | None, effort: ReasoningEffort | None
) -> None:
    profile = RequestProfile(text_hint=hint, input_tokens=tokens, max_output_tokens=output, reasoning_effort=effort)
    levels = [SIMPLE, MEDIUM, COMPLEX]
    harder = infer_complexity(replace(profile, reasoning_effort=ReasoningEffort.HIGH))

    assert levels.index(harder) >= levels.index(infer_complexity(profile))


@pytest.mark.parametrize(
    ("output", "hint", "expected"),
    [
        (64, "Why is the sky blue?", SIMPLE),
        (65, "Why is the sky blue?", MEDIUM),
        (64, "Prove that one of the three statements is false.", MEDIUM),
        (1, "Prove, derive and refute by design, architecture and strategy", MEDIUM),
    ],
)
def test_who_asks_for_a_few_words_only_asks_for_one_step_less(output: int, hint: str, expected: Complexity) -> None:
    inferred = infer_complexity(RequestProfile(text_hint=hint, max_output_tokens=output))

    assert expected is inferred


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
