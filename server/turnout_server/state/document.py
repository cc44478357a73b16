"""The state as one document, to be carried from one sidecar to another: a snapshot, but for what is of one alone.

What is known against keys is left out: another sidecar's keys may be others of the same names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from turnout_server.core.keeping import Aged
from turnout_server.core.kept import AgesLine, CredentialLine, Since, StatisticsLine, SumsLine
from turnout_server.state.files import UnusableError, read_snapshot, snapshot_heading
from turnout_server.state.lines import Entry, decode, encode

if TYPE_CHECKING:
    from turnout_server.core.kept import Line

_OF_THE_PAST = (AgesLine, StatisticsLine, SumsLine)


def exported(lines: Iterable[Line], *, with_past: bool) -> Iterator[Line]:
    """Yields the lines that a document has."""
    for line in lines:
        if isinstance(line, CredentialLine) or (isinstance(line, _OF_THE_PAST) and not with_past):
            continue
        yield line


def document(lines: Iterable[Line], at_wall: float) -> bytes:
    """Returns the bytes of a document of these lines, made at a wall-clock time."""
    body = b"".join(encode(Entry(number, at_wall, line)) for number, line in enumerate(lines))
    return snapshot_heading((body,)) + body


def read_document(data: bytes, *, now: float, now_wall: float) -> list[Aged]:
    """Returns what a document says. Raises UnusableError where it is none, or not as it was written."""
    body = read_snapshot(data)
    found: list[Aged] = []
    for text in body.lines:
        entry = decode(text, body.version)
        if entry is None:
            raise UnusableError("has lines that this version does not know")
        if not isinstance(entry.line, CredentialLine):
            found.append(Aged(entry.line, Since.made(entry.at_wall, now=now, now_wall=now_wall)))
    return found
