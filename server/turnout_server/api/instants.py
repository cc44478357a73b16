"""Seconds of the core to Duration and Timestamp and back.

The core's clock is monotonic; `Instants` knows how far it is from the wall clock, so that "in 3 s"
can be told as a time.
"""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

NANOS = 1_000_000_000
MAX_SECONDS = 315_576_000_000.0
"""Ten thousand years: the range of both messages. What is beyond it, infinity included, is told as this."""


def duration(seconds: float) -> Duration:
    """Returns a Duration of so many seconds; negative ones become 0."""
    whole, nanos = divmod(round(min(max(seconds, 0.0), MAX_SECONDS) * NANOS), NANOS)
    return Duration(seconds=whole, nanos=nanos)


def write_seconds(message: Duration | Timestamp, value: float) -> None:
    """Writes seconds into a Duration, or seconds since the epoch into a Timestamp, without making a message of its own.

    The value must be finite and not negative.
    """
    whole = int(value)
    message.seconds = whole
    message.nanos = int((value - whole) * NANOS)


def seconds(message: Duration) -> float:
    """Returns the seconds of a Duration."""
    return message.seconds + message.nanos / NANOS


def timestamp(wall_seconds: float) -> Timestamp:
    """Returns a Timestamp of seconds since the epoch; none before it."""
    whole, nanos = divmod(round(min(max(wall_seconds, 0.0), 253_402_300_799.0) * NANOS), NANOS)
    return Timestamp(seconds=whole, nanos=nanos)


def wall_seconds(message: Timestamp) -> float:
    """Returns the seconds since the epoch of a Timestamp."""
    return message.seconds + message.nanos / NANOS


class Instants:
    """Both clocks of the process. `clock` is monotonic seconds, `wall` seconds since the epoch."""

    __slots__ = ("clock", "wall")

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.clock = clock
        self.wall = wall

    def offset(self) -> float:
        """What turns a monotonic time into a wall time, at this moment."""
        return self.wall() - self.clock()
