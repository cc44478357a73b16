"""Metrics over OTLP: a real collector gets what `/metrics` has, and one that is down or slow delays nobody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.utils import floatToGoString

from tests.api.sidecar import HELLO, running
from tests.cli.processes import ANY_PORTS, configuration, run, serving, simulated
from tests.metrics.collector import Collector, collecting, points
from tests.metrics.every_family import every_family
from turnout import Client
from turnout.v1 import router_pb2 as pb
from turnout_server.core.call import AttemptRecord
from turnout_server.core.model import FailureKind, Target, Usage
from turnout_server.telemetry.metrics.instruments import INSTRUMENTS, Kind, Profile
from turnout_server.telemetry.metrics.metrics import Metrics
from turnout_server.telemetry.otlp.metric_export import PART_SAMPLES, MetricExport, make_export
from turnout_server.telemetry.otlp.otlp_metrics import BATCH_POINTS, Batches

LONG_SECONDS = 60.0
Series = tuple[str, tuple[tuple[str, str], ...]]
OPENAI = Target("openai", "gpt-4o")


def busy_metrics(targets: int = 2) -> Metrics:
    metrics = Metrics()
    for number in range(targets):
        target = Target("google", f"m{number}")
        metrics.attempt(
            AttemptRecord(
                target=target,
                attempt_id="a",
                started_at_wall=0.0,
                latency_seconds=0.03,
                usage=Usage(input_tokens=20, output_tokens=3),
                cost_nano_usd=1_500_000_000,
            )
        )
        metrics.attempt(
            AttemptRecord(
                target=target, attempt_id="b", started_at_wall=0.0, failure=FailureKind.TIMEOUT, latency_seconds=99.0
            )
        )
    metrics.failover(Target("google", "m0"), Target("google", "m1"), FailureKind.TIMEOUT)
    metrics.overhead(0.0004)
    metrics.reload("refused", 5.0)
    return metrics


class Log(list[dict[str, Any]]):
    def bound(self) -> Any:
        def keep(_logger: object, _method: str, line: Any) -> str:
            self.append(dict(line))
            return ""

        return structlog.wrap_logger(structlog.ReturnLogger(), processors=[keep])


@contextmanager
def exporting(
    metrics: Metrics, address: str, log: Log, *, every_seconds: float = 3600.0, timeout_seconds: float = 30.0
) -> Iterator[MetricExport]:
    exporter = OTLPMetricExporter(endpoint=address, insecure=True, timeout=timeout_seconds)
    yield MetricExport(
        exporter,
        Batches(Resource({"service.name": "test"}), InstrumentationScope("turnout", "1"), 7),
        metrics.collect,
        every_seconds=every_seconds,
        log=log.bound(),
        clock=lambda: 1000.0,
        wall_ns=lambda: 9,
        flush_seconds=LONG_SECONDS,
    )


async def sent(metrics: Metrics, collector: Collector) -> MetricExport:
    """Exports once, as at the end of a process."""
    with exporting(metrics, collector.address, Log()) as export:
        export.start()
        await export.aclose()
    return export


async def until(holds: Any) -> None:
    async with asyncio.timeout(LONG_SECONDS):
        while not holds():  # noqa: ASYNC110 - what happens in other threads sets no event of the loop
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("profile", [Profile.SMALL, Profile.FULL])
async def test_collector_gets_every_series_of_every_family_that_a_scrape_gets_with_its_numbers(
    profile: Profile,
) -> None:
    metrics = every_family(profile)
    scraped = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render("")[0].decode())
        for sample in family.samples
    }
    with collecting() as collector:
        await sent(metrics, collector)
        exported = dict(chain.from_iterable(as_scraped(metric, profile) for metric in collector.metrics))

    assert {each.name for each in INSTRUMENTS if each.in_small or profile is Profile.FULL} == {
        metric.name for metric in collector.metrics
    }
    assert exported.keys() == scraped.keys()
    # What the process takes goes on between the two.
    assert {key: value for key, value in exported.items() if not key[0].startswith("process_")} == {
        key: value for key, value in scraped.items() if not key[0].startswith("process_")
    }


def as_scraped(metric: metrics_pb2.Metric, profile: Profile) -> Iterator[tuple[Series, float]]:
    """Yields the samples that a data point is on a page, buckets one by one, with their values."""
    instrument = next(each for each in INSTRUMENTS if each.name == metric.name)
    name = instrument.prometheus_name
    for point in points(metric):
        labels = {label.replace(".", "_"): "" for label in instrument.labels_in(profile)}
        labels |= {each.key.replace(".", "_"): each.value.string_value for each in point.attributes}
        if instrument.kind is not Kind.HISTOGRAM:
            suffix = "_total" if instrument.kind is Kind.COUNTER else ""
            yield (name + suffix, tuple(sorted(labels.items()))), getattr(point, point.WhichOneof("value"))
            continue
        bounds = (*map(floatToGoString, point.explicit_bounds), "+Inf")
        for bound, count in zip(bounds, accumulate(point.bucket_counts), strict=True):
            yield (f"{name}_bucket", tuple(sorted((labels | {"le": bound}).items()))), count
        yield (f"{name}_count", tuple(sorted(labels.items()))), point.count
        yield (f"{name}_sum", tuple(sorted(labels.items()))), point.sum


async def test_histograms_have_the_buckets_of_the_conventions_and_each_value_in_one_of_them() -> None:
    with collecting() as collector:
        await sent(busy_metrics(1), collector)
    durations = [metric for metric in collector.metrics if metric.name == "gen_ai.client.operation.duration"]
    by_error = {
        tuple(each.value.string_value for each in point.attributes if each.key == "error.type"): point
        for metric in durations
        for point in points(metric)
    }

    # An attempt without an error has no such attribute.
    assert set(by_error) == {(), ("timeout",)}
    fine, failed = by_error[()], by_error["timeout",]
    assert list(fine.explicit_bounds)[:3] == [0.01, 0.02, 0.04]
    assert (len(fine.explicit_bounds), len(fine.bucket_counts)) == (14, 15)
    assert list(fine.bucket_counts) == [0, 0, 1, *[0] * 12]
    assert list(failed.bucket_counts) == [*[0] * 14, 1]
    assert (failed.count, failed.sum) == (1, 99.0)
    assert (fine.start_time_unix_nano, fine.time_unix_nano) == (7, 9)
    assert not fine.HasField("min")
    assert durations[0].unit == "s"


async def test_sums_are_monotonic_and_cumulative_and_gauges_are_gauges() -> None:
    with collecting() as collector:
        await sent(busy_metrics(), collector)
    kinds = {metric.name: metric.WhichOneof("data") for metric in collector.metrics}
    expected = {Kind.COUNTER: "sum", Kind.GAUGE: "gauge", Kind.HISTOGRAM: "histogram"}
    sums = [metric.sum for metric in collector.metrics if metric.HasField("sum")]

    assert {each.name: expected[each.kind] for each in INSTRUMENTS if each.name in kinds} == kinds
    assert {(each.is_monotonic, each.aggregation_temporality) for each in sums} == {(True, 2)}


async def test_messages_are_small_and_have_every_point_once() -> None:
    metrics = busy_metrics(targets=200)
    with collecting() as collector:
        await sent(metrics, collector)
    attempts = [
        tuple((each.key, each.value.string_value) for each in point.attributes)
        for metric in collector.metrics
        if metric.name == "turnout.attempts"
        for point in points(metric)
    ]

    assert len(attempts) == len(set(attempts)) == 400
    assert max(collector.point_counts) == BATCH_POINTS
    # What is collected at a time does not always make whole messages.
    assert len(collector.point_counts) <= 2 * sum(collector.point_counts) / BATCH_POINTS


async def test_many_series_are_sent_while_they_are_collected_so_that_few_are_there_at_a_time() -> None:
    metrics, ahead, there = busy_metrics(targets=200), [], 0

    def collect() -> Iterator[Metric | None]:
        nonlocal there
        for family in metrics.collect():
            there += len(family.samples) if family is not None else 0
            yield family

    class Counting:
        """Takes everything, and notes how much was collected by then that had not been sent."""

        def export(self, _metrics_data: MetricsData) -> MetricExportResult:
            ahead.append(there)
            return MetricExportResult.SUCCESS

        def shutdown(self) -> None:
            pass

    batches = Batches(Resource({}), InstrumentationScope("turnout", "1"), 7)
    export = MetricExport(
        Counting(), batches, collect, every_seconds=3600.0, log=Log().bound(), clock=lambda: 1.0, wall_ns=lambda: 9
    )
    export.start()
    await export.aclose()

    assert there > 3 * PART_SAMPLES
    # A family's part more than that, at most.
    assert ahead[0] < 1.5 * PART_SAMPLES
    assert ahead[-1] == there


async def test_what_an_exporter_that_breaks_was_given_is_counted_as_given_up() -> None:
    class Broken:
        """An exporter of somebody's own."""

        def export(self, _metrics_data: MetricsData) -> MetricExportResult:
            raise RuntimeError("as the test says")

        def shutdown(self) -> None:
            pass

    log = Log()
    batches = Batches(Resource({}), InstrumentationScope("turnout", "1"), 7)
    export = MetricExport(
        Broken(),
        batches,
        busy_metrics().collect,
        every_seconds=3600.0,
        log=log.bound(),
        clock=lambda: 1.0,
        wall_ns=lambda: 9,
    )
    export.start()
    await export.aclose()

    assert export.dropped_count == sum(count for count, _ in batches.of(filter(None, busy_metrics().collect()), 9))
    assert ["telemetry.metrics_refused"] == [line["event"] for line in log]


