"""Splits a byte stream into lines of JSON (NDJSON), whatever the chunks it comes in.

Lines end with LF, CR or CRLF, none of which JSON holds unescaped; empty ones mean nothing. Bytes stay bytes: a
character split between chunks is whole again before anybody decodes it.
"""

from __future__ import annotations

from turnout_server.providers.framing import MAX_EVENT_BYTES, EventTooLargeError

BOM = b"\xef\xbb\xbf"


class LineSplitter:
    """Collects chunks and gives back each complete line."""

    __slots__ = ("_at_start", "_buffer", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._at_start = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Returns the lines that this chunk completes, in order; EventTooLargeError past the limit."""
        buffer = self._buffer
        buffer += chunk.replace(b"\r", b"\n") if b"\r" in chunk else chunk
        if self._at_start and len(buffer) >= len(BOM):
            self._at_start = False
            if buffer.startswith(BOM):
                del buffer[: len(BOM)]
        end = buffer.rfind(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(buffer)
            if self._scanned > MAX_EVENT_BYTES:
                raise EventTooLargeError
            return []
        lines = bytes(buffer[:end]).split(b"\n")
        del buffer[: end + 1]
        self._scanned = len(buffer)
        if len(buffer) > MAX_EVENT_BYTES or any(len(line) > MAX_EVENT_BYTES for line in lines):
            raise EventTooLargeError
        return [stripped for line in lines if (stripped := line.strip())]

    def rest(self) -> bytes | None:
        """Returns a last line that nothing ended; None where there is none."""
        line = bytes(self._buffer).strip()
        self._buffer.clear()
        self._scanned = 0
        return line or None
