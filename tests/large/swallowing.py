"""A provider that swallows requests of any size without keeping them, and speaks all four wires back.

It reads no JSON: what was asked does not matter here, only how much of it came and how fast.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_WRITE_BYTES = 256 * 1024
_END_BYTES = 1024


def _sse(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _openai(text: str) -> bytes:
    return _sse({"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


def _anthropic(text: str) -> bytes:
    delta = {"type": "text_delta", "text": text}
    return _sse({"type": "content_block_delta", "index": 0, "delta": delta})


def _gemini(text: str) -> bytes:
    return _sse({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}]})


def _ollama(text: str) -> bytes:
    return orjson.dumps({"model": "m", "message": {"role": "assistant", "content": text}, "done": False}) + b"\n"


def _whole_openai(text: str) -> object:
    return {"id": "1", "model": "m", "choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]}


def _whole_anthropic(text: str) -> object:
    content = [{"type": "text", "text": text}]
    return {"type": "message", "id": "1", "model": "m", "content": content, "stop_reason": "end_turn", "usage": {}}


def _whole_gemini(text: str) -> object:
    return {"candidates": [{"content": {"parts": [{"text": text}]}, "index": 0, "finishReason": "STOP"}]}


def _whole_ollama(text: str) -> object:
    return {"model": "m", "message": {"role": "assistant", "content": text}, "done": True, "done_reason": "stop"}


_ANTHROPIC_HEAD = _sse(
    {"type": "message_start", "message": {"id": "1", "model": "m", "usage": {"input_tokens": 5, "output_tokens": 1}}}
) + _sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
_ANTHROPIC_END = _sse(
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
) + _sse({"type": "message_stop"})
_OPENAI_END = _sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}) + b"data: [DONE]\n\n"
_GEMINI_END = _sse(
    {
        "candidates": [{"content": {"parts": [{"text": ""}]}, "index": 0, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7},
    }
)
_OLLAMA_END = orjson.dumps({"model": "m", "message": {"content": ""}, "done": True, "done_reason": "stop"}) + b"\n"


@dataclass(frozen=True, slots=True)
class Spoken:
    """How a wire's stream begins, goes on and ends."""

    content_type: str
    head: bytes
    piece: Callable[[str], bytes]
    end: bytes
    whole: Callable[[str], object]


WIRES: Mapping[str, Spoken] = {
    "openai": Spoken("text/event-stream", b"", _openai, _OPENAI_END, _whole_openai),
    "anthropic": Spoken("text/event-stream", _ANTHROPIC_HEAD, _anthropic, _ANTHROPIC_END, _whole_anthropic),
    "gemini": Spoken("text/event-stream", b"", _gemini, _GEMINI_END, _whole_gemini),
    "ollama": Spoken("application/x-ndjson", b"", _ollama, _OLLAMA_END, _whole_ollama),
}


@dataclass(slots=True)
class Swallowed:
    """One request that came: how many bytes, and what they hash to."""

    wire: str
    byte_count: int
    digest: bytes


@dataclass(slots=True)
class SwallowingProvider:
    """Answers every request with `piece` so often; the first `refuse_count` with 503 after taking all of them."""

    piece: str = "some words "
    piece_count: int = 1
    refuse_count: int = 0
    url: str = ""
    came: list[Swallowed] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                wire = head.split(b" ", 2)[1].split(b"/")[1].decode()
                found = _LENGTH.search(head)
                if found is None:
                    # Not a call: local servers are asked for their models.
                    writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                    continue
                end = await self._swallow(reader, wire, int(found[1]))
                streamed = b"streamGenerateContent" in head or b'"stream":true' in end
                await self._speak(writer, WIRES[wire], streamed=streamed)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _swallow(self, reader: asyncio.StreamReader, wire: str, length: int) -> bytes:
        """Returns the last of what came: the fields after the messages."""
        digest, left, end = hashlib.blake2b(digest_size=16), length, b""
        while left:
            chunk = await reader.read(min(left, _WRITE_BYTES))
            if not chunk:
                raise asyncio.IncompleteReadError(b"", left)
            digest.update(chunk)
            left -= len(chunk)
            end = (end + chunk)[-_END_BYTES:]
        self.came.append(Swallowed(wire, length, digest.digest()))
        return end

    async def _speak(self, writer: asyncio.StreamWriter, spoken: Spoken, *, streamed: bool) -> None:
        if self.refuse_count:
            self.refuse_count -= 1
            writer.write(b"HTTP/1.1 503 Busy\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
            return
        if not streamed:
            body = orjson.dumps(spoken.whole(self.piece * self.piece_count))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
            writer.write(body)
            await writer.drain()
            return
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {spoken.content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        pending = [spoken.head]
        event, size = spoken.piece(self.piece), 0
        for _ in range(self.piece_count):
            pending.append(event)
            size += len(event)
            if size > _WRITE_BYTES:
                await _chunk(writer, b"".join(pending))
                pending, size = [], 0
        await _chunk(writer, b"".join([*pending, spoken.end]))
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
    await writer.drain()


@asynccontextmanager
async def swallowing() -> AsyncIterator[SwallowingProvider]:
    """Serves one on a free port; its `url` ends in nothing: the wire's name is the first part of the path."""
    provider = SwallowingProvider()
    server = await asyncio.start_server(provider.answer, "127.0.0.1", 0, limit=1024 * 1024)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield provider
