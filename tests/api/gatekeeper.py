"""A real HTTP provider that knows its keys: what each is answered with, and which were used, in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

ANSWER = {
    "id": "chatcmpl-1",
    "model": "small",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2},
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a key is answered with."""

    status: int = 200
    body: Mapping[str, object] = field(default_factory=lambda: ANSWER)
    headers: tuple[tuple[str, str], ...] = ()


FINE = Reply()
UNKNOWN_KEY = Reply(401, {"error": {"message": "Incorrect API key", "code": "invalid_api_key"}})
SLOW_DOWN = Reply(
    429, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}, (("retry-after", "600"),)
)
NO_MONEY = Reply(429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, ())


@dataclass(slots=True)
class Gatekeeper:
    """`replies` by key; a key that is not there is unknown."""

    replies: dict[str, Reply] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._serve_one(reader, writer):
                pass
        writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if not await reader.readline():
            return False
        headers: dict[str, str] = {}
        while line := (await reader.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        await reader.readexactly(int(headers.get("content-length", "0")))
        key = headers.get("authorization", "").removeprefix("Bearer ")
        self.keys.append(key)
        reply = self.replies.get(key, UNKNOWN_KEY)
        body = json.dumps(reply.body).encode()
        lines = [f"HTTP/1.1 {reply.status} Scripted", "content-type: application/json", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        return True


@contextlib.asynccontextmanager
async def gatekeeper(**replies: Reply) -> AsyncIterator[Gatekeeper]:
    """Serves on a free port; the names of `replies` are the keys."""
    state = Gatekeeper(replies=dict(replies))
    running: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(state.serve(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()
