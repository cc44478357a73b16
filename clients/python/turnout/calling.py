"""How a call of a client is made: token, trace, deadline and retries around a gRPC method, blocking and asyncio."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterator
from typing import NoReturn, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from turnout.connection import Connection
from turnout.errors import ErrorDetails, TransportError
from turnout.retrying import Tries
from turnout.rpcs import WATCH, Rpc
from turnout.status import error_from_rpc
from turnout.tracing import installed_inject, trace_metadata

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class OneCall:
    """One call with all its tries: they share a deadline, the trace, and the token until it is replaced."""

    def __init__(self, terms: Terms, rpc: Rpc, timeout_seconds: float | None, max_retry_count: int) -> None:
        self._token = terms.token.use()
        self._trace = trace_metadata(terms.inject)
        self.tries: Tries = rpc.tries(
            time.monotonic(),
            timeout_seconds=timeout_seconds,
            max_retry_count=max_retry_count,
            rng=terms.rng,
            renewed=self._token.renewed,
        )

    @property
    def timeout_seconds(self) -> float | None:
        """What is left for the next try."""
        return self.tries.remaining_seconds(time.monotonic())

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Returns what goes with the next try."""
        return (*self._token.metadata(), *self._trace)

    def wait_after(self, rpc_error: grpc.RpcError) -> float:
        """Returns how many seconds to wait before the next try; raises the typed error where there must not be one."""
        error = error_from_rpc(rpc_error)
        wait = self.tries.wait_after(error, time.monotonic())
        if wait is None:
            raise error from rpc_error
        return wait


class Terms:
    """What holds for every call of one client."""

    def __init__(self, connection: Connection, max_retry_count: int) -> None:
        self.connection = connection
        self.token = connection.token_source()
        self.max_retry_count = max_retry_count
        self.rng = random.Random()  # noqa: S311 - jitter, not a secret
        self.inject = installed_inject()

    def begin(self, rpc: Rpc, timeout_seconds: float | None, max_retry_count: int | None = None) -> OneCall:
        """Begins a call now. Raises ValueError for a timeout that is not positive."""
        most = self.max_retry_count if max_retry_count is None else max_retry_count
        return OneCall(self, rpc, timeout_seconds, most)


class Calls:
    """The calls of a blocking client."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        connection = terms.connection
        credentials = connection.credentials
        if credentials is None:
            self.channel = grpc.insecure_channel(connection.address, connection.options)
        else:
            self.channel = grpc.secure_channel(connection.address, credentials, connection.options)

    def unary(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        rpc: Rpc,
        timeout_seconds: float | None,
        max_retry_count: int | None = None,
    ) -> Response:
        """Makes a call and returns its answer; raises the typed error of the last try."""
        call = self.terms.begin(rpc, timeout_seconds, max_retry_count)
        while True:
            try:
                return method(request, timeout=call.timeout_seconds, metadata=call.metadata())
            except grpc.RpcError as error:
                wait = call.wait_after(error)
            time.sleep(wait)

    def watch(
        self,
        method: grpc.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        timeout_seconds: float | None,
    ) -> Iterator[Response]:
        """Yields what a stream brings until the caller stops. Only a token that was replaced makes it begin again."""
        call = self.terms.begin(WATCH, timeout_seconds)
        while True:
            stream = method(request, timeout=call.timeout_seconds, metadata=call.metadata())
            try:
                yield from stream
            except grpc.RpcError as error:
                call.wait_after(error)
            else:
                return
            finally:
                stream.cancel()


def closed_error() -> TransportError:
    """Returns the error for a call that ended because its stream or client was closed."""
    return TransportError("the call was closed before its end", ErrorDetails(code=grpc.StatusCode.CANCELLED))


def raise_unless_closed() -> NoReturn:
    """Ends a call in whose middle a CancelledError came, which is being handled.

    gRPC raises it for the end of the task and for the end of the call, when another task closes the stream or the
    client. Only the first may come out as it is: to a task that nobody cancelled it would look like its own end.
    """
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise  # noqa: PLE0704 - called where it is handled
    raise closed_error() from None


class AsyncCalls:
    """The calls of an asyncio client. A channel of grpc.aio belongs to a loop, so it is made with the first call."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel. Raises RuntimeError in another loop than that of the first call, to which it belongs."""
        running = _running_loop()
        if self._loop is None:
            self._loop = running
        elif running is not None and running is not self._loop:
            raise RuntimeError("this client belongs to the event loop of its first call: make one for each loop")
        if self._channel is None:
            connection = self.terms.connection
            credentials = connection.credentials
            if credentials is None:
                self._channel = grpc.aio.insecure_channel(connection.address, connection.options)
            else:
                self._channel = grpc.aio.secure_channel(connection.address, credentials, connection.options)
        return self._channel

    async def unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        rpc: Rpc,
        timeout_seconds: float | None,
        max_retry_count: int | None = None,
    ) -> Response:
        """Makes a call and returns its answer; raises the typed error of the last try."""
        call = self.terms.begin(rpc, timeout_seconds, max_retry_count)
        while True:
            try:
                return await method(request, timeout=call.timeout_seconds, metadata=call.metadata())
            except asyncio.CancelledError:
                raise_unless_closed()
            except grpc.RpcError as error:
                wait = call.wait_after(error)
            await asyncio.sleep(wait)

    async def watch(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        timeout_seconds: float | None,
    ) -> AsyncGenerator[Response]:
        """Yields what a stream brings until the caller stops. Only a token that was replaced makes it begin again."""
        call = self.terms.begin(WATCH, timeout_seconds)
        while True:
            stream = method(request, timeout=call.timeout_seconds, metadata=call.metadata())
            try:
                async for message in stream:
                    yield message
            except asyncio.CancelledError:
                raise_unless_closed()
            except grpc.RpcError as error:
                call.wait_after(error)
            else:
                return
            finally:
                stream.cancel()

    async def close(self) -> None:
        """Closes the connection, if there is one."""
        if self._channel is not None:
            await self._channel.close()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
