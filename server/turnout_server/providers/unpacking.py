"""Undoes the compression of an answer, though none was asked for: gateways compress without asking.

Piece by piece, because a thousandfold of what came in one read fits nowhere, and other calls must have their turn.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING

from turnout_server.providers.failures import protocol_error

if TYPE_CHECKING:
    from turnout_server.ports import UpstreamError

PIECE_BYTES = 64 * 1024
"""The most that is unpacked at a time."""
FREE_BYTES = 1024 * 1024
"""So much may come out of however little."""
MOST_TIMES = 500
"""Beyond that it may be so many times what came. Events that are alike but for a word of prose come to 25 to 40 times
what they are packed, those of a model that says one word for ever to 290; zlib's most is 1,030."""

_GZIP_OR_ZLIB = 47
_RAW = -15
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})


async def unpacked(source: AsyncIterator[bytes], encoding: str) -> AsyncGenerator[bytes]:
    """Yields the body, at most 64 KiB at a time; `encoding` is the header's. UpstreamError PROTOCOL for what it is not,
    for an encoding that is not known, and for a body that unpacks to more than 500 times of what came.
    """
    way = encoding.strip().lower()
    if way not in _ENCODINGS:
        raise protocol_error("the answer is compressed in a way that is not known, and that was not asked for")
    engine: _Engine | None = None
    taken = produced = 0
    async for chunk in source:
        rest, full = chunk, False
        while rest or full:
            if engine is None:
                engine = _begun(rest, may_be_raw=way == "deflate")
            try:
                piece = engine.decompress(rest, PIECE_BYTES)
            except zlib.error:
                raise _broken() from None
            taken += len(rest) - len(engine.unconsumed_tail) - len(engine.unused_data)
            produced += len(piece)
            if produced > FREE_BYTES and produced > MOST_TIMES * taken:
                raise protocol_error(f"the answer is compressed more than {MOST_TIMES} times")
            if piece:
                yield piece
            # All of the chunk taken, the last of what it holds may still wait for room.
            rest, full = engine.unconsumed_tail, len(piece) == PIECE_BYTES
            if engine.eof:
                # Another member may follow.
                rest, full, engine = engine.unused_data, False, None
            if rest:
                await asyncio.sleep(0)


if TYPE_CHECKING:
    _Engine = zlib._Decompress  # noqa: SLF001 - the only name that it has


def _begun(first: bytes, *, may_be_raw: bool) -> _Engine:
    # A zlib header says method 8 in its first byte; some servers leave it out, and browsers have always taken that.
    raw = may_be_raw and first[0] & 0x0F != 8  # noqa: PLR2004 - the standard's number (RFC 1950)
    return zlib.decompressobj(_RAW if raw else _GZIP_OR_ZLIB)


def _broken() -> UpstreamError:
    return protocol_error("the answer is not compressed as it says")
