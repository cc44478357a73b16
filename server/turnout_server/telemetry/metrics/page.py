"""Writes the metrics page piece by piece: a page of thousands of series takes a tenth of a second, and calls go on.

However many ask, it is written once a second: who asks meanwhile gets the one that there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

SLICE_SAMPLES = 100
"""Written before others have their turn: some milliseconds' half, two where labels are many."""
SHARED_SECONDS = 1.0
"""For how long a page is given to whoever asks for one."""
VERSIONS = frozenset({"", "0.0.1", "0.0.4", "1.0.0"})
"""Of the formats that there are. The library writes any version that it is asked for into its answer and fails for what
is no number; each would be a page of its own."""
END = b"# EOF\n"
"""Ends a page of OpenMetrics."""

Collect = Callable[[], Iterable[Metric | None]]
"""Yields families, and None wherever others may have their turn."""


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
        if family is None:
            yield b""
            continue
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


def _known(accept: str) -> str:
    """Returns what an Accept header asks for, without formats of versions that nobody knows."""
    return ",".join(asked for asked in accept.split(",") if _version(asked) in VERSIONS)


def _version(asked: str) -> str:
    for parameter in asked.split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name == "version":
            return value
    return ""


def _without_head(text: bytes) -> bytes:
    """Leaves out what says what the family is: its first part has it. Nothing of a sample begins so."""
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"# "))


class SharedPages:
    """Renders with `render`, one page at a time and each kind of it once a second at most."""

    __slots__ = ("_one_at_a_time", "_pages", "_render")

    def __init__(self, render: Callable[[str], Awaitable[tuple[bytes, str]]]) -> None:
        self._render = render
        self._pages: dict[str, asyncio.Task[tuple[bytes, str]]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, accept: str) -> tuple[bytes, str]:
        """Returns the page and its content type, as `render` does, of this second."""
        accept = _known(accept)
        _, kind = choose_encoder(accept)
        page = self._pages.get(kind)
        if page is None:
            page = self._pages[kind] = asyncio.ensure_future(self._rendered(accept))
            page.add_done_callback(lambda _: self._rendered_one(kind))
        # Whoever goes away leaves it to the others.
        return await asyncio.shield(page)

    async def _rendered(self, accept: str) -> tuple[bytes, str]:
        async with self._one_at_a_time:
            return await self._render(accept)

    def _rendered_one(self, kind: str) -> None:
        page = self._pages[kind]
        if page.cancelled() or page.exception() is not None:
            del self._pages[kind]
        else:
            # Let go even where nobody asks again: it may be megabytes.
            asyncio.get_running_loop().call_later(SHARED_SECONDS, self._pages.pop, kind)
