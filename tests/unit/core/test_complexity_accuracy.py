"""How often the inferred complexity is the labelled one: what docs/complexity.md says of it is so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.core.labelled_prompts import (
    HELD_OUT,
    LABELS,
    SETS,
    TUNING,
    UNSEEN,
    accuracy,
    confusion,
    far_off,
    labelled_prompts,
    of_set,
)
from turnout_server.core.complexity import infer_complexity
from turnout_server.core.model import Complexity

DOCUMENT = Path(__file__).parents[3] / "docs" / "complexity.md"


def documented(name: str) -> Iterator[tuple[Complexity, list[int]]]:
    """Rows of the confusion matrix of one set, as the document has them."""
    section = DOCUMENT.read_text().split(f"**{name}**")[1]
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in list(Complexity):
            yield Complexity(cells[0]), [int(cell) for cell in cells[1:]]
        if cells[0] == Complexity.COMPLEX:
            return


@pytest.mark.parametrize("name", SETS)
def test_confusion_matrix_is_as_documented(name: str) -> None:
    matrix = confusion(of_set(name))

    assert {label: [matrix[label, other] for other in LABELS] for label in LABELS} == dict(documented(name))


@pytest.mark.parametrize("name", SETS)
def test_accuracy_is_as_documented(name: str) -> None:
    told = re.search(rf"\*\*{name}\*\*: (\d+) prompts, (\d+) % as labelled", DOCUMENT.read_text())

    assert told is not None
    assert (str(len(of_set(name))), f"{accuracy(confusion(of_set(name))):.0%}") == (told[1], f"{told[2]}%")


@pytest.mark.parametrize(("name", "least"), [(TUNING, 0.85), (HELD_OUT, 0.85), (UNSEEN, 0.75)])
def test_no_change_makes_it_much_worse_and_none_is_off_by_two(name: str, least: float) -> None:
    matrix = confusion(of_set(name))

    assert accuracy(matrix) >= least
    assert far_off(matrix) == 0


def test_there_are_enough_prompts_of_every_kind_and_label_and_none_twice() -> None:
    prompts = labelled_prompts()
    texts = Counter((each.profile.text_hint, each.profile.max_output_tokens) for each in prompts)
    kinds = {each.kind for each in prompts}

    assert len(prompts) >= 100
    assert [] == [text for text, count in texts.items() if count > 1]
    assert {"other languages", "code", "agent", "short but hard", "long but simple", "options"} <= kinds
    for name in SETS:
        by_label = Counter(each.label for each in of_set(name))
        assert min(by_label[label] for label in LABELS) >= len(of_set(name)) // 4


def test_a_given_complexity_is_always_taken() -> None:
    for each in labelled_prompts():
        assert infer_complexity(replace(each.profile, complexity=each.label)) is each.label
