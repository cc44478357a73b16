"""Counters and histograms as plain dictionaries: one entry per set of label values, bounded, on the one event loop.

Recording costs a look-up and an addition, a tenth of what the libraries' locked objects cost; see ADR 0042.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from itertools import accumulate
from operator import itemgetter
from typing import Any, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from turnout_server.telemetry.metrics.instruments import Instrument, Profile, prometheus_label

MAX_LABEL_SETS = 4096
"""Series of one counter."""
MAX_HISTOGRAMS = 512
"""Sets of label values of one histogram, which are some seventeen series each."""
OTHER = "_OTHER"
"""Every label value of what is new beyond the bound."""

_NOTHING = frozenset({"", OTHER})

PART_SERIES, PART_HISTOGRAMS = 200, 16
"""Series of a counter, sets of label values of a histogram, that are read in one go: half a millisecond's worth."""

Labels = tuple[str, ...]
Value = TypeVar("Value")


class _ByLabels:
    """What counters and histograms have in common: which labels there are."""

    __slots__ = ("_keep", "_kept", "instrument", "label_names", "values")

    def __init__(self, instrument: Instrument, profile: Profile) -> None:
        self.instrument = instrument
        self.values: dict[Labels, Any] = {}
        kept = instrument.labels_in(profile)
        self.label_names = tuple(prometheus_label(label) for label in kept)
        self._keep = None if kept == instrument.labels else _keeper(instrument.labels, kept)
        self._kept = kept

    def forget(self, known: Mapping[str, Container[str]]) -> None:
        """Ends the series whose value of a label (by attribute) is not among those known of it.

        No value, and those beyond the bound, are nothing that could go.
        """
        looked_at = [(place, known[label]) for place, label in enumerate(self._kept) if label in known]
        if not looked_at:
            return
        for labels in [
            labels
            for labels in self.values
            if any((value := labels[place]) not in values and value not in _NOTHING for place, values in looked_at)
        ]:
            del self.values[labels]


class Counts(_ByLabels):
    """One counter. What is new beyond the bound is counted as `_OTHER`."""

    __slots__ = ()
    values: dict[Labels, int]

    def __init__(self, instrument: Instrument, profile: Profile = Profile.FULL) -> None:
        super().__init__(instrument, profile)
        self.values = Counter()

    def add(self, labels: Labels, amount: int = 1) -> None:
        """Adds to the series of these values, one for each of the instrument's labels."""
        if self._keep is not None:
            labels = self._keep(labels)
        values = self.values
        if labels not in values and len(values) >= MAX_LABEL_SETS:
            labels = (OTHER,) * len(self.label_names)
        values[labels] += amount

    def families(self, scale: float = 1.0) -> Iterator[CounterMetricFamily]:
        """Yields all series, each divided by `scale`, a part of them at a time."""
        for part in _parts(self.values, PART_SERIES):
            family = CounterMetricFamily(self.instrument.prometheus_name, self.instrument.help, labels=self.label_names)
            for labels, value in part:
                family.add_metric(labels, value / scale if scale != 1.0 else value)
            yield family


class Histogram(_ByLabels):
    """One histogram with the instrument's buckets. What is new beyond the bound is observed as `_OTHER`."""

    __slots__ = ("_bounds", "_bounds_written")
    values: dict[Labels, list[float]]
    """Counts of all buckets, the one without a bound included; last the sum of all values."""

    def __init__(self, instrument: Instrument, profile: Profile = Profile.FULL) -> None:
        super().__init__(instrument, profile)
        self._bounds = instrument.buckets
        write: Callable[[float], str] = floatToGoString
        self._bounds_written = (*map(write, instrument.buckets), "+Inf")
        if not self.label_names:
            # Without labels there is one series from the start, so that its absence means that nobody is there.
            self._begun(())

    def observe(self, labels: Labels, value: float) -> None:
        """Adds a value to the series of these label values, one for each of the instrument's labels."""
        if self._keep is not None:
            labels = self._keep(labels)
        cells = self.values.get(labels) or self._begun(labels)
        cells[bisect_left(self._bounds, value)] += 1
        cells[-1] += value

    def families(self) -> Iterator[HistogramMetricFamily]:
        """Yields all series, a part of them at a time."""
        for part in _parts(self.values, PART_HISTOGRAMS):
            yield self._family(part)

    def _family(self, part: Iterable[tuple[Labels, list[float]]]) -> HistogramMetricFamily:
        family = HistogramMetricFamily(self.instrument.prometheus_name, self.instrument.help, labels=self.label_names)
        bounds = self._bounds_written
        for labels, cells in part:
            buckets = list(zip(bounds, accumulate(cells[:-1]), strict=True))
            family.add_metric(labels, buckets, sum_value=cells[-1])
        return family

    def _begun(self, labels: Labels) -> list[float]:
        if len(self.values) >= MAX_HISTOGRAMS:
            labels = (OTHER,) * len(self.label_names)
        return self.values.setdefault(labels, [0] * (len(self._bounds) + 1) + [0.0])


def gauge(instrument: Instrument, value: float | None = None) -> GaugeMetricFamily:
    """Returns a gauge for the registry: with its one value, or to be given series."""
    labels = None if value is not None else [prometheus_label(label) for label in instrument.labels]
    return GaugeMetricFamily(instrument.prometheus_name, instrument.help, value=value, labels=labels)


def counter(instrument: Instrument, value: float | None = None) -> CounterMetricFamily:
    """Returns a counter for the registry that somebody else counts: with its one value, or to be given series."""
    labels = None if value is not None else [prometheus_label(label) for label in instrument.labels]
    return CounterMetricFamily(instrument.prometheus_name, instrument.help, value=value, labels=labels)


def _parts(values: dict[Labels, Value], size: int) -> Iterator[list[tuple[Labels, Value]]]:
    """Yields what is there now, `size` at a time; one part without any where there is nothing."""
    series = list(values.items())
    for begin in range(0, max(1, len(series)), size):
        yield series[begin : begin + size]


def _keeper(labels: Labels, kept: Labels) -> Callable[[Labels], Labels]:
    places = [labels.index(label) for label in kept]
    if len(places) == 1:
        place = places[0]
        return lambda values: (values[place],)
    pick: Any = itemgetter(*places)
    return pick  # type: ignore[no-any-return]
