"""A collector by OpenTelemetry's service definition, which keeps what it is sent, refuses it, or does not answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as service
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as service_grpc
from opentelemetry.proto.metrics.v1 import metrics_pb2


@dataclass
class Collector(service_grpc.MetricsServiceServicer):
    """`answering` is set unless it is to keep its callers waiting; `refuses` is a status to refuse with."""

    requests: list[service.ExportMetricsServiceRequest] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)
    answering: threading.Event = field(default_factory=threading.Event)
    refuses: grpc.StatusCode | None = None
    address: str = ""

    def Export(self, request: Any, context: Any) -> service.ExportMetricsServiceResponse:  # noqa: N802  # gRPC's name
        """Keeps one message."""
        self.asked.set()
        self.answering.wait(120)
        if self.refuses is not None:
            context.abort(self.refuses, "as the test says")
        self.requests.append(request)
        return service.ExportMetricsServiceResponse()

    @property
    def metrics(self) -> list[metrics_pb2.Metric]:
        """All metrics of all messages, in order."""
        return [metric for request in self.requests for metric in _metrics(request)]

    @property
    def point_counts(self) -> list[int]:
        """How many data points each message had."""
        return [sum(len(points(metric)) for metric in _metrics(request)) for request in self.requests]

    def resource(self) -> dict[str, str]:
        """What the last message says of its sender."""
        attributes = self.requests[-1].resource_metrics[0].resource.attributes
        return {each.key: each.value.string_value for each in attributes}

    def values(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The latest value of each series of a sum or gauge, the count of a histogram, by attributes."""
        found = {}
        for metric in self.metrics:
            if metric.name == name:
                for point in points(metric):
                    key = tuple(sorted((each.key, each.value.string_value) for each in point.attributes))
                    found[key] = _value(metric, point)
        return found


def points(metric: metrics_pb2.Metric) -> Any:
    return getattr(metric, str(metric.WhichOneof("data"))).data_points


@contextmanager
def collecting() -> Iterator[Collector]:
    """Runs one on a free port."""
    collector = Collector()
    collector.answering.set()
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    service_grpc.add_MetricsServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        collector.answering.set()
        server.stop(None).wait()


def _value(metric: metrics_pb2.Metric, point: Any) -> float:
    return float(point.count if metric.HasField("histogram") else getattr(point, point.WhichOneof("value")))


def _metrics(request: service.ExportMetricsServiceRequest) -> list[metrics_pb2.Metric]:
    return [metric for each in request.resource_metrics for scope in each.scope_metrics for metric in scope.metrics]
