"""Whether a target has left its own past: it is slower, or fails more often, than it has been for hours.

Fixed thresholds see what is bad for anybody. What is bad for this target they see late: one that usually answers in
0.3 s is twice as slow at 0.6 s, long before any limit. So each target is held against itself, by CUSUM control charts
(E. S. Page, Continuous Inspection Schemes, Biometrika 41, 1954): what each call was worse than usual is summed up, less
a slack, and never below zero. Chance and single bad calls run off it, a shift that lasts fills it. "Usual" is a slow
average that follows the hours of the day. How far a target's minutes usually are off belongs to its past, too: the more
they are, the more is taken for chance (`swing`). The constants were simulated: docs/decisions/0057,
`tests/simulation/drift`.
"""

from __future__ import annotations

from enum import StrEnum
from math import exp, exp2, isfinite, log
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.swing import HIGHEST_HALF_LIFE_SECONDS, OVER_SHARE, Swing

if TYPE_CHECKING:
    from turnout_server.core.kept import KeptAverage, Since

USUAL_HALF_LIFE_SECONDS = 1800.0
"""Of what is usual: slow beside a fault, quick beside day and night. Four times as long while a target drifts, or its
chart is a seventh full: what may be a fault must not become usual before it is told."""
SLOWLY = 1.0 / 4.0
SUSPECTED_SHARE = 1.0 / 7.0
LEARNING_SHARE_MAXIMUM = 0.1
"""The most that one call changes what is usual: at least some ten calls make it, however far apart they are."""
COUNT_MAXIMUM = 10_000
SAMPLES_MINIMUM = 30
"""Answers of one kind before it is said of one that it is slower than usual."""
OUTCOMES_MINIMUM = 200
"""Outcomes before it is said that more of them fail than usual."""
MEMORY_SECONDS = 1800.0
"""For how long a chart remembers: calls further apart than a few minutes add up to nothing."""
SHARING_SECONDS = 1.0
"""Failures within one second weigh as one together: they meet the same moment, a thousand as well as two."""
STANDING_SECONDS = 3.0
"""A latency stands for the seconds since the call before, so that charts fill by time and not by traffic; at most for
so many, so that no few calls fill a chart."""
CONFIRMED_SECONDS = 300.0
"""A drift that no call confirms for so long is over: who loses score loses the calls that would show it well again."""
PRESENT_HALF_LIFE_SECONDS = 120.0
FACTOR_FLOOR = 0.5
"""The least that a score is multiplied by: a target that drifts is worse than it was, and may still be the best."""

BOUND = log(16.0)
"""A call counts as sixteen times as slow as usual at most."""
INCREMENT_MAXIMUM = 1.1
"""And fills the chart by no more than this a second: one that hangs is one bad call."""
LATENCY_THRESHOLD = 50.0
"""Reached by a call a second of an even target that takes twice as long as usual in two minutes, four times as long in
45 s."""
SLACK_OF_THRESHOLD = 0.48
"""With a wider slack the chart fills the more slowly: the moods of an uneven target are as long as they are high."""
STEADY_BELOW = 0.15
"""Of logarithms: within a sixth of the usual a target is as it was."""

RATE_MINIMUM = 0.005
RATE_STEP_MINIMUM = 0.05
"""The chart of failures is made for a rate of three times the usual, at least 5 % more."""
FAILURE_BOUND = 2.5
FAILURE_THRESHOLD = 16.0
FAILURE_THRESHOLD_MAXIMUM = 16.0 * FAILURE_THRESHOLD
FAILURE_HIGHEST = 3.0
"""The threshold is no less than so many times the highest that the chart rose to and fell from by itself, as charts of
failures that come in clusters do; that fades as it does for latencies."""
STEADY_STEP = 0.02
PRIOR_FAILED, PRIOR_COUNT = 0.1, 25.0
"""As availability begins (`health`)."""

RATIO_MINIMUM, RATIO_MAXIMUM = 0.01, 100.0


class Measure(StrEnum):
    """What has left its past, as events name it."""

    FIRST_TOKEN = "time_to_first_token"  # noqa: S105 - no secret
    PER_TOKEN = "seconds_per_output_token"  # noqa: S105 - likewise
    WHOLE = "latency"
    FAILURES = "error_rate"


class Turn(NamedTuple):
    """A measure that has left its past, or come back to it. `usual` and `present` are in the measure's own unit: shares
    for failures, for latencies the present one as a multiple of the usual.
    """

    measure: Measure
    drifting: bool
    usual: float
    present: float
    after_seconds: float = 0.0


