"""Prompts with how hard they are (labelled_prompts.yaml), and how `infer_complexity` does on them.

python -m tests.unit.core.labelled_prompts        accuracy, confusion matrix, microseconds
python -m tests.unit.core.labelled_prompts -v     and every prompt of the tuning half that it gets wrong
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import click
import yaml

from turnout_server.core.complexity import infer_complexity
from turnout_server.core.model import Complexity, ReasoningEffort, RequestProfile

PROMPTS = Path(__file__).with_suffix(".yaml")
LABELS = tuple(Complexity)
TUNING, HELD_OUT, UNSEEN = "tuning", "held out", "unseen"
SETS = (TUNING, HELD_OUT, UNSEEN)
ALL_FOR_TUNING = "second round"

Confusion = Counter[tuple[Complexity, Complexity]]
"""How many have the first as label and were inferred to be the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One prompt. `of_set` is TUNING, HELD_OUT (not looked at in tuning), or UNSEEN (written when that was over)."""

    kind: str
    label: Complexity
    profile: RequestProfile
    of_set: str


@cache
def labelled_prompts() -> tuple[Labelled, ...]:
    """Returns all of them, as `Route` would be asked: with what is given of them and no more."""
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for row in yaml.safe_load(PROMPTS.read_text()):
        group = (row["kind"], row["label"])
        profile = RequestProfile(
            text_hint=row["text"],
            input_tokens=row.get("tokens"),
            max_output_tokens=row.get("output"),
            reasoning_effort=ReasoningEffort(row["effort"]) if "effort" in row else None,
        )
        kind, label = row["kind"], Complexity(row["label"])
        found.append(Labelled(kind=kind, label=label, profile=profile, of_set=_set_of(kind, seen[group])))
        seen[group] += 1
    return tuple(found)


def _set_of(kind: str, place: int) -> str:
    if kind == UNSEEN:
        return UNSEEN
    return HELD_OUT if place % 2 and kind != ALL_FOR_TUNING else TUNING


def of_set(name: str) -> tuple[Labelled, ...]:
    """Returns the prompts of one of SETS."""
    return tuple(each for each in labelled_prompts() if each.of_set == name)


def confusion(prompts: tuple[Labelled, ...]) -> Confusion:
    """Returns the confusion matrix."""
    return Counter((each.label, infer_complexity(each.profile)) for each in prompts)


def accuracy(matrix: Confusion) -> float:
    """Returns the share of those that were inferred as labelled."""
    return sum(matrix[label, label] for label in LABELS) / matrix.total()


def far_off(matrix: Confusion) -> int:
    """Returns how many SIMPLE ones were taken for COMPLEX, or the other way round."""
    return matrix[Complexity.SIMPLE, Complexity.COMPLEX] + matrix[Complexity.COMPLEX, Complexity.SIMPLE]


def microseconds(prompts: tuple[Labelled, ...], rounds: int = 60) -> float:
    """Returns the median over rounds of what one inference takes of the processor."""
    taken = []
    for _ in range(rounds):
        start = time.process_time_ns()
        for each in prompts:
            infer_complexity(each.profile)
        taken.append((time.process_time_ns() - start) / len(prompts) / 1000)
    return median(taken)


def _report(name: str, prompts: tuple[Labelled, ...]) -> None:
    matrix = confusion(prompts)
    click.echo(f"\n{name}: {len(prompts)} prompts, {accuracy(matrix):.0%} as labelled, {far_off(matrix)} off by two")
    click.echo(f"{'labelled':<10}" + "".join(f"{label.value:>9}" for label in LABELS) + "   (inferred)")
    for label in LABELS:
        click.echo(f"{label.value:<10}" + "".join(f"{matrix[label, other]:>9}" for other in LABELS))


def main() -> None:
    """Prints the report."""
    prompts = labelled_prompts()
    for name in SETS:
        _report(name, of_set(name))
    if "-v" in sys.argv:
        click.echo("")
        for each in of_set(TUNING):
            inferred = infer_complexity(each.profile)
            if inferred is not each.label:
                click.echo(
                    f"{each.label.value} taken for {inferred.value} ({each.kind}): {each.profile.text_hint[:160]!r}"
                )
    longest = tuple(
        Labelled(
            kind="", label=each.label, of_set=TUNING, profile=RequestProfile(text_hint=each.profile.text_hint * 40)
        )
        for each in prompts
    )
    click.echo(
        f"\n{microseconds(prompts):.1f} µs for a prompt, {microseconds(longest):.1f} µs for one 40 times as long"
    )


if __name__ == "__main__":
    main()
