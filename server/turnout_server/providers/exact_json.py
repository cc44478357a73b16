"""Numbers that no double holds pass through unchanged: a tool's arguments belong to the caller, every digit of them.

The usual parser makes floats of integers beyond 64 bits and rounds long fractions. Where a text has such numbers, it is
parsed a second time, with those kept as they were written.
"""

from __future__ import annotations

import json
import re

import orjson

_LONG_NUMBER = re.compile(rb"\d{16}|\d\.\d{15}")
_SHORT_CHARACTERS = 15
"""Up to so many, digits and point and sign together, a double or an integer holds every number exactly."""


class ExactNumber:
    """A number as it was written."""

    __slots__ = ("literal",)

    def __init__(self, literal: str) -> None:
        self.literal = literal

    def __str__(self) -> str:
        return self.literal


def has_long_numbers(data: bytes) -> bool:
    """Whether JSON may hold numbers that would be rounded; they may also stand in its texts."""
    return _LONG_NUMBER.search(data) is not None


def loads_exact(data: bytes | str) -> object:
    """Parses JSON with long numbers as `ExactNumber`; ValueError where it is none."""
    value: object = json.loads(data, parse_int=_whole, parse_float=_broken, parse_constant=_constant)
    return value


def exact(data: bytes, value: object) -> object:
    """Returns what was parsed of `data`, anew where numbers of it were rounded."""
    return loads_exact(data) if has_long_numbers(data) else value


def arguments_text(value: object) -> str:
    """Writes a tool's arguments that came as JSON."""
    return orjson.dumps(value, default=number_written).decode()


def number_written(value: object) -> orjson.Fragment:
    """For orjson's `default`: writes an `ExactNumber`; TypeError for any other value."""
    if isinstance(value, ExactNumber):
        return orjson.Fragment(value.literal)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _whole(literal: str) -> object:
    return int(literal) if len(literal) <= _SHORT_CHARACTERS else ExactNumber(literal)


def _broken(literal: str) -> object:
    return float(literal) if len(literal) <= _SHORT_CHARACTERS else ExactNumber(literal)


def _constant(literal: str) -> object:
    # The parser knows NaN and infinity; JSON does not.
    raise ValueError(literal)
