"""Says the same only once a minute: a collector that is away is away for every batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

QUIET_SECONDS = 60.0
"""The same is said again after so long."""
SDK_EXPORTERS = ("opentelemetry.exporter.otlp.proto.grpc.exporter", "opentelemetry.exporter.otlp.proto.http")
"""Loggers that say of every batch that it failed."""
SAYINGS_MAXIMUM = 256
"""Different things that are remembered; beyond them all is begun anew, and something is said once too often."""


class Seldom:
    """Remembers what was said. `clock` is monotonic seconds."""

    __slots__ = ("_clock", "_said_at")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said_at: dict[str, float] = {}

    def may_say(self, what: str) -> bool:
        """Whether it is time to say it, which then counts as said."""
        now, said_at = self._clock(), self._said_at.get(what)
        if said_at is not None and now - said_at < QUIET_SECONDS:
            return False
        if len(self._said_at) >= SAYINGS_MAXIMUM:
            self._said_at.clear()
        self._said_at[what] = now
        return True


class SeldomRepeated(logging.Filter):
    """Lets a logger of somebody else's say the same only once a minute."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._seldom = Seldom(clock)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written. Lines are the same that differ only in what is filled into them."""
        return self._seldom.may_say(str(record.msg))


def quieten_exporters() -> None:
    """Has the SDK's exporters repeat themselves seldom; however often it is asked for, once is enough."""
    for name in SDK_EXPORTERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, SeldomRepeated) for known in logger.filters):
            logger.addFilter(SeldomRepeated(time.monotonic))
