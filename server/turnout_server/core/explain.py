"""A decision in words: one sentence for the whole, a few words for a candidate that does not stand where it scores."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING

from turnout_server.core.filters import CLEAR, Standing
from turnout_server.core.groups import FAILED_PROVIDER, FAILED_REGION, NOT_PREFERRED, SLOW, SUSPECT, WEAK, region_place
from turnout_server.core.regions import ANYWHERE, in_words
from turnout_server.core.rejections import first_reasons
from turnout_server.core.scoring import FACTORS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from turnout_server.core.columns import Facts
    from turnout_server.core.decision import Rejection
    from turnout_server.core.expectation import Expectation
    from turnout_server.core.preferences import Ranking
    from turnout_server.core.scoring import Scoring
    from turnout_server.core.strategies import Line

COUNTED_REASONS = 5
A_TABLE = "a table"
NO_TABLE: Mapping[int, str] = MappingProxyType({})
HELD = "kept: it answered this key last"
FACTORS_IN_WORDS = ", ".join(f"{name} %.2f" for name in FACTORS)
"""Filled in at once: formatting each factor on its own takes twice as long."""


def decision_reason(  # what a sentence is made of
    line: Line,
    rejections: Sequence[Rejection],
    ranking: Ranking,
    expectation: Expectation,
    facts: Facts,
    *,
    regions: tuple[str, ...] = ANYWHERE,
    preferred_by: Mapping[int, str] = NO_TABLE,
) -> str:
    """Returns one sentence: the first, by what, ahead of whom, and how many were rejected for what."""
    rejected = ""
    if rejections:
        whole = len(line.order) + len(rejections)
        rejected = f"{len(rejections)} of {whole} targets rejected ({rejected_counts(rejections)})"
    strategy = f"{ranking.strategy.value} ({ranking.why})"
    if regions:
        strategy += in_words(regions)
    if not line.order:
        return f"{strategy}: no candidate; {rejected or 'no target is configured'}."
    scoring, indexes = line.scoring, line.scoring.selection.indexes
    first = line.order[0]
    parts = FACTORS_IN_WORDS % scoring.measures(first, expectation.of(indexes[first]))
    if scoring.notable or scoring.wanted(first) is not None:
        parts += _further(scoring, first)
    sentence = f"{strategy}: {facts.names[indexes[first]]} with score {scoring.score(first):.2f} ({parts})"
    words = (
        HELD
        if line.held == first
        else candidate_reason(line.groups[first], scoring.standing(first), preferred_by.get(indexes[first], A_TABLE))
    )
    if words:
        sentence += f", {words}"
    if len(line.order) > 1:
        second = line.order[1]
        sentence += f", before {facts.names[indexes[second]]} with {scoring.score(second):.2f}"
        share = line.share(first)
        if share < 1.0:
            sentence += f", taken with a chance of {share:.0%}"
    return f"{sentence}; {rejected}." if rejected else f"{sentence}."


def _further(scoring: Scoring, place: int) -> str:
    """Returns the factors that few targets, or few requests, have."""
    wanted, ramp, drift = scoring.wanted(place), scoring.ramp(place), scoring.drift(place)
    text = "" if wanted is None else f", capability {wanted:.2f}"
    if ramp < 1.0:
        text += f", ramp {ramp:.2f}"
    return f"{text}, drift {drift:.2f}" if drift < 1.0 else text


def candidate_reason(group: int, standing: Standing, preferred_by: str = A_TABLE) -> str:
    """Returns why a candidate does not stand where its score alone would put it, "" where it does.

    `preferred_by` says on whose word it comes first, if it does.
    """
    if standing is CLEAR:
        if not group:
            return f"preferred by {preferred_by}"
        if group == NOT_PREFERRED:
            return ""
    place = region_place(group)
    words = [
        word
        for applies, word in (
            (standing is not CLEAR, standing.value),
            (group & SUSPECT, "suspect: its calls wait, or its endpoint was not reached"),
            (group & FAILED_PROVIDER, "its provider failed in this call"),
            (group & FAILED_REGION, "its region failed in this call"),
            (place, f"its region is number {place + 1} of those allowed"),
            (not group & NOT_PREFERRED, f"preferred by {preferred_by}"),
            (group & SLOW, "beyond the soft limit to the first token"),
            (group & WEAK, "below the soft quality floor"),
        )
        if applies
    ]
    return "; ".join(words)


def rejected_counts(rejections: Sequence[Rejection]) -> str:
    """Returns each target's first reason, counted, the most frequent five: "3 CAPABILITY, 1 DRAINED"."""
    counts = Counter(first_reasons(rejections))
    told = [f"{count} {reason.value}" for reason, count in counts.most_common(COUNTED_REASONS)]
    rest = len(counts) - len(told)
    return ", ".join([*told, f"and {rest} more reasons"] if rest else told)
