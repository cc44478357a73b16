"""The traffic of a trace, drawn before anybody plays it: every contender gets the same calls at the same moments."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import log

from bench.decisions.trace import Trace

BYTES_PER_TOKEN = 4
INPUT_TOKENS_MEDIAN, INPUT_TOKENS_SPREAD, INPUT_TOKENS_MAXIMUM = 600, 1.0, 20_000
OUTPUT_TOKENS_MEDIAN, OUTPUT_TOKENS_SPREAD, OUTPUT_TOKENS_MAXIMUM = 180, 0.7, 1024
TOKENS_MINIMUM = 16
STREAMED_SHARE = 0.5
DEADLINE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Planned:
    """One call to come: when and at which sidecar, its tokens (whoever answers), and whether it wants a stream."""

    number: int
    sidecar: int
    at: float
    input_tokens: int
    output_tokens: int
    streamed: bool


def planned(trace: Trace, sidecars: int) -> list[Planned]:
    """Returns the calls of so many sidecars of a trace, in order: Poisson arrivals, lengths log-normal."""
    rng = random.Random(f"{trace.name}/calls")
    found = [(at, sidecar) for sidecar in range(sidecars) for at in _arrivals(trace, rng)]
    found.sort()
    return [
        Planned(
            number=number,
            sidecar=sidecar,
            at=at,
            input_tokens=_length(rng, INPUT_TOKENS_MEDIAN, INPUT_TOKENS_SPREAD, INPUT_TOKENS_MAXIMUM),
            output_tokens=_length(rng, OUTPUT_TOKENS_MEDIAN, OUTPUT_TOKENS_SPREAD, OUTPUT_TOKENS_MAXIMUM),
            streamed=rng.random() < STREAMED_SHARE,
        )
        for number, (at, sidecar) in enumerate(found)
    ]


def _arrivals(trace: Trace, rng: random.Random) -> list[float]:
    """Thins arrivals at the highest rate, which gives every rate between its own (Lewis and Shedler, 1979)."""
    highest = max(trace.rate(part.at * 60.0) for part in trace.traffic)
    at, found = 0.0, []
    while highest > 0.0:
        at += rng.expovariate(highest)
        if at >= trace.seconds:
            break
        if rng.random() * highest < trace.rate(at):
            found.append(at)
    return found


def _length(rng: random.Random, median: int, spread: float, maximum: int) -> int:
    return min(maximum, max(TOKENS_MINIMUM, round(rng.lognormvariate(log(median), spread))))
