"""The state as one document, to be carried from one sidecar to another: a snapshot, but for what is of one alone.

What is known against keys is left out: another sidecar's keys may be others of the same names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite
from typing import TYPE_CHECKING

from turnout_server.core.keeping import Aged
from turnout_server.core.kept import AgesLine, CostsLine, CredentialLine, Since, StatisticsLine, SumsLine
from turnout_server.core.kept_faults import fault
from turnout_server.state.files import UnusableError, read_snapshot, snapshot_heading
from turnout_server.state.lines import Entry, decode, encode

if TYPE_CHECKING:
    from turnout_server.core.kept import Line

LINE_MAXIMUM_BYTES = 8 * 1024 * 1024
"""More than the longest that is ever written: ten thousand accounts of a budget, with names as long as they can be."""
_OF_THE_PAST = (AgesLine, CostsLine, StatisticsLine, SumsLine)


def exported(lines: Iterable[Line], at_wall: float, *, with_past: bool) -> Iterator[bytes]:
    """Yields the lines that a document has, as bytes."""
    number = 0
    for line in lines:
        if isinstance(line, CredentialLine) or (isinstance(line, _OF_THE_PAST) and not with_past):
            continue
        yield encode(Entry(number, at_wall, line))
        number += 1


def document(chunks: Iterable[bytes]) -> bytes:
    """Returns the bytes of a document of these lines."""
    body = b"".join(chunks)
    return snapshot_heading((body,)) + body


def read_document(data: bytes, *, now: float, now_wall: float) -> Iterator[Aged]:
    """Yields what a document says, line by line. Raises UnusableError where it is none, not as it was written, or makes
    no sense; so nothing may be done with any line before the last one is read.
    """
    body = read_snapshot(data)
    for number, text in enumerate(body.lines, start=1):
        # One line is read at a stretch, and calls wait for that.
        entry = decode(text, body.version) if len(text) <= LINE_MAXIMUM_BYTES else None
        if entry is None:
            raise UnusableError(f"has lines that this version does not know; the first is line {number}")
        wrong = fault(entry.line) or ("" if isfinite(entry.at_wall) else "no time")
        if wrong:
            raise UnusableError(f"makes no sense: line {number} has {wrong}")
        yield Aged(entry.line, Since.made(entry.at_wall, now=now, now_wall=now_wall))
