"""What the environment asks of tracing is done, or refused in a line that says what would do."""

from __future__ import annotations

import time

import pytest
import structlog
from structlog.testing import capture_logs

from turnout_server.starting import StartError, begin_tracing
from turnout_server.telemetry.otlp.flushing import Flushing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}


async def test_without_a_collector_nothing_is_traced() -> None:
    async with Flushing(time.monotonic) as flushing:
        assert begin_tracing({}, structlog.get_logger(), flushing) is None


async def test_with_one_calls_are_traced_until_the_end() -> None:
    async with Flushing(time.monotonic) as flushing:
        tracing = begin_tracing(ENDPOINT, structlog.get_logger(), flushing)
        assert tracing is not None
        assert tracing.begin("Route", ()).__class__.__name__ == "CallSpan"
    tracing.begin("Route", ()).finish()

    # Nobody sends it any more.
    assert tracing.export.dropped_count == 1


@pytest.mark.parametrize(
    ("given", "warned"), [("b3", True), ("none", True), ("tracecontext,baggage", False), ("", False)]
)
async def test_contexts_of_another_form_are_warned_of(given: str, warned: bool) -> None:  # noqa: FBT001 - a table
    with capture_logs() as lines:
        async with Flushing(time.monotonic) as flushing:
            begin_tracing({**ENDPOINT, "OTEL_PROPAGATORS": given}, structlog.get_logger(), flushing)

    assert [line["given"] for line in lines if line["event"] == "telemetry.propagators"] == [given] * warned


async def test_a_protocol_that_is_not_offered_is_refused() -> None:
    environ = {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}
    async with Flushing(time.monotonic) as flushing:
        with pytest.raises(StartError, match="OTEL_EXPORTER_OTLP_PROTOCOL: traces cannot be sent by 'http/json'"):
            begin_tracing(environ, structlog.get_logger(), flushing)


async def test_a_variable_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "half")
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "many")
    async with Flushing(time.monotonic) as flushing:
        with pytest.raises(StartError, match="spans cannot be exported as these variables say"):
            begin_tracing(ENDPOINT, structlog.get_logger(), flushing)


async def test_what_is_given_wrongly_for_the_collector_names_its_variable() -> None:
    environ = {**ENDPOINT, "OTEL_EXPORTER_OTLP_COMPRESSION": "brotli"}
    async with Flushing(time.monotonic) as flushing:
        with pytest.raises(StartError, match="OTEL_EXPORTER_OTLP_COMPRESSION: there is no 'brotli' here"):
            begin_tracing(environ, structlog.get_logger(), flushing)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_no_compression_can_be_asked_for(protocol: str) -> None:
    environ = {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
    async with Flushing(time.monotonic) as flushing:
        assert begin_tracing(environ, structlog.get_logger(), flushing) is not None
