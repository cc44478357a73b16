"""What is wrong with one request, by field path: every field that comes in is read through one of these checks.

All faults of a request are collected and told at once, so that a caller corrects it once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sized
from typing import TYPE_CHECKING, Any, Protocol

from turnout_server.api.enums import E
from turnout_server.api.instants import MAX_SECONDS, NANOS, seconds, wall_seconds
from turnout_server.core.errors import FieldViolation, InvalidRequestError

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

MAX_ID_LENGTH = 256
MAX_NAME_LENGTH = 128
MAX_WORD_LENGTH = 64
MAX_LIST_LENGTH = 256
MAX_TOKENS = 1_000_000_000
MAX_FAULTS = 100
"""Faults told of one request; more would only cost time and memory."""
MAX_PATH_LENGTH = 200
MIN_WALL_SECONDS, MAX_WALL_SECONDS = -62_135_596_800, 253_402_300_799
"""The years 1 to 9999: the range of Timestamp."""


class Ranged(Protocol):
    """A request for what happened from `start_time` on and before `end_time`."""

    @property
    def start_time(self) -> Timestamp:
        """The first moment."""
        ...

    @property
    def end_time(self) -> Timestamp:
        """The first moment after it."""
        ...

    def HasField(self, field_name: Any, /) -> bool:  # noqa: N802  # protobuf's name
        """Tells whether a field is there."""
        ...


class Faults:
    """What is wrong with one request."""

    __slots__ = ("violations",)

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        """Notes one fault; beyond the hundredth none."""
        if len(self.violations) < MAX_FAULTS:
            self.violations.append(FieldViolation(field=field[:MAX_PATH_LENGTH], description=description))

    def text(self, value: str, field: str, longest: int) -> str:
        """Returns the text; notes a fault where it is longer than `longest` characters."""
        if len(value) > longest:
            self.add(field, f"has {len(value)} characters; at most {longest} are taken")
        return value

    def count(self, values: Sized, field: str, most: int) -> bool:
        """Tells whether there are no more than `most`; notes a fault where there are."""
        if len(values) > most:
            self.add(field, f"has {len(values)} entries; at most {most} are taken")
            return False
        return True

    def number(self, value: float, field: str, lowest: float, highest: float = math.inf) -> float:
        """Returns the number; notes a fault where it is not finite or outside its range."""
        if not (math.isfinite(value) and lowest <= value <= highest):
            span = f"from {lowest:g} to {highest:g}" if math.isfinite(highest) else f"of at least {lowest:g}"
            self.add(field, f"is {value:g}; give a number {span}")
        return value

    def whole(self, value: int, field: str, lowest: int, highest: int = MAX_TOKENS) -> int:
        """Returns the integer; notes a fault where it is outside its range."""
        if not lowest <= value <= highest:
            self.add(field, f"is {value}; give a number from {lowest} to {highest}")
        return value

    def span(self, message: Duration, field: str, highest: float = MAX_SECONDS) -> float:
        """Returns seconds; notes a fault where they are no Duration, negative or more than `highest`."""
        value = seconds(message)
        if not (0 <= message.seconds <= MAX_SECONDS and 0 <= message.nanos < NANOS and value <= highest):
            self.add(field, f"is {value:g} s; give a duration from 0 to {highest:g} s")
        return value

    def instant(self, message: Timestamp, field: str) -> float:
        """Returns seconds since the epoch; notes a fault where they are no Timestamp."""
        if not (MIN_WALL_SECONDS <= message.seconds <= MAX_WALL_SECONDS and 0 <= message.nanos < NANOS):
            self.add(field, "is no time; give one of the years 1 to 9999")
        return wall_seconds(message)

    def range(self, request: Ranged) -> tuple[float | None, float | None]:
        """Returns `start_time` and `end_time` in seconds since the epoch, None where absent.

        Notes a fault where one is no Timestamp, or where nothing can lie between them.
        """
        start = self.instant(request.start_time, "start_time") if request.HasField("start_time") else None
        end = self.instant(request.end_time, "end_time") if request.HasField("end_time") else None
        if start is not None and end is not None and end <= start:
            self.add("end_time", "is not after start_time; nothing lies between them")
        return start, end

    def choice(self, mapping: Mapping[int, E], value: int, field: str) -> E | None:
        """Returns the core's member, None for UNSPECIFIED; notes a fault for a value not known to this version."""
        if not value:
            return None
        known = mapping.get(value)
        if known is None:
            self.add(field, f"has the value {value}, which this version does not know")
        return known

    def raise_any(self) -> None:
        """Raises InvalidRequestError if anything was noted."""
        if self.violations:
            raise InvalidRequestError(self.violations)
