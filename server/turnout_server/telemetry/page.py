"""Writes the metrics page piece by piece: a page of thousands of series takes a tenth of a second, and calls go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

SLICE_SAMPLES = 200
"""Written before others have their turn: some two milliseconds."""
END = b"# EOF\n"
"""Ends a page of OpenMetrics."""

Collect = Callable[[], Iterable[Metric]]


class _Piece:
    """A part of one family, as a registry for the library's encoders."""

    __slots__ = ("_part",)

    def __init__(self, part: Metric) -> None:
        self._part = part

    def collect(self) -> Iterable[Metric]:
        yield self._part


async def page(collect: Collect, accept: str) -> tuple[bytes, str]:
    """Returns the text for a scrape and its content type, as the Accept header wants it."""
    encode, content_type = choose_encoder(accept)
    written: list[bytes] = []
    for text in _pieces(collect, encode):
        written.append(text)
        await asyncio.sleep(0)
    return b"".join(written), content_type


def page_at_once(collect: Collect, accept: str) -> tuple[bytes, str]:
    """Returns the same, while nobody else has a turn."""
    encode, content_type = choose_encoder(accept)
    return b"".join(_pieces(collect, encode)), content_type


def _pieces(collect: Collect, encode: Callable[[Any], bytes]) -> Iterator[bytes]:
    """Yields the page; families of one name follow each other, and only the first of them has a head."""
    ended, before = False, ""
    for family in collect():
        for begin in range(0, max(1, len(family.samples)), SLICE_SAMPLES):
            part = Metric(family.name, family.documentation, family.type, family.unit)
            part.samples = family.samples[begin : begin + SLICE_SAMPLES]
            text = encode(_Piece(part))
            if text.endswith(END):
                text, ended = text[: -len(END)], True
            yield _without_head(text) if family.name == before else text
            before = family.name
    if ended:
        yield END


def _without_head(text: bytes) -> bytes:
    """Leaves out what says what the family is: its first part has it. Nothing of a sample begins so."""
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"# "))
