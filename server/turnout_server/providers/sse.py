"""Splits a byte stream into server-sent events (WHATWG HTML, section 9.2), whatever the chunks it comes in.

Lines end with LF, CR or CRLF, also where a chunk boundary falls between CR and LF. Comments, `id` and `retry` are
skipped; several `data` lines are one event. Bytes stay bytes: a character split between chunks is whole again before
anybody decodes it.
"""

from __future__ import annotations

from turnout_server.providers.framing import MAX_EVENT_BYTES, EventTooLargeError

BOM = b"\xef\xbb\xbf"
_COLON = 0x3A


class EventSplitter:
    """Collects chunks and gives back the data of each complete event."""

    __slots__ = ("_after_cr", "_at_start", "_buffer", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Returns the data of the events that this chunk completes, in order; EventTooLargeError past the limit.

        Events without data are left out. What an event is called is left out too: both wires name it in the data.
        """
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_line_feeds(chunk)
        buffer = self._buffer
        buffer += chunk
        if self._at_start and len(buffer) >= len(BOM):
            self._at_start = False
            if buffer.startswith(BOM):
                del buffer[: len(BOM)]
        end = buffer.rfind(b"\n\n", max(0, self._scanned - 1))
        if end < 0:
            self._scanned = len(buffer)
            if self._scanned > MAX_EVENT_BYTES:
                raise EventTooLargeError
            return []
        blocks = bytes(buffer[:end]).split(b"\n\n")
        del buffer[: end + 2]
        self._scanned = len(buffer)
        events: list[bytes] = []
        for block in blocks:
            if not block or (block[0] == _COLON and b"\n" not in block):
                # Blank lines and comments mean nothing, and whoever sends a flood of them gets no more time than that.
                continue
            if len(block) > MAX_EVENT_BYTES:
                raise EventTooLargeError
            data = _data(block)
            if data is not None:
                events.append(data)
        return events

    def rest(self) -> bytes | None:
        """Returns the data of an event that only its blank line is missing from, at the end of the stream.

        The standard drops it; some servers end their last event with the connection.
        """
        block = bytes(self._buffer).rstrip(b"\n")
        self._buffer.clear()
        return _data(block) if block else None

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data(block: bytes) -> bytes | None:
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = [_value(line) for line in block.split(b"\n") if line.startswith(b"data:") or line == b"data"]
    return b"\n".join(lines) if lines else None


def _value(line: bytes) -> bytes:
    value = line[5:]
    return value[1:] if value.startswith(b" ") else value
