"""Weeks of calls to one target, for the charts that hold it against its own past: calm ones, and such with a shift.

Calm is not even: latencies are heavy-tailed, swing with day and night by 30 % either way, and have moods of minutes by
15 to 25 %; calls come at a rate that swings with the day by e or e², some take five to ten times as long, some fail.
The time for each token does the same, less unevenly.

    python -m tests.simulation.drift SEEDS    false alarms in a week of each shape, and how soon a shift is seen
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from turnout_server.core.baseline import Baseline
from turnout_server.core.charts import Measure, Turn

DAY_SECONDS = 86_400.0
WEEK_SECONDS = 7 * DAY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One kind of traffic to one kind of target; spreads and swings are of logarithms."""

    rate: float = 0.2
    """Calls a second, on the average over a day's swing."""
    rate_swing: float = 1.0
    spread: float = 0.5
    latency_swing: float = 0.3
    mood: float = 0.15
    mood_seconds: float = 300.0
    slow_share: float = 0.02
    """Calls that take five to ten times as long."""
    failing_share: float = 0.01
    long_prompts: bool = False
    """Half the calls have prompts that take 2.5 times as long; at night nearly all, by day few."""


CALM = {
    "a usual one": Shape(),
    "busy by day, still at night": Shape(rate_swing=2.0, rate=0.1),
    "a busy one": Shape(rate=1.0),
    "one call a minute": Shape(rate=1 / 60),
    "one call in ten minutes": Shape(rate=1 / 600),
    "an even one": Shape(spread=0.05, mood=0.05),
    "an uneven one": Shape(spread=0.8),
    "one of moods": Shape(rate=0.3, mood=0.25),
    "another mix at night": Shape(long_prompts=True),
    "one that fails often": Shape(failing_share=0.03),
}


class Shift(NamedTuple):
    """What becomes of a target at some time: how many times longer its first token takes, and which share fails."""

    at: float
    times: float = 1.0
    failing_share: float | None = None


class Seen(NamedTuple):
    """What the charts said, and when."""

    at: float
    turn: Turn


def live(
    shape: Shape, *, seed: int, seconds: float, shift: Shift | None = None, baseline: Baseline | None = None
) -> Iterator[Seen]:
    """Yields what is seen of one target within so many seconds."""
    rng = random.Random(seed)
    baseline = Baseline() if baseline is None else baseline
    now = mood = 0.0
    began = rng.random() * DAY_SECONDS
    while True:
        day = math.sin(math.tau * (now + began) / DAY_SECONDS)
        gap = rng.expovariate(shape.rate * math.exp(shape.rate_swing * day))
        now += gap
        if now >= seconds:
            return
        kept = math.exp(-gap / shape.mood_seconds)
        mood = mood * kept + shape.mood * math.sqrt(1.0 - kept * kept) * rng.gauss(0.0, 1.0)
        value = shape.latency_swing * day + mood + shape.spread * rng.gauss(0.0, 1.0)
        is_long = shape.long_prompts and rng.random() < 0.5 - 0.4 * day
        if is_long:
            value += math.log(2.5)
        if rng.random() < shape.slow_share:
            value += math.log(rng.uniform(5.0, 10.0))
        failing = shape.failing_share * (1.0 + 0.5 * day)
        if shift is not None and now >= shift.at:
            value += math.log(shift.times)
            failing = failing if shift.failing_share is None else shift.failing_share
        ok = rng.random() >= failing
        turns = [baseline.ended(ok=ok, now=now), *baseline.look(now)]
        if ok:
            turns.append(baseline.answered(Measure.FIRST_TOKEN, math.exp(value), int(is_long), now))
            per_token = shape.latency_swing * day + mood + 0.5 * shape.spread * rng.gauss(0.0, 1.0)
            turns.append(baseline.answered(Measure.PER_TOKEN, math.exp(per_token), 0, now))
        yield from (Seen(now, turn) for turn in turns if turn is not None)


def false_alarms(shape: Shape, *, seed: int, seconds: float = WEEK_SECONDS) -> int:
    """Returns how often a target is said to drift in calm."""
    return sum(seen.turn.drifting for seen in live(shape, seed=seed, seconds=seconds))


def seen_after(shape: Shape, shift: Shift, *, seed: int, within: float = 1800.0) -> float | None:
    """Returns how long after a shift it is told; None where it is not, or something else was before."""
    for seen in live(shape, seed=seed, seconds=shift.at + within, shift=shift):
        if seen.turn.drifting:
            return seen.at - shift.at if seen.at >= shift.at else None
    return None


def main(seeds: int) -> None:
    """Prints what the charts are worth."""
    for name, shape in CALM.items():
        alarms = [false_alarms(shape, seed=seed) for seed in range(seeds)]
        sys.stdout.write(f"{name}: {sum(alarms) / seeds:.2f} false alarms a week, at most {max(alarms)}\n")
    for name, shift in (
        ("twice as slow", Shift(7200.0, times=2.0)),
        ("three times as slow", Shift(7200.0, times=3.0)),
        ("15 % fail", Shift(7200.0, failing_share=0.15)),
    ):
        shape = Shape(rate=1.0, rate_swing=0.0)
        found = sorted(seen_after(shape, shift, seed=seed) or math.inf for seed in range(10 * seeds))
        median, late = found[len(found) // 2], found[9 * len(found) // 10]
        sys.stdout.write(f"{name}: seen after {median:.0f} s, nine of ten within {late:.0f} s\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
