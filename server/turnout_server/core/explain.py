"""A decision in words: one sentence for the whole, a few words for a candidate that does not stand where it scores."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from turnout_server.core.filters import CLEAR
from turnout_server.core.strategies import FAILED_PROVIDER, NOT_PREFERRED, SLOW, SUSPECT, WEAK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout_server.core.decision import Rejection
    from turnout_server.core.preferences import Ranking
    from turnout_server.core.scoring import Contender

COUNTED_REASONS = 5


def decision_reason(ranked: Sequence[Contender], rejections: Sequence[Rejection], ranking: Ranking) -> str:
    """Returns one sentence: the first, by what, ahead of whom, and how many were rejected for what."""
    whole = len(ranked) + len(rejections)
    rejected = f"{len(rejections)} of {whole} targets rejected ({rejected_counts(rejections)})" if rejections else ""
    strategy = f"{ranking.strategy.value} ({ranking.why})"
    if not ranked:
        return f"{strategy}: no candidate; {rejected or 'no target is configured'}."
    first = ranked[0]
    parts = ", ".join(f"{name} {value:.2f}" for name, value in first.factors.items())
    sentence = f"{strategy}: {first.target.spec.target} with score {first.score:.2f} ({parts})"
    words = candidate_reason(first)
    if words:
        sentence += f", {words}"
    if len(ranked) > 1:
        second = ranked[1]
        sentence += f", before {second.target.spec.target} with {second.score:.2f}"
        if first.share < 1.0:
            sentence += f", taken with a chance of {first.share:.0%}"
    return f"{sentence}; {rejected}." if rejected else f"{sentence}."


def candidate_reason(contender: Contender) -> str:
    """Returns why a candidate does not stand where its score alone would put it, "" where it does."""
    group = contender.group
    if not group and contender.standing is CLEAR:
        return "preferred by a table"
    if group == NOT_PREFERRED and contender.standing is CLEAR:
        return ""
    words = [
        word
        for applies, word in (
            (contender.standing is not CLEAR, contender.standing.value),
            (group & SUSPECT, "suspect: its calls wait for a first token"),
            (group & FAILED_PROVIDER, "its provider failed in this call"),
            (not group & NOT_PREFERRED, "preferred by a table"),
            (group & SLOW, "beyond the soft limit to the first token"),
            (group & WEAK, "below the soft quality floor"),
        )
        if applies
    ]
    return "; ".join(words)


def rejected_counts(rejections: Sequence[Rejection]) -> str:
    """Returns each target's first reason, counted, the most frequent five: "3 CAPABILITY, 1 DRAINED"."""
    counts = Counter(rejection.reasons[0].value for rejection in rejections)
    told = [f"{count} {reason}" for reason, count in counts.most_common(COUNTED_REASONS)]
    rest = len(counts) - len(told)
    return ", ".join([*told, f"and {rest} more reasons"] if rest else told)
