"""OTLP over HTTP against a real server: what it gets, and what is done where it does not take it."""

from __future__ import annotations

import contextlib
import gzip
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData

from tests.certificates import NEEDS_OPENSSL, self_signed
from turnout_server.telemetry.otlp.delivery import Delivery
from turnout_server.telemetry.otlp.otlp_http import ANSWER_BYTES, HttpPost, HttpSpanExporter
from turnout_server.telemetry.otlp.otlp_http_metrics import HttpMetricExporter
from turnout_server.telemetry.otlp.otlp_settings import OtlpSettings, OtlpSettingsError

LONG_SECONDS = 60.0
SPANS = service.ExportTraceServiceRequest(resource_spans=[{"schema_url": "x" * 100}]).SerializeToString()  # type: ignore[list-item]
Answer = tuple[int, dict[str, str], bytes]
TAKEN: Answer = (200, {"content-type": "application/x-protobuf"}, b"")


@dataclass
class Collector:
    """Answers as told, the last answer again and again; keeps what it got."""

    answers: list[Answer]
    url: str = ""
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    held: threading.Event | None = None
    came: threading.Event = field(default_factory=threading.Event)


@contextmanager
def collecting(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Collector]:
    collector = Collector(list(answers) or [TAKEN])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            collector.paths.append(self.path)
            collector.headers.append({name.lower(): value for name, value in self.headers.items()})
            collector.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            collector.connections.add(self.client_address)
            collector.came.set()
            if collector.held is not None:
                collector.held.wait(LONG_SECONDS)
            status, headers, body = collector.answers.pop(0) if len(collector.answers) > 1 else collector.answers[0]
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    collector.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}/v1/traces"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        if collector.held is not None:
            collector.held.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Waits(threading.Event):
    """Stands for the pause between attempts: takes no time, and moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.now = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds.append(timeout)
        self.now += timeout
        return self.is_set()


@contextmanager
def posting(url: str, waits: Waits | None = None, **settings: Any) -> Iterator[HttpPost]:
    waits = waits or Waits()
    facts = {"url": url, "timeout_seconds": LONG_SECONDS, **settings}
    post = HttpPost(OtlpSettings(**facts), clock=lambda: waits.now, rng=random.Random(1))
    post._ending = waits
    try:
        yield post
    finally:
        post.close()


def test_messages_go_by_one_connection_with_the_operators_headers() -> None:
    with collecting() as collector, posting(collector.url, headers={"x-tenant": "7"}) as post:
        exporter = HttpSpanExporter(post)
        became = [exporter.deliver(SPANS, 3) for _ in range(3)]

    assert became == [Delivery()] * 3
    assert collector.bodies == [SPANS] * 3
    assert collector.paths == ["/v1/traces"] * 3
    assert len(collector.connections) == 1
    assert (
        collector.headers[0].items()
        >= {"content-type": "application/x-protobuf", "x-tenant": "7", "user-agent": "turnout"}.items()
    )
    assert "content-encoding" not in collector.headers[0]


def test_messages_are_compressed_where_that_is_asked_for() -> None:
    with collecting() as collector, posting(collector.url, gzip=True) as post:
        HttpSpanExporter(post).deliver(SPANS, 1)

    assert collector.headers[0]["content-encoding"] == "gzip"
    assert gzip.decompress(collector.bodies[0]) == SPANS
    assert len(collector.bodies[0]) < len(SPANS)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_be_taken_later_is_sent_again_with_longer_pauses(status: int) -> None:
    waits = Waits()
    busy: Answer = (status, {}, b"busy")
    with collecting(busy, busy, busy, TAKEN) as collector, posting(collector.url, waits) as post:
        became = HttpSpanExporter(post).deliver(SPANS, 2)

    assert became == Delivery()
    assert collector.bodies == [SPANS] * 4
    assert [round(seconds) for seconds in waits.seconds] == [1, 2, 4]


def test_a_collector_says_how_long_to_wait() -> None:
    waits = Waits()
    with collecting((503, {"Retry-After": "7"}, b""), TAKEN) as collector, posting(collector.url, waits) as post:
        became = HttpSpanExporter(post).deliver(SPANS, 2)

    assert became == Delivery()
    assert waits.seconds == [7.0]


@pytest.mark.parametrize("asked", ["soon", "-1", "1e9", "99999999999", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_what_is_no_number_of_seconds_counts_as_not_said(asked: str) -> None:
    waits = Waits()
    with collecting((503, {"Retry-After": asked}, b""), TAKEN) as collector, posting(collector.url, waits) as post:
        HttpSpanExporter(post).deliver(SPANS, 2)

    assert [round(seconds) for seconds in waits.seconds] == [1]


def test_a_pause_beyond_the_time_is_left_to_the_next_message() -> None:
    with collecting((429, {"Retry-After": "3600"}, b"")) as collector, posting(collector.url) as post:
        became = HttpSpanExporter(post).deliver(SPANS, 2)

    assert became == Delivery(2, "HTTP 429", 3600.0)
    assert len(collector.bodies) == 1


def test_attempts_end_with_the_time_of_the_message() -> None:
    waits = Waits()
    with collecting((503, {}, b"")) as collector, posting(collector.url, waits, timeout_seconds=10.0) as post:
        became = HttpSpanExporter(post).deliver(SPANS, 2)

    assert became == Delivery(2, "HTTP 503")
    assert 0 < sum(waits.seconds) < 10.0
    assert len(collector.bodies) == len(waits.seconds) + 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 500, 301, 307])
def test_what_is_refused_for_good_is_not_sent_again(status: int) -> None:
    answer = (status, {"Location": "http://127.0.0.1:1/elsewhere"}, b"no")
    with collecting(answer) as collector, posting(collector.url) as post:
        became = HttpSpanExporter(post).deliver(SPANS, 5)

    assert became == Delivery(5, f"HTTP {status}")
    assert len(collector.bodies) == 1


def test_a_partial_success_counts_what_was_rejected() -> None:
    partial = service.ExportTracePartialSuccess(rejected_spans=2, error_message="too old")
    body = service.ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    with collecting((200, {}, body)) as collector, posting(collector.url) as post:
        exporter = HttpSpanExporter(post)

        assert exporter.deliver(SPANS, 5) == Delivery(2, "too old")
        # More than there were cannot have been rejected.
        assert exporter.deliver(SPANS, 1) == Delivery(1, "too old")


@pytest.mark.parametrize("body", [b"{}", b"thank you", b"\xff" * 10, b"x" * (ANSWER_BYTES * 3)])
def test_any_answer_will_do_with_a_good_status(body: bytes) -> None:
    with collecting((200, {}, body)) as collector, posting(collector.url) as post:
        assert HttpSpanExporter(post).deliver(SPANS, 5) == Delivery()


def test_a_collector_that_is_not_there_is_tried_again() -> None:
    with collecting() as collector:
        pass
    waits = Waits()
    with posting(collector.url, waits, timeout_seconds=5.0) as post:
        became = HttpSpanExporter(post).deliver(SPANS, 4)

    assert became.rejected == 4
    assert "Connect" in became.reason
    assert len(waits.seconds) == 2


def test_the_end_does_not_wait_for_another_attempt() -> None:
    with collecting((503, {}, b"")) as collector:
        post = HttpPost(OtlpSettings(url=collector.url, timeout_seconds=3600.0))
        became: list[Delivery] = []
        thread = threading.Thread(target=lambda: became.append(HttpSpanExporter(post).deliver(SPANS, 4)))
        thread.start()
        assert collector.came.wait(LONG_SECONDS)
        post.close()
        thread.join(LONG_SECONDS)

    assert not thread.is_alive()
    assert [one.rejected for one in became] == [4]


def test_the_end_does_not_wait_for_an_answer() -> None:
    with collecting() as collector:
        collector.held = threading.Event()
        post = HttpPost(OtlpSettings(url=collector.url, timeout_seconds=3600.0))
        became: list[Delivery] = []
        thread = threading.Thread(target=lambda: became.append(HttpSpanExporter(post).deliver(SPANS, 4)), daemon=True)
        thread.start()
        assert collector.came.wait(LONG_SECONDS)
        # It comes back with the answer still owed.
        post.close()
        assert not collector.held.is_set()
        collector.held.set()
        thread.join(LONG_SECONDS)

    assert not thread.is_alive()
    assert len(became) == 1


def test_what_comes_after_the_end_is_not_sent() -> None:
    with collecting() as collector, posting(collector.url, timeout_seconds=1.0) as post:
        post.close()
        became = HttpSpanExporter(post).deliver(SPANS, 4)

    assert became.rejected == 4
    assert not collector.bodies


def test_metrics_are_sent_and_their_refusal_is_told() -> None:
    data = MetricsData(resource_metrics=[])
    with collecting(TAKEN, (400, {}, b"")) as collector, posting(collector.url) as post:
        exporter = HttpMetricExporter(post)
        became = [exporter.export(data), exporter.export(data)]

    assert became == [MetricExportResult.SUCCESS, MetricExportResult.FAILURE]
    assert ExportMetricsServiceRequest.FromString(collector.bodies[0]) == ExportMetricsServiceRequest()


@NEEDS_OPENSSL
def test_the_collectors_certificate_is_looked_at(tmp_path: Path) -> None:
    pair = self_signed(tmp_path, "collector")
    other = self_signed(tmp_path, "other")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.cert_file, pair.key_file)
    with collecting(tls=tls) as collector:
        with posting(collector.url, certificate_file=str(pair.cert_file)) as post:
            taken = HttpSpanExporter(post).deliver(SPANS, 1)
        with posting(collector.url, certificate_file=str(other.cert_file), timeout_seconds=0.5) as post:
            refused = HttpSpanExporter(post).deliver(SPANS, 1)

    assert taken == Delivery()
    assert "CERTIFICATE_VERIFY_FAILED" in refused.reason


@NEEDS_OPENSSL
def test_a_collector_can_ask_for_a_certificate(tmp_path: Path) -> None:
    pair, mine = self_signed(tmp_path, "collector"), self_signed(tmp_path, "mine")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.cert_file, pair.key_file)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(mine.cert_file)
    files: dict[str, Any] = {"client_certificate_file": str(mine.cert_file), "client_key_file": str(mine.key_file)}
    with collecting(tls=tls) as collector:
        with posting(collector.url, certificate_file=str(pair.cert_file), **files) as post:
            taken = HttpSpanExporter(post).deliver(SPANS, 1)
        with posting(collector.url, certificate_file=str(pair.cert_file), timeout_seconds=0.5) as post:
            refused = HttpSpanExporter(post).deliver(SPANS, 1)

    assert taken == Delivery()
    assert refused.rejected == 1


def test_a_file_that_holds_no_certificate_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("not a certificate")

    with pytest.raises(OtlpSettingsError, match="OTEL_EXPORTER_OTLP_CERTIFICATE"):
        HttpPost(OtlpSettings(url="https://c.example/v1/traces", certificate_file=str(file)))


@NEEDS_OPENSSL
def test_a_key_that_is_not_the_certificates_is_refused(tmp_path: Path) -> None:
    pair, other = self_signed(tmp_path, "mine"), self_signed(tmp_path, "other")
    settings = OtlpSettings(
        url="https://c.example/v1/traces",
        client_certificate_file=str(pair.cert_file),
        client_key_file=str(other.key_file),
    )

    with pytest.raises(OtlpSettingsError, match="a certificate, and its key without a pass phrase"):
        HttpPost(settings)


@NEEDS_OPENSSL
def test_a_collector_that_no_known_authority_vouches_for_gets_nothing(tmp_path: Path) -> None:
    pair = self_signed(tmp_path, "collector")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.cert_file, pair.key_file)
    with collecting(tls=tls) as collector, posting(collector.url, timeout_seconds=0.5) as post:
        refused = HttpSpanExporter(post).deliver(SPANS, 1)

    assert "CERTIFICATE_VERIFY_FAILED" in refused.reason
    assert not collector.bodies


def test_an_answer_that_never_ends_does_not_hold_up_what_comes_after_it() -> None:
    became = list[Delivery]()
    with dripping() as url, posting(url, timeout_seconds=0.2) as post:
        post._clock = time.monotonic
        thread = threading.Thread(target=lambda: became.append(HttpSpanExporter(post).deliver(SPANS, 3)), daemon=True)
        thread.start()
        thread.join(LONG_SECONDS)

    assert became == [Delivery()]


@contextmanager
def dripping() -> Iterator[str]:
    """Says that it takes a message, and goes on saying so, a little at a time, for longer than anybody can wait."""
    ended = threading.Event()

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
            while not ended.wait(0.02):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/traces"
        finally:
            ended.set()
            thread.join(LONG_SECONDS)
