"""A collector of spans over real gRPC that answers as it is told, message by message."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # has no types
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc


class Refused(NamedTuple):
    """A status to answer with; `after_seconds` is when to come back, None where nothing is said of it."""

    code: grpc.StatusCode
    after_seconds: float | None = None


Answer = Refused | otlp.ExportTraceServiceResponse


class Collector(otlp_grpc.TraceServiceServicer):
    """Keeps what it is sent. Answers in turns, and from the last one on always so; taking everything without any.

    While `answering` is not set, callers wait.
    """

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.requests: list[otlp.ExportTraceServiceRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.answering = threading.Event()
        self.answering.set()
        self.asked = threading.Event()
        self._answers = list(answers)

    def Export(  # noqa: N802 - gRPC's name
        self, request: otlp.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> otlp.ExportTraceServiceResponse:
        """Answers one message."""
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.asked.set()
        self.answering.wait(120)
        answer = self._answers.pop(0) if len(self._answers) > 1 else next(iter(self._answers), None)
        if not isinstance(answer, Refused):
            return answer or otlp.ExportTraceServiceResponse()
        if answer.after_seconds is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", _details(answer)),))
        context.abort(answer.code, "not today")
        raise AssertionError("abort raises")

    def names(self, *, taken_from: int = 0) -> list[str]:
        """The names of all spans, in order, without those of the first messages."""
        return [
            span.name
            for request in self.requests[taken_from:]
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collecting(*answers: Answer, port: int = 0) -> Iterator[tuple[Collector, str]]:
    """Starts a collector; yields it and its endpoint."""
    collector = Collector(answers)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    otlp_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]  # generated
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{bound}"
    finally:
        collector.answering.set()
        server.stop(None).wait()


def _details(refused: Refused) -> bytes:
    """What collectors write: a status with details, of which RetryInfo need not be the first."""
    assert refused.after_seconds is not None
    info, other = error_details_pb2.RetryInfo(), error_details_pb2.DebugInfo(detail="x")
    packed_info, packed_other = Packed(), Packed()
    info.retry_delay.FromNanoseconds(int(refused.after_seconds * 1e9))
    packed_info.Pack(info)
    packed_other.Pack(other)
    status = status_pb2.Status(code=refused.code.value[0], message="not today", details=[packed_other, packed_info])
    written: bytes = status.SerializeToString()
    return written
