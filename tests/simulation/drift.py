"""Weeks of calls to one target, for the charts that hold it against its own past: calm ones, and such with a shift.

Calm is not even: latencies are heavy-tailed, swing with day and night and are lower at week-ends, and have moods of
minutes to hours by up to 40 %; calls come at a rate that swings with the day, or in rushes in which all take longer;
some take many times as long, some fail, and failures come in clusters. The time for each token does the same, less
unevenly. Of answers that do not stream the whole time is watched, with priors that are wrong for the model.

    python -m tests.simulation.drift SEEDS    false alarms in a week of each shape, and how soon a shift is seen
"""

from __future__ import annotations

import math
import random
import sys
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from turnout_server.core.baseline import Baseline
from turnout_server.core.charts import Measure, Turn
from turnout_server.core.drift import ANSWER_LENGTHS

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
    slow_most: float = 10.0
    """How many times as long the slowest of those take."""
    tails: bool = False
    """Spreads are of Student's t with three degrees of freedom."""
    office: bool = False
    """By day everything takes twice as long as at night; most of that comes within three hours of the morning."""
    weekend: float = 0.0
    """By how much less all takes at week-ends, when a fifth of the calls come."""
    rush: float | None = None
    """A quarter of an hour apart, twenty calls a second come for half a minute to three; all take so much longer."""
    pools: float = 0.0
    """By turns of some twenty minutes everything takes so much longer."""
    failing_mood: float = 0.0
    """How uneven the share that fails is over ten minutes."""
    whole: bool = False
    """Answers do not stream; their lengths differ by ten times and more."""


CALM = {
    "a usual one": Shape(),
    "busy by day, still at night": Shape(rate_swing=2.0, rate=0.1),
    "a busy one": Shape(rate=1.0),
    "fifty calls a second": Shape(rate=50.0, rate_swing=0.5),
    "one call a minute": Shape(rate=1 / 60),
    "one call in ten minutes": Shape(rate=1 / 600),
    "an even one": Shape(spread=0.05, mood=0.05),
    "an uneven one": Shape(spread=0.8),
    "moods of 5 minutes by 25 %": Shape(rate=1.0, rate_swing=0.0, mood=0.25),
    "moods of 5 minutes by 40 %": Shape(rate=1.0, rate_swing=0.0, mood=0.4),
    "moods of 20 minutes by 15 %": Shape(rate=1.0, rate_swing=0.0, mood_seconds=1200.0),
    "moods of 20 minutes by 25 %": Shape(rate=1.0, rate_swing=0.0, mood=0.25, mood_seconds=1200.0),
    "the same with day and night": Shape(rate=0.3, mood=0.25, mood_seconds=1200.0),
    "the same at a call a minute": Shape(rate=1 / 60, mood=0.25, mood_seconds=1200.0),
    "moods of 20 minutes by 40 %": Shape(rate=0.3, mood=0.4, mood_seconds=1200.0),
    "moods of an hour by 40 %": Shape(rate=0.3, mood=0.4, mood_seconds=3600.0),
    "moods of three hours by 25 %": Shape(rate=1.0, rate_swing=0.0, mood=0.25, mood_seconds=10_800.0),
    "moods of three hours by 40 %": Shape(rate=0.3, mood=0.4, mood_seconds=10_800.0),
    "twice as slow by day": Shape(latency_swing=0.0, office=True),
    "the same with moods": Shape(latency_swing=0.0, office=True, mood=0.25, mood_seconds=1200.0),
    "four times as slow by day": Shape(latency_swing=0.69),
    "other days at week-ends": Shape(latency_swing=0.0, office=True, weekend=0.4, rate_swing=2.0),
    "heavy tails": Shape(tails=True),
    "heavy tails, a call a minute": Shape(tails=True, rate=1 / 60),
    "one in twenty up to 30 times as slow": Shape(slow_share=0.05, slow_most=30.0),
    "another mix at night": Shape(long_prompts=True),
    "answers of any length": Shape(whole=True),
    "rushes": Shape(rush=0.0),
    "rushes that take half as long again": Shape(rush=0.4),
    "two pools": Shape(rate=0.3, pools=0.4),
    "one that fails often": Shape(failing_share=0.03),
    "one that fails in clusters": Shape(failing_mood=0.7),
    "one that fails often, in clusters": Shape(failing_share=0.03, failing_mood=0.5),
}
DEMANDING = frozenset({"fifty calls a second"})
"""A week of it is thirty million calls: looked at for a few hours."""
OFFICE = (*(0.0,) * 6, 0.05, 0.18, 0.41, 0.59, 0.69, 0.69, 0.64, 0.64, 0.69, 0.69, 0.67, 0.59, 0.47, 0.34, 0.26, 0.18)
"""How much more calls take by the hour, of logarithms; the last two hours of a day are like its evening."""


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
    weather = _Weather(shape, random.Random(seed))
    rng, baseline = weather.rng, Baseline() if baseline is None else baseline
    while True:
        weather.pass_on()
        now, off = weather.now, weather.off
        if now >= seconds:
            return
        failing = weather.failing
        if shift is not None and now >= shift.at:
            off += math.log(shift.times)
            failing = failing if shift.failing_share is None else shift.failing_share
        ok = rng.random() >= failing
        turns = [baseline.ended(ok=ok, now=now), *baseline.look(now)]
        if ok and shape.whole:
            turns.append(_whole(baseline, shape, off, rng, now))
        elif ok:
            first = off + shape.spread * weather.chance()
            is_long = shape.long_prompts and rng.random() < 0.5 - 0.4 * weather.day
            if is_long:
                first += math.log(2.5)
            if rng.random() < shape.slow_share:
                first += math.log(rng.uniform(5.0, shape.slow_most))
            turns.append(baseline.answered(Measure.FIRST_TOKEN, math.exp(first), int(is_long), now))
            # A shift is of the first token alone.
            per_token = weather.off + 0.5 * shape.spread * weather.chance()
            turns.append(baseline.answered(Measure.PER_TOKEN, math.exp(per_token), 0, now))
        yield from (Seen(now, turn) for turn in turns if turn is not None)


