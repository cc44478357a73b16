"""What a snapshot and a journal look like as bytes, and why some are not taken.

A snapshot is one line of heading, which says how long the rest is and its SHA-256, and a line for each thing. A journal
grows line by line, so each has its own CRC-32: what was not written to its end is cut off, the rest stands.

    turnout-snapshot 1 48213 9f86d081884c7d65...      turnout-journal 1
    [0, 1800000000.25, "ages", {...}]                 7a3d11c0 [13, 1800000003.5, "spent", {...}]
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple
from zlib import crc32

from turnout_server.state.lines import VERSION

SNAPSHOT, JOURNAL = b"turnout-snapshot", b"turnout-journal"
HEADING_MAXIMUM = 200
_CRC_LENGTH = 8


class UnusableError(Exception):
    """A file is none of ours, or not as it was written; the message ends a sentence that begins with its name."""


class Body(NamedTuple):
    """The lines of a file, and the version that they are of.

    `damaged` counts those that are left out; `torn` says that the last one was not written to its end.
    """

    version: int
    lines: list[bytes]
    damaged: int = 0
    torn: bool = False


def snapshot_heading(chunks: Iterable[bytes], version: int = VERSION) -> bytes:
    """Returns the heading of a snapshot of these chunks."""
    digest, length = sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        length += len(chunk)
    return b"%s %d %d %s\n" % (SNAPSHOT, version, length, digest.hexdigest().encode())


def journal_heading(version: int = VERSION) -> bytes:
    """Returns the heading of a journal."""
    return b"%s %d\n" % (JOURNAL, version)


def journal_line(text: bytes) -> bytes:
    """Returns a line, with its end, as it stands in a journal."""
    return b"%08x %s" % (crc32(text), text)


def read_snapshot(data: bytes, newest: int = VERSION) -> Body:
    """Returns what a snapshot holds. Raises UnusableError."""
    if not data:
        raise UnusableError("is empty")
    heading, _, rest = data.partition(b"\n")
    words = heading.split(b" ")
    version = _version(words, SNAPSHOT, "snapshot", newest)
    if len(words) != 4 or not words[2].isdigit() or len(heading) > HEADING_MAXIMUM:  # noqa: PLR2004 - as above
        raise UnusableError("is damaged: its heading is not whole")
    length = int(words[2])
    if len(rest) != length:
        raise UnusableError(f"is not whole: it has {len(rest)} of {length} bytes")
    if sha256(rest).hexdigest().encode() != words[3]:
        raise UnusableError("is damaged: its checksum does not agree")
    return Body(version, [line for line in rest.split(b"\n") if line])


def read_journal(data: bytes, newest: int = VERSION) -> Body:
    """Returns what a journal holds, one that was hardly begun included. Raises UnusableError."""
    if journal_heading().startswith(data):
        # Ended before anything was written.
        return Body(VERSION, [])
    heading, ended, rest = data.partition(b"\n")
    words = heading.split(b" ")
    version = _version(words, JOURNAL, "journal", newest)
    if len(words) != 2 or not ended:  # noqa: PLR2004 - as the heading has them
        raise UnusableError("is damaged: its heading is not whole")
    lines = rest.split(b"\n")
    tail = lines.pop()
    whole = [line[_CRC_LENGTH + 1 :] for line in lines if _agrees(line)]
    damaged = sum(1 for line in lines if line) - len(whole)
    return Body(version, whole, damaged, torn=bool(tail))


def _version(words: list[bytes], magic: bytes, what: str, newest: int) -> int:
    if words[0] != magic:
        raise UnusableError(f"is no {what} of Turnout")
    if len(words) == 1 or not words[1].isdigit() or len(words[1]) > _CRC_LENGTH:
        raise UnusableError("is damaged: its heading is not whole")
    version = int(words[1])
    if version > newest:
        raise UnusableError(f"is of a newer Turnout: format {version}, and this one knows those up to {newest}")
    if version < 1:
        raise UnusableError("is damaged: its heading is not whole")
    return version


def _agrees(line: bytes) -> bool:
    return line[_CRC_LENGTH : _CRC_LENGTH + 1] == b" " and line[:_CRC_LENGTH] == b"%08x" % crc32(
        line[_CRC_LENGTH + 1 :] + b"\n"
    )