class Usual:
    """What is usual of one kind of call: a mean of logarithms, over about `USUAL_HALF_LIFE_SECONDS`."""

    __slots__ = ("at", "count", "mean")

    def __init__(self, mean: float, count: int, at: float) -> None:
        self.mean = mean
        self.count = min(count, COUNT_MAXIMUM)
        self.at = at

    def learn(self, by: float, now: float, *, slowly: bool) -> None:
        """Takes how far a call was off; `slowly` where that may be a fault."""
        passed, self.at = now - self.at, now
        share = 1.0 - exp2(passed / -USUAL_HALF_LIFE_SECONDS) if passed > 0.0 else 0.0
        share = min(share, LEARNING_SHARE_MAXIMUM)
        count = self.count
        if count < COUNT_MAXIMUM:
            self.count = count = count + 1
            if share * count < 1.0:
                # At first it is the plain mean of the few there are.
                share = 1.0 / count
        if slowly:
            share *= SLOWLY
        self.mean += by * share


class _Chart:
    """One CUSUM with what it has found: since when it drifts, and how far off the present is."""

    __slots__ = ("at", "drifting_since", "noise", "present", "total")

    def __init__(self) -> None:
        self.at: float | None = None
        self.total = 0.0
        self.present = 0.0
        """How far off the last minutes were on the average."""
        self.noise = 0.0
        """The variance of that average, as a share of a single call's."""
        self.drifting_since: float | None = None

    def passed(self, now: float) -> float:
        """The seconds since the call before."""
        return SHARING_SECONDS if self.at is None else max(0.0, now - self.at)

    def take(self, filled: float, off: float, threshold: float, passed: float, now: float) -> bool:
        """Takes one call: by how much it fills the chart, and how far off it was. Tells whether a drift begins."""
        self.at = now
        total = self.total * exp(-passed / MEMORY_SECONDS) + filled
        self.total = 0.0 if total < 0.0 else min(threshold, total)
        if passed > 0.0:
            part = 1.0 - exp2(-passed / PRESENT_HALF_LIFE_SECONDS)
            self.present += (off - self.present) * part
            self.noise = self.noise * (1.0 - part) ** 2 + part * part
        if self.drifting_since is not None or self.total < threshold:
            return False
        self.drifting_since = now
        return True

    def end(self) -> float:
        """Ends the drift; returns when it began."""
        since, self.drifting_since, self.total = self.drifting_since, None, 0.0
        return since or 0.0

    def confirmed(self, now: float) -> bool:
        """Whether it drifts, and a call has shown that of late."""
        return self.drifting_since is not None and self.at is not None and now - self.at < CONFIRMED_SECONDS


class Latencies:
    """The chart of one latency: logarithms of its ratio to the prior, each kind of call held against its own past."""

    __slots__ = ("_chart", "_measure", "swing", "usual")

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._chart = _Chart()
        self.swing = Swing()
        self.usual: dict[int, Usual] = {}
        """By kind of call."""

    def observe(self, ratio: float, kind: int, now: float) -> Turn | None:
        """Takes one answer; `ratio` is to the prior, above 0. Returns what turned by it."""
        if not isfinite(ratio) or ratio <= 0.0:
            return None
        value = log(min(RATIO_MAXIMUM, max(RATIO_MINIMUM, ratio)))
        usual = self.usual.get(kind)
        if usual is None:
            usual = self.usual[kind] = Usual(value, 0, now)
        off = value - usual.mean
        if not -BOUND < off < BOUND:
            off = BOUND if off > 0.0 else -BOUND
        known = usual.count >= SAMPLES_MINIMUM
        chart = self._chart
        drifting = chart.drifting_since is not None
        usual.learn(off, now, slowly=drifting or chart.total > SUSPECTED_SHARE * LATENCY_THRESHOLD)
        if not known:
            return None
        passed, slack = chart.passed(now), self.swing.slack
        filled = min(INCREMENT_MAXIMUM, off - slack) * min(passed, STANDING_SECONDS)
        if slack > SLACK_OF_THRESHOLD:
            filled *= SLACK_OF_THRESHOLD / slack
        begins = chart.take(filled, off, LATENCY_THRESHOLD, passed, now)
        self.swing.learn(off, chart.present, chart.noise, passed, slowly=drifting)
        if begins:
            # The average of the last minutes has yet to come to where the chart already is.
            chart.present = max(chart.present, slack)
            return Turn(self._measure, drifting=True, usual=1.0, present=exp(chart.present))
        if chart.drifting_since is not None and chart.present < STEADY_BELOW:
            return self._steady(now)
        return None

    @property
    def drifting(self) -> bool:
        """Whether it has left its past, and was not seen to be back."""
        return self._chart.drifting_since is not None

    def look(self, now: float) -> Turn | None:
        """Returns that it is over, where nothing has confirmed it for long."""
        chart = self._chart
        return self._steady(now) if chart.drifting_since is not None and not chart.confirmed(now) else None

    def factor(self, now: float) -> float:
        """The usual latency by the present one, while it drifts; else 1."""
        return max(FACTOR_FLOOR, min(1.0, exp(-self._chart.present))) if self._chart.confirmed(now) else 1.0

    def forget_drift(self) -> None:
        """Begins anew with the same past."""
        self._chart = _Chart()
        self.swing.forget_height()

    def _steady(self, now: float) -> Turn:
        present = exp(self._chart.present)
        return Turn(self._measure, drifting=False, usual=1.0, present=present, after_seconds=now - self._chart.end())