async def test_collector_that_refuses_is_told_once_and_gets_everything_when_it_takes_again() -> None:
    log, metrics = Log(), busy_metrics()
    with collecting() as collector, exporting(metrics, collector.address, log, every_seconds=0.02) as export:
        collector.refuses = grpc.StatusCode.INVALID_ARGUMENT
        export.start()
        await until(lambda: export.dropped_count > 60)
        collector.refuses = None
        await until(lambda: collector.values("turnout.attempts"))
        dropped = export.dropped_count
        await export.aclose()

    assert sum(collector.values("turnout.attempts").values()) == 4
    assert [line["event"] for line in log] == ["telemetry.metrics_refused"]
    assert dropped == export.dropped_count


async def test_collector_that_does_not_answer_delays_no_call_and_no_end() -> None:
    with collecting() as collector:
        collector.answering.clear()
        async with running() as sidecar:
            with exporting(sidecar.metrics, collector.address, Log(), every_seconds=0.01) as export:
                export.flush_seconds = 0.05
                export.start()
                await until(collector.asked.is_set)
                # All of this while the exporter's thread is held.
                for _ in range(20):
                    await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=LONG_SECONDS)
                threads = [each for each in threading.enumerate() if each.name == "turnout-metrics"]
                await export.aclose()
        # One round at a time: what does not get through does not pile up.
        assert len(threads) == 1
        assert not collector.requests


