"""Whether what is learned makes estimates better, on usage counted by real tokenizers: `estimates.csv`.

Where the rows come from: the texts are Django's message catalogues in ten languages and functions of Python's
standard library with their docstrings, put together as requests and answers (translate to and from English, extract as
JSON, write a docstring, write a function). They are not recorded traffic: the answers are the true counterparts of the
requests, such as a translation, and no model wrote them. Bytes are those of the UTF-8 text. Tokens were counted with
three public tokenizers: o200k (OpenAI's), claude-2 (the last that Anthropic has published) and DeepSeek's. What vendors
add for roles and framing is not in them. Rows stand in one random order per model, so that languages and tasks mix.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from turnout_server.core.accuracy import ErrorAverage
from turnout_server.core.cost import expected_cost_nano_usd
from turnout_server.core.fleet import Price
from turnout_server.core.tokens import OUTPUT_TOKENS, TOKENS_PER_BYTE, OutputLengths, TokenRatios, estimate_input_tokens

FILE = Path(__file__).parent / "estimates.csv"
MODELS = ("o200k", "claude-2", "deepseek")
PRICE = Price(input_per_million=3_000_000_000, output_per_million=15_000_000_000)
WARM_UP = 40
"""Answers learned from before estimates are compared."""


class Row(NamedTuple):
    """One call."""

    model: str
    task: str
    kind: str
    input_bytes: int
    input_tokens: int
    output_tokens: int


class Errors(NamedTuple):
    """Of one estimate: the mean of each error as a share, their sum as a share of the sum, and which way they go."""

    mean: float
    whole: float
    bias: float


def recorded() -> list[Row]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return [
            Row(row["model"], row["task"], row["kind"], *(int(row[name]) for name in Row._fields[3:]))
            for row in csv.DictReader(file)
        ]


ROWS = recorded()


def errors(pairs: Iterable[tuple[float, float]]) -> Errors:
    """Of pairs (expected, actual)."""
    known = list(pairs)
    off = [expected - actual for expected, actual in known]
    shares = [each / actual for each, (_, actual) in zip(off, known, strict=True)]
    whole = sum(actual for _, actual in known)
    return Errors(sum(map(abs, shares)) / len(off), sum(map(abs, off)) / whole, sum(shares) / len(off))


def replayed(rows: Sequence[Row], warm_up: int) -> dict[str, tuple[Errors, Errors]]:
    """Without learning and with it: input tokens, output tokens, cost. Each row is estimated before it teaches."""
    ratios, lengths = TokenRatios(), OutputLengths()
    found: dict[str, tuple[list[tuple[float, float]], list[tuple[float, float]]]] = defaultdict(lambda: ([], []))
    for number, row in enumerate(rows):
        actual = _cost(row.input_tokens, row.output_tokens)
        guesses = (
            (TOKENS_PER_BYTE, OUTPUT_TOKENS),
            (ratios.ratio("p", row.model), lengths.expected(row.task, "p", row.model)),
        )
        if number >= warm_up:
            for place, (ratio, output) in enumerate(guesses):
                tokens = estimate_input_tokens(row.input_bytes, ratio)
                found["input"][place].append((tokens, row.input_tokens))
                found["output"][place].append((output, row.output_tokens))
                found["cost"][place].append((_cost(tokens, round(output)), actual))
        ratios.observe("p", row.model, byte_count=row.input_bytes, input_tokens=row.input_tokens)
        lengths.observe(row.task, "p", row.model, row.output_tokens)
    return {name: (errors(before), errors(after)) for name, (before, after) in found.items()}


def _cost(input_tokens: int, output_tokens: int) -> int:
    cost = expected_cost_nano_usd(PRICE, input_tokens=input_tokens, output_tokens=output_tokens)
    assert cost is not None
    return cost


def of(model: str) -> list[Row]:
    return [row for row in ROWS if row.model == model]


def test_rows_are_of_several_models_tasks_and_languages() -> None:
    assert len(ROWS) >= 200
    assert {row.model for row in ROWS} == set(MODELS)
    assert len({row.kind for row in ROWS}) >= 10
    assert len({row.task for row in ROWS}) >= 4


@pytest.mark.parametrize("model", MODELS)
def test_learning_lowers_the_error_over_a_mixture_of_everything(model: str) -> None:
    # One ratio cannot fit twelve languages at once. For claude-2, whose Greek takes twice the tokens of its French, the
    # mean of single errors even rises by two points while the sum of errors and the bias fall.
    found = replayed(of(model), WARM_UP)
    for name in ("input", "output", "cost"):
        before, after = found[name]

        assert after.whole < before.whole, name
        assert abs(after.bias) < abs(before.bias), name

    # An answer of unknown length is what costs are wrong by; once tasks are known, about half of that is gone.
    assert found["output"][1].mean < 0.65 * found["output"][0].mean
    assert abs(found["input"][1].bias) < 0.05


@pytest.mark.parametrize("model", MODELS)
def test_learning_lowers_the_error_more_where_callers_write_one_language(model: str) -> None:
    before: list[float] = []
    after: list[float] = []
    for kind in sorted({row.kind for row in of(model)}):
        found = replayed([row for row in of(model) if row.kind == kind], warm_up=4)["input"]
        before.append(found[0].mean)
        after.append(found[1].mean)

    assert sum(after) < 0.95 * sum(before)
    assert sum(later < earlier for earlier, later in zip(before, after, strict=True)) >= len(before) * 2 / 3


def test_a_wrong_rule_of_thumb_is_mended_within_a_few_answers() -> None:
    rows = [row for row in of("o200k") if row.kind == "hi"]
    before, after = replayed(rows, warm_up=2)["input"]

    assert before.mean > 0.4
    assert after.mean < 0.2


def test_what_is_shown_is_what_was_measured() -> None:
    ratios, average = TokenRatios(), ErrorAverage()
    last: list[tuple[float, float]] = []
    for row in of("o200k"):
        tokens = estimate_input_tokens(row.input_bytes, ratios.ratio("p", row.model))
        average.add(tokens, row.input_tokens)
        last = [*last, (tokens, row.input_tokens)][-100:]
        ratios.observe("p", row.model, byte_count=row.input_bytes, input_tokens=row.input_tokens)
    measured = errors(last)

    assert average.value is not None
    assert average.value.mean_absolute_error == pytest.approx(measured.mean, abs=0.03)
    assert average.value.bias == pytest.approx(measured.bias, abs=0.03)
