"""Reads a failed gRPC call into the error tree: code, trailing metadata, and the `google.rpc` details in it."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # no stubs are published

from turnout.errors import (
    ERRORS_BY_CODE,
    ERRORS_BY_REASON,
    DrainCutError,
    DrainingError,
    ErrorDetails,
    FieldViolation,
    SidecarFaultError,
    TransportError,
    TurnoutError,
)
from turnout.v1 import router_pb2 as pb

DOMAIN = "turnout.dev"
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
DECISION_KEY = "turnout-decision-id"


def error_from_rpc(error: grpc.RpcError, call_failure: pb.CallFailure | None = None) -> TurnoutError:
    """Returns the typed error for a failed call.

    `call_failure` is the stream's own last event, which is fuller than the summary in the trailing metadata.
    """
    code = error.code() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else grpc.StatusCode.UNKNOWN
    message = error.details() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else str(error)
    trailing = error.trailing_metadata() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else None
    return error_from_status(code, message or code.name, list(trailing or ()), call_failure)


def error_from_status(
    code: grpc.StatusCode,
    message: str,
    trailing: Iterable[tuple[str, str | bytes]],
    call_failure: pb.CallFailure | None = None,
) -> TurnoutError:
    """Returns the typed error for a status with its trailing metadata. Details that cannot be read are left out."""
    metadata = dict(trailing)
    details = _Details(metadata.get(DETAILS_KEY, b""))
    pushback = metadata.get(PUSHBACK_KEY)
    pushback_seconds = None if pushback is None else _pushback_seconds(pushback)
    waits = [wait for wait in (pushback_seconds, details.retry_delay_seconds) if wait is not None]
    retry_forbidden = pushback is not None and pushback_seconds is None
    kind = ERRORS_BY_REASON.get(details.reason) if details.reason else None
    if kind is DrainingError and retry_forbidden:
        # The one reason with two ends: refused at the door, or cut off inside.
        kind = DrainCutError
    if kind is None:
        kind = SidecarFaultError if details.reason and code is grpc.StatusCode.INTERNAL else ERRORS_BY_CODE.get(code)
    return (kind or TransportError)(
        message,
        ErrorDetails(
            code=code,
            reason=details.reason,
            decision_id=_text(metadata.get(DECISION_KEY, "")),
            metadata=details.metadata,
            retry_after_seconds=max(waits) if waits else None,
            retry_forbidden=retry_forbidden,
            field_violations=details.violations,
            call_failure=call_failure if call_failure is not None else details.call_failure,
        ),
    )


class _Details:
    """The known details of one status; a reason counts only when it is of our own domain."""

    def __init__(self, raw: str | bytes) -> None:
        self.reason = ""
        self.metadata: dict[str, str] = {}
        self.retry_delay_seconds: float | None = None
        self.violations: tuple[FieldViolation, ...] = ()
        self.call_failure: pb.CallFailure | None = None
        try:
            status = status_pb2.Status.FromString(raw if isinstance(raw, bytes) else b"")
            for detail in status.details:
                self._read(detail.TypeName(), detail.value)
        except DecodeError:
            # What could be read so far is kept: the code and the message still tell the essential.
            return

    def _read(self, type_name: str, value: bytes) -> None:
        if type_name == error_details_pb2.ErrorInfo.DESCRIPTOR.full_name:
            info = error_details_pb2.ErrorInfo.FromString(value)
            if info.domain == DOMAIN:
                self.reason = info.reason
                self.metadata = dict(info.metadata)
        elif type_name == error_details_pb2.RetryInfo.DESCRIPTOR.full_name:
            delay = error_details_pb2.RetryInfo.FromString(value).retry_delay
            self.retry_delay_seconds = max(0.0, delay.seconds + delay.nanos / 1e9)
        elif type_name == error_details_pb2.BadRequest.DESCRIPTOR.full_name:
            violations = error_details_pb2.BadRequest.FromString(value).field_violations
            self.violations = tuple(FieldViolation(field=v.field, description=v.description) for v in violations)
        elif type_name == pb.CallFailure.DESCRIPTOR.full_name:
            self.call_failure = pb.CallFailure.FromString(value)


def _pushback_seconds(value: str | bytes) -> float | None:
    """Returns the wait in seconds; None forbids a retry: gRPC's rule for negative or unreadable values."""
    text = _text(value)
    return int(text) / 1000 if text.isascii() and text.isdigit() else None


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("ascii", "replace")