async def test_collector_that_is_not_there_costs_data_points_and_nothing_else() -> None:
    with collecting() as collector:
        gone = collector.address
    log = Log()
    with exporting(busy_metrics(), gone, log, timeout_seconds=0.2) as export:
        export.start()
        await export.aclose()

    assert export.dropped_count > 20
    assert [line["event"] for line in log] == ["telemetry.metrics_refused"]


@pytest.mark.parametrize(
    ("interval", "seconds"), [("", 60.0), ("1500", 1.5), ("none", 60.0), ("-1", 60.0), ("nan", 60.0)]
)
async def test_interval_is_what_the_environment_says(interval: str, seconds: float) -> None:
    exporter = OTLPMetricExporter(endpoint="127.0.0.1:1", insecure=True)
    export = make_export(exporter, tuple, {"OTEL_METRIC_EXPORT_INTERVAL": interval}, Log().bound())
    exporter.shutdown()

    assert export._every_seconds == seconds


async def test_delta_sums_are_said_not_to_be_there() -> None:
    log = Log()
    exporter = OTLPMetricExporter(endpoint="127.0.0.1:1", insecure=True)
    make_export(exporter, tuple, {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}, log.bound())
    exporter.shutdown()

    assert [(line["asked"], line["used"]) for line in log] == [("delta", "cumulative")]


def test_process_exports_while_it_runs(tmp_path: Path) -> None:
    with collecting() as collector, serving(["sim", "--port", "0", "--provider", "north=openai"]) as sim:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.address}",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
        }
        text = simulated({"north": sim.line["providers"]["north"]["base_url"]})
        file = configuration(tmp_path, f"{text}\ntelemetry: {{metrics_profile: small}}")
        with serving(["serve", "-c", file], environment) as server:
            with Client(server.address) as client:
                client.execute("Hello", timeout_seconds=LONG_SECONDS)
            ends_at = time.monotonic() + LONG_SECONDS
            while not collector.values("turnout.attempts"):
                assert time.monotonic() < ends_at, "".join(server.log)
                time.sleep(0.05)
            assert server.stop() == 0

    assert sum(collector.values("turnout.attempts").values()) == 1
    assert [("rpc.method", "turnout.v1.RouterService/Execute")] == [
        pair for key in collector.values("rpc.server.call.duration") for pair in key if pair[0] == "rpc.method"
    ]
    # The small profile, as the configuration says.
    of_attempts = {frozenset(dict(key)) for key in collector.values("gen_ai.client.operation.duration")}
    assert of_attempts == {frozenset({"gen_ai.operation.name", "gen_ai.provider.name"})}
    resource = collector.resource()
    assert (resource["service.name"], resource["deployment.environment"]) == ("turnout", "test")
    assert resource["service.instance.id"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json", "metrics cannot be sent by 'http/json'"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "soon", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT: 'soon' is no time"),
    ],
)
def test_export_that_cannot_be_is_said_at_the_start(tmp_path: Path, name: str, value: str, said: str) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(ANY_PORTS)
    ended = run(
        "serve",
        "-c",
        str(file),
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
            name: value,
            "OTEL_TRACES_EXPORTER": "none",
        },
    )

    assert ended.code != 0
    assert len([line for line in ended.error_lines if said in line]) == 1
