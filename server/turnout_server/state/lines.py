"""One line of a file: a number that orders it, when it was made, what it is about, and what there is to say.

    [12, 1800000000.25, "breaker", {"name": {...}, "gate": {...}, ...}]

Fields that are not known here are ignored, and so are lines about what is not: a newer version may have written them.
Lines of an older version are brought up to date step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from turnout_server.core.kept import (
    AffinityLine,
    AgesLine,
    BreakerLine,
    BudgetLine,
    CostsLine,
    CredentialLine,
    EndpointLine,
    LearnedLine,
    Line,
    SpentLine,
    StatisticsLine,
    SumsLine,
    TargetLine,
)

VERSION = 1
"""Of the format; counted up where an older Turnout could not read a file any more, or would read it wrongly."""

Frame = list[Any]
"""A line as JSON has it: number, time, kind, content."""
Migration = Callable[[Frame], Frame]

MIGRATIONS: Mapping[int, Migration] = MappingProxyType({})
"""By version, what makes a line of it one of the next version. There has been one version so far."""

KINDS: Mapping[str, type[Line]] = MappingProxyType(
    {
        "ages": AgesLine,
        "budget": BudgetLine,
        "spent": SpentLine,
        "breaker": BreakerLine,
        "endpoint": EndpointLine,
        "credential": CredentialLine,
        "target": TargetLine,
        "statistics": StatisticsLine,
        "learned": LearnedLine,
        "affinity": AffinityLine,
        "sums": SumsLine,
        "costs": CostsLine,
    }
)
_KIND_OF = {made: kind for kind, made in KINDS.items()}


class Entry(NamedTuple):
    """A line with its number and the wall-clock time at which it was made."""

    number: int
    at_wall: float
    line: Line


def encode(entry: Entry) -> bytes:
    """Returns the line with its end; nothing where a caller's word is no text that can be written."""
    try:
        return orjson.dumps(
            [entry.number, entry.at_wall, _KIND_OF[type(entry.line)], entry.line], option=orjson.OPT_APPEND_NEWLINE
        )
    except orjson.JSONEncodeError:
        return b""


def decode(
    text: bytes, version: int, *, newest: int = VERSION, migrations: Mapping[int, Migration] = MIGRATIONS
) -> Entry | None:
    """Returns what a line of some version, at most `newest`, says; None where that is nothing that is known here."""
    try:
        frame = orjson.loads(text)
        for step in range(version, newest):
            frame = migrations[step](frame)
        number, at_wall, kind, content = _frame().validate_python(frame)
        return Entry(number, at_wall, _reader(kind).validate_python(content)) if kind in KINDS else None
    except (orjson.JSONDecodeError, ValidationError):
        return None


@cache
def _frame() -> TypeAdapter[tuple[int, float, str, Any]]:
    return TypeAdapter(tuple[int, float, str, Any])


@cache
def _reader(kind: str) -> TypeAdapter[Line]:
    return TypeAdapter(KINDS[kind])
