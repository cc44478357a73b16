"""A stream that has piled up is read piece by piece, while other calls have their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

import orjson
import pytest

from turnout_server.core.chat import ChatInput, Message, Part, Role, Text, TextDelta
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import Target
from turnout_server.ports import UpstreamCall
from turnout_server.providers.connection import ProviderConnection
from turnout_server.providers.dialects import OPENAI
from turnout_server.providers.large_json import LargeBody
from turnout_server.providers.secrets import Secrets
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