class _Weather:
    """What becomes of a target and its callers as time passes: when calls come, and how slow it then is."""

    def __init__(self, shape: Shape, rng: random.Random) -> None:
        self.shape, self.rng = shape, rng
        self.now = self.off = self.day = 0.0
        self.failing = shape.failing_share
        self._mood = self._failing_mood = 0.0
        self._began = rng.random() * WEEK_SECONDS
        self._rush = (-1.0, -1.0)
        self._pool, self._pool_until = False, rng.expovariate(1 / 1200)

    def chance(self) -> float:
        """What one call differs by, in spreads."""
        normal = self.rng.gauss(0.0, 1.0)
        return normal / math.sqrt(self.rng.gammavariate(1.5, 2.0) / 3.0) if self.shape.tails else normal

    def pass_on(self) -> None:
        """Lets time pass until the next call."""
        shape, rng = self.shape, self.rng
        moment = self.now + self._began
        self.day = math.sin(math.tau * moment / DAY_SECONDS)
        weekend = shape.weekend > 0.0 and moment % WEEK_SECONDS >= 5 * DAY_SECONDS
        rate = shape.rate * math.exp(shape.rate_swing * self.day) * (0.2 if weekend else 1.0)
        gap, rushed = rng.expovariate(rate), False
        if shape.rush is not None:
            gap, rushed = self._rushed(gap)
        self.now += gap
        self._mood = self._on(self._mood, shape.mood, gap, shape.mood_seconds)
        self._failing_mood = self._on(self._failing_mood, shape.failing_mood, gap, 600.0)
        if shape.pools and self.now > self._pool_until:
            self._pool, self._pool_until = not self._pool, self.now + rng.expovariate(1 / 1200)
        self.off = shape.latency_swing * self.day + self._mood - (shape.weekend if weekend else 0.0)
        self.off += (shape.pools if self._pool else 0.0) + ((shape.rush or 0.0) if rushed else 0.0)
        if shape.office:
            hour, part = divmod(moment % DAY_SECONDS / 3600.0, 1.0)
            here, there = (OFFICE[int(each) % 24] if each % 24 < len(OFFICE) else 0.1 for each in (hour, hour + 1))
            self.off += here * (1.0 - part) + there * part
        uneven = self._failing_mood - 0.5 * shape.failing_mood**2
        self.failing = shape.failing_share * (1.0 + 0.5 * self.day) * math.exp(uneven)

    def _rushed(self, gap: float) -> tuple[float, bool]:
        rng, (begins, ends) = self.rng, self._rush
        if self.now >= ends:
            begins = self.now + rng.expovariate(1 / 900)
            self._rush = begins, begins + rng.uniform(30.0, 180.0)
        elif self.now >= begins:
            return rng.expovariate(20.0), True
        return min(gap, begins - self.now + 0.001), False

    def _on(self, mood: float, size: float, gap: float, seconds: float) -> float:
        kept = math.exp(-gap / seconds)
        return mood * kept + size * math.sqrt(1.0 - kept * kept) * self.rng.gauss(0.0, 1.0) if size else 0.0


def _whole(baseline: Baseline, shape: Shape, off: float, rng: random.Random, now: float) -> Turn | None:
    """An answer that did not stream: 0.4 s and 0.02 s a token, where priors have it that it is 1 s and 0.012 s."""
    tokens = min(8000, max(1, int(250 * math.exp(0.8 * rng.gauss(0.0, 1.0)))))
    first = 0.4 * math.exp(shape.spread * rng.gauss(0.0, 1.0))
    each = 0.02 * math.exp(0.5 * shape.spread * rng.gauss(0.0, 1.0))
    ratio = (first + each * tokens) * math.exp(off) / (1.0 + 0.012 * tokens)
    return baseline.answered(Measure.WHOLE, ratio, bisect_left(ANSWER_LENGTHS, tokens), now)


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
        seconds = DAY_SECONDS / 4 if name in DEMANDING else WEEK_SECONDS
        alarms = [false_alarms(shape, seed=seed, seconds=seconds) for seed in range(seeds)]
        span = "a quarter of a day" if name in DEMANDING else "a week"
        sys.stdout.write(f"{name}: {sum(alarms) / seeds:.2f} false alarms in {span}, at most {max(alarms)}\n")
        sys.stdout.flush()
    for name, shift in (
        ("twice as slow", Shift(7200.0, times=2.0)),
        ("three times as slow", Shift(7200.0, times=3.0)),
        ("six times as slow", Shift(7200.0, times=6.0)),
        ("10 % fail", Shift(7200.0, failing_share=0.1)),
    ):
        shape = Shape(rate=1.0, rate_swing=0.0, failing_share=0.02)
        found = sorted(seen_after(shape, shift, seed=seed) or math.inf for seed in range(5 * seeds))
        median, late = found[len(found) // 2], found[9 * len(found) // 10]
        sys.stdout.write(f"{name}: seen after {median:.0f} s, nine of ten within {late:.0f} s\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
