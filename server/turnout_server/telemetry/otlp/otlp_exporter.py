"""The SDK's OTLP exporter, set up by its `OTEL_*` variables, sending bytes that are encoded already.

What it does when a collector does not take them is OTLP's own rule (opentelemetry.io/docs/specs/otlp, "Failures"):
which codes are worth another attempt, when, and what a partial success is. The SDK's exporter reads none of the last
two from where collectors write them.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # has no types
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from turnout_server.telemetry.otlp.delivery import REASON_CHARACTERS, Delivery

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes worth another attempt, by OTLP. RESOURCE_EXHAUSTED is one only where the collector says when to come back."""
FIRST_WAIT_SECONDS = 1.0
"""Before the second attempt; each later one waits twice as long as the one before."""
JITTER = 0.2
RECONNECT_MILLISECONDS = 5000
"""gRPC's own waits between attempts to connect: a collector that comes back is found again within so long."""
CHANNEL_OPTIONS: Any = (
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MILLISECONDS),
)
DETAILS = "grpc-status-details-bin"


class QuickSpanExporter(OTLPSpanExporter):
    """Sends spans by gRPC: ours with `deliver`; `export` is still the SDK's own."""

    def __init__(self, *, first_wait_seconds: float = FIRST_WAIT_SECONDS, **given: Any) -> None:
        self._first_wait_seconds = first_wait_seconds
        self._ending = threading.Event()
        self._rng = random.Random()  # noqa: S311 - spreads load, keeps no secret
        super().__init__(channel_options=CHANNEL_OPTIONS, **given)
        channel: Any = self._channel
        self._send: Any = channel.unary_unary(EXPORT, response_deserializer=ExportTraceServiceResponse.FromString)

    def deliver(self, message: bytes, span_count: int) -> Delivery:
        """Sends a message within the time that the environment gives, and again where that may help."""
        deadline = time.monotonic() + self._timeout
        wait_seconds = self._first_wait_seconds
        while True:
            try:
                answer = self._send(message, timeout=deadline - time.monotonic(), metadata=self._headers)
            except grpc.RpcError as error:
                refused = refusal(error)
            except ValueError as error:
                # The channel has been closed.
                return Delivery(span_count, str(error))
            else:
                return _partly(answer, span_count)
            pause_seconds = refused.pause_seconds
            if not refused.is_retryable:
                return Delivery(span_count, refused.reason, pause_seconds or 0.0)
            if pause_seconds is None:
                pause_seconds = wait_seconds * self._rng.uniform(1 - JITTER, 1 + JITTER)
                wait_seconds *= 2
            if pause_seconds >= deadline - time.monotonic():
                # What it asked for holds for the next message, too.
                return Delivery(span_count, refused.reason, refused.pause_seconds or 0.0)
            if self._ending.wait(pause_seconds):
                return Delivery(span_count, refused.reason)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Ends what is being sent, and the wait for another attempt."""
        self._ending.set()
        super().shutdown(timeout_millis, **kwargs)


class Refusal(NamedTuple):
    """Why a collector took nothing, whether to ask it again, and when; None where it does not say when."""

    reason: str
    is_retryable: bool
    pause_seconds: float | None = None


def refusal(error: Any) -> Refusal:
    """Reads what a collector's gRPC status says, its details included."""
    code: grpc.StatusCode = error.code()
    pause_seconds = _asked_pause_seconds(error.trailing_metadata())
    is_retryable = code in RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and pause_seconds is not None)
    return Refusal(f"{code.name}: {error.details() or ''}"[:REASON_CHARACTERS], is_retryable, pause_seconds)


def _asked_pause_seconds(metadata: Sequence[tuple[str, str | bytes]] | None) -> float | None:
    written = next((value for key, value in metadata or () if key == DETAILS), None)
    if not isinstance(written, bytes):
        return None
    try:
        for detail in status_pb2.Status.FromString(written).details:
            info = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                return max(0.0, float(info.retry_delay.ToNanoseconds() / 1e9))
    except DecodeError:
        pass
    return None


def _partly(answer: ExportTraceServiceResponse, span_count: int) -> Delivery:
    """A partial success is final: what was rejected is not to be sent again."""
    partial = answer.partial_success
    return Delivery(min(max(partial.rejected_spans, 0), span_count), partial.error_message[:REASON_CHARACTERS])
