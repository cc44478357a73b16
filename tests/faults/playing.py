"""How each fault is played over a connection: one coroutine per fault, for streams and for answers in one piece.

A coroutine returns whether the connection may serve another request, and raises PeerGoneError where the other side has
closed it.
"""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from tests.faults import vendors
from tests.faults.peer import Peer, PeerGoneError

JSON = "application/json"
HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502</h1></body></html>"
LINE_BYTES = 100_000_000
BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request wants, and what it shall get: `amount` is the number that came with the fault's name."""

    wire: str
    stream: bool
    amount: float | None = None
    request_on_connection: int = 1

    @property
    def content_type(self) -> str:
        return vendors.WIRES[self.wire].content_type if self.stream else JSON

    def seconds(self, default: float) -> float:
        return default if self.amount is None else self.amount


Play = Callable[[Peer, Asked], Awaitable[bool]]


async def good(peer: Peer, asked: Asked) -> bool:
    if asked.stream:
        await peer.head(200, asked.content_type)
        return await _rest(peer, vendors.events(asked.wire))
    return await _whole(peer, vendors.whole(asked.wire))


async def reset_before_headers(peer: Peer, _: Asked) -> bool:
    peer.reset()
    return False


async def reset_after_headers(peer: Peer, asked: Asked) -> bool:
    await _head(peer, asked)
    # Both must not come at once: the other side would only see the reset.
    await asyncio.sleep(0.02)
    peer.reset()
    return False


async def reset_on_reuse(peer: Peer, asked: Asked) -> bool:
    """A connection that was kept alive too long: its first request is served, the next one finds it dead."""
    if asked.request_on_connection > 1:
        peer.reset()
        return False
    return await good(peer, asked)


async def silence(peer: Peer, _: Asked) -> bool:
    return await _until_gone(peer)


async def endless_header(peer: Peer, _: Asked) -> bool:
    """One header without end."""
    await peer.write(b"HTTP/1.1 200 OK\r\nx-padding: ")
    while True:
        await peer.write(b"x" * BLOCK)
        await asyncio.sleep(0)


