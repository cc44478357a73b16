"""An answer while it comes, for blocking and asyncio code: read it, end it early, begin again where that is allowed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from types import TracebackType
from typing import Protocol, Self

import grpc
import grpc.aio

from turnout.answer import Answer
from turnout.calling import closed_error, raise_unless_closed
from turnout.progress import StreamProgress, TextPieces
from turnout.retrying import Tries
from turnout.v1 import router_pb2 as pb

AsyncStreamCall = grpc.aio.UnaryStreamCall[pb.ExecuteStreamRequest, pb.ExecuteStreamResponse]


class StreamCall(Protocol):
    """What gRPC returns for a streaming call; its own class is not public."""

    def __iter__(self) -> Iterator[pb.ExecuteStreamResponse]:
        """Yields the events."""
        ...

    def cancel(self) -> object:
        """Ends the call; harmless after its end."""
        ...


class Running:
    """The call under way of a blocking stream, for whoever ends it from another thread."""

    def __init__(self, begin: Callable[[], StreamCall]) -> None:
        self._begin = begin
        self._call: StreamCall | None = None
        self._closed = threading.Event()

    def begin(self) -> StreamCall:
        """Begins the call, or begins it anew."""
        self._call = call = self._begin()
        if self._closed.is_set():
            call.cancel()
        return call

    def close(self) -> None:
        """Ends the call, and lets none begin."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    def wait(self, seconds: float) -> None:
        """Waits for the next try. Raises TransportError where the stream is closed."""
        if self._closed.wait(seconds):
            raise closed_error()


class Stream:
    """An answer while it comes. Iterate over the events, or over `text()`; `answer()` reads on to the end.

    The call begins with the first event read. Use it in a `with` block, or call `close`, to end the call early: that
    also ends the provider's. Lost connections raise; a short answer never looks complete.
    """

    def __init__(self, call: Callable[[], StreamCall], tries: Tries) -> None:
        self._progress = StreamProgress(tries)
        self._running = Running(call)
        self._events = _read(self._running, self._progress)

    @property
    def decision(self) -> pb.Decision | None:
        """The decision, once it has come."""
        return self._progress.gatherer.decision

    @property
    def text_so_far(self) -> str:
        """The text that has come, of the attempt that counts."""
        return self._progress.gatherer.text

    @property
    def parts_so_far(self) -> tuple[pb.Part, ...]:
        """All that has come, of the attempt that counts; after an error, what was delivered of an answer not whole."""
        return self._progress.gatherer.parts

    def text(self, on_restart: Callable[[], None] | None = None) -> Iterator[str]:
        """Yields the text in pieces.

        When the answer begins again on another target (only under MID_STREAM_POLICY_RESTART), `on_restart` is called so
        that what was shown can be taken back; without it RestartedError is raised.
        """
        pieces = TextPieces(on_restart)
        for event in self:
            piece = pieces.of(event)
            if piece:
                yield piece

    def answer(self) -> Answer:
        """Reads what is left and returns the complete answer, the same as `execute` does."""
        for _ in self:
            pass
        return self._progress.answer()

    def close(self) -> None:
        """Ends the call, from any thread; harmless after its end. Whoever is reading then gets a TransportError."""
        self._running.close()
        # A generator that another thread is in cannot be closed; the cancelled call ends it.
        with contextlib.suppress(ValueError):
            self._events.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pb.ExecuteStreamResponse:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _read(running: Running, progress: StreamProgress) -> Generator[pb.ExecuteStreamResponse, None, None]:
    # It does not hold the stream: one that nobody holds any more ends its call at once, not when garbage is collected.
    while True:
        call = running.begin()
        try:
            for event in call:
                if progress.take(event):
                    yield event
            progress.ended()
            wait = None
        except grpc.RpcError as error:
            wait = progress.wait_after(error, time.monotonic())
        finally:
            call.cancel()
        if wait is None:
            return
        running.wait(wait)


class AsyncStream:
    """An answer while it comes; see `Stream`. Iterate with `async for`, end it early with `async with` or `aclose`."""

    def __init__(self, call: Callable[[], AsyncStreamCall], tries: Tries) -> None:
        self._call = call
        self._progress = StreamProgress(tries)
        self._running: AsyncStreamCall | None = None
        self._closed = asyncio.Event()
        self._events = self._read()

    @property
    def decision(self) -> pb.Decision | None:
        """The decision, once it has come."""
        return self._progress.gatherer.decision

    @property
    def text_so_far(self) -> str:
        """The text that has come, of the attempt that counts."""
        return self._progress.gatherer.text

    @property
    def parts_so_far(self) -> tuple[pb.Part, ...]:
        """All that has come, of the attempt that counts; after an error, what was delivered of an answer not whole."""
        return self._progress.gatherer.parts

    async def text(self, on_restart: Callable[[], None] | None = None) -> AsyncIterator[str]:
        """Yields the text in pieces; `on_restart` as in `Stream.text`."""
        pieces = TextPieces(on_restart)
        async for event in self:
            piece = pieces.of(event)
            if piece:
                yield piece

    async def answer(self) -> Answer:
        """Reads what is left and returns the complete answer, the same as `execute` does."""
        async for _ in self:
            pass
        return self._progress.answer()

    async def aclose(self) -> None:
        """Ends the call, from any task; harmless after its end. Whoever is reading then gets a TransportError."""
        self._closed.set()
        if self._running is not None:
            self._running.cancel()
        # A generator that another task is in cannot be closed; the cancelled call ends it.
        with contextlib.suppress(RuntimeError):
            await self._events.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> pb.ExecuteStreamResponse:
        return await anext(self._events)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _read(self) -> AsyncGenerator[pb.ExecuteStreamResponse, None]:
        while not self._closed.is_set():
            self._running = call = self._call()
            try:
                async for event in call:
                    if self._progress.take(event):
                        yield event
                self._progress.ended()
                wait = None
            except asyncio.CancelledError:
                raise_unless_closed()
            except grpc.RpcError as error:
                wait = self._progress.wait_after(error, time.monotonic())
            finally:
                call.cancel()
            if wait is None:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), wait)
        raise closed_error()
