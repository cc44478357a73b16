"""gRPC's wake-ups are read together: a loop that was late is woken once, and not once for each thing done meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import grpc
import pytest

from turnout_server.wake_ups import is_grpcs, loop_factory, pending_bytes

pytest.importorskip("uvloop", reason="the loop is uvloop's")

LATE = 100
"""Calls at once."""
MANY = 5
TRIES = 3
METHOD = "/test.Echo/Echo"


class Waker:
    """As gRPC does: it reads one byte each time that it is woken."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self.count = 0

    def _handle_events(self, loop: asyncio.AbstractEventLoop) -> None:
        del loop
        self.count += 1
        assert self._source.recv(1)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.0)
    with ours, theirs:
        yield ours, theirs


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def body() -> None:
        await main()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(body())


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_many_wake_ups_wake_once_and_none_is_left(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair

    async def main() -> None:
        loop, waker = asyncio.get_running_loop(), Waker(ours)
        loop.add_reader(ours, partial(waker._handle_events, loop))
        for count in (LATE, 1, 2):
            theirs.send(b"1" * count)
            await rounds(5)
            assert 0 == pending_bytes(ours)
        loop.remove_reader(ours)

        assert 3 == waker.count

    run(main)


def test_other_readers_are_left_alone(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair

    async def main() -> None:
        loop, read = asyncio.get_running_loop(), []
        loop.add_reader(ours, lambda: read.append(ours.recv(1)))
        theirs.send(b"1" * 3)
        while len(read) < 3:  # noqa: ASYNC110  # the rounds are what is waited for
            await asyncio.sleep(0)
        loop.remove_reader(ours)

    run(main)


def test_grpc_itself_is_known_and_leaves_no_wake_ups_behind() -> None:
    left: list[int] = []
    factory: Any = loop_factory()

    class Recording(factory):  # type: ignore[misc]  # made at run time
        def add_reader(self, fd: Any, callback: Callable[..., object], *arguments: Any) -> None:
            if is_grpcs(callback):
                self.source = fd
            super().add_reader(fd, callback, *arguments)

    async def echo(request: bytes, context: Any) -> bytes:
        del context
        return request

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server = grpc.aio.server()
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(echo)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary(METHOD)
            for _ in range(TRIES):
                asked = asyncio.gather(*(call(b"x") for _ in range(LATE)))
                while not asked.done():
                    await asyncio.sleep(0)
                    left.append(pending_bytes(loop.source))
                assert [b"x"] * LATE == asked.result()
        await server.stop(None)
        # It has something to do when it is forgotten, which needs the loop.
        del server
        await rounds(10)

    with asyncio.Runner(loop_factory=Recording) as runner:
        runner.run(main())

    # Without it the half of what a hundred calls need piles up; one a round is read.
    assert sorted(left)[len(left) * 9 // 10] < MANY
