"""The calls of the live view to one sidecar, over asyncio; whatever fails is an error of the client's tree."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from turnout.connection import Connection
from turnout.status import error_from_rpc
from turnout.v1 import admin_pb2, admin_pb2_grpc, router_pb2_grpc

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class Link:
    """A channel to the sidecar with the token beside every call; belongs to the event loop it is made in."""

    def __init__(self, connection: Connection, *, timeout_seconds: float) -> None:
        self.address = connection.address
        self._timeout_seconds = timeout_seconds
        self._token = connection.token_source()
        if connection.credentials is None:
            self._channel = grpc.aio.insecure_channel(connection.address, connection.options)
        else:
            self._channel = grpc.aio.secure_channel(connection.address, connection.credentials, connection.options)
        self.router: router_pb2_grpc.RouterServiceAsyncStub = router_pb2_grpc.RouterServiceStub(self._channel)
        self.admin: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(self._channel)

    async def call(self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        """Makes a call. Raises TurnoutError."""
        token = self._token.use()
        try:
            return await method(request, timeout=self._timeout_seconds, metadata=token.metadata())
        except grpc.RpcError as rpc_error:
            error = error_from_rpc(rpc_error)
            if error.code is grpc.StatusCode.UNAUTHENTICATED:
                # A token file may have been replaced; the next call has what it holds now.
                token.renewed()
            raise error from rpc_error

    async def events(self, after_sequence: int) -> AsyncGenerator[admin_pb2.Event]:
        """Yields events as they happen, those after a number first. Raises TurnoutError."""
        token = self._token.use()
        request = admin_pb2.WatchEventsRequest(after_sequence=after_sequence)
        call = self.admin.WatchEvents(request, metadata=token.metadata())
        try:
            async for response in call:
                yield response.event
        except grpc.RpcError as rpc_error:
            error = error_from_rpc(rpc_error)
            if error.code is grpc.StatusCode.UNAUTHENTICATED:
                token.renewed()
            raise error from rpc_error
        finally:
            call.cancel()

    async def close(self) -> None:
        """Closes the channel; calls under way end."""
        await self._channel.close()
