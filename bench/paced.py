"""`python -m bench.paced EVENTS_PER_SECOND`: a provider that streams at a steady rate and costs next to nothing.

Speaks the openai wire over plain sockets: whatever it is asked, it answers with events at that rate until the caller
hangs up, each stream in a phase of its own. Prints its base URL.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LONGEST_BYTES = 1024 * 1024


def _chunk(delta: dict[str, str]) -> bytes:
    event = {
        "id": "paced",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "model-0",
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
    }
    data = f"data: {json.dumps(event)}\n\n".encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


class Stream(asyncio.Protocol):
    """One connection: reads requests to their end, and streams."""

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds = every_seconds
        self._chunk = _chunk({"content": " token"})
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Reads on; once a request is whole, the stream begins."""
        self._received = (self._received + data)[-LONGEST_BYTES:]
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._timer is not None:
            return
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if lengths and len(body) >= int(lengths[0].partition(b":")[2]):
            assert self._transport is not None
            self._transport.write(HEAD + _chunk({"role": "assistant", "content": "Once"}))
            # Not of all streams at once: that is no token rate, but a burst.
            self._next_in(random.random() * self._every_seconds)  # noqa: S311  # a phase

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Ends the stream."""
        if self._timer is not None:
            self._timer.cancel()

    def _next_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._write)

    def _write(self) -> None:
        assert self._transport is not None
        self._transport.write(self._chunk)
        self._next_in(self._every_seconds)


async def main() -> None:
    """Serves until it is killed."""
    every_seconds = 1.0 / float(sys.argv[1])
    server = await asyncio.get_running_loop().create_server(lambda: Stream(every_seconds), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps(f"http://127.0.0.1:{port}/v1") + "\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
