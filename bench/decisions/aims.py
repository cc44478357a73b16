"""What is aimed for, and whether it was reached: every aim is one comparison, with the bound it was held to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from types import MappingProxyType

from bench.decisions.accounts import Account
from bench.decisions.play import (
    FALLBACK,
    LITELLM_COST,
    LITELLM_LATENCY,
    LITELLM_SHUFFLE,
    ORACLE_COST,
    ORACLE_LATENCY,
    TURNOUT,
)
from bench.decisions.trace import Trace
from turnout_server.core.model import Strategy

SUCCESS_LEAST = 0.9995
ATTEMPTS_IN_CALM_MOST = 1.03
ATTEMPTS_IN_TROUBLE_MOST = 1.2
DEAD_IN_AN_OPENING_MOST = 1
COST_OVER_ORACLE_MOST = 1.05
P95_OVER_ORACLE_MOST = 1.15
WORSE_THAN_BASELINE_MOST = 1.01
AS_GOOD = 0.0005
"""Rates of success that differ by no more than this are equal."""

COST, LATENCY = (f"{TURNOUT} {strategy.value}" for strategy in (Strategy.COST, Strategy.LATENCY))
PRIORITY, HYBRID = (f"{TURNOUT} {strategy.value}" for strategy in (Strategy.PRIORITY, Strategy.HYBRID))
PEERS: Mapping[str, str] = MappingProxyType(
    {PRIORITY: FALLBACK, COST: LITELLM_COST, LATENCY: LITELLM_LATENCY, HYBRID: LITELLM_SHUFFLE}
)
"""Whom each strategy is held against: whoever goes after the same thing, and for HYBRID the other's default."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One aim in one trace: `value` must not pass `bound`, upwards or (`at_least`) downwards."""

    aim: str
    trace: str
    contender: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the aim was reached."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def findings(traces: list[Trace], accounts: list[Account]) -> Iterator[Finding]:
    """Yields every aim for every trace and strategy that was played; what was left out is not judged."""
    by_name = {(one.trace, one.contender): one for one in accounts}
    for trace in traces:
        for contender, peer in PEERS.items():
            ours = by_name.get((trace.name, contender))
            if ours is None:
                continue
            yield from _alone(trace, ours)
            yield from _against_oracle(ours, by_name)
            theirs = by_name.get((trace.name, peer))
            if theirs is not None:
                yield _against_peer(ours, theirs)


def _alone(trace: Trace, ours: Account) -> Iterator[Finding]:
    yield Finding("success", ours.trace, ours.contender, ours.success, SUCCESS_LEAST, at_least=True)
    most = ATTEMPTS_IN_CALM_MOST if trace.calm else ATTEMPTS_IN_TROUBLE_MOST
    yield Finding("attempts per success", ours.trace, ours.contender, ours.attempts_per_success, most)
    yield Finding(
        "attempts at a dead target in one opening",
        ours.trace,
        ours.contender,
        ours.most_dead_in_an_opening,
        DEAD_IN_AN_OPENING_MOST,
    )


def _against_oracle(ours: Account, by_name: Mapping[tuple[str, str], Account]) -> Iterator[Finding]:
    if ours.contender == COST and (best := by_name.get((ours.trace, ORACLE_COST))) is not None:
        ratio = ours.cost_per_answer_usd / best.cost_per_answer_usd
        yield Finding("cost by the oracle's", ours.trace, ours.contender, ratio, COST_OVER_ORACLE_MOST)
    if ours.contender == LATENCY and (best := by_name.get((ours.trace, ORACLE_LATENCY))) is not None:
        ratio = ours.p95_seconds / best.p95_seconds
        yield Finding("p95 by the oracle's", ours.trace, ours.contender, ratio, P95_OVER_ORACLE_MOST)


def _against_peer(ours: Account, theirs: Account) -> Finding:
    """More success is better whatever it costs; at equal success what the strategy is after must not be worse.

    HYBRID is after cost and latency both: their ratios' geometric mean.
    """
    aim = f"against {theirs.contender}"
    if abs(ours.success - theirs.success) > AS_GOOD:
        return Finding(f"{aim}: success", ours.trace, ours.contender, ours.success, theirs.success, at_least=True)
    if ours.contender == COST:
        ratio = ours.cost_per_answer_usd / theirs.cost_per_answer_usd
        return Finding(f"{aim}: cost", ours.trace, ours.contender, ratio, WORSE_THAN_BASELINE_MOST)
    ratio = ours.p95_seconds / theirs.p95_seconds
    if ours.contender == HYBRID:
        both = sqrt(ratio * ours.cost_per_answer_usd / theirs.cost_per_answer_usd)
        return Finding(f"{aim}: cost and p95", ours.trace, ours.contender, both, WORSE_THAN_BASELINE_MOST)
    return Finding(f"{aim}: p95", ours.trace, ours.contender, ratio, WORSE_THAN_BASELINE_MOST)
