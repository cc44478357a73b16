"""What is usual of one target, by all measures, and whether it has left that: see `charts` for how it is told."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from turnout_server.core.charts import RATIO_MAXIMUM, Failures, Latencies, Measure, Turn, Usual

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout_server.core.kept import KeptAverage, Since

USUAL_MAXIMUM = log(RATIO_MAXIMUM)
KINDS_MAXIMUM = 64
"""Kinds of calls that a snapshot may tell of; there are a dozen."""


class Baseline:
    """All charts of one target; each is made with the first call that it is of."""

    __slots__ = ("_failures", "_latencies", "drifting")

    def __init__(self) -> None:
        self._latencies: dict[Measure, Latencies] = {}
        self._failures: Failures | None = None
        self.drifting = False
        """Whether any measure has left its past, and was not seen to be back."""

    def answered(self, measure: Measure, ratio: float, kind: int, now: float) -> Turn | None:
        """Takes one latency of a complete answer, as its ratio to the prior; `kind` is what it is held against."""
        chart = self._latencies.get(measure)
        if chart is None:
            chart = self._latencies[measure] = Latencies(measure)
        return self._turned(chart.observe(ratio, kind, now))

    def ended(self, *, ok: bool, now: float) -> Turn | None:
        """Takes one outcome that is the target's merit or fault."""
        if self._failures is None:
            self._failures = Failures()
        return self._turned(self._failures.observe(ok=ok, now=now))

    def look(self, now: float) -> list[Turn]:
        """Returns which drifts are over since nothing has confirmed them for long."""
        return [turn for chart in self._charts() if (turn := self._turned(chart.look(now))) is not None]

    def factor(self, now: float) -> float:
        """What the target's score is multiplied by: the least of its measures, 0.5 to 1."""
        return min((chart.factor(now) for chart in self._charts()), default=1.0)

    def worse(self, now: float) -> tuple[Measure, ...]:
        """Returns in what the target is worse than its past now: whatever takes some of its score."""
        if not self.drifting:
            return ()
        latencies = tuple(measure for measure, chart in self._latencies.items() if chart.factor(now) < 1.0)
        failing = self._failures is not None and self._failures.factor(now) < 1.0
        return (*latencies, Measure.FAILURES) if failing else latencies

    def keep_usual(self, now: float) -> tuple[tuple[str, int, float, int, float], ...]:
        """Returns what is kept of what is usual of its latencies; how it is at present a start forgets."""
        return tuple(
            (measure.value, kind, usual.mean, usual.count, now - usual.at)
            for measure, chart in self._latencies.items()
            for kind, usual in chart.usual.items()
        )

    def keep_uneven(self) -> tuple[tuple[str, float, float, float, float], ...]:
        """Returns what is kept of how uneven it usually is; of failures that is one number, the last."""
        rows = [
            (measure.value, chart.swing.seconds, chart.swing.square, chart.swing.spread, chart.swing.highest)
            for measure, chart in self._latencies.items()
        ]
        if self._failures is not None and self._failures.highest > 0.0:
            rows.append((Measure.FAILURES.value, 0.0, 0.0, 0.0, self._failures.highest))
        return tuple(rows)

    def keep_failing(self, now: float) -> KeptAverage | None:
        """Returns what is kept of how often it fails."""
        return None if self._failures is None else self._failures.keep(now)

    def resume(
        self,
        usual: Iterable[tuple[str, int, float, int, float]],
        failing: KeptAverage | None,
        since: Since,
        uneven: Iterable[tuple[str, float, float, float, float]] = (),
    ) -> None:
        """Takes what was kept; measures that are not known here are left out."""
        known = {measure.value: measure for measure in Measure if measure is not Measure.FAILURES}
        for name, kind, mean, count, age in usual:
            if name in known and 0 <= kind < KINDS_MAXIMUM and count > 0:
                chart = self._latencies.setdefault(known[name], Latencies(known[name]))
                chart.usual[kind] = Usual(min(USUAL_MAXIMUM, max(-USUAL_MAXIMUM, mean)), count, since.past(age))
        for name, seconds, square, spread, highest in uneven:
            if name in known:
                chart = self._latencies.setdefault(known[name], Latencies(known[name]))
                chart.swing.resume(seconds, square, spread, highest)
            elif name == Measure.FAILURES.value:
                self._failures = self._failures or Failures()
                self._failures.resume_highest(highest)
        if failing is not None:
            self._failures = self._failures or Failures()
            self._failures.resume(failing, since)

    def forget_drift(self) -> None:
        """Forgets how the target is at present; what is usual stays."""
        self.drifting = False
        for chart in self._charts():
            chart.forget_drift()

    def _charts(self) -> list[Latencies | Failures]:
        charts: list[Latencies | Failures] = list(self._latencies.values())
        return charts if self._failures is None else [*charts, self._failures]

    def _turned(self, turn: Turn | None) -> Turn | None:
        if turn is not None:
            self.drifting = turn.drifting or any(chart.drifting for chart in self._charts())
        return turn
