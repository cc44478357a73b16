"""Messages to collectors that refuse, wait, break off, and come back: real connections, by OTLP's rules of failures."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp

from tests.unit.telemetry.otlp.scripted_collector import Refused, collecting
from turnout_server.telemetry.otlp.delivery import Delivery, EncodedExporter
from turnout_server.telemetry.otlp.otlp_exporter import RETRYABLE, QuickSpanExporter

WAIT_SECONDS = 60
FINAL = sorted(set(grpc.StatusCode) - RETRYABLE - {grpc.StatusCode.OK}, key=str)


def message(count: int = 3) -> bytes:
    request = otlp.ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(count):
        spans.add(name=f"span-{number}")
    return request.SerializeToString()


@contextmanager
def sending(endpoint: str, **given: Any) -> Iterator[QuickSpanExporter]:
    exporter = QuickSpanExporter(endpoint=endpoint, **{"first_wait_seconds": 0.001, "timeout": WAIT_SECONDS, **given})
    try:
        yield exporter
    finally:
        exporter.shutdown()


def test_bytes_are_sent_as_they_are_with_the_headers_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b")
    with collecting() as (collector, endpoint), sending(endpoint) as exporter:
        assert isinstance(exporter, EncodedExporter)
        delivery = exporter.deliver(message(), 3)

    assert delivery == Delivery()
    assert collector.names() == ["span-0", "span-1", "span-2"]
    assert collector.metadata[0]["x-tenant"] == "a b"


@pytest.mark.parametrize("code", FINAL, ids=lambda code: code.name)
def test_a_status_that_another_attempt_does_not_change_is_final(code: grpc.StatusCode) -> None:
    with collecting(Refused(code)) as (collector, endpoint), sending(endpoint) as exporter:
        delivery = exporter.deliver(message(), 3)

    assert len(collector.requests) == 1
    assert delivery == Delivery(3, f"{code.name}: not today")


@pytest.mark.parametrize("code", sorted(RETRYABLE, key=str), ids=lambda code: code.name)
def test_what_may_go_better_next_time_is_sent_again(code: grpc.StatusCode) -> None:
    taken = otlp.ExportTraceServiceResponse()
    with collecting(Refused(code), Refused(code), taken) as (collector, endpoint), sending(endpoint) as exporter:
        delivery = exporter.deliver(message(), 3)

    assert delivery == Delivery()
    assert [request == collector.requests[0] for request in collector.requests] == [True] * 3


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE])
def test_a_collector_that_says_when_to_come_back_is_asked_again_then(code: grpc.StatusCode) -> None:
    taken = otlp.ExportTraceServiceResponse()
    # Its own first wait would take longer than the test may.
    with (
        collecting(Refused(code, after_seconds=0.05), taken) as (collector, endpoint),
        sending(endpoint, first_wait_seconds=10 * WAIT_SECONDS) as exporter,
    ):
        began_at = time.monotonic()
        delivery = exporter.deliver(message(), 3)
        took_seconds = time.monotonic() - began_at

    assert delivery == Delivery()
    assert len(collector.requests) == 2
    assert took_seconds >= 0.05


def test_a_collector_that_wants_to_be_left_alone_for_longer_is() -> None:
    refused = Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, after_seconds=3600.0)
    with collecting(refused) as (collector, endpoint), sending(endpoint) as exporter:
        delivery = exporter.deliver(message(), 3)

    assert len(collector.requests) == 1
    assert delivery == Delivery(3, "RESOURCE_EXHAUSTED: not today", 3600.0)


@pytest.mark.parametrize(("rejected", "expected"), [(2, 2), (0, 0), (9, 3), (-1, 0)])
def test_what_is_taken_in_part_is_not_sent_again(rejected: int, expected: int) -> None:
    answer = otlp.ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = rejected
    answer.partial_success.error_message = "too old"
    with collecting(answer) as (collector, endpoint), sending(endpoint) as exporter:
        delivery = exporter.deliver(message(), 3)

    assert len(collector.requests) == 1
    assert delivery == Delivery(expected, "too old")


def test_details_that_nobody_can_read_count_as_none() -> None:
    class Garbled(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.RESOURCE_EXHAUSTED

        def details(self) -> str:
            return "x" * 10_000

        def trailing_metadata(self) -> Any:
            return (("grpc-status-details-bin", b"\xff\xff\xff"),)

    exporter = QuickSpanExporter(endpoint="http://127.0.0.1:1")
    exporter._send = lambda *_, **__: (_ for _ in ()).throw(Garbled())
    delivery = exporter.deliver(b"", 3)
    exporter.shutdown()

    assert (delivery.rejected, delivery.pause_seconds) == (3, 0.0)
    assert len(delivery.reason) == 200


def test_a_collector_that_does_not_answer_costs_the_timeout_and_no_more() -> None:
    with collecting() as (collector, endpoint), sending(endpoint, timeout=0.2) as exporter:
        collector.answering.clear()
        delivery = exporter.deliver(message(), 3)

    assert delivery.rejected == 3
    assert delivery.reason.startswith("DEADLINE_EXCEEDED")


def test_a_collector_that_never_reads_costs_the_timeout_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with sending(f"http://127.0.0.1:{port}", timeout=0.2) as exporter:
            delivery = exporter.deliver(b"\x00" * 3_000_000, 3)

    assert delivery.rejected == 3
    assert delivery.reason.startswith(("DEADLINE_EXCEEDED", "UNAVAILABLE"))


def test_a_collector_that_breaks_off_is_tried_again() -> None:
    cut_twice = threading.Event()

    def cut() -> None:
        for count in range(10**6):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.close()
            if count:
                cut_twice.set()

    became: list[Delivery] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=cut, daemon=True).start()
        exporter = QuickSpanExporter(
            endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}", first_wait_seconds=0.001, timeout=3600
        )
        thread = threading.Thread(target=lambda: became.append(exporter.deliver(message(), 3)), daemon=True)
        thread.start()
        assert cut_twice.wait(WAIT_SECONDS)
        exporter.shutdown()
        thread.join(WAIT_SECONDS)
        listener.shutdown(socket.SHUT_RDWR)

    assert became[0].rejected == 3


def test_a_collector_that_comes_back_is_found_again() -> None:
    with collecting() as (_, endpoint):
        port = int(endpoint.rsplit(":", 1)[1])
    with sending(endpoint, timeout=5, first_wait_seconds=10) as exporter:
        assert exporter.deliver(message(), 3).reason.startswith("UNAVAILABLE")
        with collecting(port=port) as (collector, _):
            until = time.monotonic() + WAIT_SECONDS
            while exporter.deliver(message(), 3).rejected and time.monotonic() < until:
                time.sleep(0.05)

    assert collector.names()[:3] == ["span-0", "span-1", "span-2"]


@pytest.mark.parametrize("is_waiting", [True, False], ids=["between attempts", "in an attempt"])
def test_the_end_of_the_process_ends_a_message_that_is_under_way(*, is_waiting: bool) -> None:
    became: list[Delivery] = []
    with collecting(Refused(grpc.StatusCode.UNAVAILABLE)) as (collector, endpoint):
        if not is_waiting:
            collector.answering.clear()
        exporter = QuickSpanExporter(endpoint=endpoint, first_wait_seconds=3600, timeout=10**6)
        thread = threading.Thread(target=lambda: became.append(exporter.deliver(message(), 3)), daemon=True)
        thread.start()
        assert collector.asked.wait(WAIT_SECONDS)
        exporter.shutdown()
        thread.join(WAIT_SECONDS)

    assert not thread.is_alive()
    assert became[0].rejected == 3
    assert exporter.deliver(message(), 3).rejected == 3