async def endless_headers(peer: Peer, _: Asked) -> bool:
    """Headers without end, each of them short."""
    await peer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        await peer.write(b"x-padding: x\r\n" * (BLOCK // 16))
        await asyncio.sleep(0)


async def endless_interim(peer: Peer, asked: Asked) -> bool:
    """`100 Continue`, again and again, and never an answer."""
    while True:
        await peer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await peer.pause(asked.seconds(0.05))


async def slow_headers(peer: Peer, asked: Asked) -> bool:
    await peer.pause(asked.seconds(30.0))
    return await good(peer, asked)


async def slow_first_token(peer: Peer, asked: Asked) -> bool:
    """Headers and the beginning come at once, as from servers with a queue behind them."""
    return await _late(peer, asked, asked.seconds(30.0), began=True)


async def silent_thinking(peer: Peer, asked: Asked) -> bool:
    """Headers come at once, and then nothing at all until the model has thought."""
    return await _late(peer, asked, asked.seconds(60.0), began=False)


async def stall(peer: Peer, asked: Asked) -> bool:
    await _half(peer, asked)
    return await _until_gone(peer)


async def cut(peer: Peer, asked: Asked) -> bool:
    """The connection ends, the body does not: a process that died."""
    await _half(peer, asked)
    await asyncio.sleep(0.02)
    peer.close()
    return False


async def cut_at(peer: Peer, asked: Asked) -> bool:
    """The connection ends after so many bytes of a good stream, wherever that is; `amount` is how many."""
    await peer.head(200, asked.content_type)
    raw = b"".join(vendors.events(asked.wire))[: int(asked.seconds(0))]
    if raw:
        await peer.chunk(raw)
    peer.close()
    return False


async def cut_reset(peer: Peer, asked: Asked) -> bool:
    await _half(peer, asked)
    await asyncio.sleep(0.02)
    peer.reset()
    return False


async def cut_clean(peer: Peer, asked: Asked) -> bool:
    """HTTP ends as it should, the answer does not: a gateway that lost the server behind it."""
    if asked.stream:
        await _half(peer, asked)
        await peer.end_chunks()
        return True
    body = vendors.whole(asked.wire)
    return await _whole(peer, body[: len(body) // 2])


async def cut_tool_call(peer: Peer, asked: Asked) -> bool:
    """The stream breaks after a tool call, before its end."""
    if not asked.stream:
        return await cut(peer, asked)
    await peer.head(200, asked.content_type)
    for event in vendors.cut_tool_call(asked.wire):
        await peer.chunk(event)
    await asyncio.sleep(0.02)
    peer.close()
    return False


async def malformed_first(peer: Peer, asked: Asked) -> bool:
    if not asked.stream:
        return await _whole(peer, b'{"broken": ')
    await peer.head(200, asked.content_type)
    return await _rest(peer, (vendors.WIRES[asked.wire].framed(b'{"broken": '), *vendors.events(asked.wire)))


async def malformed_later(peer: Peer, asked: Asked) -> bool:
    if not asked.stream:
        return await _whole(peer, vendors.whole(asked.wire).replace(b":", b";"))
    await _half(peer, asked)
    return await _rest(peer, (vendors.WIRES[asked.wire].framed(b'{"broken": '), *vendors.events(asked.wire)))


async def no_end(peer: Peer, asked: Asked) -> bool:
    """All of the text comes, and HTTP ends as it should; only the finish is missing."""
    if asked.stream:
        await peer.head(200, asked.content_type)
        return await _rest(peer, vendors.cut(asked.wire, len(vendors.PIECES)))
    return await _whole(peer, _without_finish(asked.wire))


async def error_first(peer: Peer, asked: Asked) -> bool:
    if not asked.stream:
        return await _whole(peer, vendors.error_body(asked.wire))
    await peer.head(200, asked.content_type)
    return await _rest(peer, (vendors.beginning(asked.wire), vendors.error_event(asked.wire)))


async def error_later(peer: Peer, asked: Asked) -> bool:
    if not asked.stream:
        return await error_first(peer, asked)
    await _half(peer, asked)
    return await _rest(peer, (vendors.error_event(asked.wire),))


async def wrong_type(peer: Peer, _: Asked) -> bool:
    """What a proxy says that knows nothing of the API."""
    return await _whole(peer, b"no healthy upstream", content_type="text/plain")


async def html_200(peer: Peer, _: Asked) -> bool:
    return await _whole(peer, HTML, content_type="text/html; charset=utf-8")


async def html_502(peer: Peer, _: Asked) -> bool:
    return await _whole(peer, HTML, content_type="text/html; charset=utf-8", status=502)


async def error_status(peer: Peer, asked: Asked) -> bool:
    """An error of that HTTP status, 503 where none is named, in the vendor's own words."""
    status = int(asked.seconds(503))
    return await _whole(peer, vendors.error_body(asked.wire, status), status=status)


async def rate_limit(peer: Peer, asked: Asked) -> bool:
    """429 that asks to wait so many seconds."""
    wait = ("retry-after", f"{asked.seconds(30):g}")
    return await _whole(peer, vendors.error_body(asked.wire, 429), status=429, headers=(wait,))


async def gzip_bomb(peer: Peer, asked: Asked) -> bool:
    """One event, or one answer, without end, a thousand times smaller on the way than unpacked."""
    return await _bomb(peer, asked, b" ")


async def gzip_bomb_of_lines(peer: Peer, asked: Asked) -> bool:
    """The same, of empty lines, which mean nothing in any framing."""
    return await _bomb(peer, asked, b"\n")


async def endless_deltas(peer: Peer, asked: Asked) -> bool:
    """An answer that never ends, as fast as it is taken; `amount` seconds between the pieces, if any."""
    return await _endless(peer, asked, vendors.delta(asked.wire, "and so on, "))


async def endless_pings(peer: Peer, asked: Asked) -> bool:
    """An answer that says that it is alive, and nothing else."""
    return await _endless(peer, asked, vendors.WIRES[asked.wire].ping())


async def long_line(peer: Peer, asked: Asked) -> bool:
    """One event of 100 MB, or one answer of as much."""
    start, end = (b"data: ", b"\n\n") if asked.content_type == "text/event-stream" else (b"", b"\n")
    start, end = start + b'{"text": "', b'"}' + end
    await peer.head(200, asked.content_type)
    await peer.chunk(start)
    for _ in range(LINE_BYTES // BLOCK):
        await peer.chunk(b"x" * BLOCK)
    await peer.chunk(end)
    await peer.end_chunks()
    return True


async def half_closed_first(peer: Peer, _: Asked) -> bool:
    """The server will say nothing more, and says so; it goes on listening."""
    peer.half_close()
    return await _until_gone(peer)


async def half_closed_later(peer: Peer, asked: Asked) -> bool:
    await _half(peer, asked)
    peer.half_close()
    return await _until_gone(peer)


async def drip(peer: Peer, asked: Asked) -> bool:
    """One byte a second: alive, and of no use."""
    body = b"".join(vendors.events(asked.wire)) if asked.stream else vendors.whole(asked.wire)
    await peer.head(200, asked.content_type)
    for i in range(len(body)):
        await peer.chunk(body[i : i + 1])
        await peer.pause(asked.seconds(1.0))
    await peer.end_chunks()
    return True


async def drip_later(peer: Peer, asked: Asked) -> bool:
    """The first half comes at once, and then one byte a second."""
    if not asked.stream:
        return await drip(peer, asked)
    await _half(peer, asked)
    for byte in itertools.cycle(vendors.delta(asked.wire, "and so on, ")):
        await peer.chunk(bytes((byte,)))
        await peer.pause(asked.seconds(1.0))
    return False


PLAYS: Mapping[str, Play] = MappingProxyType(
    {
        play.__name__: play
        for play in (
            good,
            reset_before_headers,
            reset_after_headers,
            reset_on_reuse,
            silence,
            endless_header,
            endless_headers,
            endless_interim,
            slow_headers,
            slow_first_token,
            silent_thinking,
            stall,
            cut,
            cut_at,
            cut_reset,
            cut_clean,
            cut_tool_call,
            malformed_first,
            malformed_later,
            no_end,
            error_first,
            error_later,
            wrong_type,
            html_200,
            html_502,
            error_status,
            rate_limit,
            gzip_bomb,
            gzip_bomb_of_lines,
            endless_deltas,
            endless_pings,
            long_line,
            half_closed_first,
            half_closed_later,
            drip,
            drip_later,
        )
    }
)
"""By name, as it stands in the path of a request."""


async def _head(peer: Peer, asked: Asked, *headers: tuple[str, str]) -> None:
    length = None if asked.stream else len(vendors.whole(asked.wire))
    await peer.head(200, asked.content_type, *headers, length=length)


async def _half(peer: Peer, asked: Asked) -> None:
    """Writes a good answer up to its middle."""
    await _head(peer, asked)
    if not asked.stream:
        body = vendors.whole(asked.wire)
        await peer.write(body[: len(body) // 2])
        return
    for event in vendors.cut(asked.wire, len(vendors.PIECES) // 2):
        await peer.chunk(event)


async def _rest(peer: Peer, events: Sequence[bytes]) -> bool:
    for event in events:
        await peer.chunk(event)
    await peer.end_chunks()
    return True


async def _whole(
    peer: Peer, body: bytes, *, status: int = 200, content_type: str = JSON, headers: Sequence[tuple[str, str]] = ()
) -> bool:
    await peer.head(status, content_type, *headers, length=len(body))
    await peer.write(body)
    return True


async def _late(peer: Peer, asked: Asked, seconds: float, *, began: bool) -> bool:
    await _head(peer, asked)
    if not asked.stream:
        await peer.pause(seconds)
        await peer.write(vendors.whole(asked.wire))
        return True
    start = vendors.beginning(asked.wire)
    if began:
        await peer.chunk(start)
    await peer.pause(seconds)
    events = b"".join(vendors.events(asked.wire))
    return await _rest(peer, (events[len(start) :] if began and events.startswith(start) else events,))


async def _until_gone(peer: Peer) -> bool:
    await peer.gone()
    raise PeerGoneError


async def _endless(peer: Peer, asked: Asked, event: bytes) -> bool:
    await peer.head(200, asked.content_type)
    if not asked.stream:
        # White space may stand before JSON, as much of it as there is; some gateways keep connections alive with it.
        event = b" \n"
    else:
        await peer.chunk(vendors.beginning(asked.wire))
    seconds = asked.seconds(0.0)
    many = event if seconds else event * max(1, BLOCK // 4 // len(event))
    while True:
        await peer.chunk(many)
        if seconds:
            await peer.pause(seconds)
        else:
            await asyncio.sleep(0)


async def _bomb(peer: Peer, asked: Asked, filling: bytes) -> bool:
    await peer.head(200, asked.content_type, ("content-encoding", "gzip"))
    bomb = _packed_bomb(asked.content_type == "text/event-stream" and filling != b"\n", filling)
    await peer.chunk(bomb[0])
    while True:
        await peer.chunk(bomb[1])
        await asyncio.sleep(0)


@cache
def _packed_bomb(is_event: bool, filling: bytes) -> tuple[bytes, bytes]:  # noqa: FBT001  # private
    """Returns a beginning, and what can follow it again and again: after a full flush a block stands by itself."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = squeeze.compress(b"data: " if is_event else b"") + squeeze.flush(zlib.Z_FULL_FLUSH)
    return start, squeeze.compress(filling * 16 * 1024 * 1024) + squeeze.flush(zlib.Z_FULL_FLUSH)


def _without_finish(wire: str) -> bytes:
    body = vendors.whole(wire)
    for reason in (b'"finish_reason":"stop"', b'"stop_reason":"end_turn"', b'"finishReason":"STOP"'):
        body = body.replace(reason, reason.partition(b":")[0] + b":null")
    return body.replace(b'"done":true', b'"done":false')
