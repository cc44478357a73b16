"""Turns the registry's families into the SDK's data points: the same instruments for a collector as on `/metrics`.

Loaded only where metrics are exported. Sums are cumulative since the start of the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)

from turnout_server.telemetry.metrics.instruments import INSTRUMENTS, Instrument, Kind, prometheus_label

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from prometheus_client.core import Metric as Family

BATCH_POINTS = 100
"""Data points of one message. Encoding one holds the interpreter, and every call waits for so long: 2 to 3 ms."""

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_BY_NAME: Mapping[str, Instrument] = {each.prometheus_name: each for each in INSTRUMENTS}
_ABSENT_IF_EMPTY = frozenset({"error.type"})
"""Attributes that the conventions leave out where there is nothing to tell; a label is always there."""

_Point = NumberDataPoint | HistogramDataPoint


class Batches:
    """Makes messages for an exporter. `started_ns` is when the process began to count, nanoseconds since the epoch."""

    def __init__(self, resource: Resource, scope: InstrumentationScope, started_ns: int) -> None:
        self._resource = resource
        self._scope = scope
        self._started_ns = started_ns

    def of(self, families: Iterable[Family], now_ns: int) -> Iterator[tuple[int, MetricsData]]:
        """Yields messages of at most `BATCH_POINTS` data points, with how many each has; made one by one as asked."""
        metrics: list[Metric] = []
        count = 0
        for name, parts in groupby(families, lambda family: family.name):
            instrument = _BY_NAME[name]
            points: list[_Point] = []
            for point in chain.from_iterable(self._points(instrument, part, now_ns) for part in parts):
                points.append(point)
                if count + len(points) == BATCH_POINTS:
                    yield BATCH_POINTS, self._message([*metrics, _metric(instrument, points)])
                    metrics, points, count = [], [], 0
            if points:
                metrics.append(_metric(instrument, points))
                count += len(points)
        if metrics:
            yield count, self._message(metrics)

    def _message(self, metrics: Sequence[Metric]) -> MetricsData:
        scope = ScopeMetrics(scope=self._scope, metrics=metrics, schema_url="")
        return MetricsData([ResourceMetrics(resource=self._resource, scope_metrics=[scope], schema_url="")])

    def _points(self, instrument: Instrument, family: Family, now_ns: int) -> Iterator[_Point]:
        attribute_of = {prometheus_label(label): label for label in instrument.labels}
        if instrument.kind is Kind.HISTOGRAM:
            yield from self._histograms(instrument, family, attribute_of, now_ns)
            return
        for sample in family.samples:
            yield NumberDataPoint(_attributes(sample.labels, attribute_of), self._started_ns, now_ns, sample.value)

    def _histograms(
        self, instrument: Instrument, family: Family, attribute_of: Mapping[str, str], now_ns: int
    ) -> Iterator[HistogramDataPoint]:
        unknown: Any = None
        counts: list[int] = []
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                # Those of the family are cumulative, those of a data point are not.
                counts.append(int(sample.value))
            elif sample.name.endswith("_sum"):
                yield HistogramDataPoint(
                    attributes=_attributes(sample.labels, attribute_of),
                    start_time_unix_nano=self._started_ns,
                    time_unix_nano=now_ns,
                    count=counts[-1],
                    sum=sample.value,
                    bucket_counts=[after - before for before, after in zip((0, *counts[:-1]), counts, strict=True)],
                    explicit_bounds=instrument.buckets,
                    min=unknown,
                    max=unknown,
                )
                counts = []


def _attributes(labels: Mapping[str, str], attribute_of: Mapping[str, str]) -> dict[str, str]:
    named = ((attribute_of[label], value) for label, value in labels.items())
    return {name: value for name, value in named if value or name not in _ABSENT_IF_EMPTY}


def _metric(instrument: Instrument, points: Sequence[Any]) -> Metric:
    data: Sum | Gauge | Histogram
    match instrument.kind:
        case Kind.COUNTER:
            data = Sum(data_points=points, aggregation_temporality=_CUMULATIVE, is_monotonic=True)
        case Kind.GAUGE:
            data = Gauge(data_points=points)
        case Kind.HISTOGRAM:
            data = Histogram(data_points=points, aggregation_temporality=_CUMULATIVE)
    return Metric(name=instrument.name, description=instrument.help, unit=instrument.unit, data=data)