class Failures:
    """The chart of failures: log-likelihood ratios of three times the usual rate against the usual one."""

    __slots__ = ("_chart", "_count", "_failed", "_height", "_highest")

    def __init__(self) -> None:
        self._chart = _Chart()
        self._failed = 0.0
        self._count = 0.0
        self._highest = 0.0
        """The highest that the chart rose to and fell from; it fades."""
        self._height = 0.0
        """How high the chart is that has not fallen yet."""

    def observe(self, *, ok: bool, now: float) -> Turn | None:
        """Takes one outcome that is the target's merit or fault. Returns what turned by it."""
        chart = self._chart
        usual = self._rate
        passed = chart.passed(now)
        known = self._count >= OUTCOMES_MINIMUM
        # However far apart they are, some four hundred outcomes make the rate: with no more than are needed to know it,
        # it would only ever come near to being known.
        keep = max(1.0 - 0.5 / OUTCOMES_MINIMUM, exp2(-passed / USUAL_HALF_LIFE_SECONDS))
        self._failed = self._failed * keep + (not ok)
        self._count = self._count * keep + 1.0
        if not known:
            chart.at = now
            return None
        # What has nearly always failed of late can only become better.
        worse = max(usual, min(0.95, usual + max(RATE_STEP_MINIMUM, 2.0 * usual)))
        increment = log((1.0 - worse) / (1.0 - usual)) if ok else min(FAILURE_BOUND, log(worse / usual))
        threshold = max(FAILURE_THRESHOLD, min(FAILURE_THRESHOLD_MAXIMUM, FAILURE_HIGHEST * self._highest))
        begins = chart.take(increment * min(passed, SHARING_SECONDS), float(not ok), threshold, passed, now)
        self._learn_height(passed)
        if begins:
            chart.present = max(chart.present, worse)
            return Turn(Measure.FAILURES, drifting=True, usual=usual, present=chart.present)
        if chart.drifting_since is not None and chart.present < self._rate + STEADY_STEP:
            return self._steady(now)
        return None

    @property
    def drifting(self) -> bool:
        """Whether it has left its past, and was not seen to be back."""
        return self._chart.drifting_since is not None

    def look(self, now: float) -> Turn | None:
        """Returns that it is over, where nothing has confirmed it for long."""
        chart = self._chart
        return self._steady(now) if chart.drifting_since is not None and not chart.confirmed(now) else None

    def factor(self, now: float) -> float:
        """1 less twice the share that fails beyond the usual, while it drifts; else 1."""
        if not self._chart.confirmed(now):
            return 1.0
        return max(FACTOR_FLOOR, min(1.0, 1.0 - 2.0 * (self._chart.present - self._rate)))

    @property
    def highest(self) -> float:
        """The highest that the chart rose to and fell from by itself."""
        return self._highest

    def resume_highest(self, highest: float) -> None:
        """Takes that as it was kept."""
        self._highest = min(FAILURE_THRESHOLD_MAXIMUM, highest) if highest > 0.0 else 0.0

    def keep(self, now: float) -> KeptAverage:
        """Returns what is kept of it: how many failed, of how many."""
        from turnout_server.core.kept import KeptAverage  # noqa: PLC0415 - needed only where state outlives the process

        return KeptAverage(self._failed, self._count, 0.0 if self._chart.at is None else now - self._chart.at)

    def resume(self, kept: KeptAverage, since: Since) -> None:
        """Takes what was kept."""
        self._count = max(0.0, kept.weight)
        self._failed = min(self._count, max(0.0, kept.value))
        self._chart.at = since.past(kept.age)

    def forget_drift(self) -> None:
        """Begins anew with the same past."""
        self._chart = _Chart()
        self._height = 0.0

    def _learn_height(self, passed: float) -> None:
        chart = self._chart
        self._highest *= exp2(-min(passed, PRESENT_HALF_LIFE_SECONDS) / HIGHEST_HALF_LIFE_SECONDS)
        if chart.total > self._height:
            self._height = chart.total
        elif chart.drifting_since is None and chart.total < OVER_SHARE * self._height:
            self._highest = max(self._highest, self._height)
            self._height = 0.0

    @property
    def _rate(self) -> float:
        return max(RATE_MINIMUM, (self._failed + PRIOR_FAILED) / (self._count + PRIOR_COUNT))

    def _steady(self, now: float) -> Turn:
        present = self._chart.present
        since = self._chart.end()
        return Turn(Measure.FAILURES, drifting=False, usual=self._rate, present=present, after_seconds=now - since)
