"""Bytes that go into JSON as base64, encoded only when they are written: until then they are not there twice."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

import orjson

from turnout_server.providers.exact_json import number_written

CHUNK_BYTES = 48 * 1024
"""So much is encoded at once, a multiple of three: 64 KiB of text, in about 60 microseconds."""


class Base64Text:
    """Stands in a request for the text `before`, followed by `data` in base64.

    It is no dataclass, because orjson writes those its own way.
    """

    __slots__ = ("_before", "_data")

    def __init__(self, data: bytes, before: str = "") -> None:
        self._data = data
        self._before = before

    def __len__(self) -> int:
        """Returns how many bytes it has in JSON, between the quotes."""
        return len(_escaped(self._before)) + 4 * -(-len(self._data) // 3)

    def __str__(self) -> str:
        return self._before + b64encode(self._data).decode("ascii")

    def pieces(self) -> Iterator[bytes]:
        """Yields what stands in JSON between the quotes, in pieces of at most 64 KiB."""
        if self._before:
            yield _escaped(self._before)
        view = memoryview(self._data)
        for start in range(0, len(view), CHUNK_BYTES):
            yield b64encode(view[start : start + CHUNK_BYTES])


def _escaped(text: str) -> bytes:
    return orjson.dumps(text)[1:-1]


def written(value: object) -> object:
    """For orjson's `default`: returns what a value of ours stands for; TypeError for any other value."""
    return str(value) if isinstance(value, Base64Text) else number_written(value)
