"""What the environment asks of tracing is done, or refused in a line that says what would do."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import structlog

from turnout_server.starting import StartError, begin_tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}


async def test_without_a_collector_nothing_is_traced() -> None:
    async with AsyncExitStack() as stack:
        assert begin_tracing({}, structlog.get_logger(), stack) is None


async def test_with_one_calls_are_traced_until_the_end() -> None:
    async with AsyncExitStack() as stack:
        tracing = begin_tracing(ENDPOINT, structlog.get_logger(), stack)
        assert tracing is not None
        assert tracing.begin("Route", ()).__class__.__name__ == "CallSpan"
    tracing.begin("Route", ()).finish()

    # Nobody sends it any more.
    assert tracing.export.dropped_count == 1


async def test_a_protocol_that_is_not_offered_is_refused() -> None:
    environ = {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    async with AsyncExitStack() as stack:
        with pytest.raises(StartError, match="OTEL_EXPORTER_OTLP_PROTOCOL: spans cannot be sent by 'http/protobuf'"):
            begin_tracing(environ, structlog.get_logger(), stack)


async def test_a_variable_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    async with AsyncExitStack() as stack:
        with pytest.raises(StartError, match="spans cannot be exported as these variables say"):
            begin_tracing(ENDPOINT, structlog.get_logger(), stack)
