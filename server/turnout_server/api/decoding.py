"""Bytes that are no message of the contract: a fault of the caller's, told as one.

gRPC's own answer to them is UNKNOWN without details, with a traceback in the log for each.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from turnout.v1 import router_pb2
from turnout_server.api.call_times import Answer, CallTimes
from turnout_server.api.entrance import Entrance, Guard
from turnout_server.api.failing import Failing
from turnout_server.api.long_pieces import InTurn, LongPieces
from turnout_server.core.errors import FieldViolation, InvalidRequestError, TurnoutError

Weigh = Callable[[int], None]


ROUTER_SERVICE = router_pb2.DESCRIPTOR.services_by_name["RouterService"].full_name
"""gRPC waits for one RPC of each of its methods by itself. The methods of other services share one wait: after an RPC
it takes five rounds of the event loop until the next can come in, so that they queue in a loop that has much to do. All
have not their own, because each wait makes every RPC a little dearer."""


_MAKERS: Mapping[tuple[bool, bool], Any] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""By whether its message is taken in turn, and whether it streams its answer."""


class Malformed:
    """Stands for a request that could not be read."""


MALFORMED = Malformed()


LARGE_BYTES = 1024 * 1024
"""Requests from here on are read one after the other, with pauses in which other calls have their turn."""

received_bytes: ContextVar[int] = ContextVar("received_bytes", default=0)
"""The size of the present request as it came; 0 outside of one. Asked of the message, it would be written once more."""


class Received:
    """A request, to be taken once: gRPC holds on to what it was given for as long as the call runs.

    A small one is read already; a large one is still as it came, and `read` reads it.
    """

    __slots__ = ("_message", "size_bytes")

    def __init__(self, message: Any, size_bytes: int) -> None:
        self._message = message
        self.size_bytes = size_bytes

    @property
    def large(self) -> bool:
        """Whether it is still to be read."""
        return self.size_bytes >= LARGE_BYTES

    def read(self, reader: Callable[[bytes], Any]) -> None:
        """Reads it; DecodeError where it is no message."""
        self._message = reader(self._message)

    def take(self) -> Any:
        """Returns the message and forgets it."""
        message, self._message = self._message, None
        return message


class DecodingServer:
    """Takes the handlers of generated code in a gRPC server's place; gives them on with a reader that never raises.

    `guard` is an interceptor of the server: who may call; `entrance` bounds how many RPCs of a method are in; `weigh`
    gets the size of a message before it is read, and raises a TurnoutError where there is no room for it: what has
    such is expected to be large, and is taken from gRPC in turn. `times` times all of them, None for nobody.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        failing: Failing,
        *,
        guard: Guard,
        entrance: Callable[[str], Entrance],
        weigh: Callable[[str], Weigh | None],
        pieces: LongPieces,
        times: CallTimes | None = None,
    ) -> None:
        self._server = server
        self._failing = failing
        self._guard = guard
        self._entrance = entrance
        self._weigh = weigh
        self._times = times
        self._pieces = pieces

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        """Does nothing: generated code registers the same handlers a second time, by method."""

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Gives the handlers on."""
        handlers = {
            name: self._reading(f"{service_name}/{name}", handler, self._weigh(name))
            for name, handler in method_handlers.items()
        }
        self._guard.add(service_name, handlers, self._entrance)
        if service_name == ROUTER_SERVICE:
            self._server.add_registered_method_handlers(service_name, handlers)
        else:
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, handlers),))

    def _reading(
        self, method_name: str, handler: grpc.RpcMethodHandler[Any, Any], weigh: Weigh | None
    ) -> grpc.RpcMethodHandler[Any, Any]:
        deserializer: Any = handler.request_deserializer
        # All methods are coroutines, those that stream too: they write.
        method: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary

        async def answer(request: Any, context: Any) -> Any:
            if request is MALFORMED:
                await self._failing.fail(context, _malformed())
            if isinstance(request, TurnoutError):
                await self._failing.fail(context, request)
            received_bytes.set(request.size_bytes)
            if request.large:
                try:
                    async with self._pieces.piece():
                        request.read(deserializer)
                except DecodeError:
                    await self._failing.fail(context, _malformed())
            try:
                return await method(request.take(), context)
            except BaseException as error:
                _let_go(error)
                raise

        timed = answer if self._times is None else self._times.timed(method_name, answer)
        make = _MAKERS[weigh is not None, handler.response_streaming]
        reading: grpc.RpcMethodHandler[Any, Any] = make(
            timed if weigh is None else self._in_turn(timed),
            request_deserializer=_tolerant(deserializer, weigh),
            response_serializer=handler.response_serializer,
        )
        return reading

    def _in_turn(self, answer: Answer) -> Answer:
        """Returns a handler of a stream of requests, which is asked for its one message when there is time for it.

        On the wire there is no difference. gRPC itself takes the message of an RPC that it knows to have one as soon as
        all of it is there, and those of several RPCs in a row.
        """

        async def received(_requests: Any, context: Any) -> Any:
            request = await InTurn(context.read(), self._pieces)
            if request is grpc.aio.EOF:
                if context.cancelled():
                    raise asyncio.CancelledError
                await self._failing.fail(context, _malformed("is missing: the stream ended without a message"))
            return await answer(request, context)

        return received


def _malformed(what: str = "is not a protobuf message of this method's type") -> InvalidRequestError:
    return InvalidRequestError([FieldViolation(field="request", description=what)])


def _let_go(error: BaseException | None) -> None:
    """Empties the frames that an error came through. gRPC keeps the error of a call that ended with one, until the next
    call and until the collector comes by; with it stay the frames, and in them the request.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _tolerant(read: Callable[[bytes], Any], weigh: Weigh | None) -> Callable[[bytes], Any]:
    def tolerant(message: bytes) -> Any:
        try:
            if weigh is not None:
                weigh(len(message))
            size_bytes = len(message)
            return Received(message if size_bytes >= LARGE_BYTES else read(message), size_bytes)
        except DecodeError:
            return MALFORMED
        except TurnoutError as error:
            return error

    return tolerant
