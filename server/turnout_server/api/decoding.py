"""Bytes that are no message of the contract: a fault of the caller's, told as one.

gRPC's own answer to them is UNKNOWN without details, with a traceback in the log for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from turnout_server.api.failing import Failing
from turnout_server.core.errors import FieldViolation, InvalidRequestError


class Malformed:
    """Stands for a request that could not be read."""


MALFORMED = Malformed()


class DecodingServer:
    """Takes the handlers of generated code in a gRPC server's place; gives them on with a reader that never raises."""

    def __init__(self, server: grpc.aio.Server, failing: Failing) -> None:
        self._server = server
        self._failing = failing

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        """Does nothing: generated code registers the same handlers a second time, by method."""

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Gives the handlers on."""
        handlers = {name: self._reading(handler) for name, handler in method_handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, handlers),))

    def _reading(self, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        deserializer: Any = handler.request_deserializer
        # All methods are coroutines, those that stream too: they write.
        method: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary
        make: Any = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )

        async def answer(request: Any, context: Any) -> Any:
            if request is MALFORMED:
                what = FieldViolation(field="request", description="is not a protobuf message of this method's type")
                await self._failing.fail(context, InvalidRequestError([what]))
            return await method(request, context)

        reading: grpc.RpcMethodHandler[Any, Any] = make(
            answer, request_deserializer=_tolerant(deserializer), response_serializer=handler.response_serializer
        )
        return reading


def _tolerant(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def tolerant(message: bytes) -> Any:
        try:
            return read(message)
        except DecodeError:
            return MALFORMED

    return tolerant
