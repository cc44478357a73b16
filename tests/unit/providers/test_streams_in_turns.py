"""A stream that has piled up is read piece by piece, while other calls have their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

import orjson
import pytest

from turnout_server.core.chat import ChatInput, Message, Part, Role, Text, TextDelta
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import Target
from turnout_server.ports import UpstreamCall, UpstreamEvent
from turnout_server.providers.connection import ProviderConnection
from turnout_server.providers.dialects import OPENAI
from turnout_server.providers.large_json import LargeBody
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.turnstile import Turnstile
from turnout_server.providers.upstream import READ_BYTES, HttpUpstream, wire_of

COUNT = 5000


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    chunk = {"id": "r", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


WORD = event({"content": "word "})
STREAM = WORD * COUNT + event({}, "stop") + b"data: [DONE]\n\n"


class PiledUpAnswer:
    """All of a long stream at once, in chunks of a size."""

    def __init__(self, chunk_bytes: int) -> None:
        self._chunk_bytes = chunk_bytes
        self.status = 200
        self.raw_headers: list[tuple[bytes, bytes]] = []

    def header(self, name: str) -> str:
        return "text/event-stream" if name == "content-type" else ""

    async def chunks(self) -> AsyncGenerator[bytes]:
        for start in range(0, len(STREAM), self._chunk_bytes):
            yield STREAM[start : start + self._chunk_bytes]

    async def aclose(self) -> None:
        """Nothing is open."""

    def finish_later(self) -> None:
        """Nothing follows."""


class OneAnswer:
    """A transport that has one answer for everything."""

    def __init__(self, chunk_bytes: int) -> None:
        self._chunk_bytes = chunk_bytes

    async def post(self, url: str, headers: Mapping[str, str], body: bytes | LargeBody) -> PiledUpAnswer:  # noqa: ARG002  # the protocol's
        return PiledUpAnswer(self._chunk_bytes)

    async def get(self, url: str, headers: Mapping[str, str]) -> PiledUpAnswer:  # noqa: ARG002  # the protocol's
        return PiledUpAnswer(self._chunk_bytes)

    async def aclose(self) -> None:
        """Nothing is open."""


class Counted(Turnstile):
    """Counts those who want to pass, and lets nobody pass without waiting."""

    def __init__(self) -> None:
        super().__init__(1)
        self.turns = 0

    def passes(self) -> bool:
        return False

    async def turn(self) -> None:
        self.turns += 1
        await super().turn()


def upstream_of(chunk_bytes: int, turnstile: Turnstile) -> HttpUpstream:
    connection = ProviderConnection(provider="p", wire="openai", dialect=OPENAI)
    transport = OneAnswer(chunk_bytes)
    return HttpUpstream(wire_of("openai"), transport, Secrets([connection]), connection, turnstile=turnstile)


CALL = UpstreamCall(
    spec=TargetSpec(target=Target("p", "m"), wire="openai", base_url="https://p.example/v1"),
    credential="",
    chat=ChatInput(messages=(Message(role=Role.USER, parts=(Part(content=Text(text="Hi")),)),)),
)


async def test_every_chunk_but_those_that_begin_the_answer_passes_the_turnstile() -> None:
    turnstile = Counted()
    stream = upstream_of(len(WORD), turnstile).stream(CALL)
    began = [await anext(stream) for _ in range(2)]
    turns_before_content = turnstile.turns
    rest = [batch async for batch in stream]

    assert [1] == [sum(isinstance(each, TextDelta) for each in batch) for batch in began[1:]]
    assert 0 == turns_before_content
    # The last piece is shorter, and what follows the end is not read.
    assert len(STREAM) // len(WORD) - 2 <= turnstile.turns <= len(STREAM) // len(WORD)
    assert COUNT - 1 == sum(isinstance(each, TextDelta) for batch in rest for each in batch)


async def test_streams_of_one_turnstile_take_turns() -> None:
    turnstile = Turnstile(1)
    seen: list[UpstreamEvent] = []

    async def read(upstream: HttpUpstream) -> None:
        async for batch in upstream.stream(CALL):
            seen.extend(batch)

    reading = [asyncio.create_task(read(upstream_of(len(WORD), turnstile))) for _ in range(3)]
    longest = before = 0
    while not all(each.done() for each in reading):
        await asyncio.sleep(0)
        # The first chunk of each is free.
        longest, before = max(longest, len(seen) - before) if before > 6 else longest, len(seen)

    assert 3 * COUNT == sum(isinstance(each, TextDelta) for each in seen)
    # The last round of a stream has its last word, its end, and the end's reason.
    assert longest <= 3


@pytest.mark.parametrize("chunk_bytes", [len(STREAM), 100_000, 1000])
async def test_others_have_a_turn_for_each_piece_of_a_stream_that_piled_up(chunk_bytes: int) -> None:
    connection = ProviderConnection(provider="p", wire="openai", dialect=OPENAI)
    upstream = HttpUpstream(wire_of("openai"), OneAnswer(chunk_bytes), Secrets([connection]), connection)
    call = UpstreamCall(
        spec=TargetSpec(target=Target("p", "m"), wire="openai", base_url="https://p.example/v1"),
        credential="",
        chat=ChatInput(messages=(Message(role=Role.USER, parts=(Part(content=Text(text="Hi")),)),)),
    )
    turns = 0
    done = False

    async def other() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(other())
    batches = [batch async for batch in upstream.stream(call)]
    done = True
    await waiting

    words = [sum(isinstance(each, TextDelta) for each in batch) for batch in batches]
    assert COUNT == sum(words)
    assert max(words) <= READ_BYTES // len(WORD) + 1
    # A piece may be a chunk longer than it should.
    assert turns >= len(STREAM) // (2 * READ_BYTES)
