"""Large and long requests: read in turns with other calls, and not kept once they are read or refused."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import pytest

from tests.api.sidecar import Sidecar, failing, reason
from turnout.v1 import router_pb2 as pb
from turnout_server.api.chat_parts import MAX_PART_COUNT, PARTS_AT_ONCE
from turnout_server.api.chat_requests import MAX_ALL_SCHEMAS_CHARACTERS, chat_input, chat_input_in_turns
from turnout_server.api.decoding import LARGE_BYTES, Received
from turnout_server.api.faults import Faults
from turnout_server.api.long_pieces import LongPieces
from turnout_server.core.chat import ChatInput, Text
from turnout_server.core.model import FailureKind

MARKED = "a prompt that is looked for afterwards"


@contextmanager
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def many_parts() -> pb.ChatInput:
    parts = [pb.Part(text=f"part {i}") for i in range(10)]
    return pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=parts) for _ in range(MAX_PART_COUNT // 10)])


async def test_many_parts_are_read_while_others_have_their_turn() -> None:
    turns = 0

    async def beat() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beating = asyncio.create_task(beat())
    chat = await chat_input_in_turns(many_parts(), Faults())
    beating.cancel()

    assert MAX_PART_COUNT == sum(len(turn.parts) for turn in chat.messages)
    # A message has ten parts here, so that nobody waits for more than ten of them beyond what is read at once.
    assert turns >= MAX_PART_COUNT / (PARTS_AT_ONCE + 10)


async def test_reading_in_turns_reads_the_same_and_finds_the_same_faults() -> None:
    wrong = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text=""), pb.Part()]), pb.Message()])
    for message in (many_parts(), wrong):
        at_once, in_turns = Faults(), Faults()

        assert chat_input(message, at_once) == await chat_input_in_turns(message, in_turns)
        assert at_once.violations == in_turns.violations


def test_schemas_of_all_tools_together_are_bounded() -> None:
    faults = Faults()
    schema = '{"description": "' + "x" * 900_000 + '"}'
    tools = [pb.Tool(name=f"t{i}", parameters_json_schema=schema) for i in range(10)]

    chat_input(pb.ChatInput(messages=many_parts().messages[:1], tools=tools), faults)

    assert ["input.tools"] == [fault.field for fault in faults.violations]
    assert str(MAX_ALL_SCHEMAS_CHARACTERS) in faults.violations[0].description


async def test_a_large_request_that_is_no_message_is_told_so(sidecar: Sidecar) -> None:
    call: Any = sidecar.channel.unary_unary("/turnout.v1.RouterService/Execute", request_serializer=bytes)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff" * 2 * LARGE_BYTES)

    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") == (caught.value.code(), reason(caught.value))


async def test_a_large_request_is_answered_as_a_small_one(sidecar: Sidecar) -> None:
    text = "words " * LARGE_BYTES
    chat = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text=text[: 2 * LARGE_BYTES])])])

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sidecar.stub.Execute(pb.ExecuteRequest(input=chat))

    # Its targets' windows are too small for it: it was read, and all of it was counted.
    assert "CONTEXT_WINDOW" in str(caught.value.details())


def test_a_request_is_taken_once_and_not_kept() -> None:
    received = Received(pb.RouteRequest(request_id="r"), 3)

    assert "r" == received.take().request_id
    assert received.take() is None


def kept() -> int:
    """How many requests with the marked prompt are in memory."""
    chats = [found for found in gc.get_objects() if type(found) is ChatInput]
    return sum(
        isinstance(part.content, Text) and part.content.text == MARKED
        for chat in chats
        for turn in chat.messages
        for part in turn.parts
    )


async def unary(sidecar: Sidecar, chat: pb.ChatInput, options: pb.RoutingOptions) -> None:
    await sidecar.stub.Execute(pb.ExecuteRequest(input=chat, options=options))


async def stream(sidecar: Sidecar, chat: pb.ChatInput, options: pb.RoutingOptions) -> None:
    async for _ in sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=chat, options=options)):
        pass


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("what", ["no target", "the provider refuses"])
async def test_a_failed_call_keeps_nothing_of_its_request(sidecar: Sidecar, what: str, streamed: bool) -> None:  # noqa: FBT001
    chat = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text=MARKED)])])
    options = pb.RoutingOptions(force_target="beta/large", allow_fallback=False)
    if what == "no target":
        options.max_cost_usd = 1e-12
    sidecar.upstream.scripts["beta/large"] = [failing(FailureKind.INVALID_REQUEST, status=400)]

    with without_collector():
        with pytest.raises(grpc.aio.AioRpcError):
            await (stream if streamed else unary)(sidecar, chat, options)
        # The fake remembers what it was called with, and the error that it raised.
        sidecar.upstream.calls.clear()
        sidecar.upstream.scripts.clear()
        for _ in range(3000):
            if not kept():
                break
            await asyncio.sleep(0.01)

        assert 0 == kept()


@pytest.mark.parametrize("method", ["Execute", "ExecuteStream"])
async def test_a_call_without_a_message_is_told_so(sidecar: Sidecar, method: str) -> None:
    """Generated clients cannot make one; a hand-made one ended without an answer."""

    async def nothing() -> AsyncIterator[bytes]:
        for message in list[bytes]():
            yield message

    call: Any = sidecar.channel.stream_stream(f"/turnout.v1.RouterService/{method}", request_serializer=bytes)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call(nothing()):
            pass

    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") == (caught.value.code(), reason(caught.value))
    assert "without a message" in str(caught.value.details())


async def test_large_requests_that_come_together_are_joined_one_at_a_time(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waited for its message has a rank; what is done in turn after that has none."""
    joined, piece = 0, LongPieces.piece

    @asynccontextmanager
    async def counted(pieces: LongPieces, rank: float = 0.0) -> AsyncIterator[None]:
        nonlocal joined
        async with piece(pieces, rank):
            joined += rank > 0
            yield

    monkeypatch.setattr(LongPieces, "piece", counted)
    part = pb.Part(image=pb.Image(data=b"x" * (20 * LARGE_BYTES), media_type="image/png"))
    chat = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[part])])

    for _ in range(20):
        # What has come before anybody looked counts as small: all of them may, where this process had to wait.
        calls = (sidecar.stub.Execute(pb.ExecuteRequest(input=chat)) for _ in range(4))
        await asyncio.gather(*calls, return_exceptions=True)
        if joined >= 2:
            break

    assert joined >= 2


async def test_callers_who_leave_while_they_send_leave_room_for_others(
    sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    data = b"x" * (20 * LARGE_BYTES)
    part = pb.Part(image=pb.Image(data=data, media_type="image/png"))
    chat = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[part])])
    for wait_seconds in (0.0, 0.003, 0.01, 0.03, 0.1):
        calls = [sidecar.stub.Execute(pb.ExecuteRequest(input=chat)) for _ in range(3)]
        await asyncio.sleep(wait_seconds)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    text = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="hello")])])
    answer = await sidecar.stub.Execute(pb.ExecuteRequest(input=text))

    assert "Hello there!" == answer.output.parts[0].text
    assert [] == [record.getMessage() for record in caplog.records if record.levelname in {"ERROR", "WARNING"}]
