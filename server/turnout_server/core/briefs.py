"""Candidates in short: what traces tell of many of them, and of the few whose every factor is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from turnout_server.core.decision import Candidate
    from turnout_server.core.model import HealthState


class Brief(NamedTuple):
    """Candidates in short, in columns: targets by name, scores, what is expected of them, their health."""

    names: list[str]
    scores: list[float]
    expected_latency_seconds: list[float]
    expected_cost_nano_usd: list[int | None]
    health: list[HealthState]


class Explained(NamedTuple):
    """Why one candidate stands where it does, without how it would be called."""

    name: str
    score: float
    share: float
    sample_count: int
    expected_time_to_first_token_seconds: float
    reason: str
    factors: Mapping[str, float]


def briefly(candidates: Sequence[Candidate], most: int) -> Brief:
    """Returns the first of some candidates in short."""
    listed = candidates[:most]
    return Brief(
        [candidate.spec.name for candidate in listed],
        [candidate.score for candidate in listed],
        [candidate.expected_latency_seconds for candidate in listed],
        [candidate.expected_cost_nano_usd for candidate in listed],
        [candidate.health for candidate in listed],
    )


def explaining(candidates: Sequence[Candidate], most: int) -> list[Explained]:
    """Returns why the first of some candidates stand there."""
    return [
        Explained(
            candidate.spec.name,
            candidate.score,
            candidate.share,
            candidate.sample_count,
            candidate.expected_time_to_first_token_seconds,
            candidate.reason,
            candidate.factors,
        )
        for candidate in candidates[:most]
    ]
