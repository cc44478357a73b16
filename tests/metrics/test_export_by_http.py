"""A process that sends spans and metrics by HTTP: to the paths of OTLP, compressed, and what is left at its end too."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.cli.processes import configuration, serving, simulated
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server.providers.simulated.latency import LatencyModel
from turnout_server.providers.simulated.provider import ProviderSettings
from turnout_server.providers.simulated.server import SimulatedServer

CALL_SECONDS = 60
SLOW = LatencyModel(first_token_seconds=0.02, seconds_per_output_token=0.5, jitter=0.0)

Got = dict[str, list[bytes]]


@contextmanager
def collecting() -> Iterator[tuple[str, Got]]:
    got: Got = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.headers["content-encoding"] == "gzip"
            assert self.headers["x-tenant"] == "7"
            got.setdefault(self.path, []).append(gzip.decompress(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/otlp", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def spans(got: Got) -> dict[str, Any]:
    messages = map(ExportTraceServiceRequest.FromString, got["/otlp/v1/traces"])
    return {
        span.name: span
        for message in messages
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


def last_values(got: Got, name: str) -> dict[str, float]:
    """The last value of each series of a counter by its attribute `outcome`."""
    found = {}
    for message in map(ExportMetricsServiceRequest.FromString, got["/otlp/v1/metrics"]):
        for resource in message.resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                if metric.name == name:
                    for point in metric.sum.data_points:
                        labels = {each.key: each.value.string_value for each in point.attributes}
                        found[labels["outcome"]] = float(getattr(point, str(point.WhichOneof("value"))))
    return found


@pytest.mark.full
async def test_what_a_call_that_was_cut_left_behind_is_sent_before_the_end(tmp_path: Path) -> None:
    providers = {"north": ProviderSettings(latency=SLOW)}
    async with SimulatedServer(providers, seed=5) as provider:
        file = configuration(tmp_path, simulated({"north": provider.base_url("north")}))
        with collecting() as (endpoint, got):
            # Nothing goes before the end: neither interval nor delay passes.
            environ = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
                "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=7",
                "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
                "OTEL_BSP_SCHEDULE_DELAY": "3600000",
            }
            with serving(["serve", "-c", file], environ) as server:
                async with grpc.aio.insecure_channel(server.address) as channel:
                    hello = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="Hi")])])
                    stream = router_pb2_grpc.RouterServiceStub(channel).ExecuteStream(
                        pb.ExecuteStreamRequest(input=hello), timeout=CALL_SECONDS
                    )
                    async for message in stream:
                        if message.WhichOneof("event") == "delta":
                            break
                    server.process.terminate()
                    with pytest.raises(grpc.aio.AioRpcError) as cut:
                        async for _ in stream:
                            pass
                assert server.process.wait(timeout=CALL_SECONDS) == 0, "".join(server.log)
    assert cut.value.code() is grpc.StatusCode.UNAVAILABLE

    assert sorted(got) == ["/otlp/v1/metrics", "/otlp/v1/traces"]
    assert set(spans(got)) == {"turnout.v1.RouterService/ExecuteStream", "turnout.decide", "chat small"}
    said = {
        each.key: each.value.string_value for each in spans(got)["turnout.v1.RouterService/ExecuteStream"].attributes
    }
    assert (said["rpc.status_code"], said["error.type"]) == ("UNAVAILABLE", "DRAINING")
    assert last_values(got, "turnout.attempts") == {"CANCELLED": 1.0}
