"""A sidecar that answers by a script: a real gRPC server, for what a healthy sidecar does not do on cue."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # no stubs are published

from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

_OPTIONS = (
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
"""As often as the sidecar allows clients to look whether it is still there."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An error status with the details that the contract gives it; `reason` "" is one without any."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    message: str = "scripted"
    reason: str = ""
    domain: str = "turnout.dev"
    retry_seconds: float | None = None
    pushback: str | None = None
    decision_id: str = ""
    extra: Sequence[Message] = ()

    def trailing(self) -> tuple[tuple[str, str | bytes], ...]:
        """Returns the trailing metadata of the contract."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        if self.reason:
            info = error_details_pb2.ErrorInfo(reason=self.reason, domain=self.domain, metadata={"name": "value"})
            status.details.add().Pack(info)
        if self.retry_seconds is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(int(self.retry_seconds * 1e9))
            status.details.add().Pack(retry)
        for detail in self.extra:
            status.details.add().Pack(detail)
        trailing: list[tuple[str, str | bytes]] = []
        if status.details:
            trailing.append(("grpc-status-details-bin", status.SerializeToString()))
        if self.pushback is not None:
            trailing.append(("grpc-retry-pushback-ms", self.pushback))
        if self.decision_id:
            trailing.append(("turnout-decision-id", self.decision_id))
        return tuple(trailing)


@dataclass(frozen=True, kw_only=True)
class Hang:
    """Waits until the caller gives up."""


Step = Message | Refusal | Hang
Script = Step | Sequence[Step]


@dataclass(frozen=True, kw_only=True)
class ReceivedCall:
    """What arrived with one call."""

    method: str
    request: Any
    metadata: dict[str, str | bytes]
    remaining_seconds: float | None


@dataclass
class ScriptedSidecar(router_pb2_grpc.RouterServiceServicer):
    """Answers the calls of each method with its scripts in order; ReportOutcome without one accepts everything."""

    scripts: dict[str, deque[Script]] = field(default_factory=dict)
    calls: list[ReceivedCall] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when a call has ended, however it did."""
    address: str = ""

    def will(self, method: str, *scripts: Script) -> None:
        """Adds scripts, one for each call; a sequence is a stream."""
        self.scripts.setdefault(method, deque()).extend(scripts)

    def methods(self) -> list[str]:
        """Returns the names of the calls so far."""
        return [call.method for call in self.calls]

    def Route(self, request: pb.RouteRequest, context: grpc.ServicerContext) -> pb.RouteResponse:  # noqa: N802 - the contract's name
        return cast("pb.RouteResponse", self._unary("Route", request, context))

    def Execute(self, request: pb.ExecuteRequest, context: grpc.ServicerContext) -> pb.ExecuteResponse:  # noqa: N802 - the contract's name
        return cast("pb.ExecuteResponse", self._unary("Execute", request, context))

    def ProviderStatus(  # noqa: N802 - the contract's name
        self, request: pb.ProviderStatusRequest, context: grpc.ServicerContext
    ) -> pb.ProviderStatusResponse:
        return cast("pb.ProviderStatusResponse", self._unary("ProviderStatus", request, context))

    def ReportOutcome(  # noqa: N802 - the contract's name
        self, request: pb.ReportOutcomeRequest, context: grpc.ServicerContext
    ) -> pb.ReportOutcomeResponse:
        if self.scripts.get("ReportOutcome"):
            return cast("pb.ReportOutcomeResponse", self._unary("ReportOutcome", request, context))
        self._receive("ReportOutcome", request, context)
        accepted = pb.OutcomeResult(status=pb.OUTCOME_STATUS_ACCEPTED)
        return pb.ReportOutcomeResponse(results=[accepted for _ in request.outcomes])

    def ExecuteStream(  # noqa: N802 - the contract's name
        self, request: pb.ExecuteStreamRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ExecuteStreamResponse]:
        return cast("Iterator[pb.ExecuteStreamResponse]", self._stream("ExecuteStream", request, context))

    def WatchProviderStatus(  # noqa: N802 - the contract's name
        self, request: pb.WatchProviderStatusRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchProviderStatusResponse]:
        return cast("Iterator[pb.WatchProviderStatusResponse]", self._stream("WatchProviderStatus", request, context))

    def _receive(self, method: str, request: Message, context: grpc.ServicerContext) -> None:
        metadata = {key: value for key, value in context.invocation_metadata()}  # noqa: C416 - pairs of a named tuple
        call = ReceivedCall(
            method=method, request=request, metadata=metadata, remaining_seconds=context.time_remaining()
        )
        self.calls.append(call)
        context.add_callback(self.ended.set)

    def _unary(self, method: str, request: Message, context: grpc.ServicerContext) -> Message:
        self._receive(method, request, context)
        step = self.scripts[method].popleft()
        assert not isinstance(step, Sequence)
        return self._play(step, context)

    def _stream(self, method: str, request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
        self._receive(method, request, context)
        steps = self.scripts[method].popleft()
        for step in steps if isinstance(steps, Sequence) else (steps,):
            yield self._play(step, context)

    def _play(self, step: Step, context: grpc.ServicerContext) -> Message:
        if isinstance(step, Refusal):
            _abort(step, context)
        if isinstance(step, Hang):
            while context.is_active():
                time.sleep(0.005)
            context.abort(grpc.StatusCode.CANCELLED, "the caller gave up")
        return step


def _abort(refusal: Refusal, context: grpc.ServicerContext) -> NoReturn:
    context.set_trailing_metadata(refusal.trailing())
    context.abort(refusal.code, refusal.message)


class Serving:
    """Serves one scripted sidecar on a free port of the loopback while the block runs."""

    def __init__(self, sidecar: ScriptedSidecar, address: str = "127.0.0.1:0") -> None:
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8), options=_OPTIONS)
        router_pb2_grpc.add_RouterServiceServicer_to_server(sidecar, self._server)
        port = self._server.add_insecure_port(address)
        sidecar.address = address if address.startswith("unix:") else f"127.0.0.1:{port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=None).wait()
